"""Every interval of a fitted coupling beside the published ones, and how it is written to files."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesnu.experiment.base import Experiment
from bayesnu.inference.likelihood import make_problem
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.results.comparison import Comparison, PublishedLimit, compare
from bayesnu.results.diagnostics import Diagnostics, diagnose, diagnostics_json
from bayesnu.results.fits import Deterministic
from bayesnu.results.intervals import IntervalSet
from bayesnu.results.limits import (
    default_kind,
    frequentist_interval,
    interval_json,
    laplace_interval,
    nuts_interval,
)
from bayesnu.results.mc_stat import ResponseShare, response_share, response_share_json
from bayesnu.results.posterior import finite_or_none
from bayesnu.results.prior_study import PowerScaling, PriorStudy, power_scaling, study_json
from bayesnu.results.verdict import INTERVALS

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
    priors: PriorStudy
    power_scaling: PowerScaling
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
        inputs.priors,
        power_scaling(tree, inputs.priors.own),
        diagnose(tree, coupling, credible, grid, inputs.grid),
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
        "priors": study_json(model, result.priors),
        "power_scaling": asdict(result.power_scaling),
        "diagnostics": diagnostics_json(result.diagnostics),
    } | ({} if result.mc_stat is None else {"mc_stat": response_share_json(model, result.mc_stat)})


def limits_csv(limits: dict[str, Any], unconverged: str = "") -> str:
    """Return the limits as CSV: one row per coupling, method and piece of the set; ``free`` names what was fitted.

    Parameters
    ----------
    limits : dict
        The content of limits.json as `bayesnu.results.verdict.withhold` leaves it: what is withheld has no row.
    unconverged : str
        The first line, after "# ", if limits are shown that did not converge.
    """
    buffer = io.StringIO()
    if unconverged:
        buffer.write(f"# {unconverged}\n")
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

    def text(value: float | None) -> str:
        return "" if value is None else f"{value:.6g}"

    def write(free: Sequence[str], interval: dict[str, Any], published: Sequence[float | None]) -> None:
        coupling, m_N = interval["coupling"], limits["m_N"]
        massive = m_N is not None and COUPLINGS[coupling].family in ("d", "dd") and "m_N" not in free
        names = [coupling, " ".join(free), f"{m_N:g}" if massive else "", interval["unit"], interval["method"]]
        names += [interval.get("variance", ""), interval["kind"], f"{interval['cl']:g}"]
        for piece, (bounds, errors) in enumerate(zip(interval["intervals"], interval["mc_error"], strict=True)):
            writer.writerow([*names, piece, *(text(v) for v in (*bounds, *errors, *published))])

    for entry in limits["limits"]:
        own = next((row for row in entry["comparisons"] if row["scenario"] == limits["scenario"]), None)
        published = [*own["published"], *own["published_true_units"]] if own else [None] * 4
        for key in INTERVALS:
            if entry[key] is not None:
                write([entry["coupling"]], entry[key], published)
    for fit in limits["joint"]:
        for parameter in fit["parameters"]:
            write(fit["couplings"], parameter["credible"], [None] * 4)
    return buffer.getvalue()
