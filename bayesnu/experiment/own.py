"""A new experiment like a known one: a folder with a commented card, its flux and its observed counts."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesnu.errors import UsageError
from bayesnu.experiment.base import Experiment
from bayesnu.experiment.electron import ElectronExperiment, electron_layout
from bayesnu.experiment.electron_card import Card
from bayesnu.experiment.electron_window import ElectronWindowExperiment, window_layout
from bayesnu.experiment.load import load_card
from bayesnu.experiment.observed import observed_text
from bayesnu.experiment.recoil import RecoilExperiment, recoil_layout
from bayesnu.experiment.setup import load_experiment
from bayesnu.flux.table import COLUMNS, FluxTable
from bayesnu.resources import data_folder, read_data, write_text
from bayesnu.shown import Shown

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
COMMENT_COLUMN = 31
FLUX_FILE = "flux.csv"
COUNTS_FILE = "observed_counts.csv"
FLUX_KEYS = ("file", "normalisation", "pot_per_year")
"""What is left of the table flux; the other keys say how another file is read."""
ABSOLUTE = ("flux.normalisation=absolute", "backgrounds.model=ccqe")


@dataclass(frozen=True, repr=False)
class OwnExperiment(Shown):
    """What was written for an experiment of one's own.

    Attributes
    ----------
    card : Path
    files : tuple of Path
        What the card reads: flux, observed counts.
    """

    card: Path
    files: tuple[Path, ...]


def new_experiment(folder: Path, like: str) -> OwnExperiment:
    """Write a folder with a card like a known one, its flux and observed counts, valid as written.

    Cards of ν-e scattering in E_e θ² get the rows of the flux that they use, absolute normalisation and the computed
    background. The counts are the rounded SM expectation, or a copy of a pulsed beam's; nothing of the known
    analysis is called its own: neither its paper nor its published limits.

    Parameters
    ----------
    folder : Path
        Must not exist; its last part names the card.
    like : str
        A name in models/ or the path of a card.

    Raises
    ------
    UsageError
        If the folder exists, or its name is none for a card.
    BayesnuError
        If the known card or its files are not valid, or the folder cannot be written.
    """
    name = folder.name
    if not NAME.fullmatch(name):
        raise UsageError(f"{folder}: '{name}' names no card: allowed are letters, digits, dots, dashes and underscores")
    if folder.exists():
        raise UsageError(f"{folder}: exists already; choose another name, or remove it")
    import tomlkit

    known = load_card(like)
    overrides = ABSOLUTE if isinstance(known.card, Card) else ()
    experiment = load_experiment(like, overrides)
    document = tomlkit.parse(known.path.read_text(encoding="utf-8"))
    texts: dict[str, str] = {}
    _name(document, experiment, name)
    if isinstance(experiment, ElectronExperiment):
        texts[FLUX_FILE] = flux_text(experiment)
        _own_flux(document)
    texts[COUNTS_FILE] = counts_text(experiment)
    _own_counts(document, experiment)
    _own_comparison(document, name)
    _own_files(document, experiment.files, texts)
    page = source_text(like, experiment, texts)
    card = header(folder, like, experiment) + re.sub(r"\n{3,}", "\n\n", tomlkit.dumps(document))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{name}.", suffix=".part"))
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror})") from error
    try:
        for file, text in {f"{name}.toml": card, **texts, "SOURCE.md": page}.items():
            write_text(aside / file, text, UsageError)
        aside.chmod(0o755)
        aside.rename(folder)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return OwnExperiment(folder / f"{name}.toml", tuple(folder / file for file in texts))


def source_text(like: str, experiment: Experiment, texts: Mapping[str, str]) -> str:
    """Return the page that says where the files of a new experiment came from, a section for each."""
    roles = {FLUX_FILE: "flux.file", COUNTS_FILE: "counts.file"}
    parts = []
    for file in texts:
        known = experiment.files.get(roles.get(file, ""))
        page = known.parent / "SOURCE.md" if known is not None else None
        told = ""
        if file == COUNTS_FILE and not (isinstance(experiment, RecoilExperiment) and experiment.anticoincidence.size):
            told = f"Not a measurement: the rounded expectation of the Standard Model for {like}."
        elif page is not None and page.is_file():
            text = "\n".join(line for line in page.read_text(encoding="utf-8").splitlines() if line[:1] != "#")
            told = f"Of {like}, as far as its card uses it.\n\n{text.strip()}"
        parts.append(f"# {file}\n\n{told or f'Of {like}.'}\n")
    return "Say here where your own files are from: `bayesnu cite` prints it.\n\n" + "\n".join(parts)


def header(folder: Path, like: str, experiment: Experiment) -> str:
    """Return the comment on top of a new card."""
    kind = experiment.card.model_dump()["scattering"]
    card = f"{folder.name}/{folder.name}.toml"
    return (
        f"# {folder.name}: made like {like}, valid as it stands; replace the numbers by yours.\n"
        f"#   bayesnu check {card}    what the program understands, with figures of flux and spectrum\n"
        f"#   bayesnu run {card}      posteriors, limits and the report\n"
        f"# All keys with units: bayesnu schema --kind {kind}. Written to schema.json beside this card, an editor\n"
        '# completes and checks them with the line "#:schema ./schema.json" on top. Comments below are the model\'s.\n'
        "#\n"
    )


def flux_text(experiment: ElectronExperiment) -> str:
    """Return the spectra of a card's exposures as the text of a flux file."""
    flux: FluxTable = experiment.flux
    lines = [",".join(COLUMNS)]
    for mode, position in dict.fromkeys((e.mode, float(e.position_m)) for e in experiment.card.exposures):
        spectrum = flux.spectrum(mode, position)
        edges = spectrum.edges_gev.tolist()
        for low, high, values in zip(edges[:-1], edges[1:], spectrum.values.T.tolist(), strict=True):
            lines.append(",".join([mode, *(f"{value!r}" for value in (position, low, high, *values))]))
    return "\n".join(lines) + "\n"


