"""Backgrounds of ν-e scattering: a computed model, and files of counts made for a stated set-up."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from bayesnu.detector.efficiency import efficiency_at
from bayesnu.detector.settings import Smearing
from bayesnu.errors import CardError, DataError, silent
from bayesnu.experiment.card import MaterialName, Positive, Table
from bayesnu.experiment.electron_card import Card
from bayesnu.experiment.kept import kept_array
from bayesnu.experiment.load import describe
from bayesnu.experiment.response import response_settings
from bayesnu.flux.table import FluxTable, Spectrum
from bayesnu.physics.constants import ELECTRON_MASS_MEV
from bayesnu.physics.couplings import CHANNELS
from bayesnu.physics.materials import material
from bayesnu.physics.quasielastic import ccqe_cross_section, proton_visible
from bayesnu.resources import number, read_data, read_table

Array = NDArray[np.float64]

BACKGROUNDS = ("ccqe", "pi0")
PI0_FRACTION = 0.5
"""Misidentified π⁰ over CCQE events below 6 m_e: an assumption."""
WINDOW_MEV = 6 * ELECTRON_MASS_MEV
POINTS = 2**14
"""Quasi-random points of each energy bin in the integral of the CCQE background."""
ENERGY_STEPS = 16
"""Parts of a reconstructed energy bin in which the π⁰ background is integrated."""


class MadeFor(Table):
    """The set-up that a table of counts per year was made for; the TOML file beside the table."""

    description: str
    flux_sha256: str
    pot_per_year: Positive
    mass_tonnes: Positive
    material: MaterialName
    threshold_mev: float | None = None
    angular_resolution_deg: float | None = None
    angular_resolution_falling_deg: float | None = None
    """0 where it is left out beside angular_resolution_deg."""
    energy_resolution: float | None = None
    energy_resolution_noise_gev: float | None = None
    energy_resolution_constant: float | None = None
    """This and the noise are 0 where they are left out beside energy_resolution."""
    efficiency: bool = False
    """Whether the counts are those that pass the efficiency of the card, which is then not applied again."""


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
    if material(card.target.material) != material(made.material):
        raise CardError(f"target.material = {card.target.material}: {path.name} was made for {made.material}; {remedy}")
    beside = {
        "angular_resolution_falling_deg": made.angular_resolution_deg,
        "energy_resolution_noise_gev": made.energy_resolution,
        "energy_resolution_constant": made.energy_resolution,
    }
    for key in ("threshold_mev", "angular_resolution_deg", "energy_resolution", *beside):
        wanted, found = getattr(card.detector, key), getattr(made, key)
        if found is None and beside.get(key) is not None:
            found = 0.0
        if found is not None and wanted != found:
            raise CardError(f"detector.{key} = {wanted}: {path.name} was made for {found}; {remedy}")
    return card.target.mass_tonnes / made.mass_tonnes * card.flux.pot_per_year / made.pot_per_year


def ccqe_kernel(
    spectrum: Spectrum, card: Card, detector: Smearing, below_gev: float = math.inf, points: int = POINTS
) -> Array:
    """Return cm² per nucleon × GeV: CCQE in each reconstructed bin per unit of flux in each energy bin.

    E_e ≈ E, above the card's threshold and with its efficiency, and Q² = E²θ². The tilt depends only on the angle
    between the true and the measured direction, so points are drawn in the measured direction and
    tilted back to the true one, where the cross section is taken: every true
    angle that can smear into the window counts. Each energy bin is integrated
    over (E, measured θ², |θ_1|, φ_2) with a quasi-random sequence and exact
    energy smearing, at measured angles that a measured energy of E - 5 Σ can bring into the window.

    Parameters
    ----------
    spectrum : Spectrum
        Gives the energy bins.
    card : Card
    detector : Smearing
        Resolutions and bins.
    below_gev : float
        Largest E θ², true energy and measured angle.
    points : int
        Of each energy bin.

    Returns
    -------
    ndarray, shape (2, energy bins, bins)
        On neutrons and on protons: with and without the veto of visible protons.
    """
    from bayesnu.detector import smearing

    width = np.diff(spectrum.edges_gev)[:, None]
    # A Hammersley set, regular in the measured angle, shifted from one energy bin to the next.
    step = np.arange(width.size)[:, None] * points + np.arange(points)
    u_energy, u_tilt, u_azimuth = ((0.5 + step * ratio) % 1.0 for ratio in smearing.STEPS[:3])
    energy = spectrum.edges_gev[:-1, None] + width * u_energy
    # A measured energy E - 5 Σ widens the window in angle; points crowd at small angles, u² with density 2u.
    if detector.angle2_edges.size:
        angle2_max = np.minimum(detector.angle2_edges[-1], below_gev / energy)
    else:
        last = min(detector.edges[-1], below_gev)
        lowest = np.maximum(energy - 5 * smearing.energy_resolution(energy, detector), last / math.pi**2)
        angle2_max = np.minimum(last / lowest, math.pi**2)
    u_angle = (np.arange(points) + 0.5) / points
    measured2 = angle2_max * u_angle**2
    measured = np.sqrt(measured2)
    # t = √(-2 ln(1 - u²)) is close to a half-normal |θ_1|/σ; 2u/t is the exact ratio of densities.
    normal = np.sqrt(-2 * np.log1p(-(u_tilt**2)))
    tilt = smearing.angular_resolution(energy, detector) * normal
    density = 2 * u_tilt / np.maximum(normal, 1e-300)
    cosine = np.cos(measured) * np.cos(tilt) - np.sin(measured) * np.sin(tilt) * np.cos(math.pi * u_azimuth)
    true = np.arccos(np.clip(cosine, -1, 1))
    q2 = (energy * true) ** 2
    # dσ/dθ² = E² dσ/dQ²; sin θ/θ turns solid angle into θ². Mean over points × volume of (E, θ²) = integral.
    solid = np.sinc(measured / math.pi) / np.maximum(np.sinc(true / math.pi), 1e-9)
    volume = 2 * u_angle * angle2_max * width * density / density.sum(axis=1, keepdims=True)
    weight = ccqe_cross_section(q2) * energy**2 * solid * volume
    kept = (energy > card.detector.threshold_mev * 1e-3) & (energy * measured2 <= below_gev)
    weight = np.where(kept, weight, 0.0) * efficiency_at(card.detector.efficiency, energy * 1e3)
    weights = np.stack([np.where(proton_visible(q2), 0.0, weight), weight])
    return np.asarray(smearing.fold_measured(energy, measured2, weights, detector))


def find_kernel(
    spectrum: Spectrum, card: Card, detector: Smearing, below_gev: float, notice: Callable[[str], None]
) -> Array:
    """Return `ccqe_kernel`, which depends on the flux's bins alone and not on its values: kept, or computed now."""
    content = {
        "edges_gev": spectrum.edges_gev.tolist(),
        "threshold_mev": card.detector.threshold_mev,
        "efficiency": card.detector.efficiency,
        "detector": {name: np.asarray(value).tolist() for name, value in detector._asdict().items()},
        "below_gev": below_gev,
        "points": POINTS,
    }
    shape = (2, spectrum.edges_gev.size - 1, (detector.edges.size - 1) * max(1, detector.angle2_edges.size - 1))
    return kept_array("ccqe", content, shape, lambda: ccqe_kernel(spectrum, card, detector, below_gev, POINTS), notice)


