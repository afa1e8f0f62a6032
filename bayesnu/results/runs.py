"""A run: all fits of a card in a folder that can be resumed, and the limits they give."""

from __future__ import annotations

import csv
import datetime
import hashlib
import importlib.metadata
import io
import json
import math
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import bayesnu
from bayesnu.errors import RunError
from bayesnu.experiment.setup import Experiment
from bayesnu.inference.laplace import GridPosterior, laplace_posterior
from bayesnu.inference.likelihood import Problem, make_problem
from bayesnu.inference.priors import Prior, resolve_prior
from bayesnu.inference.profile import ProfileCurve, profile_curve
from bayesnu.inference.sampling import Sampler
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.resources import write_text
from bayesnu.results.comparison import Comparison, PublishedLimit, compare, own_row, read_published
from bayesnu.results.diagnostics import Diagnostics, diagnose
from bayesnu.results.intervals import IntervalSet
from bayesnu.results.limits import (
    DEFAULT_CHAINS,
    DEFAULT_DRAWS,
    DEFAULT_SEED,
    TUNE,
    check_counts,
    default_kind,
    frequentist_interval,
    interval_json,
    laplace_interval,
    nuts_interval,
)
from bayesnu.results.posterior import finite_or_none, load_posterior, posterior_tree, save_posterior

if TYPE_CHECKING:
    import xarray as xr

FORMAT_VERSION = 1
CREDIBILITY = 0.90
OWN_ENTRIES = ("run.json", "limits.json", "limits.csv", "report.html", "posteriors", "figures")
PACKAGES = ("numpy", "scipy", "xarray", "pymc", "pytensor", "nutpie", "arviz", "numba")


@dataclass(frozen=True)
class RunArguments:
    """What a run was asked for; with the experiment's digest it makes the run's hash."""

    couplings: tuple[str, ...]
    draws: int = DEFAULT_DRAWS
    chains: int = DEFAULT_CHAINS
    seed: int = DEFAULT_SEED
    tune: int = TUNE
    credibility: float = CREDIBILITY


@dataclass(frozen=True)
class CouplingResult:
    """Every interval of one coupling, beside what is published, with its diagnostics."""

    coupling: str
    prior: str
    credible: IntervalSet
    laplace: IntervalSet
    chi2: IntervalSet
    chi2_background: IntervalSet
    poisson: IntervalSet
    comparisons: tuple[Comparison, ...]
    diagnostics: Diagnostics


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes
    ----------
    folder : Path
    information : dict
        The content of run.json: model, arguments, versions, checksums, times.
    limits : dict
        The content of limits.json.
    resumed : tuple of str
        Couplings whose fit was kept from an earlier start.
    """

    folder: Path
    information: dict[str, Any]
    limits: dict[str, Any]
    resumed: tuple[str, ...]


def make_arguments(
    experiment: Experiment, couplings: Sequence[str], draws: int | None, chains: int | None, seed: int | None
) -> RunArguments:
    """Check a run's arguments and fill in the defaults: all the card's couplings, in its order."""
    check_counts(draws=draws, chains=chains, seed=seed)
    names = [experiment.fitted(name) for name in couplings] or list(experiment.card.couplings)
    return RunArguments(
        tuple(dict.fromkeys(names)),
        DEFAULT_DRAWS if draws is None else draws,
        DEFAULT_CHAINS if chains is None else chains,
        DEFAULT_SEED if seed is None else seed,
    )


def run_hash(experiment: Experiment, arguments: RunArguments) -> str:
    """Return the hash that names a run: the card, its inputs and the arguments."""
    text = experiment.digest + json.dumps(asdict(arguments), sort_keys=True) + str(FORMAT_VERSION)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def open_folder(folder: Path, name: str, force: bool) -> bool:
    """Prepare a run folder; return whether it already holds this run.

    Raises
    ------
    RunError
        If it holds another run or other files and ``force`` is not set, or cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: is a file; choose another --out")
    record = folder / "run.json"
    if record.exists():
        try:
            found = read_record(folder)["hash"]
        except RunError:
            if not force:
                raise
            found = None
        if found == name:
            return True
        if not force:
            raise RunError(f"{folder}: holds another run ({found}, not {name}); choose another --out or give --force")
    elif folder.exists() and any(folder.iterdir()) and not force:
        raise RunError(f"{folder}: is not empty and holds no run; choose another --out or give --force")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for entry in OWN_ENTRIES:
            path = folder / entry
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written ({error.strerror})") from error
    return False


def read_record(folder: Path) -> dict[str, Any]:
    """Read run.json.

    Raises
    ------
    RunError
        If the folder holds no run, the file is truncated, or it is of another version.
    """
    record = _read_json(folder / "run.json")
    if record.get("format_version") != FORMAT_VERSION:
        raise RunError(
            f"{folder / 'run.json'}: format version {record.get('format_version')}; this bayesnu reads {FORMAT_VERSION}"
        )
    if "hash" not in record:
        raise RunError(f"{folder / 'run.json'}: the key 'hash' is missing; the file is incomplete")
    return record


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}); is this a run folder?") from error
    except ValueError as error:
        raise RunError(f"{path}: not JSON, or truncated ({error})") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: not a record of a run")
    return content


