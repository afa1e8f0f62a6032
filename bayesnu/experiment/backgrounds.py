"""Backgrounds of ν-e scattering: a computed model, and files of counts made for a stated set-up."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from bayesnu.errors import CardError, DataError
from bayesnu.experiment.card import Card, Positive, Table
from bayesnu.experiment.load import describe
from bayesnu.flux.table import FluxTable, Spectrum
from bayesnu.physics.constants import ELECTRON_MASS_MEV, MATERIALS
from bayesnu.physics.couplings import CHANNELS
from bayesnu.physics.quasielastic import ccqe_cross_section, proton_visible
from bayesnu.resources import number, read_data, read_table

Array = NDArray[np.float64]

BACKGROUNDS = ("ccqe", "pi0")
PI0_FRACTION = 0.5
"""Misidentified π⁰ over CCQE events below 6 m_e: an assumption."""
WINDOW_MEV = 6 * ELECTRON_MASS_MEV
COLUMNS = ("mode", "position_m", "e_theta2_lo_mev", "e_theta2_hi_mev", *BACKGROUNDS)


class MadeFor(Table):
    """The set-up that a table of counts per year was made for; the TOML file beside the table."""

    description: str
    flux_sha256: str
    pot_per_year: Positive
    mass_tonnes: Positive
    material: str
    threshold_mev: float | None = None
    angular_resolution_deg: float | None = None
    energy_resolution: float | None = None


def made_for_path(path: Path) -> Path:
    """Return the TOML file that says what a table of counts was made for."""
    return path.with_suffix(".toml")


def read_made_for(path: Path) -> MadeFor:
    """Read the TOML file beside a table of counts.

    Raises
    ------
    DataError
        If it is missing, not TOML, or lacks a key.
    """
    beside = made_for_path(path)
    try:
        return MadeFor.model_validate(tomllib.loads(read_data(beside).decode("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{beside}: not TOML: {error}") from error
    except ValidationError as error:
        raise DataError(f"{beside}: {describe(error)}") from error


def check_made_for(path: Path, made: MadeFor, card: Card, flux: FluxTable, remedy: str) -> float:
    """Return the factor mass × POT that takes the table's counts per year to the card's.

    Raises
    ------
    CardError
        If the table was made for another flux, material, threshold or detector.
    """
    if flux.digest != made.flux_sha256:
        raise CardError(
            f"{card.flux.source}: {path.name} was made for another flux (flux_sha256 of the values "
            f"{made.flux_sha256[:12]}…, not {flux.digest}); {remedy}"
        )
    detector = card.detector
    differences = [
        ("target.material", card.target.material, made.material),
        ("detector.threshold_mev", detector.threshold_mev, made.threshold_mev),
        ("detector.angular_resolution_deg", detector.angular_resolution_deg, made.angular_resolution_deg),
        ("detector.energy_resolution", detector.energy_resolution, made.energy_resolution),
    ]
    for key, wanted, found in differences:
        if found is not None and wanted != found:
            raise CardError(f"{key} = {wanted}: {path.name} was made for {found}; {remedy}")
    return card.target.mass_tonnes / made.mass_tonnes * card.flux.pot_per_year / made.pot_per_year


def ccqe_kernel(spectrum: Spectrum, card: Card, edges_mev: Sequence[float], points: int = 2**14) -> tuple[Array, Array]:
    """Return cm² per nucleon × GeV: CCQE in each reconstructed bin per unit of flux in each energy bin.

    E_e ≈ E, above the card's threshold, and Q² = E²θ². The tilt depends only on the angle between the true
    and the measured direction, so points are drawn in the measured direction and
    tilted back to the true one, where the cross section is taken: every true
    angle that can smear into the window counts. Each energy bin is integrated
    over (E, measured θ², |θ_1|, φ_2) with a quasi-random sequence and exact
    energy smearing, at measured angles that a measured energy of E - 5 Σ can bring into the window.

    Returns
    -------
    on_neutron, on_proton : ndarray, shape (energy bins, bins)
        With and without the veto of visible protons.
    """
    from bayesnu.detector import smearing

    edges = np.array(edges_mev) * 1e-3
    width = np.diff(spectrum.edges_gev)[:, None]
    # A Hammersley set, regular in the measured angle, shifted from one energy bin to the next.
    step = np.arange(width.size)[:, None] * points + np.arange(points)
    u_energy, u_tilt, u_azimuth = ((0.5 + step * ratio) % 1.0 for ratio in smearing.STEPS[:3])
    energy = spectrum.edges_gev[:-1, None] + width * u_energy
    # A measured energy E - 5 Σ widens the window in angle; points crowd at small angles, u² with density 2u.
    resolution = card.detector.energy_resolution
    lowest = np.maximum(energy - 5 * resolution * np.sqrt(energy), edges[-1] / math.pi**2)
    angle2_max = np.minimum(edges[-1] / lowest, math.pi**2)
    u_angle = (np.arange(points) + 0.5) / points
    measured2 = angle2_max * u_angle**2
    measured = np.sqrt(measured2)
    # t = √(-2 ln(1 - u²)) is close to a half-normal |θ_1|/σ; 2u/t is the exact ratio of densities.
    normal = np.sqrt(-2 * np.log1p(-(u_tilt**2)))
    tilt = math.radians(card.detector.angular_resolution_deg) * normal
    density = 2 * u_tilt / np.maximum(normal, 1e-300)
    cosine = np.cos(measured) * np.cos(tilt) - np.sin(measured) * np.sin(tilt) * np.cos(math.pi * u_azimuth)
    true = np.arccos(np.clip(cosine, -1, 1))
    q2 = (energy * true) ** 2
    # dσ/dθ² = E² dσ/dQ²; sin θ/θ turns solid angle into θ². Mean over points × volume of (E, θ²) = integral.
    solid = np.sinc(measured / math.pi) / np.maximum(np.sinc(true / math.pi), 1e-9)
    volume = 2 * u_angle * angle2_max * width * density / density.sum(axis=1, keepdims=True)
    weight = ccqe_cross_section(q2) * energy**2 * solid * volume
    weight = np.where(energy > card.detector.threshold_mev * 1e-3, weight, 0.0)
    on_neutron = np.where(proton_visible(q2), 0.0, weight)
    return (
        smearing.fold_measured(energy, measured2, on_neutron, resolution, edges),
        smearing.fold_measured(energy, measured2, weight, resolution, edges),
    )


def computed_backgrounds(card: Card, flux: FluxTable) -> Array:
    """Compute the background model for a card's flux, counts per year.

    ν_e CCQE without visible hadrons on neutrons (ν_e) and protons (ν̄_e), and
    misidentified π⁰: half the CCQE counts below 6 m_e of the same exposure, with
    shape exp(-E_e θ²/(6 m_e)) at bin centres, normalised over 0 to 6 m_e. Both
    are a model, not simulated rates; the paper's come from arXiv:1912.06658.

    Returns
    -------
    ndarray, shape (exposures, 2, bins)
        ``ccqe`` and ``pi0``; not rescaled by an event table.
    """
    material = MATERIALS[card.target.material]
    electrons = material.electrons_in(card.target.mass_tonnes)
    edges = np.array(card.detector.bin_edges_mev)
    centres, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    shape = np.exp(-centres / WINDOW_MEV) * widths / (WINDOW_MEV * (1 - math.exp(-1)))
    nue, nuebar = list(CHANNELS).index("nue"), list(CHANNELS).index("nuebar")
    kernels: dict[bytes, tuple[Array, Array, Array, Array]] = {}
    result = np.zeros((len(card.exposures), 2, widths.size))
    for k, exposure in enumerate(card.exposures):
        spectrum = flux.spectrum(exposure.mode, exposure.position_m)
        key = spectrum.edges_gev.tobytes()
        if key not in kernels:
            inside = ccqe_kernel(spectrum, card, card.detector.bin_edges_mev)
            kernels[key] = (*inside, *ccqe_kernel(spectrum, card, (0.0, WINDOW_MEV)))
        neutron, proton, neutron_all, proton_all = kernels[key]
        scale = electrons / material.electrons * card.flux.pot_per_year
        on_neutron, on_proton = (spectrum.values[c] * scale for c in (nue, nuebar))
        result[k, 0] = on_neutron @ neutron * material.neutrons + on_proton @ proton * material.protons
        total = (on_neutron @ neutron_all * material.neutrons + on_proton @ proton_all * material.protons).item()
        result[k, 1] = PI0_FRACTION * total * shape
    return result


def read_backgrounds(path: Path, card: Card, flux: FluxTable) -> Array:
    """Read a background file and scale it to the card's mass and POT; counts per year, shape (exposures, 2, bins).

    Raises
    ------
    DataError
        If the file is damaged or lacks an exposure.
    CardError
        If it was made for another flux, detector or binning.
    """
    remedy = "give a backgrounds.file of your own or set backgrounds.model = 'ccqe'"
    factor = check_made_for(path, read_made_for(path), card, flux, remedy)
    rows: dict[tuple[str, float], list[dict[str, str]]] = {}
    for row in read_table(path, COLUMNS):
        rows.setdefault((row["mode"], number(path, row, "position_m", minimum=0)), []).append(row)
    edges = card.detector.bin_edges_mev
    result = np.zeros((len(card.exposures), 2, len(edges) - 1))
    for k, exposure in enumerate(card.exposures):
        own = rows.get((exposure.mode, exposure.position_m))
        if own is None:
            raise CardError(
                f"exposures.{k}: {path.name} has no rows for mode '{exposure.mode}' at position_m = "
                f"{exposure.position_m:g}; {remedy}"
            )
        low = [number(path, row, "e_theta2_lo_mev", minimum=0) for row in own]
        high = [number(path, row, "e_theta2_hi_mev", minimum=0) for row in own]
        if (
            len(own) != len(edges) - 1
            or not np.allclose([*low, high[-1]], edges, rtol=0, atol=1e-9)
            or low[1:] != high[:-1]
        ):
            found = ", ".join(f"{edge:.12g}" for edge in [*low, high[-1]])
            wanted = ", ".join(f"{edge:.12g}" for edge in edges)
            raise CardError(
                f"detector.bin_edges_mev = [{wanted}]: {path.name} was made for other bins, [{found}]; {remedy}"
            )
        for b, name in enumerate(BACKGROUNDS):
            result[k, b] = [number(path, row, name, minimum=0) for row in own]
    return result * factor


def background_table(card: Card, counts: Array) -> str:
    """Return counts per year, shape (exposures, 2, bins), as the text of a background file."""
    lines = [",".join(COLUMNS)]
    edges = card.detector.bin_edges_mev
    for exposure, (ccqe, pi0) in zip(card.exposures, counts, strict=True):
        for b in range(len(edges) - 1):
            where = f"{exposure.mode},{exposure.position_m:g},{edges[b]:.12g},{edges[b + 1]:.12g}"
            lines.append(f"{where},{ccqe[b]:.6g},{pi0[b]:.6g}")
    return "\n".join(lines) + "\n"
