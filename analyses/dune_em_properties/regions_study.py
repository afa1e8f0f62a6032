"""Two-coupling 90% regions: Δχ² contours, highest-density regions of the grid posterior, and NUTS draws in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayesnu.experiment.setup import load_electron_experiment
from bayesnu.inference.laplace import Cells, GridPosterior2D, laplace_posterior_2d
from bayesnu.inference.likelihood import make_problem
from bayesnu.inference.priors import Prior
from bayesnu.inference.profile import ProfileGrid, delta_chi2_level, profile_grid
from bayesnu.inference.sampling import Sampler
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.report.study import Tables
from bayesnu.results.fits import RunArguments
from bayesnu.results.joint import fit_jointly
from bayesnu.results.limits import DEFAULT_CHAINS

PROBABILITY = 0.90
EDGE = 1e-4
"""Greatest density at the edge of a grid, over its maximum, at which the grid holds the posterior."""


class Plane(NamedTuple):
    """A pair of couplings, the range of its grid and flat priors in their own units, and the number of NUTS draws."""

    couplings: tuple[str, str]
    x: tuple[float, float]
    y: tuple[float, float]
    points: int
    draws: int


PLANES = {
    "mu": Plane(("mu_numu", "mu_nue"), (0.0, 6.5e-10), (0.0, 5.2e-9), 131, 4000),
    "q": Plane(("q_numu", "q_nue"), (-4.5e-9, 4.5e-9), (-4.0e-8, 7.0e-8), 131, 4000),
    "r2": Plane(("r2_numu", "r2_nue"), (-2.2e-32, 1.4e-32), (-1.5e-30, 1.0e-30), 171, 8000),
}


@dataclass(frozen=True)
class JointResult:
    """The regions of one pair of couplings in one scenario."""

    scenario: str
    plane: Plane
    profile: ProfileGrid
    posterior: GridPosterior2D
    level: float
    draws: NDArray[np.float64]
    fraction: float
    fraction_error: float
    worst_r_hat: float
    least_ess: float
    divergences: int


def joint_overrides(plane: Plane) -> list[str]:
    """Return overrides that give both couplings flat priors over the plane's grid."""
    return [
        f'couplings.{name}.prior={{kind="uniform", low={low:.6g}, high={high:.6g}}}'
        for name, (low, high) in zip(plane.couplings, (plane.x, plane.y), strict=True)
    ]


def joint_result(scenario: str, model: str, plane: Plane, sampler: Sampler, seed: int) -> JointResult:
    """Compute both regions of a plane and check the Bayesian one with NUTS.

    Raises
    ------
    RuntimeError
        If the posterior reaches an edge of the grid that is no physical boundary.
    """
    from arviz_stats.base import array_stats

    experiment = load_electron_experiment(model, joint_overrides(plane))
    x, y = (np.linspace(*reach, plane.points) for reach in (plane.x, plane.y))
    profile = profile_grid(make_problem(experiment, plane.couplings, "chi2"), x, y)
    first, second = (COUPLINGS[name] for name in plane.couplings)
    priors = Prior(first, "uniform", *plane.x), Prior(second, "uniform", *plane.y)
    posterior = laplace_posterior_2d(
        make_problem(experiment, plane.couplings), priors, Cells(x, np.gradient(x)), Cells(y, np.gradient(y))
    )
    density = posterior.density / posterior.density.max()
    edges = [density[-1], density[:, -1]]
    edges += [edge for edge, low in ((density[0], plane.x[0]), (density[:, 0], plane.y[0])) if low != 0]
    if max(edge.max() for edge in edges) > EDGE:
        raise RuntimeError(f"{plane.couplings}: the posterior reaches the edge of the grid")
    level = posterior.level(PROBABILITY)
    arguments = RunArguments(plane.couplings, draws=plane.draws, chains=DEFAULT_CHAINS, seed=seed)
    tree = fit_jointly(experiment, plane.couplings, arguments, sampler)
    draws = np.stack([np.asarray(tree["posterior"][name].values) for name in plane.couplings])
    inside = posterior.contains(draws[0], draws[1], PROBABILITY)
    fraction = float(inside.mean())
    options = {"chain_axis": 0, "draw_axis": 1}
    ess = float(array_stats.ess(inside.astype(float), **options))
    return JointResult(
        scenario,
        plane,
        profile,
        posterior,
        level,
        draws,
        fraction,
        float(np.sqrt(fraction * (1 - fraction) / ess)),
        max(float(array_stats.rhat(d, **options)) for d in draws),
        min(float(array_stats.ess(d, **options)) for d in draws),
        int(tree["sample_stats"]["diverging"].sum()),
    )


def pieces(
    x: NDArray[np.float64], y: NDArray[np.float64], inside: NDArray[np.bool_]
) -> list[tuple[float, float, float, float]]:
    """Return the extent of every connected piece of a region on a grid, the largest first."""
    from scipy.ndimage import label

    labels, number = label(inside)
    found = []
    for k in range(1, number + 1):
        first, second = np.nonzero(labels == k)
        ends = (x[first.min()], x[first.max()], y[second.min()], y[second.max()])
        found.append((first.size, ends))
    return [extent for _, extent in sorted(found, reverse=True)]


def write_regions(results: list[JointResult], units: dict[str, float], tables: Tables) -> None:
    """Tabulate the extents of all regions, piece by piece, and the NUTS checks."""
    rows = []
    for result in results:
        first, second = result.plane.couplings
        x, y = result.profile.x, result.profile.y
        cell = (x[1] - x[0]) / units[first], (y[1] - y[0]) / units[second]
        for kind, inside in (
            ("Δχ² < 4.605", result.profile.delta < delta_chi2_level(PROBABILITY, 2)),
            ("highest density", result.posterior.density > result.level),
        ):
            for k, extent in enumerate(pieces(x, y, inside)):
                low_x, high_x, low_y, high_y = extent
                rows.append(
                    [
                        result.scenario,
                        f"{first}, {second}",
                        kind,
                        k + 1,
                        f"[{low_x / units[first]:.2f}, {high_x / units[first]:.2f}] × {units[first]:.0e}",
                        f"[{low_y / units[second]:.2f}, {high_y / units[second]:.2f}] × {units[second]:.0e}",
                        f"{cell[0]:.2g}, {cell[1]:.2g}",
                    ]
                )
    header = ["scenario", "couplings", "region", "piece", "first coupling", "second coupling", "grid cell"]
    tables.write("regions", "Two-coupling 90% regions: extents of each connected piece", header, rows)
    checks = [
        [
            r.scenario,
            ", ".join(r.plane.couplings),
            r.draws[0].size,
            f"{r.fraction:.4f}",
            f"{r.fraction_error:.4f}",
            f"{r.worst_r_hat:.4f}",
            f"{r.least_ess:.0f}",
            r.divergences,
        ]
        for r in results
    ]
    header = [
        "scenario",
        "couplings",
        "NUTS draws",
        "fraction in the grid's 90% region",
        "MC error",
        "worst R-hat",
        "least bulk ESS",
        "divergences",
    ]
    title = "Joint NUTS draws inside the 90% highest-density region of the grid posterior"
    tables.write("regions_nuts", title, header, checks)
