"""One evaluation of -2 ln L with its gradient, a profile limit, and a profile contour in two couplings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesnu.experiment.base import Experiment
from bayesnu.experiment.setup import load_experiment
from bayesnu.inference.contour import profile_contour
from bayesnu.inference.density import density_inputs, log_density
from bayesnu.inference.frame import DEGREE, PullFrame
from bayesnu.inference.likelihood import Problem, make_problem, minimise_pulls, squared_only, statistic_code
from bayesnu.inference.newton import statistics
from bayesnu.inference.priors import SampledVariable
from bayesnu.inference.profile import delta_chi2_intervals, delta_chi2_level, joint_ranges, minima, profile_grid
from bayesnu.inference.toys import poisson_log_likelihood
from benchmarks.agreement import DisagreementError, differences, require_close
from benchmarks.measure import Aim, Contest, Row, seconds_of
from benchmarks.peers import HandWritten, Workspace, minuit

Array = NDArray[np.float64]
CARD, COUPLING, PAIR = "dune-prism", "mu_numu", ("q_nue", "q_numu")
POINTS = 100
"""Random points at which likelihoods are compared."""
PEER_DIFFERENCE, OWN_DIFFERENCE = 1e-6, 1e-10
CL = 0.9
SIDE, PEER_SIDE = 200, 40
"""Points of the contour's grid along each coupling, and of the part of it that iminuit fits."""
CONTOUR_POINTS = 100
"""Points that MNCONTOUR finds."""
OFF_LINE = {"MNCONTOUR": 0.25, "bayesnu": 0.01}
"""By how much Δχ² of each side's line may differ from the level."""
APART = 0.01
"""How far points of either line may be from the other one, as a fraction of its extent."""
FLAT = SampledVariable("normal", -np.inf, np.inf, 1e12, "identity")
"""A prior so wide that -2 ln p differs from -2 ln L by a constant, to 1e-20."""


@cache
def experiment() -> Experiment:
    """Return the experiment of the rows."""
    return load_experiment(CARD)


@cache
def problem() -> Problem:
    """Return its problem of one coupling."""
    return make_problem(experiment(), [COUPLING])


def plain_inputs() -> Array:
    """Return the inputs of `log_density` for which its variables are the coupling and the pulls themselves."""
    pulls = len(problem().model.pulls)
    frame = PullFrame(np.zeros((pulls, DEGREE + 1)), np.eye(pulls), 0.0, 1.0)
    return density_inputs(problem(), [FLAT], frame)


def random_points() -> Array:
    """Return scaled couplings and pulls, (points, 1 + pulls); wrong_sign or electron_flavour is 0 at each.

    A workspace has no counterpart of their product.
    """
    rng = np.random.default_rng(20)
    pulls = problem().model.pulls
    y = np.column_stack([4 * rng.random(POINTS), rng.standard_normal((POINTS, len(pulls)))])
    y[::2, 1 + pulls.index("wrong_sign")] = 0.0
    y[1::2, 1 + pulls.index("electron_flavour")] = 0.0
    return y


def own_values(y: Array) -> tuple[Array, Array]:
    """Return -2 ln L and its gradient at points by the function that the row times."""
    inputs, gradient = plain_inputs(), np.empty(y.shape)
    return np.array([-2 * log_density(point, inputs, row) for point, row in zip(y, gradient, strict=True)]), (
        -2 * gradient
    )


def numpy_values(y: Array) -> Array:
    """Return -2 ln L at points by the expected counts of the card's model and NumPy."""
    own, model = problem(), problem().model
    expected = np.array(
        [
            model.expected({COUPLING: point[0]}, dict(zip(model.pulls, model.widths * point[1:], strict=True)))
            for point in y
        ]
    )
    return np.asarray(-2 * poisson_log_likelihood(own.data, expected).sum(axis=1) + (y[:, 1:] ** 2).sum(axis=1))


def newton_values(y: Array) -> Array:
    """Return -2 ln L at points by the statistic of the fits."""
    own, model, value = problem(), problem().model, np.empty(len(y))
    statistics(
        model.arrays.reshape(-1, own.data.size), model.membership, model.widths, statistic_code(own),
        own.normal_variance, own.relative_variance, own.data,
        np.ascontiguousarray(model.monomial_values(y[:, :1].T).T), y[:, 1:].copy(), value,
    )  # fmt: skip
    return value + np.asarray((y[:, 1:] ** 2).sum(axis=1))


