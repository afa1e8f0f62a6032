"""Every interval of a fitted coupling beside the published ones, and how it is written to files."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesnu.experiment.base import Experiment
from bayesnu.inference.likelihood import make_problem
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.results.comparison import Comparison, PublishedLimit, compare, own_row
from bayesnu.results.diagnostics import Diagnostics, diagnose
from bayesnu.results.fits import Deterministic
from bayesnu.results.intervals import IntervalSet
from bayesnu.results.joint import JointResult
from bayesnu.results.limits import (
    default_kind,
    frequentist_interval,
    interval_json,
    laplace_interval,
    nuts_interval,
)
from bayesnu.results.mc_stat import ResponseShare, response_share, response_share_json
from bayesnu.results.posterior import finite_or_none

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class CouplingResult:
    """Every interval of one coupling, beside what is published, with its diagnostics."""

    coupling: str
    prior: str
    credible: IntervalSet
    laplace: IntervalSet
    chi2: IntervalSet
    chi2_variance: str
    chi2_background: IntervalSet | None
    poisson: IntervalSet | None
    comparisons: tuple[Comparison, ...]
    diagnostics: Diagnostics
    mc_stat: ResponseShare | None


def summarise(
    experiment: Experiment,
    inputs: Deterministic,
    tree: xr.DataTree,
    credibility: float,
    published: Sequence[PublishedLimit],
) -> CouplingResult:
    """Return every interval of a fitted coupling with its comparison and diagnostics."""
    coupling = inputs.prior.coupling.name
    kind = default_kind(coupling)
    credible = nuts_interval(np.asarray(tree["posterior"][coupling].values), inputs.prior, credibility, kind)
    grid = laplace_interval(inputs.grid, credibility, kind)
    chi2 = frequentist_interval(inputs.chi2, credibility)
    second = [make_problem(experiment, [coupling], "chi2", variance) for variance in experiment.variances[1:]]
    return CouplingResult(
        coupling,
        inputs.prior.describe(),
        credible,
        grid,
        chi2,
        experiment.variances[0] if experiment.variances else "none",
        frequentist_interval(second[0], credibility) if second else None,
        frequentist_interval(inputs.problem, credibility) if experiment.errors is None else None,
        tuple(compare(coupling, chi2.intervals, published)),
        diagnose(tree, coupling, credible, grid),
        response_share(experiment, inputs, grid, chi2),
    )


def result_json(model: str, result: CouplingResult) -> dict[str, Any]:
    """Return one coupling's entry of limits.json."""
    comparisons = [
        {
            "scenario": row.published.scenario,
            "source": row.published.source,
            "equation": row.published.equation,
            "cl": finite_or_none(row.published.cl),
            "published": [finite_or_none(v) for v in row.published.printed],
            "published_true_units": [finite_or_none(v) for v in row.published.true_units],
            "converted": row.published.converted,
            "ratio": [finite_or_none(v) for v in row.ratio],
        }
        for row in result.comparisons
    ]
    diagnostics = {
        key: finite_or_none(value) if isinstance(value, float) else value
        for key, value in asdict(result.diagnostics).items()
    }
    diagnostics["reasons"] = list(result.diagnostics.reasons)
    return {
        "coupling": result.coupling,
        "unit": result.credible.unit,
        "prior": result.prior,
        "credible": interval_json(model, result.credible),
        "laplace": interval_json(model, result.laplace),
        "chi2": interval_json(model, result.chi2) | {"variance": result.chi2_variance},
        "chi2_background": None
        if result.chi2_background is None
        else interval_json(model, result.chi2_background) | {"variance": "sm+background"},
        "poisson": None if result.poisson is None else interval_json(model, result.poisson),
        "comparisons": comparisons,
        "diagnostics": diagnostics,
    } | ({} if result.mc_stat is None else {"mc_stat": response_share_json(model, result.mc_stat)})


def limits_csv(
    results: Sequence[CouplingResult], scenario: str | None, joint: Sequence[JointResult] = (), m_N: float | None = None
) -> str:
    """Return the limits as CSV: one row per coupling, method and piece of the set; ``free`` names what was fitted."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        [
            "coupling",
            "free",
            "m_N_mev",
            "unit",
            "method",
            "variance",
            "kind",
            "probability",
            "piece",
            "low",
            "high",
            "mc_error_low",
            "mc_error_high",
            "published_low",
            "published_high",
            "published_low_true_units",
            "published_high_true_units",
        ]
    )

    def text(value: float) -> str:
        return f"{value:.6g}" if math.isfinite(value) else ""

    def write(free: Sequence[str], interval: IntervalSet, variance: str, published: Sequence[float]) -> None:
        for piece, (bounds, errors) in enumerate(zip(interval.intervals, interval.mc_error, strict=True)):
            massive = m_N is not None and COUPLINGS[interval.coupling].family in ("d", "dd") and "m_N" not in free
            mass = f"{m_N:g}" if massive else ""
            names = [interval.coupling, " ".join(free), mass, interval.unit, interval.method, variance, interval.kind]
            numbers = [text(v) for v in (*bounds, *errors, *published)]
            writer.writerow([*names, f"{interval.probability:g}", piece, *numbers])

    for result in results:
        own = own_row(result.comparisons, scenario)
        published = (*own.published.printed, *own.published.true_units) if own else (math.nan,) * 4
        rows = [
            (result.credible, ""),
            (result.laplace, ""),
            (result.chi2, result.chi2_variance),
            *([(result.chi2_background, "sm+background")] if result.chi2_background is not None else []),
            *([(result.poisson, "")] if result.poisson is not None else []),
        ]
        for interval, variance in rows:
            write([result.coupling], interval, variance, published)
    for fit in joint:
        for interval in fit.intervals:
            write(fit.couplings, interval, "", (math.nan,) * 4)
    return buffer.getvalue()
