"""COHERENT 2017 on its observed counts: the Standard Model, transition moments, and other electromagnetic couplings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesnu.experiment.base import Experiment
from bayesnu.experiment.recoil import RecoilExperiment
from bayesnu.experiment.setup import load_experiment
from bayesnu.inference.laplace import laplace_posterior
from bayesnu.inference.likelihood import make_problem, minimise_pulls
from bayesnu.inference.priors import one_coupling
from bayesnu.inference.profile import profile_curve
from bayesnu.inference.sampling import Sampler
from bayesnu.inference.toys import expected_draws
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.plotting.limits import DensityPanel
from bayesnu.report.study import Tables, union
from bayesnu.results.comparison import read_published
from bayesnu.results.diagnostics import diagnose
from bayesnu.results.fits import RunArguments, seed_of
from bayesnu.results.intervals import IntervalSet
from bayesnu.results.joint import fit_jointly
from bayesnu.results.limits import laplace_interval, limit, nuts_interval

if TYPE_CHECKING:
    import xarray as xr

Array = NDArray[np.float64]
MODEL = "coherent-csi-2017"
SIMPLE = ("pulls.flux_norm=0.28", "detector.quenching_error=0")
"""The quenching's 25% inside the normalisation instead of a morph of the spectrum."""
MOMENTS = ("d_nue", "d_numu")
SEED = 20211202
DRAWS = 4000
PAGE = {
    "d_nue": "< 3.18e-9 (2.78e-9)",
    "d_numu": "< 2.20e-9 (1.87e-9)",
    "mu_nue": "< 6.4e-9",
    "mu_numu": "< 4.4e-9",
    "q_nue": "[-2.2, 4.8]e-7",
    "q_numu": "[-1.3, 1.8]e-7",
    "r2_nue": "[-68, 16]e-32",
    "r2_numu": "[-62, -37] ∪ [-14.5, 10.4]e-32",
}
"""Bounds of independent calculation, sections 9 and 12: 0.28 and no morph, in brackets with the morph."""
UNITS = {"d": 1e-9, "mu": 1e-9, "q": 1e-7, "r2": 1e-32}


def deviances(experiment: Experiment) -> tuple[Array, Array, Array, float]:
    """Return expected counts at the SM's best pulls, Poisson deviance of each, the pulls, and -2 ln L."""
    problem = make_problem(experiment, ["d_nue"])
    best = minimise_pulls(problem, np.zeros((1, 1)))
    widths = experiment.model.widths
    pulls = dict(zip(experiment.model.pulls, (best.pulls[0] * widths).tolist(), strict=True))
    expected = experiment.model.expected({}, pulls)
    n = experiment.data
    deviance = 2 * (expected - n + n * np.log(np.where(n > 0, n, 1.0) / expected))
    return expected, deviance, best.pulls[0], float(best.value[0])


def write_standard_model(tables: Tables) -> tuple[float, float, float]:
    """Tabulate the SM prediction and its χ² in every bin; return the events, and -2 ln L with and without the morph."""
    experiment, simple = load_experiment(MODEL), load_experiment(MODEL, SIMPLE)
    assert isinstance(experiment, RecoilExperiment)
    bins = experiment.bin_edges.size - 1
    signal, edges = experiment.signal_sm[:bins], experiment.bin_edges
    coincidence, steady = experiment.data[:bins], experiment.data[bins:]
    expected, deviance, z, value = deviances(experiment)
    _, _, _, plain = deviances(simple)
    neutrons = float(experiment.background[0] - steady[0])
    gauss = (coincidence - steady - signal - neutrons) ** 2 / (coincidence + steady + neutrons)
    rows: list[list[object]] = [
        [
            f"{edges[b]:g} to {edges[b + 1]:g}",
            int(coincidence[b]),
            int(steady[b]),
            int(coincidence[b] - steady[b]),
            float(signal[b]),
            float(expected[b]),
            float(expected[bins + b]),
            float(deviance[b] + deviance[bins + b]),
            float(gauss[b]),
        ]
        for b in range(bins)
    ]
    sums = [coincidence.sum(), steady.sum(), (coincidence - steady).sum()]
    pair = (expected[:bins].sum(), expected[bins:].sum())
    rows.append(
        [
            "all",
            *(int(v) for v in sums),
            float(signal.sum()),
            *map(float, pair),
            float(deviance.sum()),
            float(gauss.sum()),
        ]
    )
    header = ["photoelectrons", "C", "AC", "C - AC", "SM signal", "C expected", "AC expected", "χ²", "χ², no pulls"]
    title = "COHERENT 2017: counts, SM prediction, and expectation and Poisson χ² (C and AC together) at the best pulls"
    tables.write("coherent_sm", title, header, rows, digits=4)
    constrained: list[list[object]] = [
        [name, float(z[p]), float(z[p] * experiment.model.widths[p])]
        for p, name in enumerate(experiment.model.pulls)
        if name not in experiment.model.free
    ]
    total = float((experiment.model.constraint * z**2).sum())
    constrained.append(["-2 ln L: bins + pulls", value, None])
    constrained.append(["of which pulls", total, None])
    constrained.append(["-2 ln L with a 28% normalisation and no morph", plain, None])
    title = "COHERENT 2017: pulls at the SM's best fit, in widths and as fractions, and -2 ln L"
    tables.write("coherent_pulls", title, ["pull", "value", "fraction"], constrained, digits=4)
    return float(signal.sum()), value, plain


