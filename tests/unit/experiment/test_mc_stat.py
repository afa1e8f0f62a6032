"""The response's error in the expectation: modes against every sub-sample folded by itself, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from bayesnu.errors import CardError, ResponseError, UsageError
from bayesnu.experiment import base, mc_stat
from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.experiment.expectation import build_count_model, deviation_arrays
from bayesnu.experiment.mc_stat import chance_correlation, relative_variance, response_modes, with_modes
from bayesnu.experiment.modes import MODE_WIDTH
from bayesnu.experiment.prediction import predict
from bayesnu.experiment.setup import load_electron_experiment

SUBSAMPLES = 50
COARSE = ("response.energy_cells=24", "response.angle_cells=16", "response.samples=38400")
COVARIANCE = (*COARSE, "response.mc_stat=covariance")
PLACES = (
    ({}, {}),
    ({"mu_nue": 3e-9, "q_numu": -2e-9}, {}),
    ({"r2_nue": 4e-31, "q_nue": 3e-8}, {"flux_norm": 0.2, "wrong_sign": -0.03, "electron_flavour": 0.02, "pi0": 0.3}),
)


@pytest.fixture(scope="module")
def sampled() -> ElectronExperiment:
    return load_electron_experiment("dune-on-axis", COVARIANCE)


@pytest.fixture(scope="module")
def bare(sampled: ElectronExperiment) -> ElectronExperiment:
    found = sampled.without_response_error()
    assert found is not None
    return found


def folded_apart(
    experiment: ElectronExperiment, couplings: dict[str, float], pulls: dict[str, float]
) -> np.ndarray:
    """The expected counts that each sub-sample gives by itself, (sub-samples, obs)."""
    made = experiment.templates
    counts = []
    for s in range(SUBSAMPLES):
        own = replace(made, values=made.values + made.deviations[..., s])
        counts.append(build_count_model(experiment.card, own, experiment.backgrounds).expected(couplings, pulls))
    return np.array(counts)


def modes_at(experiment: ElectronExperiment, couplings: dict[str, float], pulls: dict[str, float]) -> np.ndarray:
    """What one standard deviation of each mode adds to the counts, (modes, obs)."""
    model = experiment.model
    names = [name for name in model.pulls if name.startswith("mc_stat[")]
    centre = model.expected(couplings, pulls)
    return np.array([model.expected(couplings, {**pulls, name: MODE_WIDTH}) - centre for name in names])


def every_mode(experiment: ElectronExperiment, patch: pytest.MonkeyPatch) -> ElectronExperiment:
    patch.setattr(mc_stat, "LEFT_OUT", 1e-14)
    patch.setattr(mc_stat, "MOST_MODES", SUBSAMPLES)
    model = build_count_model(experiment.card, experiment.templates, experiment.backgrounds)
    deviations = deviation_arrays(experiment.card, experiment.templates, experiment.backgrounds)
    modes = response_modes(model, deviations)
    return replace(experiment, model=with_modes(model, deviations, modes), modes=modes)


@pytest.mark.parametrize(("couplings", "pulls"), PLACES)
def test_all_modes_are_the_covariance_of_the_sub_samples(
    sampled: ElectronExperiment, monkeypatch: pytest.MonkeyPatch, couplings: dict[str, float], pulls: dict[str, float]
) -> None:
    """At any couplings and pulls: Σ_k D_k D_kᵀ is the sample covariance of the folded sub-samples over their number."""
    found = modes_at(every_mode(sampled, monkeypatch), couplings, pulls)
    expected = np.cov(folded_apart(sampled, couplings, pulls), rowvar=False) / SUBSAMPLES
    np.testing.assert_allclose(found.T @ found, expected, rtol=0, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize(("couplings", "pulls"), PLACES)
def test_the_mean_is_that_of_the_sub_samples(
    sampled: ElectronExperiment, bare: ElectronExperiment, couplings: dict[str, float], pulls: dict[str, float]
) -> None:
    counts = sampled.model.expected(couplings, pulls)
    np.testing.assert_allclose(counts, bare.model.expected(couplings, pulls), rtol=1e-12)
    np.testing.assert_allclose(counts, folded_apart(sampled, couplings, pulls).mean(axis=0), rtol=1e-6)


def test_counts_are_linear_in_the_modes(sampled: ElectronExperiment) -> None:
    """λ(z) = λ + Σ z_k D_k, far out too."""
    couplings, pulls = PLACES[2]
    z = np.random.default_rng(1).normal(0, 5, len(sampled.modes.weights))
    given = {f"mc_stat[{k + 1}]": MODE_WIDTH * value for k, value in enumerate(z)}
    expected = sampled.model.expected(couplings, pulls) + z @ modes_at(sampled, couplings, pulls)
    np.testing.assert_allclose(sampled.model.expected(couplings, {**pulls, **given}), expected, rtol=1e-10)


@pytest.mark.parametrize(("couplings", "pulls"), PLACES)
def test_the_modes_kept_leave_out_no_more_than_stated(
    sampled: ElectronExperiment, couplings: dict[str, float], pulls: dict[str, float]
) -> None:
    """A share of the variance everywhere; at the SM, of any combination of counts in units of its statistical one."""
    modes = sampled.modes
    assert 1 <= len(modes.weights) < mc_stat.MOST_MODES
    assert 0 < modes.left_out <= mc_stat.LEFT_OUT
    assert modes.left_out_statistical <= mc_stat.LEFT_OUT
    assert len(sampled.model.pulls) == 5 + len(modes.weights)
    counts = sampled.model.expected(couplings, pulls)
    found = modes_at(sampled, couplings, pulls) / np.sqrt(counts)
    full = np.cov(folded_apart(sampled, couplings, pulls) / np.sqrt(counts), rowvar=False) / SUBSAMPLES
    left = np.linalg.eigvalsh(full - found.T @ found)
    assert left.min() > -1e-9 * full.trace()
    # What is bounded is the sum over the monomials' blocks; at one place far from the SM it may be somewhat more.
    assert left.sum() / full.trace() < (2 if couplings and pulls else 1) * mc_stat.LEFT_OUT
    if not couplings and not pulls:
        assert left.max() <= modes.left_out_statistical
        # The largest eigenvalue is that of the SM, to the little that the monomials add.
        assert modes.largest == pytest.approx(np.sqrt(np.linalg.eigvalsh(full)[-1]), rel=0.1)


def test_more_modes_leave_out_less(sampled: ElectronExperiment, monkeypatch: pytest.MonkeyPatch) -> None:
    deviations = deviation_arrays(sampled.card, sampled.templates, sampled.backgrounds)
    left = []
    for most in (0, 3, 6):
        monkeypatch.setattr(mc_stat, "MOST_MODES", most)
        modes = response_modes(sampled.without_response_error().model, deviations)
        assert len(modes.weights) == most
        left.append(modes.left_out)
    assert left[0] == pytest.approx(1.0)
    assert left[0] > left[1] > left[2] > mc_stat.LEFT_OUT


def test_nothing_changes_without_the_key(on_axis: ElectronExperiment) -> None:
    assert on_axis.templates.deviations.shape[-1] == 0
    assert on_axis.modes is None
    assert on_axis.relative_variance is None
    assert on_axis.without_response_error() is None
    assert on_axis.response_error == ""
    assert len(on_axis.model.pulls) == 5


def test_a_response_worse_than_the_data_is_said() -> None:
    notices: list[str] = []
    samples = 24 * 16 * SUBSAMPLES
    load_electron_experiment("dune-on-axis", [*COVARIANCE, f"response.samples={samples}"], notices.append)
    assert any("times the statistical one" in text and "take more samples" in text for text in notices)


def test_modes_at_another_mass_of_N() -> None:
    """The same combination of sub-samples at every mass, so that counts between masses can be interpolated."""
    card = load_electron_experiment("dune-on-axis-dipole", COVARIANCE)
    heavy = card.at(40.0)
    z = {"mc_stat[1]": 2 * MODE_WIDTH, "mc_stat[2]": -MODE_WIDTH}
    np.testing.assert_array_equal(heavy.modes.weights, card.modes.weights)
    assert heavy.model.components == card.model.components
    made = heavy.templates
    weights = 2 * card.modes.weights[0] - card.modes.weights[1]
    own = replace(made, values=made.values + made.deviations @ weights)
    expected = build_count_model(heavy.card, own, heavy.backgrounds).expected({"d_nue": 1e-8})
    np.testing.assert_allclose(heavy.model.expected({"d_nue": 1e-8}, z), expected, rtol=1e-10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "LEAST_STEPS", 8)
        free = card.with_free_mass(60.0, steps=12)
    assert not free.model.floored
    np.testing.assert_allclose(free.model.expected({"d_nue": 1e-8, "m_N": 40.0}, z), expected, rtol=1e-3)


def test_predictions_are_of_the_mean_response(sampled: ElectronExperiment, bare: ElectronExperiment) -> None:
    with pytest.raises(UsageError, match=r"pull mc_stat\[1\]: is the fit's alone"):
        predict(sampled, {}, {"mc_stat[1]": 0.01})
    total = np.concatenate([e.total for e in predict(sampled, {}, {}).exposures])
    np.testing.assert_allclose(total, bare.model.expected(), rtol=1e-12)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["response.mc_stat=covarience"], r"response\.mc_stat = 'covarience'.*did you mean 'covariance'"),
        (
            ["response.mc_stat=covariance", "response.method=quadrature", "response.samples=10"],
            r"response\.mc_stat.*'quadrature' has no Monte Carlo error",
        ),
    ],
)
def test_keys_that_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(CardError, match=message):
        load_electron_experiment("dune-on-axis", overrides)


def test_too_few_samples_for_sub_samples() -> None:
    with pytest.raises(ResponseError, match="at least 19200 are needed for 50 sub-samples"):
        load_electron_experiment("dune-on-axis", [*COVARIANCE, "response.samples=19199"])


def test_bins_of_two_exposures_share_their_errors() -> None:
    """The same bin of both exposures has the same response: ρ is nearly 1, and the error names the two."""
    with pytest.raises(CardError, match=r"exposures\.0 bin (\d+) and exposures\.1 bin \1 have the correlation 1\.00"):
        load_electron_experiment("dune-on-axis", [*COARSE, "response.mc_stat=gamma-poisson"])


def test_independent_bins_pass(sampled: ElectronExperiment, bare: ElectronExperiment) -> None:
    """Deviations drawn bin by bin: the squares of their relative errors come back; one shared draw is refused."""
    rng = np.random.default_rng(6)
    model = bare.model
    place = model.monomials.index(())
    expected = model.expected()
    deviations = np.zeros((*model.arrays.shape, SUBSAMPLES))
    deviations[0, place] = 0.1 * expected[:, None] * rng.standard_normal((expected.size, SUBSAMPLES))
    labels = [f"bin {k}" for k in range(expected.size)]
    found = relative_variance(model, deviations, labels)
    assert found.mean() == pytest.approx(0.1**2 / SUBSAMPLES, rel=4 * np.sqrt(2 / (49 * expected.size)))
    deviations[0, place, 3] = -2 * deviations[0, place, 7]
    with pytest.raises(CardError, match=r"bin 3 and bin 7 have the correlation -1\.00"):
        relative_variance(model, deviations, labels)


def test_independent_bins_are_seldom_refused() -> None:
    """The largest correlation of 24 independent bins is beyond the bound once in a hundred."""
    rng = np.random.default_rng(7)
    bound = chance_correlation(24, SUBSAMPLES)
    largest = []
    for _ in range(1000):
        rho = np.corrcoef(rng.standard_normal((24, SUBSAMPLES)))
        largest.append(np.abs(rho[np.triu_indices(24, 1)]).max())
    assert 0.001 < np.mean(np.array(largest) > bound) < 0.02
    assert chance_correlation(1, SUBSAMPLES) == 1.0
