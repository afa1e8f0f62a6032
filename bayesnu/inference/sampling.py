"""Draw from the posterior with NUTS through nutpie."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bayesnu.inference import nuts
from bayesnu.inference.frame import PullFrame, mass_frame, pull_frame
from bayesnu.inference.likelihood import Problem
from bayesnu.inference.model import build_pymc_model, model_data, model_structure
from bayesnu.inference.priors import Prior, SampledVariable, sampled_variable

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Draws:
    """Posterior draws of one fit.

    Attributes
    ----------
    couplings : tuple of str
    theta : ndarray, shape (couplings, chains, draws)
        Couplings in their own units.
    pulls : ndarray, shape (chains, draws, pulls)
        Pulls as fractions.
    sample_stats : dict
        The sampler's own statistics by name (`bayesnu.inference.nuts`), each of shape (chains, draws).
    tune : int
        Tuning steps per chain.
    target_accept : float
    seed : int
    """

    couplings: tuple[str, ...]
    theta: Array
    pulls: Array
    sample_stats: dict[str, NDArray[Any]]
    tune: int
    target_accept: float
    seed: int


def watching(progress: Callable[[int, int], None]) -> Callable[[Any], None]:
    """Return what takes nutpie's progress of each chain and reports that of all."""

    def report(chains: Any) -> None:
        progress(sum(chain.finished_draws for chain in chains), sum(chain.total_draws for chain in chains))

    return report


@dataclass(frozen=True)
class Coordinates:
    """What NUTS moves in: a variable for each coupling, and the frame of the pulls."""

    variables: tuple[SampledVariable, ...]
    frame: PullFrame


@dataclass
class Sampler:
    """NUTS with some settings.

    Attributes
    ----------
    target_accept : float
        High, so that no trajectory diverges.
    compiler : {"density", "pymc"}
        What NUTS calls: the hand-written `bayesnu.inference.density`, read from numba's cache, or the PyMC model
        itself, which takes seconds to compile, once for each structure of model. They are the same to 1e-10; draws
        agree statistically, since trajectories amplify rounding.
    """

    target_accept: float = 0.95
    compiler: Literal["density", "pymc"] = "density"
    _models: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    def sample(
        self,
        problem: Problem,
        priors: Sequence[Prior],
        *,
        draws: int,
        chains: int,
        tune: int,
        seed: int,
        coordinates: Coordinates | None = None,
        cores: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Draws:
        """Draw from the posterior of a problem.

        Parameters
        ----------
        problem : Problem
            Statistic "poisson" or "gamma-poisson", or "chi2" with the variances of measured errors.
        priors : sequence of Prior
            One per coupling.
        draws, chains, tune : int
        seed : int
            The same seed gives the same numbers, with a warm or a cold cache.
        coordinates : Coordinates, optional
            Found from the problem by default, which takes as long as sampling does.
        cores : int, optional
            Chains that run at once; as many as there are processors by default.
        progress : callable, optional
            Receives how many draws of all chains are made, and of how many, tuning included.
        """
        if coordinates is None:
            chosen = tuple(sampled_variable(prior, problem) for prior in priors)
            coordinates = Coordinates(chosen, pull_frame(problem, chosen))
        variables, frame = coordinates.variables, coordinates.frame
        model = (self._pymc if self.compiler == "pymc" else _compiled)(problem, variables, frame)
        found, statistics = nuts.run(
            model,
            draws=draws,
            chains=chains,
            tune=tune,
            seed=seed,
            target_accept=self.target_accept,
            cores=cores or os.cpu_count() or 1,
            progress=None if progress is None else watching(progress),
        )
        # Only v and w are stored while sampling; the model's deterministics follow from them.
        v = np.stack([found[f"v_{j}"] for j in range(len(variables))])
        bent = mass_frame(problem, variables)
        if bent is not None:
            v[bent.moment] = bent.value(v[bent.moment], v[bent.mass])
        theta = np.stack([variable.scaled_coupling(values) for variable, values in zip(variables, v, strict=True)])
        frame_v = v[0] if len(variables) == 1 else np.zeros_like(v[0])
        # PyMC's w is one variable, the density's are as many as there are pulls.
        w = [np.atleast_3d(values) for name, values in found.items() if name.startswith("w")]
        z = frame.pulls(frame_v, np.concatenate([np.empty((chains, draws, 0)), *w], axis=-1))
        return Draws(
            problem.couplings,
            theta * problem.scales[:, None, None],
            z * problem.model.widths,
            statistics,
            tune,
            self.target_accept,
            seed,
        )

    def _pymc(self, problem: Problem, variables: Sequence[SampledVariable], frame: PullFrame) -> Any:
        """Return nutpie's compilation of the PyMC model, with the problem's data."""
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            # Deprecations inside PyMC, PyTensor and nutpie are not the user's to act on.
            warnings.simplefilter("ignore")
            import nutpie
            import pytensor

            structure = model_structure(problem, variables)
            if structure not in self._models:
                # fastmath lets the compiler reorder sums, and then a cached build differs from a fresh one.
                with pytensor.config.change_flags(numba__fastmath=False):
                    self._models[structure] = nutpie.compile_pymc_model(
                        build_pymc_model(problem, variables),
                        var_names=[*(f"v_{j}" for j in range(len(variables))), "w"],
                    )
            compiled = self._models[structure].with_data(**model_data(problem, variables, frame))
            return compiled._make_model(np.zeros(compiled.n_dim))


def _compiled(problem: Problem, variables: Sequence[SampledVariable], frame: PullFrame) -> Any:
    """Return the hand-written density of a problem as nutpie takes it."""
    from bayesnu.inference.density import callbacks, density_inputs

    density, draw = callbacks()
    names = [*(f"v_{j}" for j in range(len(variables))), *(f"w_{p}" for p in range(len(problem.model.pulls)))]
    centre = np.zeros(len(names))
    for j, variable in enumerate(variables):
        if variable.kind == "half-normal":
            centre[j] = np.log(variable.sigma)

    def start(seed: Any) -> Array:
        return centre + np.random.default_rng(seed).uniform(-1.0, 1.0, centre.size)

    return nuts.compiled_model(density, draw, density_inputs(problem, variables, frame), names, start)
