"""Regions of two couplings by pseudo-experiments."""

import numpy as np
import pytest
from scipy import stats

from bayesnu.errors import ConvergenceError, UsageError
from bayesnu.experiment.expectation import CountModel
from bayesnu.experiment.setup import load_experiment
from bayesnu.inference import region as module
from bayesnu.inference.likelihood import Problem
from bayesnu.inference.region import feldman_cousins_region
from bayesnu.inference.toys import quantile_with_error
from bayesnu.results.region import best_fit, region, region_json
from bayesnu.workers.tasks import InProcess


def two_means(names: tuple[str, str] = ("q_nue", "q_numu")) -> Problem:
    """Two normal observations about 20, one for each coupling."""
    arrays = np.array([[[20.0, 20.0], [1.0, 0.0], [0.0, 1.0]]])
    monomials = ((), ((0, 1),), ((1, 1),))
    model = CountModel(names, monomials, ((),), ("c",), (), np.zeros(0), arrays)
    return Problem(names, np.ones(2), model, np.array([20.3, 19.8]), "chi2", np.ones(2))


def test_normal_data_have_the_quantile_of_chi_square() -> None:
    x = np.array([-1.0, 0.3, 2.5])
    found = feldman_cousins_region(two_means(), 0.9, x, x, InProcess(), seed=1, tolerance=0.02)
    exact = stats.chi2.ppf(0.9, 2)
    pulls = (found.critical - exact) / found.error
    assert np.abs(pulls).max() < 4
    assert (found.error <= 0.02 * found.critical).all()
    distance = (x[:, None] - 0.3) ** 2 + (x[None, :] + 0.2) ** 2
    np.testing.assert_allclose(found.observed, distance, atol=1e-8)
    np.testing.assert_array_equal(found.inside, distance <= found.critical)


def test_error_of_a_quantile_is_that_of_order_statistics() -> None:
    rng = np.random.default_rng(3)
    samples = stats.chi2.rvs(2, size=(300, 2000), random_state=rng)
    found = np.array([quantile_with_error(sample, 0.9) for sample in samples])
    q = stats.chi2.ppf(0.9, 2)
    exact = np.sqrt(0.09 / 2000) / stats.chi2.pdf(q, 2)
    assert found[:, 0].mean() == pytest.approx(q, abs=4 * exact / np.sqrt(300))
    assert found[:, 1].mean() == pytest.approx(exact, rel=0.1)


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROUNDS", 1)
    with pytest.raises(ConvergenceError, match=r"not known to 0\.1% after 1 rounds"):
        feldman_cousins_region(two_means(), 0.9, np.zeros(1), np.zeros(1), InProcess(), seed=1, tolerance=0.001)
    experiment = load_experiment("dune-on-axis")
    for couplings, arguments, message in (
        (("mu_nue", "mu_nue"), {}, "needs two different ones"),
        (("mu_nue", "q_nue"), {"points": 3}, "points = 3: must be from 5 to 400"),
        (("mu_nue", "q_nue"), {"tolerance": 2.0}, "tolerance = 2.0"),
        (("mu_nue", "qnue"), {}, "did you mean 'q_nue'"),
    ):
        with pytest.raises(UsageError, match=message):
            region(experiment, couplings, **arguments)  # type: ignore[arg-type]


def test_region_of_a_card() -> None:
    """At the corner of two moments t is a mixture with much at 0, so that critical values are below the asymptotic."""
    experiment, couplings = load_experiment("dune-on-axis"), ("mu_nue", "mu_numu")
    found = region(experiment, couplings, points=5, tolerance=0.08)
    content = region_json("dune-on-axis", found, best_fit(experiment, couplings))
    # Asimov data without the couplings.
    assert content["best_fit"] == pytest.approx([0.0, 0.0], abs=1e-13)
    assert found.critical[0, 0] < 2.5 < content["delta_chi2"]
    assert found.inside[0, 0]
    assert not found.inside[-1, -1]
    assert content["inside"] <= content["inside_asymptotic"]
    assert content["largest_error"] <= 0.08
