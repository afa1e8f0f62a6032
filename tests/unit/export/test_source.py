"""The experiment of a finished run, and files that are not overwritten."""

import copy
import dataclasses
import json
from pathlib import Path

import pytest

from bayesnu.errors import RunError
from bayesnu.experiment.load import SCHEMAS, load_card
from bayesnu.experiment.setup import Experiment
from bayesnu.export.source import experiment_of, write_file, write_folder
from bayesnu.resources import shipped_models
from bayesnu.results.runs import Run


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
    assert SCHEMAS[card.scattering].model_validate_json(json.dumps(json.loads(card.model_dump_json()))) == card


def test_other_counts_than_the_run_had_are_refused(finished_run: Run) -> None:
    with pytest.raises(RunError, match=r"run\.json: inputs_digest = 0123.*has changed; run the card again"):
        experiment_of(changed(finished_run, "", "inputs_digest", "0123456789abcdef"))


def test_missing_file_is_named(finished_run: Run) -> None:
    with pytest.raises(RunError, match=r"flux\.file = 'mine\.csv': no such file.*run this where the card's own files"):
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