def load_run(folder: Path) -> Run:
    """Read a finished run back.

    Raises
    ------
    RunError
        If it is missing, unfinished, truncated or of another version.
    """
    information = read_record(folder)
    if information.get("finished") is None:
        raise RunError(f"{folder}: the run is not finished; start it again with the same arguments")
    return Run(folder, information, _read_json(folder / "limits.json"), ())


def posterior_path(folder: Path, coupling: str) -> Path:
    """Return where the fit of a coupling is kept."""
    return folder / "posteriors" / f"{coupling}.nc"


def run_fits(
    experiment: Experiment,
    arguments: RunArguments,
    folder: Path,
    *,
    force: bool = False,
    notice: Callable[[str], None],
    progress: Callable[[str], None],
) -> Run:
    """Fit every coupling by NUTS, by the Laplace grid and by profile, and store what came out.

    Each fit is written as soon as it is done, so that an interrupted run keeps
    it. A finished run is returned as it is.

    Parameters
    ----------
    experiment : Experiment
    arguments : RunArguments
    folder : Path
    force : bool
        Overwrite another run in ``folder``.
    notice, progress : callable
        Receive one-line notices, and the name of each step as it starts.
    """
    name = run_hash(experiment, arguments)
    if open_folder(folder, name, force) and read_record(folder).get("finished") is not None:
        notice(f"{folder}: this run is finished; its stored results are shown")
        return load_run(folder)
    started = _now()
    information = describe_run(experiment, arguments, name, started)
    _write_json(folder / "run.json", information)
    limits = []
    sampler = Sampler()
    seconds: dict[str, float] = {}
    resumed, results = [], []
    published = read_published(experiment.files["comparison.published"]) if experiment.card.comparison else []
    for coupling in arguments.couplings:
        progress(f"fitting {coupling}")
        start = time.perf_counter()
        inputs = deterministic(experiment, coupling)
        tree, kept = fit_coupling(experiment, arguments, inputs, folder, name, sampler, notice)
        seconds[coupling] = round(time.perf_counter() - start, 3)
        if kept:
            resumed.append(coupling)
        result = summarise(experiment, inputs, tree, arguments.credibility, published)
        results.append(result)
        limits.append(result_json(experiment.card.name, result))
    scenario = experiment.card.comparison.scenario if experiment.card.comparison else None
    content = {
        "format_version": FORMAT_VERSION,
        "model": experiment.card.name,
        "title": experiment.card.title,
        "scenario": scenario,
        "observed": experiment.observed,
        "hash": name,
        "verdict": worst_verdict([result.diagnostics.verdict for result in results]),
        "limits": limits,
    }
    _write_json(folder / "limits.json", content)
    write_text(folder / "limits.csv", limits_csv(results, scenario), RunError)
    information |= {"finished": _now(), "fit_seconds": seconds}
    _write_json(folder / "run.json", information)
    return Run(folder, information, content, tuple(resumed))


@dataclass(frozen=True)
class Deterministic:
    """What is computed of one coupling without sampling, once."""

    problem: Problem
    prior: Prior
    grid: GridPosterior
    curve: ProfileCurve


def deterministic(experiment: Experiment, coupling: str) -> Deterministic:
    """Return the prior, the Laplace grid posterior and the profile curve of one coupling."""
    problem = make_problem(experiment, [coupling])
    prior = resolve_prior(experiment.card.couplings[coupling].prior, problem)
    curve = profile_curve(make_problem(experiment, [coupling], "chi2"))
    return Deterministic(problem, prior, laplace_posterior(problem, prior), curve)


def coupling_seed(seed: int, coupling: str) -> int:
    """Return the seed of one coupling's fit, so that a run of fewer couplings gives the same numbers."""
    return int(np.random.SeedSequence([seed, list(COUPLINGS).index(coupling)]).generate_state(1)[0])


def fit_coupling(
    experiment: Experiment, arguments: RunArguments, inputs: Deterministic, folder: Path, name: str, sampler: Sampler,
    notice: Callable[[str], None],
) -> tuple[xr.DataTree, bool]:
    """Return the posterior of one coupling: kept from an earlier start of the same run, or sampled and stored."""
    import xarray as xr

    coupling = inputs.prior.coupling.name
    path = posterior_path(folder, coupling)
    if path.exists():
        try:
            tree = load_posterior(path)
            if tree.attrs.get("run_hash") == name:
                return tree, True
            notice(f"{path}: belongs to another run; fitting again")
        except RunError as problem:
            notice(f"{problem}; fitting again")
    draws = sampler.sample(
        inputs.problem, [inputs.prior], [inputs.problem], draws=arguments.draws, chains=arguments.chains,
        tune=arguments.tune, seed=coupling_seed(arguments.seed, coupling),
    )
    attributes = {"run_hash": name, "model": experiment.card.name}
    tree = posterior_tree(experiment, inputs.problem, [inputs.prior], draws, attributes)
    unit, grid, curve = {"units": inputs.prior.coupling.unit}, inputs.grid, inputs.curve
    tree["laplace_grid"] = xr.Dataset(
        {
            "density": (coupling, grid.density, {"long_name": "posterior density per unit"}),
            "prior_density": (coupling, np.exp(inputs.prior.log_density(grid.values))),
        },
        coords={coupling: (coupling, grid.values, unit)},
    )
    tree["profile_curve"] = xr.Dataset(
        {"delta_chi2": (coupling, curve.delta)}, coords={coupling: (coupling, curve.values, unit)}
    )
    save_posterior(tree, path)
    return tree, False


