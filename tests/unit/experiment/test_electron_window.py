"""Cards of ν-e events in windows of electron energy: LSND."""

import math

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from bayesnu.errors import CardError
from bayesnu.experiment.electron_window import ElectronWindowExperiment, decay_at_rest_spectra, folded, slope_sm
from bayesnu.experiment.setup import load_experiment
from bayesnu.flux.stopped_pion import END_POINT_MEV, PROMPT_ENERGY_MEV, michel_nue, michel_numubar
from bayesnu.inference.likelihood import make_problem
from bayesnu.inference.priors import one_coupling
from bayesnu.inference.toys import draw_counts, log_likelihood
from bayesnu.physics.electron import differential_cross_section
from bayesnu.results.limits import limit


@pytest.fixture(scope="module")
def lsnd() -> ElectronWindowExperiment:
    experiment = load_experiment("lsnd-nue")
    assert isinstance(experiment, ElectronWindowExperiment)
    return experiment


@pytest.mark.parametrize("channel", ["numu", "numubar", "nue"])
@pytest.mark.parametrize("couplings", [{}, {"mu_nue": 1e-9, "mu_numu": 1e-9}])
def test_folded_rates_are_double_integrals(channel: str, couplings: dict[str, float]) -> None:
    spectrum = next(s for s in decay_at_rest_spectra() if s.channel == channel)
    terms = folded(spectrum, [18.0, 50.0], 0.2312)
    found = terms["1"][0] + (1e-18 * terms["mu^2"][0] if couplings else 0.0)

    def rate(energy_mev: float) -> float:
        e = energy_mev * 1e-3
        top = min(0.050, 2 * e**2 / (0.51099895e-3 + 2 * e))
        if top <= 0.018:
            return 0.0
        return quad(
            lambda t: float(differential_cross_section(t, e, channel, couplings, sin2_theta_w=0.2312)), 0.018, top
        )[0]

    if channel == "numu":
        exact = rate(PROMPT_ENERGY_MEV)
    else:
        shape = {"nue": michel_nue, "numubar": michel_numubar}[channel]
        exact = quad(lambda e: float(shape(e)) * rate(e), 18.2, END_POINT_MEV, epsrel=1e-7)[0]
    # The top of the bin lies above most kinematic limits, which cut the recoil's nodes.
    assert found == pytest.approx(exact, rel=2e-3)


def test_slope_is_that_of_the_cross_section() -> None:
    """σ/E of ν_e e far above the electron's mass."""
    e = 5.0
    top = 2 * e**2 / (0.51099895e-3 + 2 * e)
    total = quad(lambda t: float(differential_cross_section(t, e, "nue", {}, sin2_theta_w=0.2312)), 1e-9, top)[0]
    assert slope_sm(0.2312) == pytest.approx(total / (e * 1e3), rel=1e-3)


def test_counts_of_the_standard_model(lsnd: ElectronWindowExperiment) -> None:
    assert lsnd.signal_sm.sum() == pytest.approx(191 * slope_sm(0.2312) / 10.1e-45, rel=1e-12)
    assert lsnd.observed
    assert lsnd.data.tolist() == [191.0]
    assert lsnd.background.tolist() == [0.0]


def test_measured_errors_make_one_likelihood(lsnd: ElectronWindowExperiment) -> None:
    """χ², profile and PyMC take the same normal measurement."""
    problems = [make_problem(lsnd, ["mu_nue"], statistic) for statistic in ("chi2", "poisson")]
    for problem in problems:
        assert problem.statistic == "chi2"
        assert problem.normal_variance.tolist() == [22.0**2]
    assert limit(lsnd, "mu_nue", method="chi2").intervals == limit(lsnd, "mu_nue", method="poisson").intervals


def test_profile_limit_in_closed_form(lsnd: ElectronWindowExperiment) -> None:
    """(n - (1 + f) λ)²/σ² + (f/s)² has the minimum (n - λ)²/(σ² + s² λ²)."""
    ((_, high),) = limit(lsnd, "mu_numu").intervals
    expected = lsnd.model.expected({"mu_numu": high}).sum()

    def minimum(value: float) -> float:
        return (191 - value) ** 2 / (22**2 + (0.1 * value) ** 2)

    assert minimum(expected) == pytest.approx(stats.chi2.ppf(0.9, 1), rel=1e-6)


def test_posterior_without_systematic_error_in_closed_form() -> None:
    experiment = load_experiment("lsnd-nue", ["pulls.flux_norm=0"])
    ((_, high),) = limit(experiment, "mu_numu", method="laplace").intervals
    n_sm = experiment.signal_sm.sum()
    slope = (experiment.model.expected({"mu_numu": 1e-9}).sum() - n_sm) / 1e-18

    def density(x: float) -> float:
        return math.exp(-((191 - n_sm - slope * (x * 1e-10) ** 2) ** 2) / (2 * 22**2))

    share = quad(density, 0, high / 1e-10)[0] / quad(density, 0, 20)[0]
    assert share == pytest.approx(0.9, abs=2e-4)


def test_likelihood_and_draws_are_normal(lsnd: ElectronWindowExperiment) -> None:
    problem, _ = one_coupling(lsnd, "mu_nue")
    expected = np.array([[200.0], [150.0]])
    np.testing.assert_allclose(log_likelihood(problem, expected), stats.norm(expected, 22).logpdf(191.0), rtol=1e-12)
    drawn = draw_counts(problem, np.full((20_000, 1), 180.0), np.random.default_rng(1))
    assert drawn.mean() == pytest.approx(180, abs=5 * 22 / math.sqrt(20_000))
    assert drawn.std() == pytest.approx(22, rel=0.03)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("exposures.0.observed_errors=[0]", r"exposures\.0\.observed_errors\.0 = 0: .*greater than 0"),
        ("exposures.0.observed_errors=[22, 3]", r"exposures\.0\.observed_errors: has 2 values, the detector has 1"),
        ("exposures.0.observed_counts=[-191]", r"exposures\.0\.observed_counts\.0 = -191"),
        ("detector.bin_edges_mev=[50, 18]", r"detector\.bin_edges_mev: .*18 follows 50"),
        ("detector.bin_edges_mev=[60, 80]", "no electron has more than 52.83 MeV"),
        ("couplings.q_nue={}", r"couplings\.q_nue: unknown coupling; allowed are mu_nue, mu_numu"),
        ("normalisation.slope_cm2_per_mev=0", r"normalisation\.slope_cm2_per_mev = 0"),
    ],
)
def test_bad_cards(override: str, message: str) -> None:
    with pytest.raises(CardError, match=message) as caught:
        load_experiment("lsnd-nue", [override])
    assert "\n" not in str(caught.value)


def test_the_standard_model_does_not_follow_the_data() -> None:
    other = load_experiment("lsnd-nue", ["exposures.0.observed_counts=[300]"])
    assert other.data.tolist() == [300.0]
    assert other.signal_sm.sum() == pytest.approx(load_experiment("lsnd-nue").signal_sm.sum())
