"""Figures of a check drawn by another process, which imports Matplotlib while this one reads the card and fits.

Nothing here imports more than the standard library before the process has started.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesnu.errors import BayesnuError, UsageError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from bayesnu.experiment.base import Experiment


@dataclass(frozen=True)
class FiguresAside:
    """Figures that another process draws."""

    pipe: Connection

    def start(self, experiment: Experiment, folder: Path) -> None:
        """Start to draw the figures of an experiment; see `bayesnu.report.check_figures.write_figures`."""
        from bayesnu.experiment.overview import blocks, fluxes
        from bayesnu.results.check import data_used

        # A process that is gone says why, or nothing, when `finish` asks.
        with suppress(OSError):
            self.pipe.send((fluxes(experiment), blocks(experiment), data_used(experiment), folder))

    def finish(self) -> list[Path]:
        """Return the files once they are written.

        Raises
        ------
        UsageError
            If they cannot be written, or the process failed or was ended.
        """
        try:
            outcome: Any = self.pipe.recv()
        except (EOFError, OSError):
            raise UsageError("the process that draws the figures was ended; run the command again") from None
        if isinstance(outcome, BayesnuError):
            raise outcome
        if isinstance(outcome, str):
            raise UsageError(f"the process that draws the figures failed: {outcome}")
        return list(outcome)


@contextmanager
def figures_aside() -> Iterator[FiguresAside]:
    """Draw in a process that starts now; what it has not finished at the end is given up."""
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_draw, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    try:
        yield FiguresAside(ours)
    finally:
        process.kill()
        process.join()
        process.close()


def _draw(pipe: Connection) -> None:
    # Ctrl-C is the parent's, from the first import on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        from bayesnu.workers.processes import prepare_worker

        prepare_worker()
        from bayesnu.report.check_figures import write_figures

        pipe.send(write_figures(*pipe.recv()))
    except BayesnuError as error:
        pipe.send(error)
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")