def fit_jointly(
    experiment: Experiment, couplings: Sequence[str], arguments: RunArguments, sampler: Sampler
) -> xr.DataTree:
    """Sample several couplings at once, each with its card's prior; returns the same groups as a single fit."""
    problem = make_problem(experiment, couplings)
    singles = [make_problem(experiment, [coupling]) for coupling in couplings]
    priors = [
        resolve_prior(experiment.card.couplings[coupling].prior, single)
        for coupling, single in zip(couplings, singles, strict=True)
    ]
    draws = sampler.sample(
        problem, priors, singles, draws=arguments.draws, chains=arguments.chains, tune=arguments.tune, seed=arguments.seed
    )
    return posterior_tree(experiment, problem, priors, draws, {"model": experiment.card.name})


def summarise(
    experiment: Experiment, inputs: Deterministic, tree: xr.DataTree, credibility: float, published: Sequence[PublishedLimit]
) -> CouplingResult:
    """Return every interval of a fitted coupling with its comparison and diagnostics."""
    coupling = inputs.prior.coupling.name
    kind = default_kind(coupling)
    credible = nuts_interval(np.asarray(tree["posterior"][coupling].values), inputs.prior, credibility, kind)
    grid = laplace_interval(inputs.grid, credibility, kind)
    chi2 = frequentist_interval(experiment, coupling, "chi2", credibility)
    return CouplingResult(
        coupling,
        inputs.prior.describe(),
        credible,
        grid,
        chi2,
        frequentist_interval(experiment, coupling, "chi2", credibility, "sm+background"),
        frequentist_interval(experiment, coupling, "poisson", credibility),
        tuple(compare(coupling, chi2.intervals, published)),
        diagnose(tree, coupling, credible, grid),
    )


def worst_verdict(verdicts: Sequence[str]) -> str:
    """Return the worst of "pass", "warn" and "fail"."""
    return max(verdicts, key=["pass", "warn", "fail"].index)


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
    return {
        "coupling": result.coupling,
        "unit": result.credible.unit,
        "prior": result.prior,
        "credible": interval_json(model, result.credible),
        "laplace": interval_json(model, result.laplace),
        "chi2": interval_json(model, result.chi2) | {"variance": "sm"},
        "chi2_background": interval_json(model, result.chi2_background) | {"variance": "sm+background"},
        "poisson": interval_json(model, result.poisson),
        "comparisons": comparisons,
        "diagnostics": diagnostics,
    }


def limits_csv(results: Sequence[CouplingResult], scenario: str | None) -> str:
    """Return the limits as CSV: one row per coupling, method and piece of the set."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        "coupling unit method variance kind probability piece low high mc_error_low mc_error_high published_low "
        "published_high published_low_true_units published_high_true_units".split()
    )

    def text(value: float) -> str:
        return f"{value:.6g}" if math.isfinite(value) else ""

    for result in results:
        own = own_row(result.comparisons, scenario)
        published = (*own.published.printed, *own.published.true_units) if own else (math.nan,) * 4
        rows = [
            (result.credible, ""), (result.laplace, ""), (result.chi2, "sm"), (result.chi2_background, "sm+background"),
            (result.poisson, ""),
        ]
        for interval, variance in rows:
            for piece, (bounds, errors) in enumerate(zip(interval.intervals, interval.mc_error, strict=True)):
                writer.writerow(
                    [
                        result.coupling, interval.unit, interval.method, variance, interval.kind,
                        f"{interval.probability:g}", piece, *(text(v) for v in (*bounds, *errors, *published)),
                    ]
                )
    return buffer.getvalue()


def describe_run(experiment: Experiment, arguments: RunArguments, name: str, started: str) -> dict[str, Any]:
    """Return the provenance of a run: card, overrides, checksums, versions, seed and times."""
    checksums = {
        role: {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for role, path in experiment.files.items()
    }
    versions = {"bayesnu": bayesnu.__version__, "python": platform.python_version()}
    versions |= {package: importlib.metadata.version(package) for package in PACKAGES}
    return {
        "format_version": FORMAT_VERSION,
        "hash": name,
        "model": experiment.card.name,
        "title": experiment.card.title,
        "card": json.loads(experiment.card.model_dump_json()),
        "overrides": list(experiment.loaded.overrides),
        "arguments": asdict(arguments),
        "inputs": checksums,
        "inputs_digest": experiment.digest,
        "versions": versions,
        "started": started,
        "finished": None,
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n", RunError)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
