"""The PyMC model: the definition of the posterior that every fast path is tested against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesnu.experiment.expectation import expected_counts
from bayesnu.inference.frame import DEGREE, KNEE_DEGREE, PullFrame, knee, mass_frame, pull_frame, share
from bayesnu.inference.likelihood import Problem
from bayesnu.inference.negative_binomial import draw_mixed, mixed_log_density
from bayesnu.inference.priors import SampledVariable

if TYPE_CHECKING:
    import pymc as pm

Array = NDArray[np.float64]
OBSERVED, INPUTS = "counts", "inputs"


def poisson_log_density(value: Any, expected: Any) -> Any:
    """Return n ln λ - λ - ln Γ(n + 1), the Poisson log-density continued to real n; -inf where λ ≤ 0.

    0 for n = λ = 0: a signal without background at coupling 0.
    ``pm.Poisson`` would truncate Asimov data to integers without a word.
    """
    import pytensor.tensor as pt

    safe = pt.switch(expected > 0, expected, 1.0)
    possible = (expected > 0) | (pt.eq(expected, 0) & pt.eq(value, 0))
    return pt.switch(possible, value * pt.log(safe) - expected - pt.gammaln(value + 1), -np.inf)


def _draw_counts(expected: Any, rng: Any = None, size: Any = None) -> Any:
    """Draw Poisson counts for predictive sampling."""
    return rng.poisson(expected, size=size).astype(float)


def _product(values: Any, axis: int) -> Any:
    """Multiply along an axis; no factor 1 + f is 0, which makes the gradient a simple ratio."""
    import pytensor.tensor as pt

    return pt.prod(values, axis=axis, no_zeros_in_input=True)


def build_pymc_model(problem: Problem, variables: Sequence[SampledVariable]) -> pm.Model:
    """Return the PyMC model of some couplings and all pulls.

    n_i ~ Poisson(λ_i(θ, f)), about a gamma-distributed mean for "gamma-poisson", or normal about λ_i for data with
    measured errors; either, bin by bin, for "mixed";
    f_p = σ_p z_p, z_p ~ N(0, 1), θ from its sampled variable; coordinates obs,
    coupling and pull. This is the definition; `bayesnu.inference.density` is what
    `bayesnu run` samples. Everything that differs between couplings of one card is
    ``pm.Data``, so that nutpie's compilation of one serves them all: the counts, and
    one vector that holds all the rest (`model_inputs`), because nutpie spends about
    a second on each variable it swaps.

    Parameters
    ----------
    problem : Problem
        Statistic "poisson" or "gamma-poisson", or "chi2" with the variances of measured errors.
    variables : sequence of SampledVariable
        One for each coupling of the problem.

    Returns
    -------
    pymc.Model
        With deterministics ``theta`` (coupling; its own unit) and ``pulls`` (pull; fractions).
    """
    import pymc as pm
    import pytensor.tensor as pt

    model = problem.model
    coords = {
        "obs": np.arange(problem.data.size),
        "coupling": list(problem.couplings),
        "pull": list(model.pulls),
    }
    values = model_inputs(problem, variables)
    with pm.Model(coords=coords) as pymc_model:
        counts = pm.Data(OBSERVED, problem.data.astype(float), dims="obs")
        inputs = _unpack(pm.Data(INPUTS, _pack(values)), values)
        bounds, frame = inputs["bounds"], inputs["frame_range"]
        bent = mass_frame(problem, variables)
        raw, inner, outer = [], [], []
        for j, variable in enumerate(variables):
            if bent is not None and j == bent.moment:
                raw.append(pm.Uniform(f"v_{j}", 0.0, 1.0))
            elif variable.kind == "uniform":
                raw.append(pm.Uniform(f"v_{j}", bounds[j, 0], bounds[j, 1]))
            elif variable.kind == "normal":
                raw.append(pm.Normal(f"v_{j}", 0.0, bounds[j, 1]))
            else:
                raw.append(pm.HalfNormal(f"v_{j}", bounds[j, 1]))
        for j, variable in enumerate(variables):
            if variable.table is not None:
                # A uniform v becomes one with Jeffreys' density, by the very table that the grid uses.
                low, high = inputs["jeffreys_range"][0], inputs["jeffreys_range"][1]
                t = pt.sqrt(pt.abs(raw[j])) if variable.map == "square-root" else pt.abs(raw[j])
                t = raw[j] if variable.map == "identity" else t
                share_of_range = pt.clip((t - low) / (high - low), 0.0, 1.0)
                pm.Potential("jeffreys", variable.table.log_root(share_of_range, inputs["jeffreys"], pt))
        if bent is not None:
            middle, half, low, high = (inputs["mass_frame"][k] for k in range(4))
            powers = ((raw[bent.mass] - middle) / half) ** np.arange(1, KNEE_DEGREE + 1)
            k = knee(inputs["mass_frame"][4] + (inputs["mass_frame"][5:] * powers).sum(), pt)
            u = raw[bent.moment]
            pm.Potential("bend", pt.log(k * (1 - k)) - 2 * pt.log(k * u + (1 - k) * (1 - u)))
            raw[bent.moment] = low + share(u, k) * (high - low)
        for j, variable in enumerate(variables):
            v = raw[j]
            if variable.map == "square-root":
                v = pt.sqrt(pt.abs(v))
            elif variable.map == "exponential":
                v = pt.exp(v)
            inner.append(v)
            # λ depends on v² where v is folded, so the sign matters to the reported coupling alone.
            outer.append(pt.switch(inputs["folded"][j] > 0, pt.abs(v), v) * inputs["scale"][j])
        pm.Deterministic("theta", pt.stack(outer), dims="coupling")
        x = pt.clip(((raw[0] if len(raw) == 1 else 0.0) - frame[0]) / frame[1], -1.0, 1.0)
        w = pm.Normal("w", 0.0, 1.0, dims="pull")
        # The constant term apart: the derivative of x⁰ at x = 0, where the folded model starts, is 0 · 0⁻¹.
        centre, spread = inputs["frame_centre"], inputs["frame_spread"]
        shift = centre[:, 0] + (centre[:, 1:] * x ** np.arange(1, DEGREE + 1)[None, :]).sum(1)
        z = shift + (spread * w[None, :]).sum(1)
        # z ~ N(0, 1) is the prior, or flat for a free pull; w carries a density of its own, which is taken out again.
        pm.Potential("pull_prior", ((w**2).sum() - (model.constraint * z**2).sum()) / 2)
        pulls = pm.Deterministic("pulls", inputs["pull_width"] * z, dims="pull")
        factors = model.pull_factors(pulls, _product)
        expected = expected_counts(inputs["templates"], model.monomial_values(inner, pt), factors, model.floored)
        if problem.statistic == "chi2":
            pm.Normal("n", expected, np.sqrt(problem.normal_variance), observed=counts, dims="obs")
        elif problem.statistic in ("gamma-poisson", "mixed"):

            def log_density(value: Any, mean: Any) -> Any:
                return mixed_log_density(value, mean, problem.normal_variance, problem.relative_variance, pt)

            def draw(mean: Any, rng: Any = None, size: Any = None) -> Any:
                return draw_mixed(mean, problem.normal_variance, problem.relative_variance, rng, size)

            pm.CustomDist("n", expected, logp=log_density, random=draw, observed=counts, dims="obs")
        else:
            pm.CustomDist("n", expected, logp=poisson_log_density, random=_draw_counts, observed=counts, dims="obs")
    return pymc_model


def model_data(
    problem: Problem, variables: Sequence[SampledVariable], frame: PullFrame | None = None
) -> dict[str, Array]:
    """Return the values of the model's ``pm.Data``: what is swapped when the compiled model is used again."""
    return {OBSERVED: problem.data.astype(float), INPUTS: _pack(model_inputs(problem, variables, frame))}


