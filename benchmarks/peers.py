"""The same likelihood as somebody would write it for iminuit, by hand, and as pyhf reads it from a workspace.

Each side gets what is quickest for it: arrays without empty rows, counts of the Standard Model and of each monomial
summed beforehand, a compiled function that knows its arrays, pyhf's data as its backend's own tensor.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesnu.experiment.base import Experiment
from bayesnu.export.pyhf import make_workspace
from bayesnu.inference.likelihood import Problem, squared_only

Array = NDArray[np.float64]
Deviance = Callable[[Array], float]


@dataclass(frozen=True)
class HandWritten:
    """-2 ln L of a Poisson problem, the variable part of it, as a function of (couplings or their squares, pulls).

    Attributes
    ----------
    problem : Problem
        Its couplings that enter squared only are taken in their squares, in which the counts are linear.
    counts, centre : ndarray
        Data, and what the auxiliary measurements of the pulls gave.
    """

    problem: Problem
    counts: Array
    centre: Array

    @classmethod
    def of(cls, problem: Problem) -> HandWritten:
        """Return that of the problem's own data."""
        return cls(problem, problem.data, np.zeros(len(problem.model.pulls)))

    @property
    def terms(self) -> tuple[NDArray[np.int64], Array]:
        """The exponents of each monomial that has any counts, (monomials, couplings), and (monomials, c, obs)."""
        model, number = self.problem.model, len(self.problem.couplings)
        used = np.flatnonzero(model.arrays.any(axis=(0, 2)))
        exponents = np.array([[dict(model.monomials[m]).get(j, 0) for j in range(number)] for m in used])
        exponents[:, squared_only(self.problem)] //= 2
        return exponents.astype(np.int64), np.ascontiguousarray(np.moveaxis(model.arrays[:, used], 1, 0))

    @property
    def names(self) -> list[str]:
        """Names of the variables."""
        return [*self.problem.couplings, *self.problem.model.pulls]

    def with_numpy(self) -> Deviance:
        """Return it in vectorised NumPy."""
        exponents, arrays = self.terms
        number = exponents.shape[1]
        membership, widths = self.problem.model.membership, self.problem.model.widths
        counts, centre = self.counts, self.centre

        def deviance(y: Array) -> float:
            factors = (1 + membership * (widths * y[number:])).prod(axis=1)
            monomials = (y[:number] ** exponents).prod(axis=1)
            # A minimiser may try counts that are impossible.
            expected = np.maximum(monomials @ (factors @ arrays), 1e-9)
            return float(2 * (expected - counts * np.log(expected)).sum() + ((y[number:] - centre) ** 2).sum())

        return deviance

    def compiled(self) -> Deviance:
        """Return it compiled by numba."""
        counted = compiled_deviance(self.problem)
        counts, centre = self.counts, self.centre

        def deviance(y: Array) -> float:
            return float(counted(y, counts, centre))

        return deviance


def compiled_deviance(problem: Problem) -> Callable[[Array, Array, Array], float]:
    """Return `HandWritten` compiled, as a function of (couplings, pulls), counts and auxiliary measurements."""
    exponents, arrays = HandWritten.of(problem).terms
    terms, number, components, size = (*exponents.shape, *arrays.shape[1:])
    members = [np.flatnonzero(row).astype(np.int64) for row in problem.model.membership]
    places = np.full((components, len(problem.model.pulls)), -1)
    for c, own in enumerate(members):
        places[c, : own.size] = own
    filled = arrays.any(axis=2)
    widths = problem.model.widths

    @njit  # type: ignore[untyped-decorator]
    def deviance(y: Array, counts: Array, centre: Array) -> float:
        expected = np.zeros(size)
        for c in range(components):
            factor = 1.0
            for p in places[c]:
                if p < 0:
                    break
                factor *= 1 + widths[p] * y[number + p]
            for m in range(terms):
                if filled[m, c]:
                    weight = factor
                    for j in range(number):
                        for _ in range(exponents[m, j]):
                            weight *= y[j]
                    for o in range(size):
                        expected[o] += weight * arrays[m, c, o]
        value = 0.0
        for o in range(size):
            # A minimiser may try counts that are impossible.
            mean = max(expected[o], 1e-9)
            value += 2 * (mean - counts[o] * np.log(mean))
        for p in range(centre.size):
            value += (y[number + p] - centre[p]) ** 2
        return value

    deviance(np.zeros(number + widths.size), problem.data, np.zeros(widths.size))
    return deviance  # type: ignore[no-any-return]


def minuit(deviance: Deviance, start: Array, names: list[str], squared: NDArray[np.bool_]) -> Any:
    """Return a Minuit of a deviance, at its quickest strategy; what enters squared only is not negative."""
    from iminuit import Minuit

    made = Minuit(deviance, start, name=names)
    made.errordef, made.strategy, made.errors = Minuit.LEAST_SQUARES, 0, 0.5
    for name, bounded in zip(names, squared.tolist(), strict=False):
        if bounded:
            made.limits[name] = (0.0, None)
    return made


class Workspace:
    """The exported workspace of a magnetic moment in one of pyhf's backends.

    Attributes
    ----------
    model : pyhf.Model
    data : tensor
        Of the backend that was set when it was made.
    order : list of int
        Places of (mu2, pulls) in pyhf's parameters.
    """

    def __init__(self, experiment: Experiment, coupling: str, backend: str, optimizer: str = "scipy") -> None:
        import pyhf

        pyhf.set_backend(backend, optimizer, precision="64b")
        self.backend = (backend, optimizer)
        made = make_workspace(experiment, coupling)
        workspace = pyhf.Workspace(json.loads(json.dumps(made.specification)))
        self.model = workspace.model(validate=False)
        self.data = pyhf.tensorlib.astensor(workspace.data(self.model))
        pulls = ["lumi" if name == "flux_norm" else name for name in experiment.model.pulls]
        order = list(self.model.config.par_order)
        self.order = [order.index(name) for name in ("mu2", *pulls)]
        self.scale = made.scale
        self.lumi_width = dict(zip(pulls, experiment.model.widths.tolist(), strict=True))["lumi"]
        self.lumi = 1 + pulls.index("lumi")

    def use(self) -> None:
        """Make pyhf use this backend."""
        import pyhf

        pyhf.set_backend(*self.backend, precision="64b")

    def parameters(self, y: Array) -> Array:
        """Return pyhf's parameters of mu2 and pulls in units of their widths, shape (…, 1 + pulls)."""
        own = y.copy()
        own[..., self.lumi] = 1 + self.lumi_width * own[..., self.lumi]
        result = np.empty_like(own)
        result[..., self.order] = own
        return result

    def value(self, parameters: Any) -> Any:
        """Return -2 ln L."""
        return -2 * self.model.logpdf(parameters, self.data)[0]
