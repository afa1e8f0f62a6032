"""A run: all fits of a card in a folder that can be resumed, and the limits they give."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import bayesnu
from bayesnu.errors import RunError, UsageError, silent
from bayesnu.experiment.base import Experiment
from bayesnu.experiment.covariance import covariance_json
from bayesnu.inference.sampling import Sampler
from bayesnu.physics.couplings import COUPLINGS, FREE_TOGETHER
from bayesnu.resources import models_folder, write_text
from bayesnu.results.comparison import read_published
from bayesnu.results.counts import counts_json, counts_path
from bayesnu.results.diagnostics import worst_verdict
from bayesnu.results.fits import RunArguments, deterministic, fit_coupling, posterior_path
from bayesnu.results.joint import TARGET_ACCEPT as JOINT_ACCEPT
from bayesnu.results.joint import TARGET_ACCEPT_OF_MANY, check_joint, fit_joint, joint_name
from bayesnu.results.joint_summary import joint_json, summarise_joint
from bayesnu.results.limits import (
    DEFAULT_CHAINS,
    DEFAULT_DRAWS,
    DEFAULT_SEED,
    check_counts,
    naming,
    no_limit,
    say_caution,
)
from bayesnu.results.posterior import load_posterior, release
from bayesnu.results.summary import limits_csv, result_json, summarise
from bayesnu.results.verdict import warning, withhold
from bayesnu.shown import Shown

FORMAT_VERSION = 5
PACKAGES = ("numpy", "scipy", "xarray", "pymc", "pytensor", "nutpie", "arviz", "numba")


@dataclass(frozen=True, repr=False)
class Run(Shown):
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


@dataclass(frozen=True, repr=False)
class RunComparison(Shown):
    """Finished runs beside each other.

    Attributes
    ----------
    runs : tuple of Run
    """

    runs: tuple[Run, ...]


def compare(folders: Sequence[Path | str]) -> RunComparison:
    """Return finished runs to be shown beside each other and beside the published limits.

    Parameters
    ----------
    folders : sequence of Path or str

    Raises
    ------
    RunError
        As `load_run`.
    """
    return RunComparison(tuple(load_run(Path(folder)) for folder in folders))


def make_arguments(
    experiment: Experiment,
    couplings: Sequence[str],
    draws: int | None,
    chains: int | None,
    seed: int | None,
    joint: Sequence[Sequence[str]] = (),
) -> RunArguments:
    """Check a run's arguments and fill in the defaults.

    Without ``couplings`` all of the card's are fitted, in its order; with ``joint`` fits only those of these.
    """
    experiment.require_alone()
    check_counts(draws=draws, chains=chains, seed=seed)
    together = tuple(dict.fromkeys(check_joint(experiment, names) for names in joint))
    alone = [name for names in together for name in names if name not in FREE_TOGETHER]
    names = [experiment.fitted(name) for name in couplings] or alone or list(experiment.card.couplings)
    return RunArguments(
        tuple(dict.fromkeys(names)),
        DEFAULT_DRAWS if draws is None else draws,
        DEFAULT_CHAINS if chains is None else chains,
        DEFAULT_SEED if seed is None else seed,
        joint=together,
    )


def run_hash(experiment: Experiment, arguments: RunArguments) -> str:
    """Return the hash that names a run: the card, its inputs, the published limits and the arguments."""
    text = experiment.digest + json.dumps(asdict(arguments), sort_keys=True) + str(FORMAT_VERSION)
    if experiment.card.comparison is not None:
        text += hashlib.sha256(experiment.files["comparison.published"].read_bytes()).hexdigest()
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def own_files(folder: Path) -> list[Path]:
    """Return the files in a folder whose names are those that a run writes; the user's own are not among them."""
    mine = [folder / name for name in ("run.json", "counts.json", "limits.json", "limits.csv", "report.html")]
    mine += [path for path in sorted((folder / "posteriors").glob("*.nc")) if _is_fit(path.stem)]
    for path in sorted((folder / "figures").glob("*")):
        known = path.stem in ("limits", "posteriors") or _is_fit(path.stem.rpartition("-")[0])
        if known and path.suffix in (".png", ".pdf"):
            mine.append(path)
    return [path for path in mine if path.is_file()]


def _is_fit(name: str) -> bool:
    return all(coupling in COUPLINGS for coupling in name.split("+"))


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
        for path in own_files(folder):
            path.unlink()
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
    limits = _read_json(folder / "limits.json")
    if limits.get("format_version") != FORMAT_VERSION:
        found = limits.get("format_version")
        raise RunError(f"{folder / 'limits.json'}: format version {found}; this bayesnu reads {FORMAT_VERSION}")
    for key in ("model", "title", "scenario", "observed", "verdict", "hash", "limits", "joint", "m_N", "without_limit"):
        if key not in limits or (key == "limits" and not limits[key]):
            raise RunError(f"{folder / 'limits.json'}: the key '{key}' is missing or empty; the file is incomplete")
    if limits["hash"] != information["hash"]:
        raise RunError(f"{folder / 'limits.json'}: belongs to another run ({limits['hash']})")
    return Run(folder, information, limits, ())