def write_couplings(tables: Tables) -> dict[tuple[str, str], IntervalSet]:
    """Tabulate the limits on every coupling of the card, by both normalisations, beside other numbers."""
    default, simple = load_experiment(MODEL), load_experiment(MODEL, SIMPLE)
    published = read_published(default.files["comparison.published"])
    found: dict[tuple[str, str], IntervalSet] = {}
    rows: list[list[object]] = []
    for name in default.card.couplings:
        coupling = COUPLINGS[name]
        unit, one_sided = UNITS[coupling.family], coupling.squared_only
        own = {
            "morph": limit(default, name, method="poisson"),
            "simple": limit(simple, name, method="poisson"),
            "laplace": limit(default, name, method="laplace"),
        }
        found |= {(name, kind): value for kind, value in own.items()}
        texts = [union(value.intervals, unit, upper=one_sided) for value in own.values()]
        others = []
        for row in published:
            if row.coupling == name and row.scenario in ("COHERENT", "LSND", "GEMMA", "Borexino", "on-axis"):
                bounds = union([row.true_units], unit, upper=one_sided)
                others.append(f"{'DUNE on-axis' if row.scenario == 'on-axis' else row.scenario} {bounds}")
        rows.append([name, f"{unit:.0e} {coupling.unit}", *texts, PAGE[name], "; ".join(others)])
    header = ["coupling", "unit", "Δ(-2 ln L), morph", "Δ(-2 ln L), 28% and no morph", "credible, flat prior, morph"]
    header += ["independent calculation", "published (DUNE's charges in units of +e, COHERENT's as printed)"]
    title = (
        "COHERENT 2017, observed counts: 90% limits, one coupling at a time; Δ(-2 ln L) = 2.706 above the minimum; "
        "credible: upper limit for d and mu, highest-density set for q and r2; d at m_N = 1 MeV"
    )
    tables.write("coherent_limits", title, header, rows)
    return found


def fits(sampler: Sampler) -> dict[str, xr.DataTree]:
    """Return the NUTS fits of both moments at m_N = 1 MeV."""
    experiment = load_experiment(MODEL)
    result = {}
    for name in MOMENTS:
        arguments = RunArguments((name,), draws=DRAWS, seed=seed_of(SEED, name))
        result[name] = fit_jointly(experiment, [name], arguments, sampler)
    return result


def density_panels(trees: dict[str, xr.DataTree], tables: Tables) -> list[DensityPanel]:
    """Return the posterior of each moment for a figure, and tabulate the checks of its draws."""
    experiment = load_experiment(MODEL)
    panels = []
    rows: list[list[object]] = []
    for name, tree in trees.items():
        problem, prior = one_coupling(experiment, name)
        grid, curve = laplace_posterior(problem, prior), profile_curve(problem)
        draws = np.asarray(tree["posterior"][name].values)
        nuts, laplace = nuts_interval(draws, prior, 0.90, "upper"), laplace_interval(grid, 0.90, "upper")
        bounds = (nuts.intervals[0][1], laplace.intervals[0][1], nuts.mc_error[0][1])
        checks = diagnose(tree, name, nuts, laplace)
        inside, p = predictive_check(experiment, name, tree)
        rows.append(
            [
                name,
                prior.describe(),
                *bounds,
                f"{checks.rhat:.4f}",
                f"{checks.ess_bulk:.0f}",
                f"{checks.ess_tail:.0f}",
                checks.divergences,
                checks.verdict,
                inside,
                f"{p:.3f}",
            ]
        )
        label = "90% credible upper limit, prior flat in d"
        args = (grid.values, grid.density, np.exp(prior.log_density(grid.values)), curve.values, curve.delta)
        panels.append(DensityPanel(name, draws.ravel(), *args, laplace.intervals, label))
    header = ["coupling", "prior", "90% upper limit, NUTS [μ_B]", "Laplace grid", "MC error", "R-hat", "ESS bulk"]
    header += ["ESS tail", "divergences", "verdict", "counts in the 90% band", "predictive p"]
    title = f"COHERENT 2017, m_N = 1 MeV: posterior of d by NUTS (seed {SEED}, 4 chains of {DRAWS}) and on the grid"
    tables.write("coherent_nuts", title, header, rows)
    return panels


def predictive_check(experiment: Experiment, name: str, tree: xr.DataTree) -> tuple[str, float]:
    """Return how many counts lie in the predictive 90% band, and P(replicated deviance > observed deviance)."""
    problem = make_problem(experiment, [name])
    theta = np.asarray(tree["posterior"][name].values).reshape(1, -1)
    pulls = np.asarray(tree["posterior"]["pulls"].values).reshape(theta.shape[1], -1)
    expected = expected_draws(problem, theta, pulls)
    replicated = np.asarray(tree["posterior_predictive"]["n"].values).reshape(expected.shape)
    low, high = np.quantile(replicated, [0.05, 0.95], axis=0)
    contained = int(((problem.data >= low) & (problem.data <= high)).sum())

    def deviance(n: Array) -> Array:
        return np.asarray((expected - n + n * np.log(np.where(n > 0, n, 1.0) / expected)).sum(axis=1))

    p = float((deviance(replicated) > deviance(np.broadcast_to(problem.data, expected.shape))).mean())
    return f"{contained} of {problem.data.size}", p
