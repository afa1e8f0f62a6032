"""The electromagnetic couplings of neutrinos and the beam channels they act on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bayesnu.errors import UsageError, unknown_name


@dataclass(frozen=True)
class Coupling:
    """One coupling.

    Attributes
    ----------
    name : str
        The name used everywhere (Python, TOML, command line, files).
    family : str
        ``"mu"`` (magnetic moment), ``"q"`` (millicharge) or ``"r2"`` (charge radius).
    flavour : str
        ``"nue"`` or ``"numu"``.
    unit : str
        ``"mu_B"``, ``"e"`` (the positive elementary charge) or ``"cm^2"``.
    symbol : str
        LaTeX symbol for figures.
    squared_only : bool
        Whether counts depend on its square alone, so that it is taken as non-negative.
    """

    name: str
    family: str
    flavour: str
    unit: str
    symbol: str
    squared_only: bool


def _all_couplings() -> dict[str, Coupling]:
    units = {"mu": "mu_B", "q": "e", "r2": "cm^2"}
    symbols = {"mu": r"\mu_{%s}", "q": r"q_{%s}", "r2": r"\langle r^2_{%s}\rangle"}
    flavours = {"nue": r"\nu_e", "numu": r"\nu_\mu"}
    return {
        f"{family}_{flavour}": Coupling(
            f"{family}_{flavour}", family, flavour, unit, symbols[family] % tex, squared_only=family == "mu"
        )
        for family, unit in units.items()
        for flavour, tex in flavours.items()
    }


COUPLINGS: Mapping[str, Coupling] = MappingProxyType(_all_couplings())
"""The couplings of ν-e scattering by name, in the order of every table."""


@dataclass(frozen=True)
class Channel:
    """A neutrino species of the beam: name, flavour and the sign s of g_A (+1 for ν, -1 for ν̄)."""

    name: str
    flavour: str
    sign: int
    symbol: str


CHANNELS: Mapping[str, Channel] = MappingProxyType(
    {
        "numu": Channel("numu", "numu", +1, r"\nu_\mu"),
        "numubar": Channel("numubar", "numu", -1, r"\bar\nu_\mu"),
        "nue": Channel("nue", "nue", +1, r"\nu_e"),
        "nuebar": Channel("nuebar", "nue", -1, r"\bar\nu_e"),
    }
)
"""The four beam channels by name."""

UNIT_SYMBOLS = MappingProxyType({"mu_B": r"\mu_B", "e": "e", "cm^2": r"\mathrm{cm}^2"})
"""LaTeX of the units."""


def get_coupling(name: str) -> Coupling:
    """Return a coupling by name.

    Raises
    ------
    UsageError
        If there is none; the message names the nearest.
    """
    if name not in COUPLINGS:
        raise unknown_name("coupling", name, COUPLINGS)
    return COUPLINGS[name]


def check_values(values: Mapping[str, float]) -> dict[str, float]:
    """Return all couplings with the given values, the others 0.

    Raises
    ------
    UsageError
        For an unknown name or a negative magnetic moment.
    """
    full = dict.fromkeys(COUPLINGS, 0.0)
    for name, value in values.items():
        coupling = get_coupling(name)
        if coupling.squared_only and value < 0:
            raise UsageError(f"{name} = {value}: must be at least 0, since the counts depend on its square alone")
        full[name] = float(value)
    return full
