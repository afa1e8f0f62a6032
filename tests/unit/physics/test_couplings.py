import math

import pytest

from bayesnu.errors import UsageError
from bayesnu.physics.constants import FINE_STRUCTURE, GAUSSIAN_CHARGE
from bayesnu.physics.couplings import CHANNELS, COUPLINGS, ELECTROMAGNETIC, TRANSITION, UNIT_SYMBOLS, check_values


def test_the_couplings_and_their_units() -> None:
    units = {name: coupling.unit for name, coupling in COUPLINGS.items()}
    assert units == {
        "mu_nue": "mu_B", "mu_numu": "mu_B", "q_nue": "e", "q_numu": "e", "r2_nue": "cm^2", "r2_numu": "cm^2",
        "d_nue": "mu_B", "d_numu": "mu_B",
    }  # fmt: skip
    assert set(units.values()) == set(UNIT_SYMBOLS)
    assert [name for name, coupling in COUPLINGS.items() if coupling.squared_only] == [
        "mu_nue",
        "mu_numu",
        "d_nue",
        "d_numu",
    ]
    assert (*ELECTROMAGNETIC, *TRANSITION) == tuple(COUPLINGS)


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
