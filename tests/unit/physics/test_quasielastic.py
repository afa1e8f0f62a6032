import math

import numpy as np
import pytest

from bayesnu.physics.quasielastic import (
    FERMI_MOMENTUM_GEV,
    NUCLEAR_FACTOR,
    ccqe_cross_section,
    pauli_factor,
    proton_visible,
)


def test_point_cross_section_before_nuclear_factors() -> None:
    """G_F² V_ud² (1 + g_A²)/(2π) = 2.10e-38 cm²/GeV² at Q² = 0."""
    q2 = 1e-6
    bare = ccqe_cross_section(q2) / (pauli_factor(q2) * NUCLEAR_FACTOR)
    assert bare == pytest.approx(2.10e-38, rel=2e-3)
    by_hand = (1.1663787e-5 * 0.974) ** 2 * (1 + 1.275**2) / (2 * math.pi) * 0.3893793721e-27
    assert bare == pytest.approx(by_hand * (1 + q2) ** -4, rel=1e-12)


def test_dipole_fall() -> None:
    """Above 2 k_F the Pauli factor is 1, so the ratio is the dipole's with M_A = 1 GeV."""
    assert ccqe_cross_section(1.0) / ccqe_cross_section(0.25) == pytest.approx((2 / 1.25) ** -4, rel=1e-12)


def test_pauli_factor() -> None:
    x = np.array([0.1, 1.0, 1.9])
    np.testing.assert_allclose(pauli_factor((x * FERMI_MOMENTUM_GEV) ** 2), 0.75 * x - x**3 / 16, rtol=1e-12)
    assert pauli_factor((2 * FERMI_MOMENTUM_GEV) ** 2) == pytest.approx(1.0)
    assert pauli_factor(9.0) == 1.0
    assert pauli_factor(0.0) == 0.0


def test_proton_becomes_visible_at_21_mev() -> None:
    edge = 2 * 0.938272088 * 0.021
    assert list(proton_visible([edge * 0.999, edge * 1.001])) == [False, True]
