"""Joint posterior of the mass of N and its transition moment at NUCLEUS, by NUTS, on a grid, and as Δ(-2 ln L)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from reach_study import PROBABILITY, at, upper

from bayesnu.experiment.base import Experiment
from bayesnu.experiment.recoil import RecoilExperiment
from bayesnu.experiment.setup import load_experiment
from bayesnu.inference.laplace import GridPosterior2D, cells, laplace_posterior_2d
from bayesnu.inference.profile import ProfileGrid, delta_chi2_level, profile_grid
from bayesnu.inference.sampling import Sampler
from bayesnu.report.study import Tables
from bayesnu.results.fits import RunArguments
from bayesnu.results.intervals import quantile_error
from bayesnu.results.joint import fit_jointly, joint_problem

Array = NDArray[np.float64]
MODEL = "nucleus-10g"
COUPLINGS = ("m_N", "d_nue")
MASS_RANGE = (0.1, 7.5)
MOMENT_HIGH = 1e-8
"""In μ_B; above the limit at every mass of the range, so that the data and not the prior bound d."""
MOMENT_LOW = 1e-12
INJECTED_MASS = 2.0
INJECTED_TIMES = 3.0
"""The injected moment, in multiples of its 90% limit at the injected mass."""
POINTS = 96
"""Cells of a grid along each axis; its points are their centres."""
INJECTED_WINDOW = ((0.5, 3.3), (1.2e-10, 4.8e-10))
"""m_N in MeV and d in μ_B: where the posterior with the injected signal lies."""
LEVELS = [0.05, 0.5, 0.9, 0.95]
SEED = 20211201
CHAINS = 4
TARGET_ACCEPT = 0.98
DRAWS = {"SM": 2500, "injected": 10000}


class PriorChoice(NamedTuple):
    """Priors of both parameters, as overrides of the card."""

    moment: str
    mass: str
    logarithmic: bool

    @property
    def overrides(self) -> list[str]:
        """The keys of the card."""
        return [f"couplings.d_nue.prior={self.moment}", f"sterile.m_N_prior={self.mass}"]


_MASSES = f"low={MASS_RANGE[0]}, high={MASS_RANGE[1]}"
PRIORS = {
    "log-uniform": PriorChoice(
        f"{{kind='log-uniform', low={MOMENT_LOW}, high={MOMENT_HIGH}}}", f"{{kind='log-uniform', {_MASSES}}}", True
    ),
    "flat": PriorChoice(f"{{kind='uniform', low=0.0, high={MOMENT_HIGH}}}", f"{{kind='uniform', {_MASSES}}}", False),
}


@dataclass(frozen=True)
class Joint:
    """The joint result of one data set under one prior.

    Attributes
    ----------
    data, prior : str
    posterior : GridPosterior2D
        Of m_N in MeV and d in μ_B, on POINTS × POINTS cells.
    profile : ProfileGrid
    draws : ndarray, shape (2, chains, draws)
        Empty without NUTS.
    divergences : int
    """

    data: str
    prior: str
    posterior: GridPosterior2D
    profile: ProfileGrid
    draws: Array
    divergences: int

    @property
    def logarithmic(self) -> bool:
        """Whether the priors are flat in the logarithms."""
        return PRIORS[self.prior].logarithmic


def injected_moment() -> float:
    """Return the injected d in μ_B."""
    return INJECTED_TIMES * upper(at(load_experiment(MODEL), INJECTED_MASS))


def injected_counts(moment: float) -> list[str]:
    """Return the overrides that make the expectation with an injected signal the data, not rounded."""
    experiment = at(load_experiment(MODEL), INJECTED_MASS)
    assert isinstance(experiment, RecoilExperiment)
    names = list(experiment.card.targets)
    blocks = experiment.model.expected({"d_nue": moment}).reshape(len(names), -1).tolist()
    counts = ", ".join(f"{name}={block}" for name, block in zip(names, blocks, strict=True))
    return ["expected_data=true", f"observed_counts={{{counts}}}"]


def joint(data: str, prior: str, extra: list[str], sampler: Sampler | None) -> Joint:
    """Compute the grid posterior and Δ(-2 ln L), and draw by NUTS if there is a sampler."""
    choice = PRIORS[prior]
    experiment = load_experiment(MODEL, [*choice.overrides, *extra])
    problem, priors = joint_problem(experiment, COUPLINGS)
    low = MOMENT_LOW if choice.logarithmic else 0.0
    window = (MASS_RANGE, (low, MOMENT_HIGH)) if data == "SM" else INJECTED_WINDOW
    x = cells(*window[0], POINTS, "log" if choice.logarithmic else "linear")
    # Flat in d the limit moves over two decades with the mass: small cells where it is low.
    y = cells(*window[1], POINTS, "log" if choice.logarithmic else "square")
    posterior = laplace_posterior_2d(problem, (priors[0], priors[1]), x, y)
    draws, divergences = np.empty((2, 0, 0)), 0
    if sampler is not None:
        draws, divergences = sample(experiment, DRAWS[data], sampler)
    profile = profile_grid(problem, x.centres, y.centres)
    return Joint(data, prior, posterior, profile, draws, divergences)


def sample(experiment: Experiment, number: int, sampler: Sampler) -> tuple[Array, int]:
    """Return draws of both parameters and the number of divergences."""
    arguments = RunArguments(COUPLINGS, draws=number, chains=CHAINS, seed=SEED)
    tree = fit_jointly(experiment, COUPLINGS, arguments, sampler)
    draws = np.stack([np.asarray(tree["posterior"][name].values) for name in COUPLINGS])
    return draws, int(tree["sample_stats"]["diverging"].sum())


def all_joint(sampler: Sampler | None) -> tuple[list[Joint], float]:
    """Return both data sets under both priors, and the injected moment."""
    moment = injected_moment()
    extra = {"SM": list[str](), "injected": injected_counts(moment)}
    return [joint(data, prior, extra[data], sampler) for prior in PRIORS for data in extra], moment


def grid_quantiles(result: Joint, axis: int, levels: list[float]) -> list[float]:
    """Return quantiles of a marginal of the grid posterior."""
    cumulative = np.append(0.0, np.cumsum(result.posterior.weight.sum(axis=1 - axis)))
    centres = (result.posterior.y if axis else result.posterior.x).centres
    inner = (centres[1:] + centres[:-1]) / 2
    edges = np.concatenate([[1.5 * centres[0] - centres[1] / 2], inner, [1.5 * centres[-1] - centres[-2] / 2]])
    return [float(v) for v in np.interp(levels, cumulative, edges)]


def write_joint(results: list[Joint], moment: float, tables: Tables) -> None:
    """Tabulate the marginals of every joint posterior, and the checks of the draws."""
    rows: list[list[object]] = []
    for r in results:
        row: list[object] = [r.data, r.prior]
        for axis in (0, 1):
            grid = grid_quantiles(r, axis, LEVELS)
            own = np.quantile(r.draws[axis], LEVELS).tolist() if r.draws.size else [None] * 4
            row += [text(own), text(grid), distance(r, axis, grid)]
        rows.append(row)
    header = ["data", "prior", "m_N [MeV], NUTS", "m_N [MeV], grid", "distance"]
    header += ["d_nue [μ_B], NUTS", "d_nue [μ_B], grid", "distance"]
    title = (
        "NUCLEUS 10 g, (m_N, d_nue) free: 5%, 50%, 90%, 95% quantiles of the marginal posteriors, and the "
        "largest distance between NUTS and grid in Monte Carlo errors; "
        f"injected: m_N = {INJECTED_MASS:g} MeV, d_nue = {moment:.3g} μ_B"
    )
    tables.write("joint", title, header, rows)
    rows = []
    level = delta_chi2_level(PROBABILITY, 2)
    for r in results:
        for kind, mask in (
            ("Δ(-2 ln L) < 4.61", r.profile.delta < level),
            ("90% highest density, grid", r.posterior.density > r.posterior.level(PROBABILITY)),
        ):
            x, y = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
            ends = [float(v) for v in (r.profile.x[x[0]], r.profile.x[x[-1]], r.profile.y[y[0]], r.profile.y[y[-1]])]
            rows.append([r.data, r.prior, kind, *ends])
    header = ["data", "prior", "region", "least m_N [MeV]", "greatest m_N", "least d_nue [μ_B]", "greatest d_nue"]
    title = f"Extents of the two-parameter regions, on grids of {POINTS} × {POINTS} cells"
    tables.write("joint_regions", title, header, rows)
    checks = [check_row(r) for r in results if r.draws.size]
    if checks:
        header = ["data", "prior", "parameter", "draws", "R-hat", "ESS bulk", "ESS tail", "divergences"]
        header += ["fraction in the grid's 90% region", "MC error"]
        title = f"Joint NUTS fits: {CHAINS} chains, seed {SEED}, target acceptance {TARGET_ACCEPT}"
        tables.write("joint_nuts", title, header, [row for rows_ in checks for row in rows_])


def distance(result: Joint, axis: int, grid: list[float]) -> str | None:
    """Return the largest distance of the draws' quantiles from the grid's, in Monte Carlo errors."""
    if not result.draws.size:
        return None
    draws = result.draws[axis]
    own = np.quantile(draws, LEVELS)
    errors = np.array([quantile_error(draws, level) for level in LEVELS])
    return f"{np.abs((own - grid) / errors).max():.1f}"


def text(values: Sequence[float | None]) -> str:
    """Return quantiles as text."""
    return ", ".join(f"{v:.3g}" for v in values if v is not None)


def check_row(result: Joint) -> list[list[object]]:
    """Return the diagnostics of both parameters."""
    from arviz_stats.base import array_stats

    axes = {"chain_axis": 0, "draw_axis": 1}
    contained = result.posterior.contains(result.draws[0], result.draws[1], PROBABILITY).astype(float)
    fraction = float(contained.mean())
    error = float(np.sqrt(fraction * (1 - fraction) / float(array_stats.ess(contained, **axes))))
    rows: list[list[object]] = []
    for name, draws in zip(COUPLINGS, result.draws, strict=True):
        bulk = float(array_stats.ess(draws, method="bulk", **axes))
        tail = float(array_stats.ess(draws, method="tail", prob=(0.05, 0.95), **axes))
        rhat = f"{float(array_stats.rhat(draws, **axes)):.4f}"
        sizes = [draws.size, rhat, f"{bulk:.0f}", f"{tail:.0f}", result.divergences]
        rows.append([result.data, result.prior, name, *sizes, f"{fraction:.4f}", f"{error:.4f}"])
    return rows
