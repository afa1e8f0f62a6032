"""A recoil and a photon in coincidence: counts of ν A → N A, N → ν γ within l₀."""

import math

import numpy as np
import pytest
from scipy.integrate import quad

from bayesnu.errors import CardError
from bayesnu.experiment.recoil import RecoilExperiment, bin_edges, massive_templates, responses
from bayesnu.experiment.recoil_templates import Grid, fold_radiative, reactor_density
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.inference.likelihood import make_problem
from bayesnu.inference.profile import delta_chi2_intervals
from bayesnu.physics import constants
from bayesnu.physics.dipole import BOHR_MAGNETON_GEV1, energy_min, primakoff_cross_section, recoil_window
from bayesnu.physics.materials import ELEMENTS, nuclei_per_kg
from bayesnu.physics.nucleus import helm_form_factor
from bayesnu.results.limits import limit


def radiative(*overrides: str) -> RecoilExperiment:
    experiment = load_experiment("nucleus-10g-radiative", overrides)
    assert isinstance(experiment, RecoilExperiment)
    return experiment


@pytest.fixture(scope="module")
def majorana() -> RecoilExperiment:
    return radiative()


def counts(experiment: Experiment, **couplings: float) -> np.ndarray:
    return experiment.model.expected(couplings)


@pytest.mark.slow
def test_totals_are_those_of_a_double_integral() -> None:
    """Per d⁴: ∫dE Φ ∫dT Z² F² dσ/dT · 2 d² m³/(4π) · m l₀/(p ħc), element by element, all recoils above 60 eV."""
    m, path = 2e-3, 0.2
    nodes, weights = np.polynomial.legendre.leggauss(400)
    experiment = radiative(
        "sterile.m_N=2",
        "detector.threshold_ev=60",
        "detector.resolution_ev=0.01",
        "detector.bins=4",
        "detector.highest_ev=20000",
    )
    assert experiment.card.reactor is not None
    flux = reactor_density(experiment.card.reactor)
    width = 2 * BOHR_MAGNETON_GEV1**2 * m**3 / (4 * math.pi)
    total = 0.0
    for compound, target in experiment.card.targets.items():
        for symbol, per_kg in nuclei_per_kg(compound).items():
            element = ELEMENTS[symbol]

            def inner(energy: float, element: object = element) -> float:
                low, high = (float(edge) for edge in recoil_window(energy, m, element.mass_gev))  # type: ignore[attr-defined]
                low = max(low, 60e-9)
                if not high > low:
                    return 0.0

                half = math.log(high / low) / 2
                T = np.exp(math.log(low) + half * (1 + nodes))
                p = np.sqrt((energy - T) ** 2 - m**2)
                sigma = primakoff_cross_section(T, energy, m, element.mass_gev)  # type: ignore[attr-defined]
                form = (element.protons * helm_form_factor(T, element)) ** 2  # type: ignore[attr-defined, arg-type]
                return float(weights @ (sigma * form * T * m / p)) * half

            start = float(energy_min(max(60e-9, m**2 / (2 * (element.mass_gev + m))), m, element.mass_gev))
            # The flux has kinks at 2 MeV and below; none above.
            value = quad(
                lambda e: float(flux(np.array(1e3 * e))) * 1e3 * inner(e), start, 8e-3, epsrel=2e-5, limit=200
            )[0]
            total += value * per_kg * target.mass_kg
    expected = total * width * path / constants.HBARC_GEV_M
    found = experiment.massive.decays.sum()
    assert found == pytest.approx(expected, rel=2e-4)


@pytest.mark.parametrize(
    "m_N", [pytest.param(0.5, marks=pytest.mark.slow), 3.0, pytest.param(6.5, marks=pytest.mark.slow)]
)
def test_doubling_the_grid_changes_nothing(majorana: RecoilExperiment, m_N: float) -> None:
    card, response = majorana.card, responses(majorana.card)[0]
    bins = bin_edges(card).size - 1
    coarse = fold_radiative(card, response, bins, m_N)
    fine = fold_radiative(card, response, bins, m_N, Grid(nodes=12, panels_per_decade=48, energy_nodes=192))
    for compound in card.targets:
        exact = fine[compound][1]
        large = exact > 0.01 * exact.sum()
        np.testing.assert_allclose(coarse[compound][1][large], exact[large], rtol=1e-3)


def test_counts_go_as_the_fourth_power_and_as_products(majorana: RecoilExperiment) -> None:
    one = counts(majorana, d_nue=1e-8)
    assert one.sum() > 0.1
    np.testing.assert_allclose(counts(majorana, d_nue=2e-8), 16 * one, rtol=1e-12)
    with_tau = counts(majorana, d_nue=1e-8, d_nutau=3e-8)
    np.testing.assert_allclose(with_tau, 10 * one, rtol=1e-12)
    np.testing.assert_allclose(counts(majorana, d_nue=1e-8, d_numu=1e-8, d_nutau=1e-8), 3 * one, rtol=1e-12)
    np.testing.assert_allclose(counts(majorana, d_nue_d_nutau=3e-16), 9 * one, rtol=1e-12)
    assert not counts(majorana, d_numu=1e-8, d_nutau=1e-8).any()


def test_majorana_decays_twice_as_often(majorana: RecoilExperiment) -> None:
    dirac = radiative("decay.nature=dirac")
    np.testing.assert_allclose(majorana.massive.decays, 2 * dirac.massive.decays, rtol=1e-12)


def test_longer_path_and_efficiency_scale(majorana: RecoilExperiment) -> None:
    longer = radiative("photon_detector.distance_m=0.5", "photon_detector.efficiency=0.4")
    np.testing.assert_allclose(longer.massive.decays, 2.5 * 0.4 * majorana.massive.decays, rtol=1e-12)


