"""Each reason for a verdict fires on doctored draws."""

import math

import numpy as np
import pytest
import xarray as xr

from bayesnu.results.diagnostics import diagnose, disagreement, draws_problems
from bayesnu.results.intervals import IntervalSet, draws_interval

SHAPE = (4, 2500)


def test_problems_of_draws() -> None:
    rng = np.random.default_rng(1)
    good = rng.normal(size=(4, 2000))
    assert draws_problems(good, 0) == []
    assert draws_problems(good, 3) == ["3 divergences"]
    apart = good + 3 * np.arange(4)[:, None]
    assert [text.split()[0] for text in draws_problems(apart, 0)] == ["R-hat", "ESS"]


def tree_of(draws: np.ndarray, *, pulls: np.ndarray | None = None, energy: np.ndarray | None = None) -> xr.DataTree:
    rng = np.random.default_rng(99)
    pulls = rng.normal(size=(*draws.shape, 2)) if pulls is None else pulls
    energy = rng.normal(size=draws.shape) if energy is None else energy
    posterior = xr.Dataset({"q_nue": (("chain", "draw"), draws), "pulls": (("chain", "draw", "pull"), pulls)})
    stats = xr.Dataset({"diverging": (("chain", "draw"), np.zeros(draws.shape, bool)), "energy": posterior.q_nue * 0})
    stats["energy"] = (("chain", "draw"), energy)
    return xr.DataTree.from_dict({"posterior": posterior, "sample_stats": stats})


@pytest.fixture
def draws() -> np.ndarray:
    return np.random.default_rng(1).normal(size=SHAPE)


def quoted(draws: np.ndarray) -> IntervalSet:
    intervals, errors = draws_interval(draws, 0.9, "eti", (-math.inf, math.inf))
    return IntervalSet("q_nue", "e", 0.9, "eti", "nuts", intervals, errors)


def grid(low: float = -1.645, high: float = 1.645) -> IntervalSet:
    return IntervalSet("q_nue", "e", 0.9, "eti", "laplace", ((low, high),), ((math.nan, math.nan),))


