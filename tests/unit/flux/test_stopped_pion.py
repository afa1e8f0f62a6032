"""Decay-at-rest spectra: kinematics, normalisation, means, and COHERENT's fluence."""

import math

import pytest
from scipy.integrate import quad

from bayesnu.errors import UsageError
from bayesnu.flux.stopped_pion import (
    DELAYED_TIMING,
    END_POINT_MEV,
    MUON_MASS_MEV,
    PION_MASS_MEV,
    PROMPT_ENERGY_MEV,
    PROMPT_TIMING,
    arrived,
    fluence,
    michel_nue,
    michel_numubar,
)


def test_prompt_line_conserves_energy() -> None:
    muon = math.sqrt(MUON_MASS_MEV**2 + PROMPT_ENERGY_MEV**2)
    assert muon + PROMPT_ENERGY_MEV == pytest.approx(PION_MASS_MEV, rel=1e-12)
    assert pytest.approx(29.792, abs=1e-3) == PROMPT_ENERGY_MEV
    assert pytest.approx(52.83, abs=0.005) == END_POINT_MEV


def test_michel_spectra_have_unit_area_and_share_the_muon_mass() -> None:
    """⟨x⟩ = 3/5 for ν_e and 7/10 for ν̄_μ; with the positron's 7/10 the energies add up to the muon's mass."""
    for spectrum, mean in ((michel_nue, 0.6), (michel_numubar, 0.7)):
        assert quad(lambda e, s=spectrum: float(s(e)), 0, END_POINT_MEV)[0] == pytest.approx(1, rel=1e-10)
        first = quad(lambda e, s=spectrum: e * float(s(e)), 0, END_POINT_MEV)[0]
        assert first / END_POINT_MEV == pytest.approx(mean, rel=1e-10)
        assert spectrum([-1.0, END_POINT_MEV + 0.01]).tolist() == [0, 0]


def test_timing_of_the_release() -> None:
    assert sum(PROMPT_TIMING) == pytest.approx(1, abs=1e-9)
    assert sum(DELAYED_TIMING) == pytest.approx(0.9148, abs=1e-9)
    # Muons decay with 2.197 μs: half a microsecond later there are exp(-0.5/2.197) as many.
    assert DELAYED_TIMING[8] / DELAYED_TIMING[7] == pytest.approx(math.exp(-0.5 / 2.197), abs=2e-3)


def test_fluence_of_coherent() -> None:
    assert fluence(1.76e23, 0.08, 19.3) == pytest.approx(3.008e14, rel=1e-3)


@pytest.mark.parametrize(
    ("given", "message"), [((0, 0.08, 19.3), "protons_on_target = 0"), ((1e23, 0.08, -1), "distance_m = -1")]
)
def test_bad_fluence(given: tuple[float, float, float], message: str) -> None:
    with pytest.raises(UsageError, match=f"{message}: must be greater than 0"):
        fluence(*given)


def test_unknown_species() -> None:
    with pytest.raises(UsageError, match="unknown channel 'numuu': allowed are numu, nue, numubar; did you"):
        arrived("numuu", 6.0)
