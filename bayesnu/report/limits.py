"""Limits on one coupling as tables: one, or one for each mass of N, with what stands beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from rich.table import Table

from bayesnu.physics.couplings import COUPLINGS
from bayesnu.report.tables import TWO_SIDED, power_of_ten, significant, text_table, write_set
from bayesnu.results.combination import CombinedLimit
from bayesnu.results.evidence import ExpectedBound, PseudoExperiments
from bayesnu.results.intervals import IntervalSet, percent

EXPECTED_HEADER = ("expected, median", "68%", "95%")


def limit_tables(model: str, interval: IntervalSet) -> list[Table]:
    """Return one limit, and the bounds that experiments without the coupling would give, where they are known."""
    tables = [interval_table(model, interval)]
    return [*tables, expected_table(interval)] if interval.expected else tables


def interval_table(model: str, interval: IntervalSet) -> Table:
    """Return one limit as a table."""
    one_sided = COUPLINGS[interval.coupling].squared_only and interval.kind not in TWO_SIDED
    exponent = power_of_ten([v for pair in interval.intervals for v in pair])
    masses = {} if interval.m_N is None else {"m_N [MeV]": f"{interval.m_N:.6g}"}
    pairs = [
        [None, high] if interval.kind == "upper" and math.isfinite(high) else [low, high]
        for low, high in interval.intervals
    ]
    bounds = write_set(pairs, exponent, one_sided)
    models = {"model": model} if model else {}
    row = [
        *models.values(),
        interval.coupling,
        *masses.values(),
        interval.method,
        percent(interval.probability),
        interval.kind,
        bounds if bounds == "none" else f"{bounds} × 10^{exponent} {interval.unit}",
        write_errors(interval) or "deterministic",
    ]
    return text_table(
        "Limit",
        [*models, "coupling", *masses, "method", "probability", "kind", "interval", "Monte Carlo error"],
        [row],
        describe_toys(interval.toys),
    )


def combination_table(name: str, limits: Sequence[CombinedLimit]) -> Table:
    """Return the limits of a combination beside those of its members, by every method."""
    members = list(dict.fromkeys(member for limit in limits for member in limit.alone))
    rows = []
    for limit in limits:
        own = limit.together
        one_sided = COUPLINGS[own.coupling].squared_only and own.kind not in TWO_SIDED
        rows.append(
            [
                f"{own.coupling} [{own.unit}]",
                own.method,
                f"{percent(own.probability)} {own.kind}",
                significant(own, one_sided),
                *(significant(limit.alone[m], one_sided) if m in limit.alone else "–" for m in members),
            ]
        )
    header = ["coupling", "method", "probability, kind", "together", *(f"{member} alone" for member in members)]
    return text_table(f"Limits: {name}", header, rows, "–: the card does not fit the coupling, or not by this method.")


def write_errors(interval: IntervalSet) -> str:
    """Return the Monte Carlo errors of the bounds that have one."""
    return ", ".join(f"±{e:.2g}" for pair in interval.mc_error for e in pair if math.isfinite(e))


def describe_toys(toys: PseudoExperiments | None) -> str | None:
    """Return what pseudo-experiments an interval took; None if its method needs none."""
    if toys is None:
        return None
    if toys.number:
        text = f"{toys.number} pseudo-experiments, pulls {toys.pulls}, seed {toys.seed}."
    else:
        text = "One observation without pulls: all of its outcomes were summed, no pseudo-experiments."
    return text + (" The largest upper limit at this background, or up to twice it." if toys.never_falling else "")


def expected_table(interval: IntervalSet) -> Table:
    """Return the expected bounds of an interval: median, and where 68% and 95% of experiments lie."""
    exponent = power_of_ten([v for bound in interval.expected for v in bound.values])
    rows = []
    for bound in interval.expected:
        errors = [f"±{e / 10.0**exponent:.2g}" for e in bound.mc_error if math.isfinite(e)]
        scaled = [v / 10.0**exponent for v in bound.values]
        rows.append([bound.side, *_bands(bound.sigmas, scaled, ".2f"), ", ".join(errors) or "asymptotic"])
    title = f"Expected without {interval.coupling}, in 10^{exponent} {interval.unit}"
    return text_table(title, ["bound", "median", "68%", "95%", "Monte Carlo error, from -2σ to 2σ"], rows)


def _bands(sigmas: Sequence[float], values: Sequence[float], form: str) -> list[str]:
    """Return the median and the bands of one and two standard deviations."""
    at = dict(zip(sigmas, values, strict=True))
    bands = [sorted((at[-width], at[width])) for width in (1.0, 2.0)]
    return [f"{at[0.0]:{form}}", *(f"[{low:{form}}, {high:{form}}]" for low, high in bands)]


def scan_table(model: str, points: Sequence[tuple[float, IntervalSet]]) -> Table:
    """Return the limits at several masses of N."""
    first = points[0][1]
    one_sided = COUPLINGS[first.coupling].squared_only and first.kind not in TWO_SIDED
    made = [interval.toys for _, interval in points if interval.toys is not None]
    # Beyond the masses that can be made there is no limit, and nothing is expected.
    sides = next((interval.expected for _, interval in points if interval.expected), ())
    header = ["m_N [MeV]", f"{first.coupling} [{first.unit}]"]
    header += ["Monte Carlo error"] if made else []
    header += [f"{bound.side}: {name}" for bound in sides for name in EXPECTED_HEADER]
    rows = []
    for mass, interval in points:
        row = [f"{mass:.4g}", significant(interval, one_sided)]
        row += [write_errors(interval) or "–"] if made else []
        row += _expected_cells(interval.expected) or ["–"] * (3 * len(sides))
        rows.append(row)
    title = f"{model}: {first.coupling} by {first.method}, {percent(first.probability)} ({first.kind})"
    total = replace(made[0], number=sum(toys.number for toys in made)) if made else None
    return text_table(title, header, rows, describe_toys(total))


def _expected_cells(expected: Sequence[ExpectedBound]) -> list[str]:
    return [cell for bound in expected for cell in _bands(bound.sigmas, bound.values, ".3g")]
