"""nutpie's sampler by its compiled part: what the package imports besides takes longer than most sampling does.

``import nutpie`` brings ArviZ, pandas and matplotlib for what it returns and shows. Its extension module needs none of
them; it takes callbacks by address and gives Arrow columns. The module is not for the public, so that pyproject.toml
holds nutpie to the versions that this is known to work with.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import PathFinder
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
EXTENSION = "nutpie._lib"
PROGRESS_MS = 100
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


def extension() -> Any:
    """Return nutpie's extension module, without the package around it; an import of that finds the same module."""
    if EXTENSION not in sys.modules:
        package = importlib.util.find_spec("nutpie")
        found = package and PathFinder.find_spec(EXTENSION, package.submodule_search_locations)
        if not found or found.loader is None:
            # Elsewhere than in a folder of files: by the front door, which says what is missing.
            return importlib.import_module(EXTENSION)
        module = importlib.util.module_from_spec(found)
        sys.modules[EXTENSION] = module
        found.loader.exec_module(module)
    return sys.modules[EXTENSION]


def compiled_model(density: Any, draw: Any, inputs: Array, names: Sequence[str], start: Callable[[Any], Array]) -> Any:
    """Return a density as nutpie takes it.

    Parameters
    ----------
    density, draw : numba.core.ccallback.CFunc
        ln p with its gradient, and what is kept of a draw: one number for each name.
    inputs : ndarray
        What both receive.
    names : sequence of str
    start : callable
        Receives a seed; returns where a chain starts.
    """
    lib, size = extension(), len(names)
    return lib.PyMcModel(
        # The last argument is kept alive as long as the callbacks are called.
        lib.LogpFunc(density.address, inputs.ctypes.data, (density, inputs)),
        lib.ExpandFunc(size, size, draw.address, inputs.ctypes.data, (draw, inputs)),
        lib.PyVariable.new_variables(list(names), ["float64"] * size, [()] * size, {}, {}),
        size,
        {},
        {},
        start,
        None,
    )


def run(
    model: Any,
    *,
    draws: int,
    chains: int,
    tune: int,
    seed: int,
    target_accept: float,
    cores: int,
    progress: Callable[[Any], None] | None = None,
) -> tuple[dict[str, Array], dict[str, NDArray[Any]]]:
    """Return draws by variable, shape (chains, draws, …), and `SAMPLE_STATS`, tuning left out.

    Parameters
    ----------
    model : nutpie._lib.PyMcModel
    draws, chains, tune, seed, cores : int
    target_accept : float
    progress : callable, optional
        Receives nutpie's progress of each chain, from another thread.
    """
    lib = extension()
    settings = lib.PyNutsSettings.Diag(seed)
    settings.update({"num_draws": draws, "num_chains": chains, "num_tune": tune, "target_accept": target_accept})
    running = lib.PySampler.from_pymc(
        settings, min(chains, cores), model, lib.ProgressType.none(), progress, PROGRESS_MS, lib.PyStorage.arrow()
    )
    try:
        running.wait(None)
        trace = running.take_results()
    except BaseException:
        # Its threads would go on with draws that nobody waits for.
        running.abort()
        raise
    drawn, by_chain = trace.get_arrow_trace()
    tuning = [int(np.sum(stats.column("tuning").to_numpy())) for stats in by_chain]

    def columns(batches: Any, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        kept = [batch.slice(skipped) for batch, skipped in zip(batches, tuning, strict=True)]
        return {name: np.array([_values(batch.column(name)) for batch in kept]) for name in names}

    known = [name for name in SAMPLE_STATS if name in by_chain[0].schema.names]
    return columns(drawn, drawn[0].schema.names), columns(by_chain, known)


def _values(column: Any) -> NDArray[Any]:
    """Return an Arrow column, of numbers or of lists of as many numbers each, as one array."""
    kind = str(column.type)
    if "List" not in kind:
        return np.asarray(column.to_numpy())
    import pyarrow

    return np.asarray(pyarrow.array(column).flatten().to_numpy(zero_copy_only=False)).reshape(len(column), -1)