def test_an_n_that_decays_at_once_leaves_a_photon_with_every_recoil() -> None:
    """Γ(N → N′γ) so large that P = 1: the counts per d² are those of upscattering alone."""
    prompt = radiative("decay.d_NNp=1", "sterile.m_N=2")
    alone = load_experiment("nucleus-10g", ["sterile.m_N=2"])
    assert isinstance(alone, RecoilExperiment)
    found, exact = prompt.massive.dipole[0, :, 0], alone.massive.dipole[0, :, 0]
    large = exact > 1e-3 * exact.max()
    np.testing.assert_allclose(found[large], exact[large], rtol=3e-4)
    # Nothing is left for the decay to active neutrinos.
    assert (prompt.massive.decays < 1e-12 * exact.max() / 1e-20).all()


def test_decay_to_a_lighter_n_needs_room() -> None:
    open_, closed = radiative("decay.d_NNp=1e-8", "decay.m_Np=0.5"), radiative("decay.d_NNp=1e-8", "decay.m_Np=1.0")
    free = radiative("decay.d_NNp=1e-8")
    assert not closed.massive.dipole.any()
    np.testing.assert_allclose(open_.massive.dipole, (1 - 0.5**2) ** 3 * free.massive.dipole, rtol=1e-4)


def test_nothing_without_mass_or_out_of_reach(majorana: RecoilExperiment) -> None:
    for m_N in (0.0, 8.0, 1e200):
        templates = massive_templates(majorana.card, majorana.spectra, m_N)
        assert not templates.decays.any()
        assert not templates.dipole.any()


def test_zero_expected_counts_are_allowed(majorana: RecoilExperiment) -> None:
    """2 s (1 + f) + (f/σ)² with no background has its minimum at f = -σ² s, so Δ = 2 s - σ² s²."""
    assert not majorana.data.any()
    ((low, high),) = delta_chi2_intervals(make_problem(majorana, ["d_nue"]), 0.90)
    s = counts(majorana, d_nue=high).sum()
    assert low == 0
    assert 2 * s - 0.05**2 * s**2 == pytest.approx(2.705543, rel=1e-6)


@pytest.mark.parametrize("m_N", [6.0, 7.0])
def test_limit_where_bins_expect_next_to_nothing(majorana: RecoilExperiment, m_N: float) -> None:
    experiment = majorana.at(m_N)
    ((_, high),) = limit(experiment, "d_nue", method="poisson").intervals
    s = counts(experiment, d_nue=high).sum()
    assert 2 * s - 0.05**2 * s**2 == pytest.approx(2.705543, rel=1e-6)


def test_posterior_without_background_is_the_exponential(majorana: RecoilExperiment) -> None:
    """Flat in d: p ∝ exp(-a d⁴) times the marginal over the norm, exp(σ² s²/2); a quantile by quadrature."""
    interval = limit(majorana, "d_nue", method="laplace")
    a = counts(majorana, d_nue=1e-8).sum()

    def density(x: float) -> float:
        s = a * x**4
        return math.exp(-s + 0.05**2 * s**2 / 2)

    total = quad(density, 0, 2)[0]
    found = interval.intervals[0][1] / 1e-8
    assert quad(density, 0, found)[0] / total == pytest.approx(0.9, abs=2e-4)


@pytest.mark.parametrize(
    ("model", "override", "message"),
    [
        ("nucleus-10g-radiative", "photon_detector.distance_m=0", r"photon_detector\.distance_m = 0: .*greater than 0"),
        ("nucleus-10g-radiative", "photon_detector.distance_m=-1", r"photon_detector\.distance_m = -1"),
        ("nucleus-10g-radiative", "photon_detector.efficiency=1.2", r"photon_detector\.efficiency = 1\.2"),
        ("nucleus-10g-radiative", "decay.nature=weyl", r"decay\.nature = 'weyl': .*'dirac' or 'majorana'"),
        ("nucleus-10g-radiative", "decay.chirality=2", r"decay\.chirality = 2"),
        ("nucleus-10g-radiative", "decay.m_Np=-1", r"decay\.m_Np = -1"),
        ("nucleus-10g-radiative", "couplings.mu_nue={}", r"couplings\.mu_nue: a card with photon_detector has d_nue"),
        ("nucleus-10g", "couplings.d_nue_d_nutau={}", r"couplings\.d_nue_d_nutau: a card without photon_detector has"),
        ("nucleus-10g", "couplings.m_N={}", r"couplings\.m_N: unknown coupling"),
        ("coherent-csi-2017", "photon_detector.distance_m=0.2", "photon_detector: goes with a reactor"),
    ],
)
def test_bad_cards(model: str, override: str, message: str) -> None:
    with pytest.raises(CardError, match=message) as caught:
        load_experiment(model, [override])
    assert "\n" not in str(caught.value)


def test_first_order_is_said_where_it_fails() -> None:
    """P = 1 - e⁻ˣ is less than x: within 100 m at 7 MeV and 2e-8 μ_B most N decay."""
    near = load_experiment("nucleus-10g-radiative").at(7.0)
    assert near.caution("d_nue", 1e-8) == ""
    far = load_experiment("nucleus-10g-radiative", ["photon_detector.distance_m=100"]).at(7.0)
    assert "counts with a photon are too high by about 2% or more" in far.caution("d_nue", 2.2e-9)
    assert "by about 100% or more" in far.caution("d_nue", 3e-8)
    assert far.caution("d_nue_d_numu", 1e-10) == ""
    notices: list[str] = []
    limit(far, "d_nue", method="poisson", notice=notices.append)
    assert len(notices) == 1
    assert load_experiment("nucleus-10g").caution("d_nue", 1.0) == ""
