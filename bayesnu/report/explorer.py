"""What the explorer of a page is given: the counts of the run, and of each coupling its range and its bounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bayesnu.physics.couplings import COUPLINGS
from bayesnu.report.tables import flat, mass_note
from bayesnu.results.counts import read_counts
from bayesnu.results.fits import posterior_path
from bayesnu.results.intervals import percent
from bayesnu.results.posterior import load_posterior
from bayesnu.results.runs import Run

PLAIN_WORDS = {r"$E_e\theta^2$": "Eₑθ²"}
"""How an axis is named where no TeX is set."""


def explorer(run: Run) -> dict[str, Any]:
    """Return what the template shows of the explorer: ``content``, JSON for the page, or why it is ``left_out``.

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
    if counts["left_out"]:
        return {"left_out": counts["left_out"], "content": ""}
    for tex, words in PLAIN_WORDS.items():
        counts["axis"]["label"] = counts["axis"]["label"].replace(tex, words)
    entries = {entry["coupling"]: entry for entry in run.limits["limits"]}
    counts["couplings"] = [_slider(run.folder, entries[name]) for name in counts["couplings"]]
    overrides = [f"-o {override}" for override in run.information["overrides"]]
    counts["command"] = " ".join(["bayesnu predict", run.limits["model"], *overrides])
    # No "<" may end the element that holds the text.
    content = json.dumps(counts, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    return {"left_out": "", "content": content, "mass": mass_note(run.limits["m_N"])}


def _slider(folder: Path, entry: dict[str, Any]) -> dict[str, Any]:
    """Return a coupling with its bounds and its range: where Δχ² is below 10 and all bounds are inside."""
    name, credible = entry["coupling"], entry["credible"]
    curve = load_posterior(posterior_path(folder, name), ("profile_curve",))["profile_curve"][name].values
    upper = credible["kind"] == "upper"
    bounds = [high for _, high in credible["intervals"]] if upper else flat(credible["intervals"])
    return {
        "name": name,
        "unit": entry["unit"],
        "squared_only": COUPLINGS[name].squared_only,
        "reach": max(abs(float(value)) for value in (curve[0], curve[-1], *bounds)),
        "bounds": bounds,
        "probability": percent(credible["cl"]),
    }
