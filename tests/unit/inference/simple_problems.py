"""Problems small enough for their answers to be known."""

from __future__ import annotations

import numpy as np

from bayesnu.experiment.expectation import CountModel
from bayesnu.inference.likelihood import Problem


def normal(x: float, name: str = "mu_nue", power: int = 2, systematic: float = 0.0) -> Problem:
    """x ~ N(θ^power + systematic × z, 1): with a pull z where its effect is not 0."""
    constant = 10.0 if systematic else 0.0
    arrays = np.array([[[0.0], [1.0]], [[constant], [0.0]]])
    components, pulls, widths = ((), (0,)), ("norm",), np.array([systematic / 10.0])
    if not systematic:
        arrays, components, pulls, widths = arrays[:1], ((),), (), np.zeros(0)
    names = ("signal", "background")[: len(components)]
    model = CountModel((name,), ((), ((0, power),)), components, names, pulls, widths, arrays)
    return Problem((name,), np.ones(1), model, np.array([x + constant]), np.ones(1), np.zeros(1))


def counting(n: float, background: float, name: str = "mu_nue", power: int = 2) -> Problem:
    """n ~ Poisson(θ^power + b)."""
    arrays = np.array([[[background], [1.0]]])
    model = CountModel((name,), ((), ((0, power),)), ((),), ("all",), (), np.zeros(0), arrays)
    return Problem((name,), np.ones(1), model, np.array([float(n)]), np.zeros(1), np.zeros(1))


def counting_with_efficiency(n: float, background: float, width: float, power: int = 2) -> Problem:
    """n ~ Poisson((1 + width z) θ^power + b), z known from a measurement of its own."""
    arrays = np.array([[[0.0], [1.0]], [[background], [0.0]]])
    pulls = ("efficiency",), np.array([width])
    model = CountModel(
        ("mu_nue",), ((), ((0, power),)), ((0,), ()), ("signal", "background"), *pulls, arrays
    )
    return Problem(("mu_nue",), np.ones(1), model, np.array([float(n)]), np.zeros(1), np.zeros(1))
