"""Effective sample size and R-hat of plain arrays, against ArviZ."""

import numpy as np
import pytest
from arviz_stats.base import array_stats

from bayesnu.inference.mixing import mixing


def chain(correlation: float, draws: int, quantities: int = 3) -> np.ndarray:
    noise = np.random.default_rng(2).standard_normal((2, draws, quantities))
    values = noise.copy()
    for t in range(1, draws):
        values[:, t] = correlation * values[:, t - 1] + np.sqrt(1 - correlation**2) * noise[:, t]
    return values


@pytest.mark.parametrize("draws", [200, 501])
@pytest.mark.parametrize("correlation", [-0.3, 0.0, 0.5, 0.95])
def test_same_as_arviz(correlation: float, draws: int) -> None:
    values = np.exp(chain(correlation, draws))
    found = mixing(values)
    for k in range(values.shape[2]):
        one, axes = values[..., k], {"chain_axis": 0, "draw_axis": 1}
        assert found.rhat[k] == pytest.approx(float(array_stats.rhat(one, method="z_scale", **axes)), rel=1e-9)
        # The last term of the sum over lags is taken differently.
        assert found.ess[k] == pytest.approx(float(array_stats.ess(one, method="bulk", **axes)), rel=0.04)


def test_chains_apart_and_a_quantity_that_does_not_move() -> None:
    values = chain(0.0, 300, 2)
    values[1, :, 0] += 5.0
    values[:, :, 1] = 0.25
    found = mixing(values)
    assert found.rhat[0] > 1.5
    assert found.ess[0] < 10
    assert (found.rhat[1], found.ess[1]) == (1.0, 600.0)