def model_inputs(
    problem: Problem, variables: Sequence[SampledVariable], frame: PullFrame | None = None
) -> dict[str, Array]:
    """Return what differs between couplings of one card, besides the counts, by name.

    templates (component, monomial, obs), pull_width (pull), scale and folded
    (coupling), bounds (coupling, 2), the `PullFrame` (found where none is given), the `MassFrame` and the
    `JeffreysTable`.
    """
    frame = frame or pull_frame(problem, variables)
    bent = mass_frame(problem, variables)
    bounds = [[v.low, v.high] if v.kind == "uniform" else [0.0, v.sigma] for v in variables]
    # A joint fit has none (`bayesnu.results.joint`).
    tables = [v.table for v in variables if v.table is not None][:1]
    return {
        "templates": problem.model.arrays,
        "pull_width": problem.model.widths,
        "scale": problem.scales,
        "folded": np.array([float(v.map == "folded") for v in variables]),
        "bounds": np.array(bounds),
        "frame_centre": frame.centre,
        "frame_spread": frame.spread,
        "frame_range": np.array([frame.middle, frame.half]),
        "mass_frame": np.empty(0)
        if bent is None
        else np.array([bent.middle, bent.half, bent.low, bent.high, *bent.coefficients]),
        "jeffreys_range": np.array([[t.low, t.high] for t in tables]).ravel() / problem.scales[0],
        "jeffreys": tables[0].pieces if tables else np.empty(0),
    }


def _pack(values: dict[str, Array]) -> Array:
    """Return arrays one after the other in one vector."""
    return np.concatenate([value.ravel() for value in values.values()])


def _unpack(packed: Any, values: dict[str, Array]) -> dict[str, Any]:
    """Return the parts of a symbolic vector in the shapes of the arrays that `_pack` put there."""
    ends = np.cumsum([value.size for value in values.values()]).tolist()
    return {
        name: packed[end - value.size : end].reshape(value.shape)
        for end, (name, value) in zip(ends, values.items(), strict=True)
    }


def model_structure(problem: Problem, variables: Sequence[SampledVariable]) -> tuple[Any, ...]:
    """Return what a compiled model depends on besides its data."""
    model = problem.model
    bent = len(variables) == 2 and mass_frame(problem, variables) is not None
    kinds = tuple(
        # With a table, the map says from which side it is read.
        (v.kind, "identity" if v.map == "folded" and v.table is None else v.map, v.table is not None)
        for v in variables
    )
    errors = (problem.normal_variance.tobytes(), problem.relative_variance.tobytes())
    shape = (model.monomials, model.components, model.arrays.shape, model.free, model.masses, model.floored)
    return kinds, *errors, *shape, bent
