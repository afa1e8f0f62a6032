"""The best split of running time as a table."""

from __future__ import annotations

from rich.table import Table

from bayesnu.physics.couplings import COUPLINGS
from bayesnu.report.tables import power_of_ten, text_table, write_set
from bayesnu.results.intervals import IntervalSet, percent
from bayesnu.results.optimise import Optimum


def optimum_table(result: Optimum) -> Table:
    """Return the years of each place now and in the best split, and the limits of both."""
    one_sided = COUPLINGS[result.coupling].squared_only
    bounds = [v for found in (result.now, result.best) for pair in found.intervals for v in pair]
    exponent = power_of_ten(bounds)

    def limit(found: IntervalSet) -> str:
        return write_set(found.intervals, exponent, one_sided)

    unit = f"10^{exponent} {result.unit}"
    header = [result.by, "years now", "years best", f"limit now [{unit}]", f"limit best [{unit}]"]
    rows = [[place.label, f"{place.years_now:.3f}", f"{place.years_best:.3f}", "", ""] for place in result.places]
    total = f"{result.total_years:.3f}"
    rows.append(["all", total, total, limit(result.now), limit(result.best)])
    title = f"{result.model}: the best split of the years for {result.coupling}"
    kept = ", the polarities at each position in their present proportion" if result.by == "position" else ""
    caption = (
        f"Smallest {result.quantity} by {result.now.method}, {percent(result.now.probability)}, Asimov data without "
        f"the coupling{kept}: {result.size_best:.3g} instead of {result.size_now:.3g} {result.unit}, "
        f"{result.gain:.1%} less."
    )
    return text_table(title, header, rows, caption)
