"""Phonon detectors that a card alone describes: three terms of the resolution, efficiency, own bins, any formula."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from bayesnu.detector.recoil import Phonons
from bayesnu.errors import CardError, UsageError
from bayesnu.experiment.load import load_card
from bayesnu.experiment.recoil import RecoilExperiment
from bayesnu.experiment.recoil_photons import experiment_photons
from bayesnu.experiment.setup import load_experiment

FEW = ("targets={Ge={mass_kg=1.0}}", "detector.bins=5")


def load(*overrides: str) -> RecoilExperiment:
    found = load_experiment("nucleus-10g", [*FEW, *overrides])
    assert isinstance(found, RecoilExperiment)
    return found


@pytest.fixture(scope="module")
def germanium() -> RecoilExperiment:
    return load()


@pytest.mark.parametrize("recoil", [20.0, 300.0, 5000.0])
def test_three_terms_of_the_resolution(recoil: float) -> None:
    detector = Phonons((20.0, 280.0, 1e3, 1e4), 4.0, 0.05, 0.02)
    width = np.sqrt(4.0**2 + 0.05**2 * recoil * 1e3 + 0.02**2 * recoil**2)
    expected = np.diff(stats.norm(recoil, width).cdf([20.0, 280.0, 1e3, 1e4]))
    np.testing.assert_allclose(detector.probabilities(np.array([recoil]))[:, 0], expected, rtol=1e-9, atol=1e-15)


def test_stochastic_term_is_the_resolution_at_one_kev() -> None:
    assert Phonons((1.0, 2.0), 0.0, 0.05).width_ev(np.array(1e3)) == pytest.approx(50.0, rel=1e-12)


def test_smeared_spectrum_against_simulated_recoils() -> None:
    """Recoils that fall as exp(-T/300 eV), smeared and seen by chance."""
    curve = ((0.0, 0.2), (500.0, 0.9), (5e3, 0.9))
    detector = Phonons((50.0, 200.0, 600.0, 2e3), 20.0, 0.06, 0.1, curve)
    rng, n = np.random.default_rng(4), 400_000
    recoil = rng.exponential(300.0, n)
    width = np.sqrt(20.0**2 + 0.06**2 * recoil * 1e3 + (0.1 * recoil) ** 2)
    seen = rng.random(n) < np.interp(recoil, *np.array(curve).T, right=0)
    counts = np.histogram((recoil + width * rng.normal(size=n))[seen], detector.bin_edges_ev)[0]
    T = (np.arange(40_000) + 0.5) / 8
    expected = n * (detector.probabilities(T) * np.exp(-T / 300) / 300 / 8).sum(axis=1)
    assert (np.abs(counts - expected) < 4.5 * np.sqrt(expected)).all()


def test_breakpoints_include_the_efficiency_and_follow_the_width() -> None:
    points = Phonons((20.0, 1e3), 4.0, 0.0, 0.1, ((0.3, 0.0), (77.0, 1.0))).breakpoints_ev
    assert {0.3, 77.0} <= set(points.tolist())
    assert np.abs(points - (1e3 + 2 * np.hypot(4.0, 100.0))).min() < 1e-9


def test_efficiency_one_is_none_and_half_is_half(germanium: RecoilExperiment) -> None:
    one, half = (load(f"detector.efficiency=[[0, {e}], [1e5, {e}]]") for e in (1, 0.5))
    np.testing.assert_allclose(one.templates, germanium.templates, rtol=1e-12)
    np.testing.assert_allclose(half.templates, germanium.templates / 2, rtol=1e-12)
    # What does not come from neutrinos is given as it is seen.
    np.testing.assert_allclose(half.background, germanium.background, rtol=1e-12)


def test_efficiency_file(tmp_path: Path) -> None:
    path = tmp_path / "efficiency.csv"
    path.write_text("recoil_ev,efficiency\n0,0\n1e3,1\n1e5,1\n")
    named = load(f'detector.efficiency_file="{path}"')
    inline = load("detector.efficiency=[[0, 0], [1e3, 1], [1e5, 1]]")
    assert named.files["detector.efficiency_file"] == path
    np.testing.assert_array_equal(named.templates, inline.templates)
    np.testing.assert_array_equal(named.at(2.0).templates, inline.at(2.0).templates)


def test_own_bins(germanium: RecoilExperiment) -> None:
    """Two of the logarithmic bins in one."""
    edges = germanium.bin_edges
    own = load(f"detector.bin_edges_ev={edges[[0, 2, 3]].tolist()}")
    sm = germanium.signal_sm
    np.testing.assert_allclose(own.signal_sm, [sm[0] + sm[1], sm[2]], rtol=1e-6)
    assert own.observation_coordinates()["bin_lo"][1] == pytest.approx(edges[[0, 2]].tolist())


def test_formula_and_name_are_the_same(germanium: RecoilExperiment) -> None:
    named = load_experiment("nucleus-10g", ["targets={germanium={mass_kg=1.0}}", "detector.bins=5"])
    np.testing.assert_array_equal(named.data, germanium.data)


def test_efficiency_must_reach_the_highest_recoil() -> None:
    """2 E²/(M + 2E) at 8 MeV on germanium: 1.89 keV."""
    with pytest.raises(CardError, match=r"detector\.efficiency: is given from 0 to 1500 eV, and needed from 0\.3 to 1"):
        load("detector.efficiency=[[0, 1], [1500, 1]]")
    with pytest.raises(CardError, match=r"from 1 to 100000 eV, and needed from 0\.3"):
        load("detector.efficiency=[[1, 1], [1e5, 1]]")


def test_photons_do_not_take_an_efficiency() -> None:
    with pytest.raises(UsageError, match=r"threshold_ev for a step; remove detector\.efficiency"):
        experiment_photons(load("detector.efficiency=[[0, 1], [1e5, 1]]"), 2.0)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["detector.resolution_stochastic=-1"], r"resolution_stochastic = -1: .*greater than or equal to 0"),
        (["detector.resolution_constant=-1"], r"resolution_constant = -1: .*greater than or equal to 0"),
        (["detector.resolution_stochastic=0.5"], r"threshold_ev: 20 must be at least 38\.\d*: 0\.3 eV"),
        (["detector.efficiency=[[0, 1], [9, 2]]"], r"detector\.efficiency: an efficiency is between 0 and 1, not 2"),
        (["detector.bin_edges_ev=[10, 100]"], r"bin_edges_ev: the first edge, 10, must be at least threshold_ev = 20"),
        (["detector.bin_edges_ev=[100, 50]"], r"detector\.bin_edges_ev: edges must increase; 50 follows 100"),
        (["detector.bin_edges_ev=[20, 50]", "detector.bins=3"], r"detector\.highest_ev: field required, or bin"),
        (["detector.bin_edges_ev=[20, 50]", "detector.highest_ev=60"], r"detector\.bins: field required, or bin_edges"),
    ],
)
def test_bad_value(overrides: list[str], message: str) -> None:
    with pytest.raises(CardError, match=message):
        load_card("nucleus-10g", overrides)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("bin_edges_ev = [20.0, 50.0]\n", "detector.bin_edges_ev: give it or bins and highest_ev, not all"),
        ('efficiency = [[0.0, 1.0], [9.0, 1.0]]\nefficiency_file = "x"\n', "detector.efficiency: give it or effici"),
    ],
)
def test_not_both(tmp_path: Path, more: str, message: str) -> None:
    text = load_card("nucleus-10g").path.read_text(encoding="utf-8")
    (tmp_path / "card.toml").write_text(text.replace('kind = "phonons"', f'{more}kind = "phonons"'))
    with pytest.raises(CardError, match=message):
        load_card(str(tmp_path / "card.toml"))
