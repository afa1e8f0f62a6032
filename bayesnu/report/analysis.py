"""An analysis in one call: fits, run folder, figures and report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from bayesnu.errors import InterruptedStudyError, silent
from bayesnu.experiment.base import Experiment
from bayesnu.report import build
from bayesnu.results.check import standard_model_fit
from bayesnu.results.runs import Run, make_arguments, run_fits, run_hash, write_csv
from bayesnu.results.verdict import failed


def run(
    experiment: Experiment,
    couplings: Sequence[str] = (),
    joint: Sequence[Sequence[str]] = (),
    out: Path | str | None = None,
    *,
    draws: int | None = None,
    chains: int | None = None,
    seed: int | None = None,
    force: bool = False,
    allow_unconverged: bool = False,
    processes: bool = False,
    notice: Callable[[str], None] = silent,
    begin: Callable[[int], Callable[[str], None]] | None = None,
) -> Run:
    """Fit couplings, and write posteriors, limits, figures and the report into a folder.

    Parameters
    ----------
    experiment : Experiment
    couplings : sequence of str
        Each alone; all of the card's by default, or those of ``joint``.
    joint : sequence of sequences of str
        Couplings to fit together.
    out : Path or str, optional
        The run folder; ``runs/NAME-<hash>`` by default.
    draws, chains, seed : int, optional
    force : bool
        Overwrite another run in the folder.
    allow_unconverged : bool
        Show limits of fits whose verdict is "fail".
    processes : bool
        Draw figures in other processes while fits go on; a script then needs the usual
        ``if __name__ == "__main__"`` guard.
    notice : callable, optional
        Receives one-line notices.
    begin : callable, optional
        Receives the number of steps, and returns what receives the name of each as it starts.

    Raises
    ------
    UsageError
        For an argument that is not allowed.
    RunError
        If the folder holds something else or cannot be written.
    InterruptedStudyError
        At Ctrl-C; finished fits are kept.
    """
    arguments = make_arguments(experiment, couplings, draws, chains, seed, joint)
    folder = Path(out) if out else Path("runs") / f"{experiment.card.name}-{run_hash(experiment, arguments)}"
    step = begin(len(arguments.couplings) + len(arguments.joint) + 1) if begin is not None else silent
    try:
        with build.drawing() if processes else nullcontext() as figures:
            if figures is not None and (force or not folder.exists()):
                # A new run, most likely: what draws is imported while the first fit starts.
                figures.prepare()
            if problem := standard_model_fit(experiment).problem:
                notice(problem)

            def prepared(text: str) -> None:
                if figures is not None:
                    figures.prepare()
                step(text)

            def stored(name: str) -> None:
                if figures is not None:
                    figures.start(folder, name, experiment.observed)

            finished = run_fits(
                experiment, arguments, folder, force=force, notice=notice, progress=prepared, stored=stored
            )
            failing = bool(failed(finished.limits))
            if failing:
                write_csv(finished, allow_unconverged=allow_unconverged)
            if failing or not build.report_page(finished).exists():
                # Written last, so that a page that exists is whole; what it shows of a failed fit was asked for then.
                step("writing the report")
                build.write_report(finished, figures, allow_unconverged=allow_unconverged)
    except KeyboardInterrupt:
        raise InterruptedStudyError(
            f"interrupted; finished fits are kept in {folder}: run the same command to go on"
        ) from None
    return finished