def counts_text(experiment: Experiment) -> str:
    """Return the rounded SM expectation as the text of a file of counts; a pulsed beam's file as it is."""
    expected = np.round(experiment.model.expected())[:, None]
    if isinstance(experiment, ElectronExperiment):
        return observed_text(electron_layout(experiment.card), expected)
    if isinstance(experiment, ElectronWindowExperiment):
        values = np.column_stack([np.maximum(expected, 1.0), experiment.errors])
        return observed_text(window_layout(experiment.card), values)
    if isinstance(experiment, RecoilExperiment) and not experiment.anticoincidence.size:
        return observed_text(recoil_layout(experiment.card), expected)
    return read_data(experiment.files["counts.file"]).decode("utf-8-sig")


def _put(table: Any, key: str, value: object, comment: str = "") -> None:
    """Set a key, with a comment of its own instead of the old one."""
    import tomlkit

    item = tomlkit.item(value)
    if comment:
        item.comment(comment)
        written = len(f"{key} = {item.as_string()}")
        item.trivia.comment_ws = " " * max(1, COMMENT_COLUMN - written)
    table[key] = item


def _name(document: TOMLDocument, experiment: Experiment, name: str) -> None:
    card = experiment.card
    document["name"] = name
    document["title"] = f"{name}, like {card.title}"
    _put(document["source"], "paper", f"own experiment, like {card.name} ({card.source.paper})")


def _own_flux(document: TOMLDocument) -> None:
    flux: Any = document["flux"]
    _put(flux, "file", FLUX_FILE, "mode, position_m, e_lo_gev, e_hi_gev, then ν per cm² per GeV per POT by channel")
    _put(flux, "normalisation", "absolute", 'counts follow from the flux; "table" scales them to an event_table')
    for key in [key for key in flux if key not in FLUX_KEYS]:
        flux.remove(key)
    backgrounds: Any = document["backgrounds"]
    for key in list(backgrounds):
        backgrounds.remove(key)
    _put(backgrounds, "model", "ccqe", "computed from the flux; or file = a CSV of counts per year of your own")


def _own_counts(document: TOMLDocument, experiment: Experiment) -> None:
    import tomlkit

    if isinstance(experiment, RecoilExperiment) and experiment.anticoincidence.size:
        _put(document["counts"], "file", COUNTS_FILE, "of the model; replace by yours")
        return
    if isinstance(experiment, ElectronWindowExperiment):
        document.pop("exposures", None)
    elif isinstance(experiment, ElectronExperiment):
        exposures: Any = document["exposures"]
        for exposure in exposures:
            exposure.pop("observed_counts", None)
    document.pop("observed_counts", None)
    document.pop("counts", None)
    table = tomlkit.table()
    table.add(tomlkit.comment("Not a measurement: the rounded expectation of the Standard Model. Replace it by yours."))
    _put(table, "file", COUNTS_FILE)
    if not isinstance(experiment, ElectronWindowExperiment):
        _put(table, "asimov", False, "true: the expectation itself, whatever the file says")
    document["counts"] = table


def _own_comparison(document: TOMLDocument, name: str) -> None:
    """Take out the known analysis's published limits."""
    import tomlkit

    document.pop("comparison", None)
    document.add(tomlkit.nl())
    for line in (
        "Limits that you have published: a CSV file with the columns of data/published/limits.csv and your rows.",
        "[comparison]",
        'published = "limits.csv"',
        f'scenario = "{name}"',
    ):
        document.add(tomlkit.comment(line))


def _own_files(document: TOMLDocument, files: Mapping[str, Path], texts: dict[str, str]) -> None:
    """Copy what else the known card read and the new one names; shipped data are found from anywhere.

    ``files`` has the paths by key, as ``flux.spectra.0.file``.
    """
    for role, path in files.items():
        *tables, key = role.split(".")
        place: Any = document
        for part in tables:
            place = place[int(part)] if isinstance(place, list) else place.get(part, {})
        shipped = path.resolve().is_relative_to(data_folder().resolve())
        if shipped or not isinstance(place, dict) or key not in place or str(place[key]) in texts:
            continue
        for own in (path, path.with_suffix(".toml")):
            if own.is_file():
                texts[own.name] = read_data(own).decode("utf-8-sig")
        _put(place, key, path.name)
