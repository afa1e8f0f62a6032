"""A sampler that draws from the Laplace grid in a moment, and a finished run made with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bayesnu.experiment.setup import Experiment
from bayesnu.inference.laplace import laplace_posterior
from bayesnu.inference.likelihood import Problem
from bayesnu.inference.priors import Prior
from bayesnu.inference.sampling import Draws, Sampler
from bayesnu.results import intervals, runs, summary
from bayesnu.results.intervals import grid_quantiles
from bayesnu.results.runs import Run, make_arguments, run_fits

_REMEMBERED: dict[tuple[Any, ...], Any] = {}


def remember(key: tuple[Any, ...], compute: Callable[[], Any]) -> Any:
    """Compute once per session what no test changes: profiles and grids of the same card."""
    if key not in _REMEMBERED:
        _REMEMBERED[key] = compute()
    return _REMEMBERED[key]


def fingerprint(problem: Problem) -> tuple[Any, ...]:
    """What makes two problems the same."""
    variances = (problem.normal_variance, problem.relative_variance)
    arrays = (problem.data, problem.model.arrays, problem.model.widths, *variances)
    return problem.couplings, *(array.tobytes() for array in arrays)


def inverse_cdf(problem: Problem, prior: Prior) -> tuple[np.ndarray, np.ndarray]:
    """Levels and the values of the Laplace posterior there."""

    def compute() -> tuple[np.ndarray, np.ndarray]:
        posterior = laplace_posterior(problem, prior)
        levels = np.linspace(0, 1, 401)
        inner = grid_quantiles(posterior.values, posterior.density, levels[1:-1])
        return levels, np.concatenate([posterior.values[:1], inner, posterior.values[-1:]])

    return remember(("inverse", prior, fingerprint(problem)), compute)


@dataclass
class FakeSampler:
    """Stands in for `Sampler.sample`: independent draws from the Laplace grid; notes what was asked for.

    Attributes
    ----------
    calls : list of str
        Couplings, in the order in which they were sampled.
    interrupt_at : int
        The call that raises KeyboardInterrupt, counted from 1; 0 for none.
    """

    calls: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    interrupt_at: int = 0

    def __call__(
        self,
        problem: Problem,
        priors: Sequence[Prior],
        *,
        draws: int,
        chains: int,
        tune: int,
        seed: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> Draws:
        self.calls.append(problem.couplings[0])
        self.seeds.append(seed)
        if len(self.calls) == self.interrupt_at:
            raise KeyboardInterrupt
        rng = np.random.default_rng(seed)
        theta = []
        for prior in priors:
            levels, values = inverse_cdf(problem, prior)
            theta.append(np.interp(rng.random((chains, draws)), levels, values))
        widths = problem.model.widths
        pulls = 0.1 * widths * rng.standard_normal((chains, draws, widths.size))
        stats = {
            "energy": rng.standard_normal((chains, draws)),
            "diverging": np.zeros((chains, draws), dtype=np.bool_),
        }
        return Draws(problem.couplings, np.stack(theta), pulls, stats, tune, 0.95, seed)


def install(patch: pytest.MonkeyPatch) -> FakeSampler:
    fake = FakeSampler()
    patch.setattr(intervals, "_REPLICATES", 20)
    exact = runs.deterministic
    interval = summary.frequentist_interval
    patch.setattr(runs, "deterministic", lambda e, c: remember(("exact", e.digest, c), lambda: exact(e, c)))
    patch.setattr(
        summary,
        "frequentist_interval",
        lambda p, cl: remember(("interval", fingerprint(p), cl), lambda: interval(p, cl)),
    )
    patch.setattr(Sampler, "sample", lambda self, *arguments, **options: fake(*arguments, **options))
    return fake


@pytest.fixture
def fake_sampler(monkeypatch: pytest.MonkeyPatch) -> FakeSampler:
    return install(monkeypatch)


@pytest.fixture
def fit(on_axis: Experiment, fake_sampler: FakeSampler) -> Callable[..., tuple[Run, list[str]]]:
    """Run some couplings with few draws of the fake sampler; returns the run and its notices."""

    def start(folder: Path, couplings: Sequence[str] = ("mu_numu", "q_numu"), **options: Any) -> tuple[Run, list[str]]:
        notices: list[str] = []
        experiment = options.pop("experiment", on_axis)
        seed, force = options.pop("seed", 5), options.pop("force", False)
        arguments = make_arguments(experiment, couplings, options.pop("draws", 100), options.pop("chains", 2), seed)
        run = run_fits(experiment, arguments, folder, force=force, notice=notices.append, progress=lambda _: None)
        return run, notices

    return start


def finish(experiment: Experiment, couplings: Sequence[str], draws: int, chains: int, folder: Path) -> Run:
    """A run made with the fake sampler."""
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        arguments = make_arguments(experiment, couplings, draws, chains, 5)
        return run_fits(experiment, arguments, folder, notice=lambda _: None, progress=lambda _: None)


@pytest.fixture(scope="session")
def finished_run(on_axis: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished on-axis run of three couplings, 4 × 500 draws of the fake sampler; not to be changed."""
    return finish(on_axis, ("mu_numu", "q_numu", "r2_numu"), 500, 4, tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="session")
def short_run(on_axis: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of what `fit` fits by default; not to be changed."""
    return finish(on_axis, ("mu_numu", "q_numu"), 100, 2, tmp_path_factory.mktemp("runs") / "run")
