"""The electromagnetic couplings of neutrinos and the beam channels they act on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        ``"mu"`` (magnetic moment), ``"q"`` (millicharge), ``"r2"`` (charge radius), ``"d"`` (transition
        moment to a sterile neutrino N, the d of `bayesnu.physics.dipole`), ``"dd"`` (product of that of the
        produced and that of the decaying N), ``"m"`` (mass of N) or ``"s2"`` (weak mixing angle, whose counts are
        those of its difference from the card's value).
    flavour : str
        ``"nue"``, ``"numu"`` or ``"nutau"``: of the neutrino that scatters, if it is not seen in the decay alone.
    unit : str
        ``"mu_B"``, ``"e"`` (the positive elementary charge), ``"cm^2"``, ``"mu_B^2"``, ``"MeV"`` or ``"1"``.
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
    units = {"mu": "mu_B", "q": "e", "r2": "cm^2", "d": "mu_B"}
    symbols = {"mu": r"\mu_{%s}", "q": r"q_{%s}", "r2": r"\langle r^2_{%s}\rangle", "d": r"d_{%s}"}
    flavours = {"nue": r"\nu_e", "numu": r"\nu_\mu"}
    couplings = {
        f"{family}_{flavour}": Coupling(
            f"{family}_{flavour}", family, flavour, unit, symbols[family] % tex, squared_only=family in ("mu", "d")
        )
        for family, unit in units.items()
        for flavour, tex in flavours.items()
    }
    more = [
        Coupling("d_nutau", "d", "nutau", "mu_B", r"d_{\nu_\tau}", True),
        Coupling("d_nue_d_numu", "dd", "nue", "mu_B^2", r"d_{\nu_e} d_{\nu_\mu}", True),
        Coupling("d_nue_d_nutau", "dd", "nue", "mu_B^2", r"d_{\nu_e} d_{\nu_\tau}", True),
        Coupling("m_N", "m", "", "MeV", "m_N", True),
        Coupling("sin2_theta_w", "s2", "", "1", r"\sin^2\theta_W", False),
    ]
    return couplings | {coupling.name: coupling for coupling in more}


COUPLINGS: Mapping[str, Coupling] = MappingProxyType(_all_couplings())
"""The couplings by name, in the order of every table; last those of `FREE_TOGETHER`."""

FREE_TOGETHER = ("m_N", "sin2_theta_w")
"""Parameters of joint fits that no card lists among its couplings."""

ELECTROMAGNETIC = tuple(name for name, coupling in COUPLINGS.items() if coupling.family in ("mu", "q", "r2"))
"""The couplings of an active flavour to itself."""
TRANSITION = ("d_nue", "d_numu")
"""The transition moments that produce N; their rates depend on its mass."""
PRODUCTS = ("d_nue_d_numu", "d_nue_d_nutau")
"""Products of the moment that produces N and another one in its decay, where the counts go as the product's square."""
RADIATIVE = ("d_nue", "d_numu", "d_nutau", *PRODUCTS)
"""What the photons of N's decay depend on where ν_e are scattered."""


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

UNIT_SYMBOLS = MappingProxyType(
    {"mu_B": r"\mu_B", "e": "e", "cm^2": r"\mathrm{cm}^2", "mu_B^2": r"\mu_B^2", "MeV": r"\mathrm{MeV}", "1": ""}
)
"""LaTeX of the units."""


def check_values(values: Mapping[str, float], names: Sequence[str] = ELECTROMAGNETIC) -> dict[str, float]:
    """Return the couplings of ``names`` with the given values, the others 0.

    Raises
    ------
    UsageError
        For a name that is not among them, or a negative moment.
    """
    full = dict.fromkeys(names, 0.0)
    for name, value in values.items():
        if name not in full:
            raise unknown_name("coupling", name, names)
        coupling = COUPLINGS[name]
        if coupling.squared_only and value < 0:
            raise UsageError(f"{name} = {value}: must be at least 0, since the counts depend on its square alone")
        full[name] = float(value)
    return full