def pymc_values(y: Array) -> Array:
    """Return -2 ln p at points by PyMC's model with the same prior, in its own frame of the pulls."""
    from bayesnu.inference.frame import pull_frame
    from bayesnu.inference.model import build_pymc_model

    model = build_pymc_model(problem(), [FLAT])
    frame = pull_frame(problem(), [FLAT])
    density = model.compile_logp(mode="FAST_COMPILE")
    inverse = np.linalg.inv(frame.spread)
    centres = frame.pulls(y[:, 0], np.zeros((len(y), inverse.shape[0])))
    names = [value.name for value in model.value_vars]
    w = (y[:, 1:] - centres) @ inverse.T
    return np.array(
        [-2 * float(density(dict(zip(names, (v, own), strict=True)))) for v, own in zip(y[:, 0], w, strict=True)]
    )


def check_own(y: Array) -> str:
    """Check that all of our own formulations agree."""
    value = differences(own_values(y)[0])
    found = [
        require_close(name, value, differences(other(y)), OWN_DIFFERENCE)
        for name, other in (("NumPy", numpy_values), ("the fits' statistic", newton_values), ("PyMC", pymc_values))
    ]
    return "our own -2 ln L: " + ", ".join(found)


def evaluation() -> Contest:
    """Compare one evaluation with pyhf's value on NumPy."""
    y = random_points()
    reader = Workspace(experiment(), COUPLING, "numpy")
    parameters = reader.parameters(np.column_stack([y[:, 0] ** 2, y[:, 1:]]))
    theirs = [float(reader.value(row)) for row in parameters]
    agreement = require_close(
        f"-2 ln L at {POINTS} points", differences(own_values(y)[0]), differences(theirs), PEER_DIFFERENCE
    )
    row = parameters[0]
    return Contest(_evaluate(y[0]), _with(reader, lambda: reader.value(row)), f"{agreement}; {check_own(y)}")


def _evaluate(point: Array) -> Callable[[], Any]:
    inputs, gradient = plain_inputs(), np.empty(point.size)
    return seconds_of(lambda: log_density(point, inputs, gradient))


def _with(reader: Workspace, work: Callable[[], object]) -> Callable[[], Any]:
    """Return a side whose backend is set before each go, outside of what is timed."""
    timed = seconds_of(work)

    def go() -> Any:
        reader.use()
        return timed()

    return go


def evaluation_jax() -> Contest:
    """Compare one evaluation with pyhf's value and gradient on JAX, compiled."""
    import jax

    jax.config.update("jax_enable_x64", True)
    y = random_points()
    reader = Workspace(experiment(), COUPLING, "jax")
    compiled = jax.jit(jax.value_and_grad(reader.value))
    points = np.column_stack([y[:, 0] ** 2, y[:, 1:]])
    parameters = [jax.numpy.asarray(row) for row in reader.parameters(points)]
    found = [compiled(row) for row in parameters]
    value, gradient = own_values(y)
    theirs = np.array([np.asarray(slope)[reader.order] for _, slope in found])
    # Of mu2 = x² and of lumi = 1 + σ z.
    theirs[:, 0] *= 2 * y[:, 0]
    theirs[:, reader.lumi] *= reader.lumi_width
    agreement = [
        require_close(
            f"-2 ln L at {POINTS} points", differences(value), differences([v for v, _ in found]), PEER_DIFFERENCE
        )
    ]
    # The product that a workspace leaves out has a slope in the pull that is 0 at a point, and in no other.
    same = np.ones(theirs.shape, dtype=bool)
    for start, name in enumerate(("wrong_sign", "electron_flavour")):
        same[start::2, 1 + problem().model.pulls.index(name)] = False
    own, other = (slopes[same] / np.abs(theirs).max() for slopes in (gradient, theirs))
    agreement.append(require_close("gradients, as fractions of the largest slope,", own, other, PEER_DIFFERENCE))
    row = parameters[0]
    return Contest(_evaluate(y[0]), _with(reader, lambda: jax.block_until_ready(compiled(row))), "; ".join(agreement))


def own_limit() -> float:
    """Return the upper limit of the coupling, in its unit; nothing is kept from the last call."""
    return delta_chi2_intervals(replace(problem()), CL)[-1][1]


def minos_limit(deviance: Callable[[Array], float]) -> float:
    """Return the upper limit by MIGRAD and MINOS, in the square of the coupling, which has no kink at 0."""
    own = problem()
    made = minuit(
        deviance, np.append(1.0, np.zeros(len(own.model.pulls))), HandWritten.of(own).names, squared_only(own)
    )
    made.migrad().minos(COUPLING, cl=CL)
    square = made.values[COUPLING] + made.merrors[COUPLING].upper
    return float(np.sqrt(square) * own.scales[0])


