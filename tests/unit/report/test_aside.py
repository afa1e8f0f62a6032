"""Figures by another process: errors cross the pipe, and a process that is gone is no mystery."""

import multiprocessing
from pathlib import Path

import pytest

from bayesnu.errors import UsageError
from bayesnu.experiment.setup import load_experiment
from bayesnu.report.aside import FiguresAside, figures_aside


def test_error_of_the_process(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with figures_aside() as drawing:
        drawing.start(load_experiment("lsnd-nue"), tmp_path / "file")
        with pytest.raises(UsageError, match="file"):
            drawing.finish()


def test_process_that_was_ended(tmp_path: Path) -> None:
    ours, theirs = multiprocessing.Pipe()
    theirs.close()
    drawing = FiguresAside(ours)
    drawing.start(load_experiment("lsnd-nue"), tmp_path)
    with pytest.raises(UsageError, match="was ended"):
        drawing.finish()


def test_process_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MPLBACKEND", "nonsense")
    with figures_aside() as drawing:
        drawing.start(load_experiment("lsnd-nue"), tmp_path)
        with pytest.raises(UsageError, match=r"failed: ValueError: .*nonsense"):
            drawing.finish()
