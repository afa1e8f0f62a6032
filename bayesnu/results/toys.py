"""Pseudo-experiments of a card at given couplings: how -2 ln L(truth)/L(best) and the best fits are distributed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import ConvergenceError, RunError, UsageError, unknown_name
from bayesnu.experiment.base import Experiment, finite
from bayesnu.inference.likelihood import Problem, make_problem, squared_only
from bayesnu.inference.toys import ENSEMBLES, Ensemble, quantile_with_error, toy_fits
from bayesnu.physics.couplings import COUPLINGS, check_values
from bayesnu.resources import write_atomically
from bayesnu.results.limits import DEFAULT_SEED, check_counts, check_responds
from bayesnu.results.toy_limits import ToyRunner, study_key
from bayesnu.shown import Shown
from bayesnu.workers import Task, run_tasks, task_seed

if TYPE_CHECKING:
    import xarray as xr

Array = NDArray[np.float64]
PROBABILITIES = (0.68, 0.90, 0.95)
"""Quantiles of the statistic that are shown."""
PER_TASK = 2_000
ARRAYS = ("counts", "centre", "best", "statistic", "pulls")
"""What a chunk holds."""
LEAST_TOYS, MOST_TOYS = 100, 1_000_000
MOST_COUNTS = 1e15
"""In one bin: beyond, numbers in double precision hardly tell a count from the next."""


@dataclass(frozen=True)
class StatisticQuantile:
    """A quantile of t = -2 ln L(truth)/L(best), and what Wilks' theorem says.

    Attributes
    ----------
    probability : float
    value, mc_error : float
        Of the pseudo-experiments, and its Monte Carlo standard error.
    wilks : float
        The same quantile of χ² with as many degrees of freedom as couplings are free.
    coverage, coverage_error : float
        Share of pseudo-experiments with t below ``wilks``, which is the coverage of the Δχ² set at this truth, and
        its binomial error.
    """

    probability: float
    value: float
    mc_error: float
    wilks: float
    coverage: float
    coverage_error: float


@dataclass(frozen=True)
class BestFit:
    """The best-fit values of one coupling in pseudo-experiments, in its own unit.

    Attributes
    ----------
    coupling, unit : str
    truth : float
    mean, mean_error : float
        And its Monte Carlo standard error.
    spread : float
        Standard deviation.
    at_boundary : float or None
        Share of pseudo-experiments whose best fit is 0, within the precision of fits (`batch.PROMISE` in -2 ln L);
        None for a coupling that may have either sign.
    """

    coupling: str
    unit: str
    truth: float
    mean: float
    mean_error: float
    spread: float
    at_boundary: float | None


@dataclass(frozen=True, repr=False)
class ToyStudy(Shown):
    """Pseudo-experiments at one truth, each fitted twice.

    Attributes
    ----------
    model : str
    m_N : float or None
        Mass of N in MeV, where a free coupling has to do with it.
    seed : int
    ensemble : {"constraint", "fit", "posterior"}
        Where the pulls come from; see `bayesnu.inference.toys.pseudo_experiments`.
    key : str
        Hash of all that the numbers depend on.
    quantiles : tuple of StatisticQuantile
    fits : tuple of BestFit
    counts : ndarray, shape (toys, obs)
    best : ndarray, shape (toys, couplings)
        In the couplings' units.
    statistic : ndarray, shape (toys,)
    pulls, measured : ndarray, shape (toys, pulls)
        True pulls and their auxiliary measurements, as fractions.
    pull_names : tuple of str
    """

    model: str
    m_N: float | None
    seed: int
    ensemble: Ensemble
    key: str
    quantiles: tuple[StatisticQuantile, ...]
    fits: tuple[BestFit, ...]
    counts: Array
    best: Array
    statistic: Array
    pulls: Array
    measured: Array
    pull_names: tuple[str, ...]

    @property
    def number(self) -> int:
        """Of pseudo-experiments."""
        return int(self.statistic.size)


def check_truth(experiment: Experiment, values: Mapping[str, float], free: Sequence[str]) -> dict[str, float]:
    """Return the true values of the free couplings: those with a value, and others at 0.

    Raises
    ------
    UsageError
        For none at all, a coupling that the card does not fit or no count depends on, or a value that is not allowed.
    """
    if "m_N" in values or "m_N" in free:
        raise UsageError("m_N: pseudo-experiments take the mass of N fixed; give it by --at m_N=VALUE")
    truth = {experiment.fitted(name): values.get(name, 0.0) for name in (*values, *free)}
    if not truth:
        known = ", ".join(experiment.card.couplings)
        raise UsageError(f"{experiment.card.name}: no coupling is free; give --coupling or --set, of {known}")
    check_values(truth, tuple(truth))
    for name, value in truth.items():
        if not math.isfinite(value):
            raise UsageError(f"{name} = {value}: must be finite")
        check_responds(experiment, name)
    with np.errstate(over="ignore", invalid="ignore"):
        counts = finite(experiment.model.expected(truth), truth, {})
    if counts.max() > MOST_COUNTS:
        raise UsageError(
            f"{shown(truth)}: {counts.max():.1e} expected counts in one bin; pseudo-experiments take up to "
            f"{MOST_COUNTS:.0e}: choose smaller values"
        )
    return truth


def shown(truth: Mapping[str, float]) -> str:
    """Return true values as text."""
    return ", ".join(f"{name} = {value:g}" for name, value in truth.items())


@contextmanager
def naming_truth(truth: Mapping[str, float]) -> Iterator[None]:
    """Say in what does not converge at which truth it was."""
    try:
        yield
    except ConvergenceError as error:
        raise ConvergenceError(f"{shown(truth)}: {error}") from error


def fit_chunk(
    shared: tuple[Problem, Array, Ensemble, int], place: int, number: int
) -> dict[str, NDArray[Any]]:
    """Make and fit some pseudo-experiments: one task."""
    problem, truth, ensemble, seed = shared
    rng = np.random.default_rng(task_seed(seed, place))
    fits = toy_fits(problem, truth, number, rng, ensemble)
    return {
        "counts": fits.data.counts,
        "centre": fits.data.centre,
        "best": fits.best,
        "statistic": fits.statistic,
        "pulls": fits.data.pulls,
    }


def make_toys(
    experiment: Experiment,
    number: int,
    values: Mapping[str, float] | None = None,
    free: Sequence[str] = (),
    *,
    ensemble: str = "constraint",
    seed: int = DEFAULT_SEED,
    runner: ToyRunner | None = None,
) -> ToyStudy:
    """Make pseudo-experiments at true couplings and fit each twice: pulls alone at the truth, and all together.

    Parameters
    ----------
    experiment : Experiment
    number : int
        Of pseudo-experiments.
    values : mapping of str to float, optional
        True values of couplings in their own units; these are free in the fits.
    free : sequence of str
        Further free couplings, whose true values are 0. All others are 0 and not fitted.
    ensemble : {"constraint", "fit", "posterior"}
        Where the true pulls come from; see `bayesnu.inference.toys.pseudo_experiments`.
    seed : int
        The same seed gives the same numbers, whoever makes them.
    runner : ToyRunner, optional
        Who makes them; this process by default.

    Raises
    ------
    UsageError
        For a name or value that is not allowed.
    ConvergenceError
        If a fit fails.
    """
    truth = check_truth(experiment, values or {}, free)
    if not LEAST_TOYS <= number <= MOST_TOYS:
        raise UsageError(f"n = {number}: must be from {LEAST_TOYS} to {MOST_TOYS}")
    chosen = next((name for name in ENSEMBLES if name == ensemble), None)
    if chosen is None:
        raise unknown_name("pulls", ensemble, ENSEMBLES)
    check_counts(draws=None, chains=None, seed=seed)
    runner = runner or ToyRunner()
    problem = make_problem(experiment, list(truth))
    scaled = np.array(list(truth.values())) / problem.scales
    study = {"command": "toys", "truth": truth, "pulls": chosen, "seed": seed, "per_task": PER_TASK, "arrays": ARRAYS}
    # The number is no part of the key: more of the same study begins with what is there.
    sizes = [min(PER_TASK, number - start) for start in range(0, number, PER_TASK)]
    tasks = [Task(f"toys-{place:06d}-{size}", (place, size)) for place, size in enumerate(sizes)]
    shared = (problem, scaled, chosen, seed)
    runner.progress(f"{number} pseudo-experiments")
    with naming_truth(truth):
        chunks = run_tasks(fit_chunk, shared, tasks, runner.workers, runner.chunks(experiment, study))
    counts, centre, best, statistic, pulls = (np.concatenate([chunk[name] for chunk in chunks]) for name in ARRAYS)
    own = best * problem.scales
    masses = [mass for name in truth if (mass := experiment.mass_of(name)) is not None]
    return ToyStudy(
        experiment.card.name,
        masses[0] if masses else None,
        seed,
        chosen,
        study_key(experiment, study),
        tuple(statistic_quantile(statistic, len(truth), probability) for probability in PROBABILITIES),
        tuple(
            best_fit(name, value, own[:, j], bounded=bool(squared_only(problem)[j]))
            for j, (name, value) in enumerate(truth.items())
        ),
        counts,
        own,
        statistic,
        pulls * problem.model.widths,
        centre * problem.model.widths,
        problem.model.pulls,
    )


def statistic_quantile(statistic: Array, couplings: int, probability: float) -> StatisticQuantile:
    """Return a quantile of the statistic, and the coverage of Wilks' one.

    Errors are those of `quantile_with_error`, and binomial.
    """
    from scipy.special import chdtri

    n = statistic.size
    value, error = quantile_with_error(statistic, probability)
    wilks = float(chdtri(couplings, 1 - probability))
    coverage = float((statistic <= wilks).mean())
    return StatisticQuantile(
        probability,
        value,
        error,
        wilks,
        coverage,
        math.sqrt(coverage * (1 - coverage) / n),
    )


def best_fit(coupling: str, truth: float, best: Array, *, bounded: bool) -> BestFit:
    """Return what best-fit values of a coupling are on average."""
    spread = float(best.std(ddof=1))
    return BestFit(
        coupling,
        COUPLINGS[coupling].unit,
        truth,
        float(best.mean()),
        spread / math.sqrt(best.size),
        spread,
        float((best == 0).mean()) if bounded else None,
    )


def toys_json(study: ToyStudy) -> dict[str, Any]:
    """Return the summary as JSON-able values."""
    return {
        "model": study.model,
        **({} if study.m_N is None else {"m_N": study.m_N}),
        "number": study.number,
        "seed": study.seed,
        "pulls": study.ensemble,
        "statistic": [asdict(quantile) for quantile in study.quantiles],
        "best_fits": [asdict(fit) for fit in study.fits],
    }


def toys_dataset(study: ToyStudy, experiment: Experiment) -> xr.Dataset:
    """Return all pseudo-experiments as labelled arrays: counts, pulls and their measurements, best fits, statistic."""
    import xarray as xr

    names = [fit.coupling for fit in study.fits]
    units = {fit.coupling: fit.unit for fit in study.fits}
    observations = experiment.observation_coordinates()
    return xr.Dataset(
        {
            "counts": (("toy", "obs"), study.counts, {"units": "counts"}),
            "pulls": (("toy", "pull"), study.pulls, {"units": "fraction", "long_name": "true pulls"}),
            "auxiliary": (
                ("toy", "pull"),
                study.measured,
                {"units": "fraction", "long_name": "auxiliary measurements of the pulls; 0 of free ones"},
            ),
            "best_fit": (
                ("toy", "coupling"),
                study.best,
                {"units": ", ".join(f"{name}: {unit}" for name, unit in units.items())},
            ),
            "truth": ("coupling", np.array([fit.truth for fit in study.fits])),
            "statistic": ("toy", study.statistic, {"units": "1", "long_name": "-2 ln L(truth)/L(best fit)"}),
        },
        coords={
            **observations,
            "toy": np.arange(study.number),
            "obs": np.arange(study.counts.shape[1]),
            "coupling": names,
            "pull": list(study.pull_names),
        },
        attrs={
            "model": study.model,
            "inputs_digest": experiment.digest,
            "study": study.key,
            "seed": study.seed,
            "ensemble": study.ensemble,
            **({} if study.m_N is None else {"m_N_mev": study.m_N}),
        },
    )


def save_toys(study: ToyStudy, experiment: Experiment, path: Path) -> None:
    """Write all pseudo-experiments as netCDF, aside and renamed.

    Raises
    ------
    RunError
        If the folder cannot be written.
    """
    dataset = toys_dataset(study, experiment)
    packing = {"zlib": True, "complevel": 1, "shuffle": True}
    encoding = {name: packing for name in dataset.data_vars if dataset[name].ndim > 1}

    def write(temporary: Path) -> None:
        dataset.to_netcdf(temporary, engine="h5netcdf", encoding=encoding)

    write_atomically(path, write, RunError)
