"""What the response of a card of ν-e scattering depends on."""

from __future__ import annotations

from bayesnu.detector.settings import ResponseSettings
from bayesnu.experiment.electron_card import Card
from bayesnu.flux.table import FluxTable
from bayesnu.physics.constants import ELECTRON_MASS_GEV


def response_settings(card: Card, flux: FluxTable) -> ResponseSettings:
    """Return what the response of a card depends on; the flux enters through its highest energy alone."""
    detector, response = card.detector, card.response
    return ResponseSettings(
        angular_resolution_deg=detector.angular_resolution_deg,
        energy_resolution=detector.energy_resolution,
        bin_edges_mev=tuple(detector.bin_edges_mev or ()),
        electron_energy_min_gev=detector.threshold_mev * 1e-3 + ELECTRON_MASS_GEV,
        electron_energy_max_gev=flux.energy_max_gev + ELECTRON_MASS_GEV,
        energy_cells=response.energy_cells,
        angle_cells=response.angle_cells,
        method=response.method,
        samples=response.samples,
        seed=response.seed,
        energy_resolution_noise_gev=detector.energy_resolution_noise_gev,
        energy_resolution_constant=detector.energy_resolution_constant,
        angular_resolution_falling_deg=detector.angular_resolution_falling_deg,
        energy_bin_edges_gev=tuple(detector.energy_bin_edges_gev or ()),
        angle_bin_edges_deg=tuple(detector.angle_bin_edges_deg or ()),
    )
