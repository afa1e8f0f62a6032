"""The experiment of a finished run, and files that are not overwritten."""

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bayesnu.errors import RunError
from bayesnu.experiment.load import card_class, load_card
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.export.source import experiment_of, write_file, write_folder
from bayesnu.resources import data_folder, shipped_models
from bayesnu.results.runs import Run, load_run, make_arguments, run_fits


def changed(run: Run, table: str, key: str, value: object) -> Run:
    information = copy.deepcopy(run.information)
    (information["card"][table] if table else information)[key] = value
    return dataclasses.replace(run, information=information)


def test_experiment_is_that_of_the_run(finished_run: Run, on_axis: Experiment) -> None:
    found = experiment_of(finished_run)
    assert found.digest == on_axis.digest
    assert (found.model.expected() == on_axis.model.expected()).all()


@pytest.mark.parametrize("model", shipped_models())
def test_every_card_is_read_back_from_a_record(model: str) -> None:
    card = load_card(model).card
    assert card_class(card.scattering).model_validate_json(json.dumps(json.loads(card.model_dump_json()))) == card


def test_own_card_is_found_from_anywhere(
    edited_card: Callable[..., Path], fake_sampler: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moved together with the run, and started from another folder."""
    (tmp_path / "flux.csv").write_bytes((data_folder() / "flux" / "dune_nd.csv").read_bytes())
    experiment = load_experiment(str(edited_card(("flux/dune_nd.csv", "flux.csv"))))
    arguments = make_arguments(experiment, ["mu_numu"], 100, 2, 5)
    run_fits(experiment, arguments, tmp_path / "runs" / "run", notice=lambda _: None, progress=lambda _: None)
    moved = tmp_path.with_name("moved")
    tmp_path.rename(moved)
    monkeypatch.chdir(moved.parent)
    found = experiment_of(load_run(moved / "runs" / "run"))
    assert found.files["flux.file"].resolve() == (moved / "flux.csv").resolve()
    moved.rename(tmp_path)


def test_other_counts_than_the_run_had_are_refused(finished_run: Run) -> None:
    with pytest.raises(RunError, match=r"run\.json: inputs_digest = 0123.*has changed; run the card again"):
        experiment_of(changed(finished_run, "", "inputs_digest", "0123456789abcdef"))


def test_missing_file_is_named(finished_run: Run) -> None:
    with pytest.raises(RunError, match=r"flux\.file = 'mine\.csv': no such file.*where the card was, relative"):
        experiment_of(changed(finished_run, "flux", "file", "mine.csv"))


def test_folder_is_replaced_only_by_force_and_if_it_is_an_export(tmp_path: Path) -> None:
    folder = tmp_path / "out"

    def write(text: str, force: bool = False) -> None:
        write_folder(folder, {"a.json": text}, force, lambda name: name in ("a.json", "b.json"))

    write("1")
    with pytest.raises(RunError, match="holds an export; choose another --out or give --force"):
        write("2")
    (folder / "b.json").write_text("of an earlier export")
    write("3", force=True)
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("a.json", "3")]
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"holds notes\.txt, which is no part of this export"):
        write("4", force=True)
    assert (folder / "a.json").read_text() == "3"
    with pytest.raises(RunError, match="is a file"):
        write_folder(folder / "a.json", {}, True, bool)


def test_file_is_replaced_only_by_force(tmp_path: Path) -> None:
    path = tmp_path / "limits.csv"
    write_file(path, "1", False)
    with pytest.raises(RunError, match="exists; choose another --out or give --force"):
        write_file(path, "2", False)
    write_file(path, "3", True)
    assert path.read_text() == "3"
    with pytest.raises(RunError, match="is a folder"):
        write_file(tmp_path, "4", True)
