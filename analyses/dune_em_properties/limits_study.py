"""The limits of eqs (4.4) to (4.20) by every method, and what they depend on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayesnu.experiment.base import Variance
from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.experiment.setup import load_electron_experiment
from bayesnu.inference.likelihood import Problem, Statistic, make_problem, minimise_pulls
from bayesnu.inference.priors import one_coupling
from bayesnu.inference.profile import ProfileCurve, delta_chi2_intervals, profile_curve
from bayesnu.inference.sampling import Sampler
from bayesnu.physics.constants import GAUSSIAN_CHARGE
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.physics.electron import TERMS
from bayesnu.report.study import Tables, union
from bayesnu.results.comparison import PublishedLimit, compare, own_row, read_published
from bayesnu.results.fits import seed_of
from bayesnu.results.intervals import IntervalSet
from bayesnu.results.limits import DEFAULT_CHAINS, DEFAULT_SEED, default_kind, limit, sample_single

MODELS = {"on-axis": "dune-on-axis", "prism": "dune-prism"}
UNITS = {
    "mu_nue": 1e-9,
    "mu_numu": 1e-10,
    "q_nue": 1e-8,
    "q_numu": 1e-9,
    "r2_nue": 1e-31,
    "r2_numu": 1e-33,
}
"""Powers of ten in which a coupling is tabulated and drawn."""


@dataclass(frozen=True)
class Limits:
    """Every interval of one coupling in one scenario."""

    scenario: str
    coupling: str
    chi2: IntervalSet
    chi2_background: IntervalSet
    poisson: IntervalSet
    laplace: IntervalSet
    nuts: IntervalSet
    published: PublishedLimit
    ratio: tuple[float, float]


def all_limits(experiments: dict[str, ElectronExperiment], sampler: Sampler) -> list[Limits]:
    """Return the limits on every coupling of both scenarios by every method."""
    result = []
    for scenario, experiment in experiments.items():
        published = read_published(experiment.files["comparison.published"])
        for name in experiment.card.couplings:
            chi2 = limit(experiment, name)
            own = own_row(compare(name, chi2.intervals, published), scenario)
            assert own is not None
            nuts = sample_single(
                make_problem(experiment, [name]),
                one_coupling(experiment, name)[1],
                sampler,
                0.90,
                default_kind(name),
                DEFAULT_CHAINS,
                seed_of(DEFAULT_SEED, name),
                None,
                print,
            )
            result.append(
                Limits(
                    scenario,
                    name,
                    chi2,
                    limit(experiment, name, variance="sm+background"),
                    limit(experiment, name, method="poisson"),
                    limit(experiment, name, method="laplace"),
                    nuts,
                    own.published,
                    own.ratio,
                )
            )
    return result


def write_limits(limits: list[Limits], tables: Tables) -> None:
    """Write the table of limits: long form in CSV, one row per coupling in markdown."""
    header = [
        "scenario",
        "coupling",
        "unit",
        "χ² (sm)",
        "χ² (sm+background)",
        "Poisson Δχ²",
        "Laplace",
        "NUTS",
        "MC error",
        "published",
        "published, true units",
        "ratio",
    ]
    rows = []
    long = []
    for row in limits:
        unit, coupling = UNITS[row.coupling], COUPLINGS[row.coupling]
        upper = coupling.squared_only
        sets = [row.chi2, row.chi2_background, row.poisson, row.laplace, row.nuts]
        variances = ["sm", "sm+background", "", "", ""]
        texts = [union(s.intervals, unit, upper=upper) for s in sets]
        errors = "; ".join(", ".join(f"{e / unit:.2g}" for e in pair if math.isfinite(e)) for pair in row.nuts.mc_error)
        published, true = row.published.printed, row.published.true_units
        ratio = ", ".join(f"{value:.3f}" for value in row.ratio if math.isfinite(value))
        quoted = [union([pair], unit, upper=upper) for pair in (published, true)]
        if row.published.converted:
            quoted[0] = f"[{published[0]:.2g}, {published[1]:.2g}] printed e"
        rows.append([row.scenario, row.coupling, f"{unit:.0e} {coupling.unit}", *texts, errors, *quoted, ratio])
        for interval, variance in zip(sets, variances, strict=True):
            for piece, (bounds, mc) in enumerate(zip(interval.intervals, interval.mc_error, strict=True)):
                long.append(
                    [
                        row.scenario,
                        row.coupling,
                        coupling.unit,
                        interval.method,
                        variance,
                        interval.kind,
                        piece,
                        *bounds,
                        *mc,
                        *published,
                        *true,
                    ]
                )
    long_header = [
        "scenario",
        "coupling",
        "unit",
        "method",
        "variance",
        "kind",
        "piece",
        "low",
        "high",
        "mc_error_low",
        "mc_error_high",
        "published_low",
        "published_high",
        "published_low_true",
        "published_high_true",
    ]
    title = "90% limits, one coupling at a time; ratio: χ² (sm) over published in true units; millicharges in +e"
    tables.write("limits", title, header, rows)
    tables.write("limits_long", "90% limits, one row per coupling, method and piece", long_header, long)


def study(
    name: str,
    title: str,
    overrides: list[str],
    couplings: list[str],
    reference: list[Limits],
    tables: Tables,
) -> dict[tuple[str, str], IntervalSet]:
    """Return and tabulate the χ² limits with some keys of the cards overridden, beside the default ones."""
    results, rows = {}, []
    for scenario, model in MODELS.items():
        experiment = load_electron_experiment(model, overrides)
        for coupling in couplings:
            found = limit(experiment, coupling)
            results[scenario, coupling] = found
            row = next(r for r in reference if (r.scenario, r.coupling) == (scenario, coupling))
            unit, upper = UNITS[coupling], COUPLINGS[coupling].squared_only
            width, before = _width(found), _width(row.chi2)
            sets = (row.chi2.intervals, found.intervals, [row.published.true_units])
            default, changed, published = (union(intervals, unit, upper=upper) for intervals in sets)
            where = [scenario, coupling, f"{unit:.0e} {COUPLINGS[coupling].unit}"]
            rows.append([*where, default, changed, width / before, published])
    header = [
        "scenario",
        "coupling",
        "unit",
        "default",
        "with " + " ".join(overrides),
        "ratio of widths",
        "published, true units",
    ]
    tables.write(name, title, header, rows)
    return results


def _width(interval: IntervalSet) -> float:
    return sum(high - low for low, high in interval.intervals)


def exposure_reading(reference: list[Limits], tables: Tables) -> dict[tuple[str, str], IntervalSet]:
    """Tabulate the limits if every off-axis position had 1.75 years per polarity."""
    overrides = [f"exposures.{k}.years=1.75" for k in range(2, 6)]
    experiment = load_electron_experiment("dune-prism", overrides)
    results, rows = {}, []
    for coupling in experiment.card.couplings:
        found = limit(experiment, coupling)
        results["prism", coupling] = found
        row = next(r for r in reference if (r.scenario, r.coupling) == ("prism", coupling))
        unit, upper = UNITS[coupling], COUPLINGS[coupling].squared_only
        ratio = compare(coupling, found.intervals, [row.published])[0].ratio
        rows.append(
            [
                coupling,
                f"{unit:.0e} {COUPLINGS[coupling].unit}",
                union(row.chi2.intervals, unit, upper=upper),
                union(found.intervals, unit, upper=upper),
                union([row.published.true_units], unit, upper=upper),
                *(", ".join(f"{v:.3f}" for v in pair if math.isfinite(v)) for pair in (row.ratio, ratio)),
            ]
        )
    title = "PRISM with 0.875 (default) or 1.75 years per polarity at each off-axis position, χ² (sm)"
    header = ["coupling", "unit", "0.875 years", "1.75 years", "published, true units", "ratio, 0.875", "ratio, 1.75"]
    tables.write("exposure_reading", title, header, rows)
    return results


def events(experiment: ElectronExperiment) -> float:
    """Return the SM events above threshold in all exposures."""
    years = np.array([exposure.years for exposure in experiment.card.exposures])
    return float((experiment.templates.per_year[:, :, 0].sum(axis=1) * years).sum())


def delta_chi2_at(
    experiment: ElectronExperiment,
    coupling: str,
    value: float,
    statistic: Statistic = "chi2",
    variance: Variance = "sm",
) -> float:
    """Return Δχ² of one value of a coupling against 0, the best fit of Asimov data."""
    problem = make_problem(experiment, [coupling], statistic, variance)
    points = np.array([[0.0, value / problem.scales[0]]])
    return float(np.diff(minimise_pulls(problem, points).value)[0])


def local_minima(curve: ProfileCurve) -> list[tuple[float, float]]:
    """Return (value, Δχ²) of every local minimum of a profile curve that is not its best fit."""
    inner = (curve.delta[1:-1] < curve.delta[:-2]) & (curve.delta[1:-1] <= curve.delta[2:])
    found = [(float(curve.values[k]), float(curve.delta[k])) for k in np.flatnonzero(inner) + 1]
    return [(value, delta) for value, delta in found if delta > 1e-6]


def second_solutions(experiments: dict[str, ElectronExperiment], tables: Tables) -> dict[str, ProfileCurve]:
    """Tabulate every second minimum of Δχ² below 30, and return the curves of the ν_e millicharge."""
    rows, curves = [], {}
    for scenario, experiment in experiments.items():
        for coupling in ("q_nue", "q_numu", "r2_nue", "r2_numu"):
            curve = profile_curve(make_problem(experiment, [coupling], "chi2"), 30.0)
            if coupling == "q_nue":
                curves[scenario] = curve
            for value, delta in local_minima(curve):
                between = curve.delta[(curve.values > min(0, value)) & (curve.values < max(0, value))]
                printed = -value * GAUSSIAN_CHARGE if coupling.startswith("q") else None
                rows.append([scenario, coupling, value, COUPLINGS[coupling].unit, printed, delta, float(between.max())])
    header = ["scenario", "coupling", "second minimum", "unit", "in the paper's e", "Δχ² there", "highest Δχ² between"]
    tables.write("second_solutions", "Second minima of Δχ² (χ², sm) below 30", header, rows)
    return curves


def _without(problem: Problem, power: int) -> Problem:
    """Return a one-coupling problem without the terms of one power of the coupling."""
    arrays = problem.model.arrays.copy()
    arrays[:, problem.model.monomials.index(((0, power),))] = 0.0
    return replace(problem, model=replace(problem.model, arrays=arrays))


def interference(
    experiments: dict[str, ElectronExperiment], limits: list[Limits], tables: Tables
) -> list[list[object]]:
    """Tabulate interference and quadratic counts of the millicharges at their 90% bounds, and limits without either."""
    linear, square = list(TERMS).index("q"), list(TERMS).index("q^2")
    counts: list[list[object]] = []
    alone = []
    for row in limits:
        if COUPLINGS[row.coupling].family != "q":
            continue
        experiment = experiments[row.scenario]
        channels = slice(0, 2) if row.coupling == "q_numu" else slice(2, 4)
        for side, value in zip(("lower", "upper"), (row.chi2.intervals[0][0], row.chi2.intervals[-1][1]), strict=True):
            values = experiment.templates.values
            first = value * values[:, channels, linear].sum(axis=(1, 2))
            second = value**2 * values[:, channels, square].sum(axis=(1, 2))
            for mode in ("neutrino", "antineutrino"):
                mask = np.array([exposure.mode == mode for exposure in experiment.card.exposures])
                a, b = float(first[mask].sum()), float(second[mask].sum())
                counts.append([row.scenario, row.coupling, side, value, mode, a, b, abs(a) / b])
        problem = make_problem(experiment, [row.coupling], "chi2")
        unit = UNITS[row.coupling]
        problems = (problem, _without(problem, 2), _without(problem, 1))
        pieces = [union(delta_chi2_intervals(p, 0.90), unit) for p in problems]
        alone.append([row.scenario, row.coupling, f"{unit:.0e} e", *pieces])
    header = [
        "scenario",
        "coupling",
        "bound",
        "value [e]",
        "mode",
        "interference counts",
        "quadratic counts",
        "ratio of sizes",
    ]
    title = "Interference and quadratic terms of a millicharge at its 90% bounds: counts in 0 to 6 m_e, all years"
    tables.write("interference", title, header, counts)
    title = "90% limits (χ², sm) with all terms, with the interference alone, with the quadratic term alone"
    header = ["scenario", "coupling", "unit", "all", "interference only", "quadratic only"]
    tables.write("interference_limits", title, header, alone)
    return counts


def published_rows(experiment: ElectronExperiment) -> dict[tuple[str, str], NDArray[np.float64]]:
    """Return (scenario, coupling) to the published (low, high) in true units."""
    rows = read_published(experiment.files["comparison.published"])
    return {(row.scenario, row.coupling): np.array(row.true_units) for row in rows}
