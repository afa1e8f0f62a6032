"""What a physicist would write with PyMC for one coupling and the pulls of a ν-e experiment, templates in hand.

The expected counts of the experiment are linear in a few terms: for each channel and each power of the coupling an
array of counts, read from a file of arrays that holds what any folding program would give. Nothing of bayesnu is
imported here; `log_density` is what the benchmark holds against bayesnu's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pymc as pm

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Analysis:
    """Arrays of one analysis.

    Attributes
    ----------
    coupling : str
        Its name, for figures.
    signed : bool
        Whether the coupling may be negative: normal prior, else half-normal.
    sigma : float
        Width of the prior, in the coupling's unit of ``templates``.
    templates : ndarray, shape (channels, 3, bins)
        Counts of each channel per unit of 1, θ and θ².
    scaled_by : ndarray, shape (channels, pulls)
        1 where a pull scales a channel, else 0.
    widths : ndarray, shape (pulls,)
        One-sigma widths of the pulls, as fractions.
    counts : ndarray of int, shape (bins,)
        Observed.
    """

    coupling: str
    signed: bool
    sigma: float
    templates: Array
    scaled_by: Array
    widths: Array
    counts: NDArray[np.int64]

    def save(self, path: Path) -> None:
        """Write the arrays."""
        np.savez(path, **vars(self))

    @classmethod
    def load(cls, path: Path) -> Analysis:
        """Read what `save` wrote."""
        with np.load(path) as file:
            return cls(
                str(file["coupling"]),
                bool(file["signed"]),
                float(file["sigma"]),
                *(file[name] for name in ("templates", "scaled_by", "widths", "counts")),
            )


def expected(analysis: Analysis, theta: Any, pulls: Any) -> Any:
    """Return the expected counts, shape (bins,), of NumPy or PyTensor values."""
    # Broadcast, multiply and sum: products of matrices take PyTensor several times as long to compile.
    factors = (1 + analysis.scaled_by * pulls).prod(axis=1)
    signal = analysis.templates[:, 0] + theta * analysis.templates[:, 1] + theta**2 * analysis.templates[:, 2]
    return (factors[:, None] * signal).sum(axis=0)


def build_model(analysis: Analysis) -> pm.Model:
    """Return the PyMC model: a prior, the pulls, Poisson counts."""
    import pymc as pm

    with pm.Model() as model:
        theta = (pm.Normal if analysis.signed else pm.HalfNormal)("theta", sigma=analysis.sigma)
        pulls = pm.Normal("pulls", 0.0, analysis.widths, shape=analysis.widths.size)
        pm.Poisson("n", expected(analysis, theta, pulls), observed=analysis.counts)
    return model


def log_density(analysis: Analysis, theta: Array, pulls: Array) -> Array:
    """Return the log-density of PyMC's model at points, theta (points,) and pulls (points, pulls), in θ itself."""
    model = build_model(analysis)
    compiled = model.compile_logp(jacobian=False)
    name = "theta" if analysis.signed else "theta_log__"
    place = theta if analysis.signed else np.log(theta)
    return np.array([float(compiled({name: t, "pulls": f})) for t, f in zip(place, pulls, strict=True)])


def sample(analysis: Analysis, seed: int, **options: Any) -> Any:
    """Return the posterior by ``pm.sample`` as it comes, of four chains whatever the number of processors."""
    import pymc as pm

    with build_model(analysis):
        return pm.sample(chains=4, random_seed=seed, progressbar=False, **options)
