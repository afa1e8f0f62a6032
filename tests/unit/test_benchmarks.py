"""The benchmark's page and its comparisons: what is missed is listed, and sides that differ fail."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import run, tables
from benchmarks.agreement import DisagreementError, require_close
from benchmarks.likelihood import distances
from benchmarks.measure import Aim, Contest, Row, alternate


def measured(task: str, peer: str, aims: tuple[Aim, ...], reason: str = "", note: str = "", alone: bool = False):
    contest = Contest(lambda: {"seconds": 1.0}, (lambda: {"seconds": 3.0}) if peer else None, "checked", note)
    return alternate(Row(task, peer, lambda: contest, aims, reason, alone), 2, always=True)


def test_page_lists_every_row_that_misses_and_calls_none_reached_that_has_no_aim() -> None:
    found = [
        *measured("contour", "NumPy", (Aim(ratio=100.0),), "slow fits"),
        *measured("contour", "compiled", (Aim(ratio=10.0),), "fast peer"),
        *measured("limit", "NumPy", (Aim(ratio=2.0), Aim())),
        *measured("memory", "", (Aim(bound=2.0),), note="pages counted once", alone=True),
    ]
    assert [m.reached for m in found] == [False, False, True, None, True]
    page = tables.page(found)
    assert "- contour against NumPy: slow fits." in page
    assert "- contour against compiled: fast peer." in page
    assert "| limit | 1 s (1 s to 1 s) | 3 s (3 s to 3 s): NumPy | 3 (3 to 3) × | – | – |" in page
    assert "- memory: pages counted once." in page
    assert [m.content["reason"] for m in found] == ["slow fits", "fast peer", "", "", ""]


def test_sides_that_differ_fail() -> None:
    assert "differ by a fraction of 0.01 at most" in require_close("limits", 1.0, 1.01, 0.02, relative=True)
    for own, other in (([1.0], [1.3]), ([1.0], [np.nan]), ([1.0], [1.0, 1.0])):
        with pytest.raises(DisagreementError):
            require_close("limits", own, other, 0.2)


def test_distance_of_lines_sees_what_one_of_them_lacks() -> None:
    angle = np.linspace(0, 2 * np.pi, 101)
    ring = np.stack([3 * np.cos(angle), np.sin(angle)], axis=1)
    assert distances(ring[::7] * [1.0, 1.0], ring).max() < 1e-12
    assert distances(ring, ring[:51]).max() > 0.5
    assert distances(1.02 * ring, ring).max() == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize(("arguments", "message"), [(["--repeats", "0"], "at least 1"), (["--only", "x y"], "no task")])
def test_wrong_arguments(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["run", *arguments])
    with pytest.raises(SystemExit):
        run.main()
    assert message in capsys.readouterr().err