def limit_iminuit(compiled: bool) -> Contest:
    """Compare a profile limit with iminuit's, on a compiled likelihood or on one in NumPy."""
    written = HandWritten.of(problem())
    deviance = written.compiled() if compiled else written.with_numpy()
    agreement = require_close("the limits", own_limit(), minos_limit(deviance), 1e-3, relative=True)
    return Contest(seconds_of(own_limit), seconds_of(lambda: minos_limit(deviance)), agreement)


def limit_pyhf() -> Contest:
    """Compare a profile limit with pyhf's: fits at fixed mu2, found by Brent's method, SciPy's minimiser on JAX."""
    import pyhf
    from scipy.optimize import brentq

    reader = Workspace(experiment(), COUPLING, "jax")
    level = delta_chi2_level(CL, 1)

    def theirs() -> float:
        _, best = pyhf.infer.mle.fit(reader.data, reader.model, return_fitted_val=True)

        def excess(mu2: float) -> float:
            _, value = pyhf.infer.mle.fixed_poi_fit(mu2, reader.data, reader.model, return_fitted_val=True)
            return float(value - best) - level

        return float(np.sqrt(brentq(excess, 0.1, 50.0, rtol=1e-4)) * reader.scale)

    # The product that a workspace leaves out is less than 1e-4 of the counts.
    agreement = require_close("the limits", own_limit(), theirs(), 2e-3, relative=True)
    return Contest(seconds_of(own_limit), _with(reader, theirs), agreement)


@cache
def pair() -> Problem:
    """Return the problem of two couplings."""
    return make_problem(experiment(), PAIR)


@cache
def window() -> tuple[Array, Array]:
    """Return the range of each coupling, in its unit, where Δχ² with the other free is below 20."""
    low, high = (joint_ranges(pair(), 20.0) * pair().scales[:, None]).T
    return low, high


def axes(side: int) -> tuple[Array, Array]:
    """Return grid values of both couplings, in their units."""
    low, high = window()
    return np.linspace(low[0], high[0], side), np.linspace(low[1], high[1], side)


def scanned(deviance: Callable[[Array], float], places: slice, points: int = SIDE) -> Array:
    """Return -2 ln L on some ``places``, along each coupling, of a grid by iminuit with both couplings fixed.

    Each fit starts where its neighbour ended.
    """
    own = pair()
    made = minuit(deviance, np.zeros(2 + len(own.model.pulls)), HandWritten.of(own).names, squared_only(own))
    made.fixed[PAIR[0]] = made.fixed[PAIR[1]] = True
    x, y = (axis[places] / scale for axis, scale in zip(axes(points), own.scales, strict=True))
    side = len(x)
    value = np.empty((side, side))
    for i in range(side):
        made.values[PAIR[0]] = x[i]
        for j in range(side)[:: 1 if i % 2 == 0 else -1]:
            made.values[PAIR[1]] = y[j]
            value[i, j] = made.migrad().fval
    return value


def contour_grid(compiled: bool) -> Contest:
    """Compare the profile on a grid with iminuit's."""
    written = HandWritten.of(pair())
    deviance = written.compiled() if compiled else written.with_numpy()
    # The points of the grid that is timed, every 28th of them.
    theirs = scanned(deviance, slice(2, SIDE, 28))
    ours = profile_grid(pair(), *axes(SIDE)).delta[2::28, 2::28]
    near = ours < 20
    theirs = theirs - theirs[near][0] + ours[near][0]
    agreement = require_close("Δχ² below 20", ours[near], theirs[near], 0.01)
    side = PEER_SIDE if compiled else PEER_SIDE // 2
    whole = (SIDE / side) ** 2
    return Contest(
        seconds_of(lambda: profile_grid(pair(), *axes(SIDE))),
        seconds_of(lambda: scanned(deviance, slice(None), side), whole),
        agreement,
        f"iminuit fits {side} × {side} points of the same area, whose time is scaled by {whole:g}: each point takes "
        "as long",
    )


def mncontour(deviance: Callable[[Array], float]) -> Array:
    """Return points of the contour by MNCONTOUR, scaled couplings, shape (points, 2)."""
    own = pair()
    made = minuit(deviance, np.zeros(2 + len(own.model.pulls)), HandWritten.of(own).names, squared_only(own))
    # Without HESSE after its quickest MIGRAD it often finds no second point.
    made.migrad().hesse()
    found = np.asarray(made.mncontour(*PAIR, cl=CL, size=CONTOUR_POINTS))
    if len(found) < CONTOUR_POINTS:
        raise DisagreementError(f"MNCONTOUR found {len(found)} of {CONTOUR_POINTS} points")
    return found


def contour_line() -> Array:
    """Return points of the contour, scaled couplings; nothing is kept from the last call, neither ranges nor minima."""
    return np.concatenate(profile_contour(replace(pair()), CL).lines) / pair().scales


