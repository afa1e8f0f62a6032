"""Weighted draws of a posterior as a table."""

from __future__ import annotations

from rich.table import Table

from bayesnu.report.limits import interval_table
from bayesnu.report.tables import text_table
from bayesnu.results.verdict import not_converged
from bayesnu.results.weighted import WeightedPosterior, moments


def weighted_tables(found: WeightedPosterior) -> list[Table]:
    """Return the limit on the coupling, and means and standard deviations of all that was drawn."""
    caption = (
        f"{found.theta.size} weighted draws worth {found.effective:.0f}, Pareto's k {found.pareto_k:.2f}: "
        f"{found.verdict}. Prior: {found.prior}. Seed {found.seed}."
    )
    rows = [
        [name, found.unit if name == found.coupling else "fraction", f"{mean:.4g}", f"{deviation:.2g}"]
        for name, (mean, deviation) in moments(found).items()
    ]
    said = f"{not_converged(found.coupling, '; '.join(found.reasons))}. " if found.reasons else ""
    header = ["parameter", "unit", "mean", "standard deviation"]
    return [interval_table(found.model, found.interval), text_table("Posterior", header, rows, said + caption)]
