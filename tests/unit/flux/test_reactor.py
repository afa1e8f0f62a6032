"""Reactor spectra against the numbers of their papers and of NUCLEUS' site."""

import math

import numpy as np
import pytest
from scipy.integrate import quad

from bayesnu.errors import UsageError
from bayesnu.flux.reactor import ISOTOPES, Core, beta_spectrum, fissions_per_second, isotope_spectrum, reactor_flux

CHOOZ = (Core(4.25, 72.0), Core(4.25, 102.0))
FRACTIONS = {"U235": 0.561, "U238": 0.076, "Pu239": 0.307, "Pu241": 0.056}
# Energies at which a spectrum or its slope may jump.
BREAKS = [0.007813, 0.01563, 0.0312, 0.0625, 0.125, 0.25, 0.44, 0.5, 0.75, 1.0, 1.26, 1.5, 2.0]


def total(capture: bool = False, cores: tuple[Core, ...] = CHOOZ) -> float:
    edges = np.array([0.0, *BREAKS, 8.0])
    x, weight = np.polynomial.legendre.leggauss(40)
    half = np.diff(edges)[:, None] / 2
    flux = reactor_flux(edges[:-1, None] + half * (x + 1), cores, FRACTIONS, capture=capture)
    return float((flux * half * weight).sum())


@pytest.mark.parametrize(("isotope", "factor"), [("U235", 1.049), ("U238", 0.929), ("Pu239", 1.009), ("Pu241", 0.956)])
def test_spectra_meet_at_2_mev(isotope: str, factor: float) -> None:
    below, above = isotope_spectrum(isotope, [2 - 1e-9, 2 + 1e-9])
    assert below == pytest.approx(above, rel=1e-6)
    assert isotope_spectrum(isotope, 2.0) / ISOTOPES[isotope].low[-1] == pytest.approx(factor, abs=1e-3)
    assert isotope_spectrum(isotope, [-1.0, 8.001, 20.0]).tolist() == [0, 0, 0]
    assert (isotope_spectrum(isotope, np.linspace(0.001, 8, 4000)) > 0).all()


def test_inverse_beta_decay_yield_of_uranium() -> None:
    """Huber's abstract-level check: σ per fission of 235U is 6.69e-43 cm² (Phys. Rev. C 84 (2011) 024617) to some %."""
    m, delta = 0.51099895, 1.2933324

    def integrand(energy: float) -> float:
        positron = energy - delta
        return 9.52e-44 * positron * math.sqrt(max(positron**2 - m**2, 0.0)) * float(isotope_spectrum("U235", energy))

    # The factor of first order recoil, (1 - 7 E/M), is about -3% at 4 MeV.
    corrected = quad(lambda e: integrand(e) * (1 - 7 * e / 938.9), 1.81, 8.0)[0]
    assert corrected == pytest.approx(6.69e-43, rel=0.03)


def test_nucleus_site() -> None:
    """1.288e20 fissions per second in each core; two thirds of the flux from the near one."""
    assert fissions_per_second(4.25, FRACTIONS) == pytest.approx(1.288e20, rel=1e-3)
    assert total(cores=CHOOZ[:1]) / total() == pytest.approx(0.667, abs=0.001)
    assert total() == pytest.approx(1.7e12, rel=0.1)


def test_capture_adds_a_fifth_below_its_end_point() -> None:
    assert total(capture=True) / total() == pytest.approx(1.21, abs=0.015)
    energy = [1.27, 3.0]
    np.testing.assert_array_equal(
        reactor_flux(energy, CHOOZ, FRACTIONS, capture=True), reactor_flux(energy, CHOOZ, FRACTIONS)
    )


def test_beta_spectrum_has_unit_area() -> None:
    assert quad(lambda e: float(beta_spectrum(1.26, e)), 0, 1.26)[0] == pytest.approx(1, rel=1e-5)
    assert beta_spectrum(1.26, [-0.1, 1.3]).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("cores", "fractions", "message"),
    [
        ((), FRACTIONS, "at least one"),
        ((Core(4.25, 0.0),), FRACTIONS, "distance_m = 0.0: must be greater than 0"),
        ((Core(-1.0, 72.0),), FRACTIONS, r"power_gw = -1\.0"),
        ((Core(math.nan, 72.0),), FRACTIONS, "power_gw = nan"),
        (CHOOZ, {"U235": 0.5, "U238": 0.4}, r"add up to 0\.9: must be 1"),
        (CHOOZ, {"U235": 1.5, "U238": -0.5}, r"U238 = -0\.5: must be at least 0"),
        (CHOOZ, {"U2355": 1.0}, r"unknown isotope 'U2355'.*did you mean 'U235'"),
    ],
)
def test_bad_reactors(cores: tuple[Core, ...], fractions: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        reactor_flux(3.0, cores, fractions)


def test_beyond_the_range_of_the_polynomials_only_where_asked() -> None:
    """Extrapolated to 10 MeV the flux grows by less than 1e-3, and not below 8 MeV."""
    energy = np.linspace(0.1, 8.0, 80)
    longer = reactor_flux(energy, CHOOZ, FRACTIONS, energy_max_mev=10.0)
    np.testing.assert_array_equal(longer, reactor_flux(energy, CHOOZ, FRACTIONS))
    beyond = np.linspace(8.0, 10.0, 201)
    tail = np.trapezoid(reactor_flux(beyond, CHOOZ, FRACTIONS, energy_max_mev=10.0), beyond)
    # 8e-5 of the flux (physics page, section 3).
    assert tail / np.trapezoid(reactor_flux(np.linspace(0, 8, 4001), CHOOZ, FRACTIONS), dx=0.002) == pytest.approx(
        8e-5, rel=0.1
    )
    assert reactor_flux(10.01, CHOOZ, FRACTIONS, energy_max_mev=10.0) == 0


def test_an_end_point_must_be_positive() -> None:
    with pytest.raises(UsageError, match=r"end_point_mev = -1\.0: must be greater than 0"):
        beta_spectrum(-1.0, 0.5)
