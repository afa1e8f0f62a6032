"""Progress bars: on a terminal with an estimate of the time left, silent elsewhere."""

import io
import re
import time
from contextlib import redirect_stderr

import pytest

from bayesnu.report.terminal import busy, counting_bar, notice, progress_bar, rounds_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")


def plain(terminal: Terminal) -> str:
    """What was written, without colours."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())


def test_count_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with redirect_stderr(Terminal()) as terminal, counting_bar("toys") as count:
        for finished in (2, 4, 6):
            count(finished, 10)
            time.sleep(0.02)
    assert re.search(r"toys .* 6/10 .* left: 0:00:0\d", plain(terminal))
    assert capsys.readouterr().out == ""


def test_steps_on_a_terminal() -> None:
    with redirect_stderr(Terminal()) as terminal, progress_bar(3) as step:
        step("fitting mu_numu")
        step("fitting q_numu")
    assert re.search(r"fitting q_numu .* 1/3 .* left: ", plain(terminal))


def test_rounds_on_a_terminal() -> None:
    """Each round counts from 0, and the time left is that of the round."""
    with redirect_stderr(Terminal()) as terminal, rounds_bar() as bar:
        bar.begin("round 1")
        for finished in (0, 3, 5):
            bar.count(finished, 5)
            time.sleep(0.02)
        bar.begin("round 2: 500 so far")
        for finished in (0, 1, 2):
            bar.count(finished, 8)
            time.sleep(0.02)
    assert re.search(r"round 2: 500 so far .* 2/8 .* left in round: 0:00:0\d", plain(terminal))


def test_busy_on_a_terminal() -> None:
    """Notices pass above it, whole."""
    with redirect_stderr(Terminal()) as terminal, busy("checking dune"):
        notice("the response is built")
    assert "checking dune" in plain(terminal)
    assert re.search(r"^\r?bayesnu: the response is built\r?$", plain(terminal), re.MULTILINE)


def test_silent_elsewhere(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the environment asks for colours."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    with counting_bar("toys") as count, progress_bar(3) as step, rounds_bar() as bar, busy("checking"):
        count(6, 10)
        bar.begin("round 1")
        bar.count(1, 2)
        step("fitting mu_numu")
    assert capsys.readouterr() == ("", "")
