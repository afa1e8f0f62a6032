"""Electron antineutrinos of power reactors.

Above 2 MeV the spectra of Huber (arXiv:1106.0687; 235U, 239Pu, 241Pu) and Mueller et al. (arXiv:1101.2663; 238U),
exp of a polynomial, valid to 8 MeV; below, the table of Vogel and Engel (Phys. Rev. D 39 (1989) 3378), linear between
its nodes and scaled so that the two meet at 2 MeV. Energies in MeV.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayesnu.errors import UsageError, unknown_name
from bayesnu.physics.constants import ELECTRON_MASS_MEV

Array = NDArray[np.float64]

SOURCE = (
    "Reactor antineutrinos: Huber, arXiv:1106.0687 (235U, 239Pu, 241Pu), and Mueller et al., arXiv:1101.2663 (238U), "
    "from 2 MeV; Vogel and Engel, Phys. Rev. D 39 (1989) 3378, below; energy per fission of Ma et al., Phys. Rev. C 88 "
    "(2013) 014605."
)
"""What to cite for the spectra."""
JOIN_MEV = 2.0
"""Where the two parametrisations meet."""
ENERGY_MAX_MEV = 8.0
"""End of the range in which the polynomials are valid, and of the spectrum unless one asks for more."""
EXTRAPOLATED_MEV = 10.0
"""No reactor emits more than a trifle above."""
JOULE_PER_MEV = 1.602176634e-13
"""Exact (SI 2019)."""


class Isotope(NamedTuple):
    """A fissile isotope.

    Attributes
    ----------
    energy_per_fission_mev : float
        Ma et al., Phys. Rev. C 88 (2013) 014605.
    polynomial : tuple of float
        a_p of S = exp(Σ a_p E^p), ν̄ per MeV and fission, E ≥ 2 MeV.
    low : tuple of float
        ν̄ per MeV and fission at `LOW_NODES_MEV`.
    """

    energy_per_fission_mev: float
    polynomial: tuple[float, ...]
    low: tuple[float, ...]


LOW_NODES_MEV = (0.0, 0.007813, 0.01563, 0.0312, 0.0625, 0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
ISOTOPES: Mapping[str, Isotope] = MappingProxyType(
    {
        "U235": Isotope(
            202.36,
            (4.367, -4.577, 2.100, -0.5294, 0.06186, -0.002777),
            (0, 0.024, 0.092, 0.35, 0.61, 1.98, 2.16, 2.66, 2.66, 2.41, 1.69, 1.26),
        ),
        "U238": Isotope(
            205.99,
            (0.4833, 0.1927, -0.1283, -0.006762, 0.002233, -0.0001536),
            (0, 0.089, 0.35, 1.32, 0.65, 2.02, 2.18, 2.91, 2.96, 2.75, 1.97, 1.50),
        ),
        "Pu239": Isotope(
            211.12,
            (4.757, -5.392, 2.563, -0.6596, 0.07820, -0.003536),
            (0, 0.14, 0.56, 2.13, 0.64, 1.99, 2.08, 2.63, 2.58, 2.32, 1.48, 1.08),
        ),
        "Pu241": Isotope(
            214.26,
            (2.990, -2.882, 1.278, -0.3343, 0.03905, -0.001754),
            (0, 0.20, 0.79, 3.00, 0.59, 1.85, 2.14, 2.82, 2.90, 2.63, 1.75, 1.32),
        ),
    }
)
"""Isotopes by name."""

CAPTURES_PER_FISSION = 0.6
"""Neutron captures on 238U per fission, of a pressurised-water reactor: an assumption."""
CAPTURE_END_POINTS_MEV = (1.26, 0.44)
"""Highest ν̄ energies of 239U and 239Np, one main branch each; allowed shapes, an assumption."""


class Core(NamedTuple):
    """A reactor core: thermal power and distance."""

    power_gw: float
    distance_m: float


def isotope_spectrum(isotope: str, energy_mev: ArrayLike, energy_max_mev: float = ENERGY_MAX_MEV) -> Array:
    """Return ν̄_e per MeV and fission; 0 above the highest energy.

    exp(Σ a_p E^p) from 2 MeV (arXiv:1106.0687; 238U: arXiv:1101.2663); below, the table of Vogel and Engel, scaled by
    0.93 to 1.05 to meet it.

    Parameters
    ----------
    isotope : str
        A name of `ISOTOPES`.
    energy_mev : array_like
        Any shape, which the result has too.
    energy_max_mev : float
        Above `ENERGY_MAX_MEV` the polynomials are extrapolated.

    Raises
    ------
    UsageError
        For an unknown isotope.
    """
    if isotope not in ISOTOPES:
        raise unknown_name("isotope", isotope, ISOTOPES)
    data = ISOTOPES[isotope]
    E = np.asarray(energy_mev, dtype=float)

    def high(energy: Array) -> Array:
        return np.exp(np.polynomial.polynomial.polyval(energy, data.polynomial))

    scale = float(high(np.array(JOIN_MEV))) / data.low[-1]
    low = scale * np.interp(E, LOW_NODES_MEV, data.low)
    value = np.where(JOIN_MEV > E, low, high(np.clip(E, JOIN_MEV, energy_max_mev)))
    return np.where((E < 0) | (energy_max_mev < E), 0.0, value)


def beta_spectrum(end_point_mev: float, energy_mev: ArrayLike) -> Array:
    """Return the allowed ν̄ shape E² (Q - E + m) √((Q - E + m)² - m²), normalised to one; no Fermi function.

    Parameters
    ----------
    end_point_mev : float
        Q.
    energy_mev : array_like
        E of the ν̄; any shape, which the result has too.

    Raises
    ------
    UsageError
        If Q is not positive.
    """
    if not end_point_mev > 0:
        raise UsageError(f"end_point_mev = {end_point_mev}: must be greater than 0")

    def shape(energy: Array) -> Array:
        total = np.maximum(end_point_mev - energy, 0.0) + ELECTRON_MASS_MEV
        return energy**2 * total * np.sqrt(total**2 - ELECTRON_MASS_MEV**2)

    x, weight = np.polynomial.legendre.leggauss(64)
    nodes = end_point_mev * (x + 1) / 2
    norm = float(shape(nodes) @ weight) * end_point_mev / 2
    E = np.asarray(energy_mev, dtype=float)
    return np.where((E < 0) | (end_point_mev < E), 0.0, shape(np.clip(E, 0.0, end_point_mev)) / norm)


def check_fractions(fractions: Mapping[str, float]) -> None:
    """Check fission fractions.

    Raises
    ------
    UsageError
        For an unknown isotope, a negative fraction, or fractions that do not add up to 1 within 1e-3.
    """
    for name, fraction in fractions.items():
        if name not in ISOTOPES:
            raise unknown_name("isotope", name, ISOTOPES)
        if not fraction >= 0:
            raise UsageError(f"fission fraction of {name} = {fraction}: must be at least 0")
    total = math.fsum(fractions.values())
    if not abs(total - 1) < 1e-3:
        raise UsageError(f"fission fractions add up to {total:g}: must be 1 within 0.001")


def fissions_per_second(power_gw: float, fractions: Mapping[str, float]) -> float:
    """Return the fission rate of a core: P/⟨E_f⟩, with the energies of Ma et al.

    Parameters
    ----------
    power_gw : float
        Thermal power.
    fractions : mapping of str to float

    Raises
    ------
    UsageError
        As `check_fractions`.
    """
    check_fractions(fractions)
    mean = sum(fraction * ISOTOPES[name].energy_per_fission_mev for name, fraction in fractions.items())
    return power_gw * 1e9 / (mean * JOULE_PER_MEV)


def reactor_flux(
    energy_mev: ArrayLike,
    cores: Sequence[Core],
    fractions: Mapping[str, float],
    *,
    capture: bool = False,
    energy_max_mev: float = ENERGY_MAX_MEV,
) -> Array:
    """Return the flux of ν̄_e per cm², s and MeV: Σ_cores P/(⟨E_f⟩ 4πL²) Σ_i f_i S_i(E).

    Parameters
    ----------
    energy_mev : array_like
        Any shape, which the result has too.
    cores : sequence of Core
    fractions : mapping of str to float
        Fission fraction of each isotope.
    capture : bool
        Whether to add the ν̄ after neutron capture on 238U (239U, 239Np; below 1.3 MeV).
    energy_max_mev : float
        As in `isotope_spectrum`.

    Raises
    ------
    UsageError
        For wrong fractions, no core, or a power or distance that is not positive.
    """
    if not cores:
        raise UsageError("cores: at least one is needed")
    per_fission = sum(
        (fraction * isotope_spectrum(name, energy_mev, energy_max_mev) for name, fraction in fractions.items()),
        np.zeros_like(np.asarray(energy_mev, dtype=float)),
    )
    if capture:
        for end_point in CAPTURE_END_POINTS_MEV:
            per_fission = per_fission + CAPTURES_PER_FISSION * beta_spectrum(end_point, energy_mev)
    rate = 0.0
    for core in cores:
        for what, value in (("power_gw", core.power_gw), ("distance_m", core.distance_m)):
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"{what} = {value}: must be greater than 0")
        rate += fissions_per_second(core.power_gw, fractions) / (4 * math.pi * (100 * core.distance_m) ** 2)
    return np.asarray(rate * per_fission)
