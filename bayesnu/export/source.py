"""What an export starts from, and where it goes: the experiment of a finished run, files that are not overwritten."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from bayesnu.errors import BayesnuError, RunError, silent
from bayesnu.experiment.base import Experiment
from bayesnu.experiment.load import SCHEMAS, LoadedCard, card_class
from bayesnu.experiment.setup import assemble
from bayesnu.resources import write_text
from bayesnu.results.runs import Run


def experiment_of(run: Run, notice: Callable[[str], None] = silent) -> Experiment:
    """Return the experiment that a run was made with, from the card in its record.

    Files that the card names are looked up as they were then: beside the card, whose place relative to the run's folder
    the record has, and in the shipped data; those of overrides in the working folder first.

    Raises
    ------
    RunError
        If a file is not found, or the counts, data or priors are not those of the run.
    """
    record, information = run.folder / "run.json", run.information
    kind = information["card"].get("scattering")
    if kind not in SCHEMAS:
        raise RunError(f"{record}: is a run of several cards together; an export needs a run of one")
    card = card_class(kind).model_validate_json(json.dumps(information["card"]))
    beside = run.folder / (information["card_folder"] or "")
    loaded = LoadedCard(card, beside / information["inputs"]["card"]["file"], tuple(information["overrides"]))
    try:
        experiment = assemble(loaded, notice)
    except BayesnuError as error:
        raise RunError(f"{error}; it was looked for where the card was, relative to the run") from error
    if experiment.digest != information["inputs_digest"]:
        made = information["versions"]["bayesnu"]
        raise RunError(
            f"{record}: inputs_digest = {information['inputs_digest'][:12]}…: the card gives {experiment.digest[:12]}… "
            f"now, since a file that it names or the program (the run: bayesnu {made}) has changed; run the card again"
        )
    return experiment


def write_folder(folder: Path, files: Mapping[str, str], force: bool, own: Callable[[str], bool]) -> None:
    """Write text files into a folder that holds nothing else.

    Parameters
    ----------
    folder : Path
    files : mapping
        Name to content.
    force : bool
        Replace an earlier export.
    own : callable
        Whether a name is one that such an export writes.

    Raises
    ------
    RunError
        If the folder holds an earlier export and ``force`` is not set, or anything else, or cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: is a file; choose another --out")
    found = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    foreign = [name for name in found if not own(name)]
    if foreign:
        raise RunError(f"{folder}: holds {foreign[0]}, which is no part of this export; choose another --out")
    if found and not force:
        raise RunError(f"{folder}: holds an export; choose another --out or give --force")
    try:
        for name in found:
            (folder / name).unlink()
    except OSError as error:
        raise RunError(f"{folder}: cannot be written ({error.strerror})") from error
    for name, text in files.items():
        write_text(folder / name, text, RunError)


def write_file(path: Path, text: str, force: bool) -> None:
    """Write one text file.

    Raises
    ------
    RunError
        If it exists and ``force`` is not set, or cannot be written.
    """
    if path.is_dir():
        raise RunError(f"{path}: is a folder; choose another --out")
    if path.exists() and not force:
        raise RunError(f"{path}: exists; choose another --out or give --force")
    write_text(path, text, RunError)
