"""Each reason for a verdict fires on doctored draws."""

import math

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from bayesnu.inference.laplace import GridPosterior
from bayesnu.inference.priors import Prior
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.results.diagnostics import diagnose, diagnostics_json, disagreement, ess_at_bounds
from bayesnu.results.intervals import IntervalSet, draws_interval

SHAPE = (4, 2500)


def tree_of(draws: np.ndarray, *, pulls: np.ndarray | None = None, energy: np.ndarray | None = None) -> xr.DataTree:
    rng = np.random.default_rng(99)
    pulls = rng.normal(size=(*draws.shape, 2)) if pulls is None else pulls
    energy = rng.normal(size=draws.shape) if energy is None else energy
    posterior = xr.Dataset({"q_nue": (("chain", "draw"), draws), "pulls": (("chain", "draw", "pull"), pulls)})
    diverging = np.zeros(draws.shape, bool)
    own = xr.Dataset({"diverging": (("chain", "draw"), diverging), "energy": (("chain", "draw"), energy)})
    return xr.DataTree.from_dict({"posterior": posterior, "sample_stats": own})


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
    assert (found.verdict, found.divergences) == ("fail", 2)
    assert found.reasons[0].startswith("2 divergences at q_nue ")


def test_divergences_are_placed(draws: np.ndarray) -> None:
    pulls = np.random.default_rng(8).normal(size=(*SHAPE, 3))
    pulls[:, :, 0] = 0
    tree = tree_of(draws, pulls=pulls)
    tree["posterior"] = tree["posterior"].to_dataset().assign_coords(pull=["fixed", "flux_norm", "wrong_sign"])
    bad = (draws > 1.5) & (pulls[:, :, 2] < -1.5)
    tree["sample_stats"]["diverging"].values[bad] = True
    (reason,) = diagnose(tree, "q_nue", quoted(draws), grid()).reasons
    low, high = draws[bad].min(), draws[bad].max()
    assert reason.startswith(f"{bad.sum()} divergences at q_nue {low:.3g} to {high:.3g} e, with wrong_sign ")
    distance = (pulls[~bad][:, 2].mean() - pulls[bad][:, 2].mean()) / pulls[:, :, 2].std()
    assert reason.endswith(f" {distance:.1f} standard deviations below the other draws")
    assert distance > 1.5


def test_divergences_everywhere_or_without_a_pull_are_counted(draws: np.ndarray) -> None:
    tree = tree_of(draws, pulls=np.zeros((*SHAPE, 1)))
    tree["sample_stats"]["diverging"][0, :5] = True
    reason = diagnose(tree, "q_nue", quoted(draws), grid()).reasons[0]
    assert reason.startswith("5 divergences at q_nue ")
    assert reason.endswith(" e")
    tree["sample_stats"]["diverging"][:] = True
    assert diagnose(tree, "q_nue", quoted(draws), grid()).reasons[0] == f"{draws.size} divergences"


def test_effective_size_at_the_limit() -> None:
    """Draws that stay long above the 97% quantile: few effective ones there, though enough in the bulk."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(4, 5000))
    stays = np.zeros((4, 5000), dtype=bool)
    for chain in range(4):
        for start in range(700 * chain, 5000, 2500):
            stays[chain, start : start + 80] = True
    x = np.where(stays, 3 + np.abs(x), np.minimum(x, 3))
    wide = IntervalSet("q_nue", "e", 0.97, "upper", "nuts", ((-math.inf, 3.0),), ((math.nan, 0.01),))
    middle = IntervalSet("q_nue", "e", 0.5, "upper", "nuts", ((-math.inf, 0.0),), ((math.nan, 0.01),))
    assert ess_at_bounds(x, wide) < 400 < ess_at_bounds(x, middle)
    found = diagnose(tree_of(x), "q_nue", wide, None)
    assert found.ess_limit == ess_at_bounds(x, wide)
    assert f"ESS {found.ess_limit:.0f} below 400" in found.reasons


def test_bounds_without_an_error_have_no_effective_size(draws: np.ndarray) -> None:
    edge = IntervalSet("q_nue", "e", 0.9, "upper", "nuts", ((0.0, 9.0),), ((math.nan, math.nan),))
    assert ess_at_bounds(draws, edge) == draws.size


def two_modes() -> tuple[GridPosterior, IntervalSet]:
    x = np.linspace(-10, 10, 2001)
    density = 0.6 * stats.norm(-4, 1).pdf(x) + 0.4 * stats.norm(4, 1).pdf(x)
    prior = Prior(COUPLINGS["q_nue"], "uniform", -10.0, 10.0)
    wide = IntervalSet("q_nue", "e", 0.9, "eti", "nuts", ((-5.4, 5.3),), ((0.05, 0.05),))
    return GridPosterior("q_nue", x, density, prior), wide


def test_both_modes_are_visited_by_every_chain() -> None:
    posterior, wide = two_modes()
    rng = np.random.default_rng(5)
    draws = np.where(rng.random(SHAPE) < 0.6, rng.normal(-4, 1, SHAPE), rng.normal(4, 1, SHAPE))
    good = diagnose(tree_of(draws), "q_nue", wide, None, posterior)
    assert (good.verdict, good.reasons) == ("pass", ())
    assert good.mode_peaks == (pytest.approx(-4), pytest.approx(4))
    assert good.mode_shares == (pytest.approx(0.6, abs=1e-3), pytest.approx(0.4, abs=1e-3))
    np.testing.assert_allclose(good.mode_visits, [[0.6, 0.4]] * 4, atol=0.05)
    draws[1] = rng.normal(-4, 1, SHAPE[1])
    bad = diagnose(tree_of(draws), "q_nue", wide, None, posterior)
    assert bad.verdict == "fail"
    assert "chain 1 never (or hardly) visited the mode at 4, which holds 40% of the posterior" in bad.reasons
    assert "--method chi2" in bad.hint
    assert diagnostics_json(bad)["mode_visits"][1] == pytest.approx([1, 0], abs=1e-3)


def test_a_mode_that_no_chain_found_fails() -> None:
    """Nothing else can tell: every chain looks perfect."""
    posterior, wide = two_modes()
    draws = np.random.default_rng(5).normal(-4, 1, SHAPE)
    assert diagnose(tree_of(draws), "q_nue", wide, None).verdict == "pass"
    found = diagnose(tree_of(draws), "q_nue", wide, None, posterior)
    (reason,) = found.reasons
    assert reason == "chains 0, 1, 2, 3 never (or hardly) visited the mode at 4, which holds 40% of the posterior"


def test_hint_says_how_many_draws_are_enough() -> None:
    few = slow_chains(5, 0.99)
    found = diagnose(tree_of(few), "q_nue", quoted(few), None)
    number = int(found.hint.split("--draws ")[1].split()[0])
    least = min(found.ess_bulk, found.ess_tail, found.ess_limit)
    assert number == pytest.approx(SHAPE[1] * max(2, 600 / least), rel=0.06)
    assert diagnose(tree_of(np.random.default_rng(1).normal(size=SHAPE)), "q_nue", quoted(few), None).hint == ""


def test_json_has_null_for_what_is_not_known(draws: np.ndarray) -> None:
    content = diagnostics_json(diagnose(tree_of(draws), "q_nue", quoted(draws), None))
    assert content["laplace_sigma"] is None
    assert (content["reasons"], content["mode_peaks"], content["hint"]) == ([], [], "")


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