def distances(points: Array, line: Array) -> Array:
    """Return how far points, (points, 2), are from a line through others, as fractions of its extent."""
    extent = np.ptp(line, axis=0)
    start, along = line[:-1] / extent, np.diff(line, axis=0) / extent
    from_start = points[:, None] / extent - start
    share = (from_start * along).sum(axis=2) / np.maximum((along**2).sum(axis=1), 1e-300)
    nearest = from_start - np.clip(share, 0.0, 1.0)[..., None] * along
    return np.asarray(np.hypot(nearest[..., 0], nearest[..., 1]).min(axis=1))


def contour_mncontour(compiled: bool) -> Contest:
    """Compare the contour with MNCONTOUR's, on a compiled likelihood or on one in NumPy."""
    written = HandWritten.of(pair())
    deviance = written.compiled() if compiled else written.with_numpy()
    lines = {"MNCONTOUR": mncontour(deviance), "bayesnu": contour_line()}
    if len(lines["bayesnu"]) < CONTOUR_POINTS:
        raise DisagreementError(f"bayesnu found {len(lines['bayesnu'])} of {CONTOUR_POINTS} points")
    lowest = minima(pair(), 20.0).value[0]
    found = {who: minimise_pulls(pair(), points.T).value - lowest for who, points in lines.items()}
    level = delta_chi2_level(CL, 2)
    agreement = [
        require_close(f"Δχ² of {who}'s {own.size} points and {level:.4g}", own, np.full(own.size, level), OFF_LINE[who])
        for who, own in found.items()
    ]
    one, other = lines.values()
    away = np.concatenate([distances(one, other), distances(other, one)])
    agreement.append(require_close("the lines, as fractions of their extent,", away, np.zeros(away.size), APART))
    return Contest(
        seconds_of(contour_line),
        seconds_of(lambda: mncontour(deviance)),
        "; ".join(agreement),
        f"both from nothing, ranges and lowest minimum included; MNCONTOUR finds {CONTOUR_POINTS} points of one line, "
        f"bayesnu {len(lines['bayesnu'])} of all",
    )


COMPILED = (
    "a likelihood compiled for this one problem takes a few μs a call, and iminuit needs few of them: what is left to "
    "gain are its slopes by differences and the calls from Python"
)


COUNTED = (
    "MNCONTOUR needs 7,300 values of -2 ln L here, {each}; bayesnu fits the pulls at 572 points (98 along both axes "
    "and 96 far out for the range, 265 for a map that shows all parts, 113 on the line) and 19 times the couplings too"
)


def rows() -> list[Row]:
    """Return the rows."""
    twentyfold, tenfold, hundredfold = ((Aim(ratio=ratio),) for ratio in (20.0, 10.0, 100.0))
    value = f"-2 ln L with gradient, {CARD}"
    limit = f"profile limit of {COUPLING}, {CARD}"
    grid = f"{SIDE} × {SIDE} profile contour of {', '.join(PAIR)}, {CARD}"
    line = f"line of a profile contour of {', '.join(PAIR)}, {CARD}: {CONTOUR_POINTS} points or more"
    by_numpy, compiled = "NumPy likelihood", "compiled likelihood"
    by_hand = COUNTED.format(each="13 μs each in NumPy")
    by_machine = COUNTED.format(each="1.1 μs each when compiled: a hundredth of its time is that of 30 to 60 such fits")
    fitted = "each point is a fit of five pulls to convergence: one Newton step of 2 μs, with one -2 ln L at its end"
    return [
        Row(value, "pyhf, NumPy, value alone", evaluation, twentyfold),
        Row(value, "pyhf, JAX, jitted value and gradient", evaluation_jax, twentyfold),
        Row(limit, f"iminuit (MIGRAD, MINOS), {by_numpy}", lambda: limit_iminuit(False), tenfold),
        Row(limit, f"iminuit (MIGRAD, MINOS), {compiled}", lambda: limit_iminuit(True), tenfold, COMPILED),
        Row(limit, "pyhf (fixed_poi_fit), JAX", limit_pyhf, tenfold),
        Row(grid, f"iminuit (MIGRAD), {by_numpy}", lambda: contour_grid(False), hundredfold, fitted),
        Row(grid, f"iminuit (MIGRAD), {compiled}", lambda: contour_grid(True), hundredfold, f"{fitted}; {COMPILED}"),
        Row(line, f"iminuit's mncontour, {by_numpy}", lambda: contour_mncontour(False), hundredfold, by_hand),
        Row(line, f"iminuit's mncontour, {compiled}", lambda: contour_mncontour(True), hundredfold, by_machine),
    ]
