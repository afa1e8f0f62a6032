"""Modes of a grid posterior, and chains that did not visit one."""

import numpy as np
import pytest
from scipy import stats

from bayesnu.inference.laplace import GridPosterior
from bayesnu.inference.priors import Prior
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.results.modes import Mode, find_modes, missed, visits

Q = COUPLINGS["q_nue"]
X = np.linspace(-10, 10, 2001)


def grid(*parts: tuple[float, float, float]) -> GridPosterior:
    """A mixture of normals: weight, mean, standard deviation."""
    density = np.sum([w * stats.norm(m, s).pdf(X) for w, m, s in parts], axis=0)
    return GridPosterior("q_nue", X, density, Prior(Q, "uniform", -10.0, 10.0))


def test_one_peak_is_one_mode() -> None:
    assert find_modes(grid((1, 0.5, 1))) == (Mode(-10.0, 10.0, pytest.approx(0.5), 1.0),)


def test_two_peaks_split_at_the_valley() -> None:
    first, second = find_modes(grid((0.7, -4, 1), (0.3, 3, 1)))
    assert (first.peak, second.peak) == (pytest.approx(-4), pytest.approx(3))
    assert (first.share, second.share) == (pytest.approx(0.7, abs=1e-3), pytest.approx(0.3, abs=1e-3))
    assert first.high == second.low
    assert -1 < first.high < 0


def test_shoulders_and_traces_are_no_modes() -> None:
    """A valley that is not below half of the lower peak; and a peak with half a per cent of the posterior."""
    assert len(find_modes(grid((0.5, -1.2, 1), (0.5, 1.2, 1)))) == 1
    assert len(find_modes(grid((0.995, -4, 1), (0.005, 4, 1)))) == 1
    assert len(find_modes(grid((0.98, -4, 1), (0.02, 4, 1)))) == 2


def test_density_of_the_logarithm_under_a_log_uniform_prior() -> None:
    """Per unit of θ the density at the floor is a peak of its own; per unit of ln θ it is a plateau."""
    values = np.geomspace(1e-6, 10, 3001)
    density = np.exp(-((values - 3) ** 2) / 0.18) / values
    density += 1e-3 * np.exp(-values) / values
    prior = Prior(COUPLINGS["mu_nue"], "log-uniform", 1e-6, 10.0)
    modes = find_modes(GridPosterior("mu_nue", values, density, prior))
    assert modes[-1].peak == pytest.approx(3, rel=0.01)
    assert sum(mode.share for mode in modes) == pytest.approx(1)


def test_every_chain_has_to_visit_every_mode() -> None:
    modes = find_modes(grid((0.7, -4, 1), (0.3, 3, 1)))
    rng = np.random.default_rng(1)
    left, right = rng.normal(-4, 1, (4, 500)), rng.normal(3, 1, (4, 500))
    mixed = np.where(rng.random((4, 500)) < 0.7, left, right)
    assert missed(mixed, modes) == ()
    np.testing.assert_allclose(visits(mixed, modes)[:, 0], 0.7, atol=0.1)
    stuck = mixed.copy()
    stuck[2] = left[2]
    (reason,) = missed(stuck, modes)
    assert reason == "chain 2 never (or hardly) visited the mode at 3, which holds 30% of the posterior"
    stuck[0] = left[0]
    assert missed(stuck, modes)[0].startswith("chains 0, 2 never (or hardly) visited")


def test_a_mode_that_holds_little_may_be_missed() -> None:
    modes = find_modes(grid((0.97, -4, 1), (0.03, 4, 1)))
    assert len(modes) == 2
    assert missed(np.random.default_rng(1).normal(-4, 1, (4, 500)), modes) == ()