def computed_backgrounds(card: Card, flux: FluxTable, notice: Callable[[str], None] = silent) -> Array:
    """Compute the background model for a card's flux, counts per year.

    ν_e CCQE without visible hadrons on neutrons (ν_e) and protons (ν̄_e), and
    misidentified π⁰: half the CCQE counts below 6 m_e of the same exposure, with
    shape exp(-E_e θ²/(6 m_e)) integrated over the bins, normalised over 0 to 6 m_e. In bins of
    E_e by θ the π⁰ have, by assumption, the reconstructed energies of the CCQE electrons with
    E_e θ² < 6 m_e, and at each energy that shape, integrated over θ². Both
    are a model, not simulated rates; the paper's come from arXiv:1912.06658.

    Parameters
    ----------
    card : Card
    flux : FluxTable
    notice : callable, optional
        Receives one-line notices, such as that a kept kernel is damaged.

    Returns
    -------
    ndarray, shape (exposures, 2, bins)
        ``ccqe`` and ``pi0``; not rescaled by an event table.
    """
    target = material(card.target.material)
    units = target.electrons_in(card.target.mass_tonnes) / target.electrons * card.flux.pot_per_year
    detector = response_settings(card, flux).smearing
    window = WINDOW_MEV * 1e-3
    below = detector._replace(edges=np.array([0.0, window]), angle2_edges=np.empty(0))
    nue, nuebar = list(CHANNELS).index("nue"), list(CHANNELS).index("nuebar")
    setups = [(detector, math.inf), (below, math.inf)]
    if detector.angle2_edges.size:
        setups.append((_fine_energies(detector), window))
    kernels: dict[bytes, list[Array]] = {}
    result = np.zeros((len(card.exposures), 2, card.detector.bins))
    for k, exposure in enumerate(card.exposures):
        spectrum = flux.spectrum(exposure.mode, exposure.position_m)
        key = spectrum.edges_gev.tobytes()
        if key not in kernels:
            kernels[key] = [find_kernel(spectrum, card, *setup, notice) for setup in setups]
        on_neutron, on_proton = (spectrum.values[c] * units for c in (nue, nuebar))
        ccqe, total, *energies = (
            on_neutron @ neutron * target.neutrons + on_proton @ proton * target.protons
            for neutron, proton in kernels[key]
        )
        shape = _pi0_by_energy_and_angle(detector, energies[0]) if energies else _pi0_shape(detector.edges, window)
        result[k] = ccqe, PI0_FRACTION * total.item() * shape
    return result