def slow_chains(seed: int, rho: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    chains = np.zeros(SHAPE)
    for k in range(1, SHAPE[1]):
        chains[:, k] = rho * chains[:, k - 1] + math.sqrt(1 - rho**2) * rng.normal(size=SHAPE[0])
    return chains


def test_independent_draws_pass(draws: np.ndarray) -> None:
    found = diagnose(tree_of(draws), "q_nue", quoted(draws), grid())
    assert (found.verdict, found.reasons) == ("pass", ())
    assert found.rhat < 1.01
    assert 7000 < found.ess_bulk < 13000
    assert 7000 < found.ess_tail < 13000
    assert found.divergences == 0
    assert found.ebfmi_min > 0.8
    assert found.error_relative == pytest.approx(max(quoted(draws).mc_error[0]) / 1.645, rel=0.1)
    assert 0 <= found.laplace_sigma < 4


def test_stuck_chain_fails_by_r_hat(draws: np.ndarray) -> None:
    draws[2] += 2.0
    found = diagnose(tree_of(draws), "q_nue", quoted(draws), None)
    assert found.verdict == "fail"
    assert found.rhat > 1.1
    assert any(reason.startswith("R-hat 1.") for reason in found.reasons)
    assert math.isnan(found.laplace_sigma)


def test_pull_that_has_not_mixed_fails(draws: np.ndarray) -> None:
    pulls = np.random.default_rng(3).normal(size=(*SHAPE, 2))
    pulls[0, :, 1] += 2
    found = diagnose(tree_of(draws, pulls=pulls), "q_nue", quoted(draws), grid())
    assert found.verdict == "fail"
    assert found.rhat < 1.01 < found.pull_rhat_max
    assert any("R-hat" in reason for reason in found.reasons)


def test_pull_of_width_zero_is_not_judged(draws: np.ndarray) -> None:
    pulls = np.random.default_rng(4).normal(size=(*SHAPE, 2))
    pulls[:, :, 0] = 0
    assert diagnose(tree_of(draws, pulls=pulls), "q_nue", quoted(draws), grid()).verdict == "pass"
    assert diagnose(tree_of(draws, pulls=0 * pulls), "q_nue", quoted(draws), grid()).pull_rhat_max == 1


def test_few_effective_draws_fail() -> None:
    slow = slow_chains(5, 0.99)
    found = diagnose(tree_of(slow), "q_nue", quoted(slow), None)
    assert found.verdict == "fail"
    assert found.ess_bulk < 400
    assert any(reason.startswith("ESS") and reason.endswith("below 400") for reason in found.reasons)


def test_fewer_than_1000_effective_draws_warn() -> None:
    few = np.random.default_rng(12).normal(size=(4, 200))
    wide = IntervalSet("q_nue", "e", 0.9, "eti", "nuts", ((-1.65, 1.65),), ((0.01, 0.01),))
    found = diagnose(tree_of(few), "q_nue", wide, grid())
    assert found.verdict == "warn"
    (reason,) = found.reasons
    assert reason.startswith("ESS")
    assert reason.endswith("below 1000")


def test_divergences_fail(draws: np.ndarray) -> None:
    tree = tree_of(draws)
    tree["sample_stats"]["diverging"][1, 7:9] = True
    found = diagnose(tree, "q_nue", quoted(draws), grid())
    assert (found.verdict, found.divergences, found.reasons) == ("fail", 2, ("2 divergences",))


def test_low_ebfmi_of_one_chain_fails(draws: np.ndarray) -> None:
    energy = np.random.default_rng(6).normal(size=SHAPE)
    energy[3] = slow_chains(7, 0.95)[0]
    found = diagnose(tree_of(draws, energy=energy), "q_nue", quoted(draws), grid())
    assert found.ebfmi_min == pytest.approx(np.mean(np.diff(energy[3]) ** 2) / energy[3].var(), rel=1e-3)
    assert found.verdict == "fail"
    assert found.reasons[0].startswith("E-BFMI 0.")


def test_disagreement_with_the_grid_fails(draws: np.ndarray) -> None:
    found = diagnose(tree_of(draws), "q_nue", quoted(draws), grid(high=2.2))
    assert found.verdict == "fail"
    assert found.reasons[0].startswith("NUTS and the Laplace grid differ by")


def test_other_number_of_pieces_is_a_disagreement(draws: np.ndarray) -> None:
    two = IntervalSet("q_nue", "e", 0.9, "hdi", "laplace", ((-2, -1), (1, 2)), ((math.nan,) * 2,) * 2)
    assert disagreement(quoted(draws), two) == math.inf
    assert diagnose(tree_of(draws), "q_nue", quoted(draws), two).verdict == "fail"


def test_large_error_of_a_bound_warns(draws: np.ndarray) -> None:
    rough = IntervalSet("q_nue", "e", 0.9, "eti", "nuts", ((-1.65, 1.65),), ((0.01, 0.05),))
    found = diagnose(tree_of(draws), "q_nue", rough, grid())
    assert found.verdict == "warn"
    assert found.error_relative == pytest.approx(0.05 / 1.65)
    assert found.reasons == ("Monte Carlo error of a bound is 3.0% of it",)


def test_distance_counts_in_monte_carlo_errors_and_skips_exact_bounds() -> None:
    nuts = IntervalSet("mu_nue", "mu_B", 0.9, "upper", "nuts", ((0.0, 2.0),), ((math.nan, 0.1),))
    other = IntervalSet("mu_nue", "mu_B", 0.9, "upper", "laplace", ((0.0, 1.75),), ((math.nan, math.nan),))
    assert disagreement(nuts, other) == pytest.approx(2.5)
    exact = IntervalSet("mu_nue", "mu_B", 0.9, "upper", "nuts", ((0.0, 2.0),), ((math.nan, math.nan),))
    assert disagreement(exact, other) == 0
