"""What a response matrix depends on, and the hash that names it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bayesnu.physics.constants import ELECTRON_MASS_GEV
from bayesnu.physics.kinematics import e_theta2_max

FORMAT_VERSION = 1
"""Raised whenever the builders or the file layout change, so that older files are stale."""

Method = Literal["variance-reduced", "sample-and-histogram", "quadrature"]
REPLICATES = 8
"""Independently shifted copies of the variance-reduced rule in each cell; their spread is its error."""
SUBSAMPLES = 50
"""Independent sub-samples of a response whose Monte Carlo error enters the likelihood."""


@dataclass(frozen=True)
class ResponseSettings:
    """Everything that a response matrix depends on: the detector, the true grid and the method.

    Attributes
    ----------
    angular_resolution_deg : float
        σ_θ of the one-dimensional normal tilt θ_1, (A.1).
    energy_resolution : float
        σ_E/E at 1 GeV; Σ = ``energy_resolution`` √(E_e · GeV), (A.3).
    bin_edges_mev : tuple of float
        Edges of the reconstructed E_e θ².
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

    @property
    def key(self) -> str:
        """Hash of all fields and of the format version; names the file."""
        content = json.dumps({"version": FORMAT_VERSION, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

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
    def bin_edges_gev(self) -> NDArray[np.float64]:
        """Edges of the reconstructed E_e θ² in GeV."""
        return np.array(self.bin_edges_mev) * 1e-3

    @property
    def angular_resolution_rad(self) -> float:
        """σ_θ in rad."""
        return float(np.deg2rad(self.angular_resolution_deg))