def _pi0_shape(edges_gev: Array, window_gev: float) -> Array:
    """Return the share of the π⁰ in each bin of E_e θ², 1 in the window: the integral of the shape."""
    return np.asarray(-np.diff(np.exp(-edges_gev / window_gev)) / (1 - math.exp(-1)))


def _fine_energies(detector: Smearing) -> Smearing:
    """Return a detector that bins in small steps of E_e, what is outside the card's energies too, at any θ."""
    low, high = detector.edges[:-1, None], detector.edges[1:, None]
    inside = (low + (high - low) * np.arange(ENERGY_STEPS) / ENERGY_STEPS).ravel()
    outside = [0.0] if inside[0] > 0 else []
    edges = np.concatenate([outside, inside, detector.edges[-1:], [np.inf]])
    return detector._replace(edges=edges, angle2_edges=np.array([0.0, math.pi**2]))


def _pi0_by_energy_and_angle(detector: Smearing, counts: Array) -> Array:
    """Return the share of the π⁰ in each bin of E_e by θ, from the CCQE counts in the steps of `_fine_energies`."""
    edges = _fine_energies(detector).edges
    steps = (detector.edges.size - 1) * ENERGY_STEPS
    inside = slice(counts.size - 1 - steps, counts.size - 1)
    centres = (edges[:-1] + edges[1:])[inside, None] / 2
    window = WINDOW_MEV * 1e-3
    beyond = np.exp(-centres * detector.angle2_edges / window) / (1 - math.exp(-1))
    energies = counts / counts.sum() if counts.sum() > 0 else counts
    share = energies[inside, None] * -np.diff(beyond, axis=1)
    return np.asarray(share.reshape(-1, ENERGY_STEPS, share.shape[1]).sum(axis=1).ravel())


def columns(card: Card) -> tuple[str, ...]:
    """Return the columns of a background file with the card's kind of bins."""
    return ("mode", "position_m", *(name for axis in card.detector.axes for name in axis.columns), *BACKGROUNDS)


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
    made = read_made_for(path)
    factor = check_made_for(path, made, card, flux, remedy)
    if made.efficiency != (card.detector.efficiency is not None):
        says, has = ("an", "none") if made.efficiency else ("no", "one")
        raise CardError(
            f"detector.efficiency: {path.name} was made with {says} efficiency, the card has {has}; {remedy}"
        )
    rows: dict[tuple[str, float], list[dict[str, str]]] = {}
    for row in read_table(path, columns(card)):
        rows.setdefault((row["mode"], number(path, row, "position_m", minimum=0)), []).append(row)
    result = np.zeros((len(card.exposures), 2, card.detector.bins))
    for k, exposure in enumerate(card.exposures):
        own = rows.get((exposure.mode, exposure.position_m))
        if own is None:
            raise CardError(
                f"exposures.{k}: {path.name} has no rows for mode '{exposure.mode}' at position_m = "
                f"{exposure.position_m:g}; {remedy}"
            )
        for axis in card.detector.axes:
            low, high = (np.array([number(path, row, column, minimum=0) for row in own]) for column in axis.columns)
            same = low.size == axis.low.size
            if not same or not np.allclose([low, high], [axis.low, axis.high], rtol=0, atol=1e-9):
                found, wanted = (_listed(np.union1d(a, b)) for a, b in ((low, high), (axis.low, axis.high)))
                raise CardError(
                    f"detector.{axis.key} = [{wanted}]: {path.name} was made for other bins, [{found}]; {remedy}"
                )
        for b, name in enumerate(BACKGROUNDS):
            result[k, b] = [number(path, row, name, minimum=0) for row in own]
    return result * factor


def _listed(edges: Array) -> str:
    return ", ".join(f"{edge:.12g}" for edge in edges)


def background_table(card: Card, counts: Array) -> str:
    """Return counts per year, shape (exposures, 2, bins), as the text of a background file."""
    lines = [",".join(columns(card))]
    edges = np.stack([end for axis in card.detector.axes for end in (axis.low, axis.high)], axis=1)
    for exposure, (ccqe, pi0) in zip(card.exposures, counts, strict=True):
        for b, own in enumerate(edges):
            where = [exposure.mode, f"{exposure.position_m:g}", *(f"{edge:.12g}" for edge in own)]
            lines.append(",".join([*where, f"{ccqe[b]:.6g}", f"{pi0[b]:.6g}"]))
    return "\n".join(lines) + "\n"
