"""A small detector grid, and the response that the deterministic quadrature gives for it."""

from __future__ import annotations

import numpy as np
import pytest

from bayesnu.detector.response import ResponseMatrix, build_response, quadrature_settings
from bayesnu.detector.settings import ResponseSettings

TWELVE_BINS = tuple(np.linspace(0, 6 * 0.51099895, 13).tolist())


@pytest.fixture(scope="session")
def small() -> ResponseSettings:
    return ResponseSettings(1.0, 0.10, TWELVE_BINS, 0.8, 2.4, energy_cells=8, angle_cells=16, samples=2**17, seed=7)


@pytest.fixture(scope="session")
def small_response(small: ResponseSettings) -> ResponseMatrix:
    return build_response(small)


@pytest.fixture(scope="session")
def small_quadrature(small: ResponseSettings) -> ResponseMatrix:
    return build_response(quadrature_settings(small))
