"""ArviZ figures of one fit: trace, rank, energy and pair plots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesnu.physics.couplings import COUPLINGS
from bayesnu.plotting.limits import exponent_of
from bayesnu.results.lazy import leave_jax

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


MOST_PAIRS = 9
"""Panels of `plot_pairs`."""


def import_libraries() -> None:
    """Import what draws, which takes seconds, ahead of the first figure."""
    import arviz
    from matplotlib import pyplot

    del arviz, pyplot
    leave_jax()


def readable(tree: xr.DataTree, couplings: Sequence[str], most_draws: int) -> xr.DataTree:
    """Return a fit for plotting: the couplings first, in powers of ten of their units, pulls by name, thinned.

    Pulls that do not move (width 0) are left out.
    """
    import xarray as xr

    posterior = tree["posterior"].to_dataset()
    step = max(1, posterior.sizes["draw"] // most_draws)
    posterior = posterior.isel(draw=slice(None, None, step))
    variables = {}
    for coupling in couplings:
        exponent = exponent_of([float(v) for v in posterior[coupling].quantile([0.01, 0.99])])
        power = f"1e{exponent} " if exponent else ""
        variables[f"{coupling}\n[{power}{COUPLINGS[coupling].unit}]"] = posterior[coupling] / 10.0**exponent
    for name in posterior["pull"].values:
        values = posterior["pulls"].sel(pull=name, drop=True)
        if float(np.ptp(values.values)) > 0:
            variables[str(name)] = values
    stats = tree["sample_stats"].to_dataset().isel(draw=slice(None, None, step))
    return xr.DataTree.from_dict({"posterior": xr.Dataset(variables), "sample_stats": stats})


def _figure(collection: Any, title: str) -> Figure:
    """Return the matplotlib figure of an ArviZ plot, titled and laid out."""
    figure: Figure = collection.viz["figure"].item()
    figure.set_layout_engine("constrained")
    figure.suptitle(title)
    return figure


def plot_trace(shown: xr.DataTree, couplings: int, title: str) -> Figure:
    """Plot the draws of the couplings of `readable` against the step, with their density, by chain."""
    import arviz as az

    names = list(shown["posterior"].data_vars)[:couplings]
    collection = az.plot_trace_dist(shown, var_names=names, figure_kwargs={"figsize": (11, 3.2 * couplings)})
    return _figure(collection, f"{title}: density and trace by chain")


def plot_ranks(shown: xr.DataTree, title: str) -> Figure:
    """Plot the ranks of the draws of `readable` by chain, as differences from a uniform ECDF; flat if chains agree."""
    import arviz as az

    rows = -(-len(shown["posterior"].data_vars) // 3)
    figure_kwargs = {"figsize": (11, 2.6 * rows + 0.6)}
    return _figure(az.plot_rank(shown, col_wrap=3, figure_kwargs=figure_kwargs), f"{title}: ranks by chain")


def plot_energy(tree: xr.DataTree, title: str) -> Figure:
    """Plot the marginal energy and its transitions of a whole fit; alike if momenta explore all energies."""
    import arviz as az

    return _figure(az.plot_energy(tree, figure_kwargs={"figsize": (11, 3)}), f"{title}: energy and E-BFMI")


def plot_pairs(shown: xr.DataTree, title: str) -> Figure:
    """Plot the first coupling of `readable` against the others and the pulls that follow it most."""
    import arviz as az

    posterior = shown["posterior"]
    first, *others = posterior.data_vars
    own = posterior[first].values.ravel()
    correlation = {name: abs(float(np.corrcoef(own, posterior[name].values.ravel())[0, 1])) for name in others}
    # Where the data leave a coupling alone every correlation is noise; the order then does not matter.
    chosen = set(sorted(others, key=lambda name: -correlation[name])[:MOST_PAIRS])
    names = [str(first), *(str(name) for name in others if name in chosen)]
    rows = max(1, -(-(len(names) - 1) // 3))
    collection = az.plot_pair_focus(
        shown,
        var_names=names[1:],
        focus_var=names[0],
        visuals={"scatter": {"alpha": 0.3}},
        col_wrap=3,
        figure_kwargs={"figsize": (11, 3.2 * rows + 0.6)},
    )
    return _figure(collection, f"{title}: against what it is correlated with most")
