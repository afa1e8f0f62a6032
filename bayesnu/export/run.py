"""Write a finished run in the format of another tool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bayesnu.errors import UsageError, silent, unknown_name
from bayesnu.export.hepdata import write_submission
from bayesnu.export.pyhf import choose_coupling, write_workspace
from bayesnu.export.source import experiment_of, write_file
from bayesnu.export.tables import csv_text, latex_text
from bayesnu.results.runs import Run

ENDINGS = {"hepdata": "hepdata", "pyhf": "pyhf", "csv": "limits.csv", "latex": "limits.tex"}
"""What the name of a run is followed by, for each format."""


@dataclass(frozen=True)
class Export:
    """What was written of a run.

    Attributes
    ----------
    to : str
        A name of `ENDINGS`.
    path : Path
        The file, or the first one of a folder.
    remarks : tuple of str
        What to know about it.
    summary : str
        What it holds.
    """

    to: str
    path: Path
    remarks: tuple[str, ...] = ()
    summary: str = ""

    def describe(self) -> str:
        """Return all of it in words."""
        what = f", {self.summary}" if self.summary else ""
        return "\n".join([*self.remarks, f"{self.to}: {self.path}{what}"])


def export_run(
    run: Run,
    to: str,
    coupling: str | None = None,
    out: Path | str | None = None,
    *,
    force: bool = False,
    allow_unconverged: bool = False,
    notice: Callable[[str], None] = silent,
) -> Export:
    """Write a run for HEPData or pyhf, or its limits as CSV or LaTeX.

    Parameters
    ----------
    run : Run
    to : {"hepdata", "pyhf", "csv", "latex"}
    coupling : str, optional
        Magnetic moment of a pyhf workspace; the run's only one by default.
    out : Path or str, optional
        Folder (hepdata, pyhf) or file; beside the run folder by default.
    force : bool
        Replace an earlier export.
    allow_unconverged : bool
        Write limits although the sampler's verdict is "fail".
    notice : callable, optional
        Receives one-line notices.

    Raises
    ------
    UsageError
        For an unknown format, or a coupling that is not exportable.
    RunError
        If the place holds something else or cannot be written, or the run's inputs have changed.
    """
    if to not in ENDINGS:
        raise unknown_name("format", to, ENDINGS)
    if coupling is not None and to != "pyhf":
        raise UsageError(f"coupling = {coupling}: is for pyhf; {to} has all of the run's")
    folder = run.folder.resolve() if run.folder.name in ("", "..") else run.folder
    beside = f"{folder}-{ENDINGS[to]}"
    if to == "pyhf":
        chosen = choose_coupling(run, coupling)
        place = Path(out or f"{beside}-{chosen}")
        workspace = write_workspace(run, experiment_of(run, notice), chosen, place, force)
        remarks = () if workspace.product is None else (workspace.product.describe(),)
        summary = f"mu2 = ({chosen}/{workspace.scale:.6g} {workspace.unit})²"
        return Export(to, place / "workspace.json", remarks, summary)
    place = Path(out or beside)
    if to == "hepdata":
        written = write_submission(
            run, experiment_of(run, notice), place, force=force, allow_unconverged=allow_unconverged, notice=notice
        )
        return Export(to, place / "submission.yaml", (), f"{len(written)} tables")
    write = csv_text if to == "csv" else latex_text
    write_file(place, write(run, allow_unconverged=allow_unconverged), force)
    return Export(to, place)
