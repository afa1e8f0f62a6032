"""Draw from the posterior with NUTS through nutpie."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from bayesnu.inference.frame import PullFrame, mass_frame, pull_frame
from bayesnu.inference.likelihood import Problem
from bayesnu.inference.model import build_pymc_model, model_data, model_structure
from bayesnu.inference.priors import Prior, SampledVariable, sampled_variable

if TYPE_CHECKING:
    import xarray as xr

Array = NDArray[np.float64]


SAMPLE_STATS = (
    "diverging",
    "energy",
    "energy_error",
    "logp",
    "depth",
    "maxdepth_reached",
    "n_steps",
    "step_size",
    "mean_tree_accept",
)
"""What is kept of nutpie's statistics."""


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
    sample_stats : xarray.Dataset
        The sampler's own statistics (chain, draw).
    tune : int
        Tuning steps per chain.
    target_accept : float
    seed : int
    """

    couplings: tuple[str, ...]
    theta: Array
    pulls: Array
    sample_stats: xr.Dataset
    tune: int
    target_accept: float
    seed: int


def stored(trace: Any) -> tuple[dict[str, Array], xr.Dataset]:
    """Return draws by variable, (chains, draws × size), and `SAMPLE_STATS`, from what nutpie stored, tuning left out.

    nutpie's own DataTree takes half as long as the sampling of a few hundred draws.
    """
    import xarray as xr

    def columns(batches: Any, names: Any) -> dict[str, Array]:
        kept = [
            batch.slice(int(np.sum(stats.column("tuning").to_numpy())))
            for batch, stats in zip(batches, by_chain, strict=True)
        ]
        return {name: np.array([_values(batch.column(name)) for batch in kept]) for name in names}

    draws, by_chain = trace.get_arrow_trace()
    statistics = columns(by_chain, [name for name in SAMPLE_STATS if name in by_chain[0].schema.names])
    shape = next(iter(statistics.values())).shape
    coords = {"chain": np.arange(shape[0]), "draw": np.arange(shape[1])}
    return columns(draws, draws[0].schema.names), xr.Dataset(
        {name: (("chain", "draw"), values) for name, values in statistics.items()}, coords=coords
    )


def watching(progress: Callable[[int, int], None]) -> Callable[[Any], None]:
    """Return what takes nutpie's progress of each chain and reports that of all."""

    def report(chains: Any) -> None:
        progress(sum(chain.finished_draws for chain in chains), sum(chain.total_draws for chain in chains))

    return report


def _values(column: Any) -> Array:
    """Return an Arrow column, of numbers or of lists of numbers, as one array."""
    import pyarrow

    numbers = pyarrow.array(column)
    flat = numbers.flatten() if hasattr(numbers, "flatten") else numbers
    return np.asarray(flat.to_numpy(zero_copy_only=False))


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
        with warnings.catch_warnings():
            # Deprecations inside PyMC, PyTensor and nutpie are not the user's to act on.
            warnings.simplefilter("ignore")
            import nutpie

            if self.compiler == "pymc":
                compiled = self._pymc(problem, variables, frame)
            else:
                compiled = _compiled(problem, variables, frame)
            with contextlib.redirect_stdout(io.StringIO()):
                running = nutpie.sample(
                    compiled,
                    draws=draws,
                    tune=tune,
                    chains=chains,
                    cores=min(chains, cores or os.cpu_count() or 1),
                    seed=seed,
                    target_accept=self.target_accept,
                    progress_bar=False,
                    save_warmup=False,
                    return_raw_trace=True,
                    progress_callback=None if progress is None else watching(progress),
                    blocking=False,
                )
                try:
                    trace = running.wait()
                except BaseException:
                    # nutpie itself would take Ctrl-C for a wish to go on with the draws made so far.
                    running.cancel()
                    raise
        found, statistics = stored(trace)
        # Only v and w are stored while sampling; the model's deterministics follow from them.
        v = np.stack([found[f"v_{j}"] for j in range(len(variables))])
        bent = mass_frame(problem, variables)
        if bent is not None:
            v[bent.moment] = bent.value(v[bent.moment], v[bent.mass])
        theta = np.stack([variable.scaled_coupling(values) for variable, values in zip(variables, v, strict=True)])
        frame_v = v[0] if len(variables) == 1 else np.zeros_like(v[0])
        z = frame.pulls(frame_v, found["w"].reshape(chains, draws, -1))
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
        import nutpie
        import pytensor

        structure = model_structure(problem, variables)
        if structure not in self._models:
            # fastmath lets the compiler reorder sums, and then a cached build differs from a fresh one.
            with pytensor.config.change_flags(numba__fastmath=False):
                self._models[structure] = nutpie.compile_pymc_model(
                    build_pymc_model(problem, variables), var_names=[*(f"v_{j}" for j in range(len(variables))), "w"]
                )
        return self._models[structure].with_data(**model_data(problem, variables, frame))


def _compiled(problem: Problem, variables: Sequence[SampledVariable], frame: PullFrame) -> Any:
    """Return the hand-written density of a problem as nutpie takes it."""
    from nutpie.compile_pymc import CompiledPyMCModel

    from bayesnu.inference.density import callbacks, density_inputs

    density, draw = callbacks()
    n_couplings, n_pulls = len(variables), len(problem.model.pulls)
    size = n_couplings + n_pulls
    names = [*(f"v_{j}" for j in range(n_couplings)), "w"]
    shapes = [*[()] * n_couplings, (n_pulls,)]
    slices = [slice(j, j + 1) for j in range(n_couplings)] + [slice(n_couplings, size)]
    centre = np.zeros(size)
    for j, variable in enumerate(variables):
        if variable.kind == "half-normal":
            centre[j] = np.log(variable.sigma)

    def start(seed: Any) -> Array:
        return centre + np.random.default_rng(seed).uniform(-1.0, 1.0, size)

    return CompiledPyMCModel(
        dims={},
        compiled_logp_func=density,
        compiled_expand_func=draw,
        initial_point_func=start,
        shared_data={},
        shared_var_keys={},
        user_data=density_inputs(problem, variables, frame),
        n_expanded=size,
        shape_info=(names, slices, shapes),
        logp_func=None,
        expand_func=None,
        _n_dim=size,
        _shapes=dict(zip(names, shapes, strict=True)),
        _coords={"unconstrained_parameter": np.arange(size)},
    )
