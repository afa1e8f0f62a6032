import math

import pytest

from bayesnu.errors import UsageError
from bayesnu.physics.constants import FINE_STRUCTURE, GAUSSIAN_CHARGE
from bayesnu.physics.couplings import (
    CHANNELS,
    COUPLINGS,
    ELECTROMAGNETIC,
    PRODUCTS,
    RADIATIVE,
    TRANSITION,
    UNIT_SYMBOLS,
    check_values,
)


def test_the_couplings_and_their_units() -> None:
    units = {name: coupling.unit for name, coupling in COUPLINGS.items()}
    assert units == {
        "mu_nue": "mu_B", "mu_numu": "mu_B", "q_nue": "e", "q_numu": "e", "r2_nue": "cm^2", "r2_numu": "cm^2",
        "d_nue": "mu_B", "d_numu": "mu_B", "d_nutau": "mu_B", "d_nue_d_numu": "mu_B^2", "d_nue_d_nutau": "mu_B^2",
        "m_N": "MeV", "sin2_theta_w": "1",
    }  # fmt: skip
    assert set(units.values()) == set(UNIT_SYMBOLS)
    signed = [name for name, coupling in COUPLINGS.items() if not coupling.squared_only]
    assert signed == ["q_nue", "q_numu", "r2_nue", "r2_numu", "sin2_theta_w"]
    # The first eight keep their places: a run's seeds depend on them.
    assert tuple(COUPLINGS)[:8] == (*ELECTROMAGNETIC, *TRANSITION)
    assert set(RADIATIVE) == {"d_nue", "d_numu", "d_nutau", *PRODUCTS}


def test_channels() -> None:
    assert {name: (c.flavour, c.sign) for name, c in CHANNELS.items()} == {
        "numu": ("numu", 1), "numubar": ("numu", -1), "nue": ("nue", 1), "nuebar": ("nue", -1),
    }  # fmt: skip


def test_check_values_fills_in_zeros() -> None:
    assert check_values({"q_nue": 1}) == {**dict.fromkeys(ELECTROMAGNETIC, 0.0), "q_nue": 1.0}


@pytest.mark.parametrize(
    ("values", "hint"), [({"mu_mu": 0.0}, "mu_numu"), ({"d_nue": 1e-10}, "mu_nue"), ({"mu_nue": -1.0}, "at least 0")]
)
def test_check_values_refuses(values: dict[str, float], hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        check_values(values)


def test_gaussian_charge_is_11_7_times_smaller() -> None:
    assert pytest.approx(math.sqrt(FINE_STRUCTURE)) == GAUSSIAN_CHARGE
    assert pytest.approx(11.7, abs=0.05) == 1 / GAUSSIAN_CHARGE
