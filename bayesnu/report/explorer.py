"""What the explorer of a page is given: the counts of the run, and of each coupling its range and its bounds."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bayesnu.experiment.overview import plain
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.report.tables import flat, mass_note
from bayesnu.results.counts import read_counts
from bayesnu.results.fits import posterior_path
from bayesnu.results.intervals import percent
from bayesnu.results.posterior import load_posterior
from bayesnu.results.runs import Run


def explorer(run: Run) -> dict[str, str]:
    """Return what `explorer.html` shows of a run: ``content``, JSON for the page, or why it is ``left_out``.

    Parameters
    ----------
    run : Run
        Its limits as `bayesnu.results.verdict.withhold` leaves them: a coupling whose limit is withheld has no bounds.

    Raises
    ------
    RunError
        If counts.json or a posterior cannot be read.
    """
    counts = read_counts(run.folder, run.information["hash"])
    entries = {entry["coupling"]: entry for entry in run.limits["limits"]}
    sliders = [slider(run.folder, entries[name]) for name in counts.get("couplings", ())]
    command = ["bayesnu", "predict", card_of(run)]
    command += [part for override in run.information["overrides"] for part in ("-o", override)]
    return explorer_content(counts, sliders, shlex.join(command), run.limits["m_N"])


def card_of(run: Run) -> str:
    """Return how the command line knows the card of a run: by its name in models/, or by its path."""
    folder = run.information.get("card_folder")
    if folder is None:
        return str(run.limits["model"])
    return str(os.path.normpath(run.folder / folder / run.information["inputs"]["card"]["file"]))


def explorer_content(
    counts: dict[str, Any], sliders: Sequence[dict[str, Any]], command: str, m_N: float | None
) -> dict[str, str]:
    """Return what `explorer.html` shows of counts (`bayesnu.results.counts.counts_json`) with a slider per coupling.

    ``command`` predicts the Standard Model's counts on the command line.
    """
    from markupsafe import Markup

    if counts["left_out"]:
        return {"left_out": counts["left_out"]}
    label = plain(counts["axis"]["label"])
    shown = counts | {"axis": counts["axis"] | {"label": label}, "couplings": list(sliders), "command": command}
    # No "<" may end the element that holds the text.
    text = json.dumps(shown, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    return {"left_out": "", "content": Markup(text), "mass": mass_note(m_N)}


def slider(folder: Path, entry: dict[str, Any]) -> dict[str, Any]:
    """Return a coupling with its bounds and its range: where Δχ² is below 10, and all bounds."""
    name, credible = entry["coupling"], entry["credible"]
    curve = load_posterior(posterior_path(folder, name), ("profile_curve",))["profile_curve"][name].values
    upper = credible["kind"] == "upper"
    bounds = flat([[None, high] if upper else [low, high] for low, high in credible["intervals"]])
    return {
        "name": name,
        "unit": entry["unit"],
        "squared_only": COUPLINGS[name].squared_only,
        "reach": max(abs(float(value)) for value in (curve[0], curve[-1], *bounds)),
        "bounds": bounds,
        "probability": percent(credible["cl"]),
    }
