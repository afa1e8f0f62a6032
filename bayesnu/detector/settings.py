"""What a response matrix depends on, and the hash that names it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayesnu.physics.constants import ELECTRON_MASS_GEV
from bayesnu.physics.kinematics import e_theta2_max

FORMAT_VERSION = 2
"""Raised whenever the builders or the file layout change, so that older files are stale."""

Method = Literal["variance-reduced", "sample-and-histogram", "quadrature"]
REPLICATES = 8
"""Independently shifted copies of the variance-reduced rule in each cell; their spread is its error."""
SUBSAMPLES = 50
"""Independent sub-samples of a response whose Monte Carlo error enters the likelihood."""
LEFT_OUT = (
    "energy_resolution_noise_gev",
    "energy_resolution_constant",
    "angular_resolution_falling_deg",
    "energy_bin_edges_gev",
    "angle_bin_edges_deg",
)
"""Settings that are not written, nor hashed, at their default, which must therefore never change."""


class Smearing(NamedTuple):
    """The resolutions and the reconstructed bins as the kernels take them; energies in GeV, angles in rad.

    Attributes
    ----------
    stochastic, noise, constant : float
        Of the energy: Σ² = stochastic² E_e GeV + noise² + constant² E_e².
    tilt, tilt_falling : float
        Of the tilt θ_1: σ_θ² = tilt² + tilt_falling² GeV/E_e.
    edges : ndarray
        Of E_e θ², or of E_e where there are ``angle2_edges``.
    angle2_edges : ndarray
        Of θ²; empty for bins of E_e θ². Bins in two dimensions are flat, with θ the fast index.
    """

    stochastic: float
    noise: float
    constant: float
    tilt: float
    tilt_falling: float
    edges: NDArray[np.float64]
    angle2_edges: NDArray[np.float64]


@dataclass(frozen=True)
class ResponseSettings:
    """Everything that a response matrix depends on: the detector, the true grid and the method.

    Attributes
    ----------
    angular_resolution_deg : float
        σ_θ of the one-dimensional normal tilt θ_1, (A.1): the part that is the same at all energies.
    energy_resolution : float
        σ_E/E at 1 GeV: the stochastic term ``energy_resolution`` √(E_e · GeV) of Σ, (A.3).
    bin_edges_mev : tuple of float
        Edges of the reconstructed E_e θ²; empty for bins of E_e by θ.
    electron_energy_min_gev, electron_energy_max_gev : float
        Range of the true total electron energy.
    energy_cells, angle_cells : int
        Cells of the true grid: log-spaced in E_e, equal in E_e θ².
    method : {"variance-reduced", "sample-and-histogram", "quadrature"}
        How cells are integrated.
    samples : int
        Monte Carlo events in total (for quadrature: nodes in |θ_1|).
    seed : int
        Seed of the random numbers (unused by quadrature).
    energy_resolution_noise_gev, energy_resolution_constant : float
        Noise and constant term: Σ² = ``energy_resolution``² E_e GeV + noise² + constant² E_e².
    angular_resolution_falling_deg : float
        At 1 GeV: σ_θ² = ``angular_resolution_deg``² + falling² GeV/E_e.
    energy_bin_edges_gev, angle_bin_edges_deg : tuple of float
        Edges of the reconstructed E_e and θ, instead of ``bin_edges_mev``.
    """

    angular_resolution_deg: float
    energy_resolution: float
    bin_edges_mev: tuple[float, ...]
    electron_energy_min_gev: float
    electron_energy_max_gev: float
    energy_cells: int = 120
    angle_cells: int = 64
    method: Method = "variance-reduced"
    samples: int = 5_000_000
    seed: int = 20211122
    energy_resolution_noise_gev: float = 0.0
    energy_resolution_constant: float = 0.0
    angular_resolution_falling_deg: float = 0.0
    energy_bin_edges_gev: tuple[float, ...] = ()
    angle_bin_edges_deg: tuple[float, ...] = ()

    @property
    def content(self) -> dict[str, Any]:
        """All fields, but those of `LEFT_OUT` that have their default."""
        defaults = {field.name: field.default for field in fields(self) if field.name in LEFT_OUT}
        return {name: value for name, value in asdict(self).items() if name not in defaults or value != defaults[name]}

    @property
    def key(self) -> str:
        """Hash of `content` and of the format version; names the file."""
        content = json.dumps({"version": FORMAT_VERSION, **self.content}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def bins(self) -> int:
        """Number of reconstructed bins."""
        if self.bin_edges_mev:
            return len(self.bin_edges_mev) - 1
        return (len(self.energy_bin_edges_gev) - 1) * (len(self.angle_bin_edges_deg) - 1)

    @property
    def least_samples(self) -> int:
        """The fewest samples with which the method can be built."""
        cells = self.energy_cells * self.angle_cells
        return {"quadrature": 1, "sample-and-histogram": cells, "variance-reduced": cells * REPLICATES}[self.method]

    @property
    def least_subsampled(self) -> int:
        """The fewest samples with which the method can be built in sub-samples: one in each cell and sub-sample."""
        return self.energy_cells * self.angle_cells * SUBSAMPLES

    @property
    def energy_edges_gev(self) -> NDArray[np.float64]:
        """Edges of the true electron energy E_e = T + m, shape (energy_cells + 1,)."""
        return np.geomspace(self.electron_energy_min_gev, self.electron_energy_max_gev, self.energy_cells + 1)

    @property
    def angle_edges_gev(self) -> NDArray[np.float64]:
        """Edges of the true E_e θ², from 0 to the kinematic limit at the lowest energy, shape (angle_cells + 1,)."""
        top = e_theta2_max(self.electron_energy_min_gev - ELECTRON_MASS_GEV)
        return np.linspace(0.0, top, self.angle_cells + 1)

    @property
    def smearing(self) -> Smearing:
        """What the kernels need of the detector."""
        edges = np.array(self.bin_edges_mev) * 1e-3 if self.bin_edges_mev else np.array(self.energy_bin_edges_gev)
        return Smearing(
            self.energy_resolution,
            self.energy_resolution_noise_gev,
            self.energy_resolution_constant,
            float(np.deg2rad(self.angular_resolution_deg)),
            float(np.deg2rad(self.angular_resolution_falling_deg)),
            edges,
            np.deg2rad(self.angle_bin_edges_deg) ** 2,
        )