def run_fits(
    experiment: Experiment,
    arguments: RunArguments,
    folder: Path,
    *,
    force: bool = False,
    notice: Callable[[str], None],
    progress: Callable[[str], None],
    stored: Callable[[str], None] = silent,
) -> Run:
    """Fit every coupling by NUTS, by the Laplace grid and by profile, then jointly what is asked for, and store it.

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
    stored : callable, optional
        Receives the name of each fit as soon as it is in the folder.
    """
    name = run_hash(experiment, arguments)
    fitted = [coupling for coupling in arguments.couplings if experiment.responds(coupling)]
    unbounded = [coupling for coupling in arguments.couplings if coupling not in fitted]
    if not fitted:
        raise UsageError(f"{experiment.loaded.where}: {no_limit(experiment, unbounded[0])}")
    if open_folder(folder, name, force) and read_record(folder).get("finished") is not None:
        try:
            finished = load_run(folder)
            for fit in (*fitted, *map(joint_name, arguments.joint)):
                load_posterior(posterior_path(folder, fit), ("posterior",))
        except RunError as problem:
            notice(f"{problem}; the run goes on from what is whole")
            (folder / "report.html").unlink(missing_ok=True)
        else:
            notice(f"{folder}: this run is finished; its stored results are shown")
            return finished
    earlier = read_record(folder) if (folder / "run.json").exists() else {}
    seconds: dict[str, float] = earlier.get("fit_seconds", {})
    information = describe_run(experiment, arguments, name, folder)
    information |= {"starts": [*earlier.get("starts", ()), _now()], "fit_seconds": seconds}
    _write_json(folder / "run.json", information)
    _write_json(counts_path(folder), {"hash": name, **counts_json(experiment, fitted)}, indent=None)
    limits = []
    sampler = Sampler()
    resumed, results = [], []
    published = read_published(experiment.files["comparison.published"]) if experiment.card.comparison else []

    def record(fit: str, kept: bool, start: float) -> None:
        """Note a fit that is in the folder, and how long it took if it is new."""
        stored(fit)
        if kept:
            resumed.append(fit)
        else:
            seconds[fit] = round(time.perf_counter() - start, 3)
            _write_json(folder / "run.json", information)

    for coupling in unbounded:
        notice(no_limit(experiment, coupling))
    for coupling in fitted:
        progress(f"fitting {coupling}")
        start = time.perf_counter()
        with naming(experiment, coupling):
            inputs = deterministic(experiment, coupling)
            tree, kept = fit_coupling(experiment, arguments, inputs, folder, name, sampler, notice)
        record(coupling, kept, start)
        result = summarise(experiment, inputs, tree, arguments.credibility, published)
        release(tree)
        del tree
        say_caution(experiment, result.credible, notice)
        results.append(result)
        limits.append(result_json(experiment.card.name, result))
    together = []
    for couplings in arguments.joint:
        fit = joint_name(couplings)
        progress(f"fitting {fit}")
        start = time.perf_counter()
        sampler = Sampler(JOINT_ACCEPT if len(couplings) == 2 else TARGET_ACCEPT_OF_MANY)
        tree, priors, kept = fit_joint(experiment, arguments, couplings, folder, name, sampler, notice)
        record(fit, kept, start)
        together.append(summarise_joint(tree, priors, arguments.credibility))
        release(tree)
        del tree
    scenario = experiment.card.comparison.scenario if experiment.card.comparison else None
    mass = next((m for m in map(experiment.mass_of, fitted) if m is not None), None)
    content = {
        "format_version": FORMAT_VERSION,
        "model": experiment.card.name,
        "title": experiment.card.title,
        "scenario": scenario,
        "observed": experiment.observed,
        "approximate": list(experiment.approximations),
        "m_N": mass,
        "without_limit": unbounded,
        "hash": name,
        "verdict": worst_verdict([*(r.diagnostics.verdict for r in results), *(r.verdict for r in together)]),
        "limits": limits,
        "joint": [joint_json(experiment.card.name, result) for result in together],
    }
    _write_json(folder / "limits.json", content)
    information |= {"finished": _now(), "resumed": resumed}
    run = Run(folder, information, content, tuple(resumed))
    write_csv(run)
    _write_json(folder / "run.json", information)
    return run


def write_csv(run: Run, *, allow_unconverged: bool = False) -> None:
    """Write limits.csv; fits whose verdict is "fail" are not in it, or its first line is a comment that says so."""
    text = limits_csv(withhold(run.limits, allow_unconverged), warning(run.limits) if allow_unconverged else "")
    write_text(run.folder / "limits.csv", text, RunError)


def describe_run(experiment: Experiment, arguments: RunArguments, name: str, folder: Path) -> dict[str, Any]:
    """Return the provenance of a run: card, overrides, checksums, versions and seed.

    Where the card was, and files beside it, is kept relative to the run's folder: the two may be moved together.
    """
    place = experiment.loaded.path.resolve()
    # A combination has the cards of several places.
    own = place.is_file() and not place.is_relative_to(models_folder().resolve())
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
        "card_folder": os.path.relpath(place.parent, folder.resolve()) if own else None,
        "overrides": list(experiment.loaded.overrides),
        "arguments": asdict(arguments),
        "inputs": checksums,
        "inputs_digest": experiment.digest,
        "response": experiment.response_key,
        "covariances": [covariance_json(modes) for modes in experiment.covariances],
        "versions": versions,
        "finished": None,
    }


def _write_json(path: Path, content: dict[str, Any], indent: int | None = 1) -> None:
    write_text(path, json.dumps(content, indent=indent, allow_nan=False) + "\n", RunError)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
