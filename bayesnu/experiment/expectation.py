"""Expected counts: one labelled array weighted by monomials of the couplings and factors of the pulls.

λ_i = Σ_component Π_p (1 + f_p)^k Σ_monomial Π_j θ_j^n · A[component, monomial, i]

with k = 0 or 1 where a pull scales counts, and 0, 1, 2, … for the parts of a polynomial morph.
The functions use operators that NumPy and PyTensor share, so that the
frequentist and the Bayesian answer come from one likelihood.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import UsageError, unknown_name
from bayesnu.experiment.backgrounds import BACKGROUNDS
from bayesnu.experiment.electron_card import Card, Exposure
from bayesnu.experiment.templates import Templates
from bayesnu.physics.couplings import CHANNELS, COUPLINGS
from bayesnu.physics.electron import FOLDED

Array = NDArray[np.float64]
Monomial = tuple[tuple[int, int], ...]
PULLS = ("flux_norm", "wrong_sign", "electron_flavour", "ccqe", "pi0")


@dataclass(frozen=True)
class MassSpline:
    """Interpolation of templates in the mass of N: cubic splines between masses where the counts have a threshold.

    Between two such masses a and b the variable is t = arccos(1 - 2 (m - a)/(b - a))/π: its equal steps are small in m
    near both ends, and what goes as √(b - m) there is smooth in it. Counts depend on m_N² alone: at m < 0 they are
    those of |m|; beyond the last mass there are none.

    Attributes
    ----------
    breaks : tuple of float
        MeV, from 0; the last one is the highest mass.
    cells : tuple of int
        Steps of t between each break and the next; at least 4.
    """

    breaks: tuple[float, ...]
    cells: tuple[int, ...]

    @cached_property
    def nodes(self) -> Array:
        """Masses in MeV at which templates are needed; breaks inside come twice, once for either side."""
        pieces = zip(self.breaks, self.breaks[1:], self.cells, strict=False)
        return np.concatenate([a + (b - a) * np.sin(np.pi * np.arange(n + 1) / n / 2) ** 2 for a, b, n in pieces])

    @property
    def size(self) -> int:
        """Number of B-splines."""
        return sum(n + 3 for n in self.cells)

    def coefficients(self, values: Array) -> Array:
        """Return the B-spline coefficients, (size, …), of not-a-knot splines; values at `nodes` first."""
        result, start = [], 0
        for n in self.cells:
            matrix = np.zeros((n + 3, n + 3))
            for k, weight in enumerate((1 / 6, 4 / 6, 1 / 6)):
                matrix[np.arange(n + 1), np.arange(n + 1) + k] = weight
            # No jump of the third derivative at the first and the last inner node.
            matrix[n + 1, :5] = matrix[n + 2, -5:] = (1, -4, 6, -4, 1)
            own = values[start : start + n + 1].reshape(n + 1, -1)
            result.append(np.linalg.solve(matrix, np.concatenate([own, np.zeros((2, own.shape[1]))])))
            start += n + 1
        return np.concatenate(result).reshape(self.size, *values.shape[1:])

    def basis(self, mass_mev: Any, library: Any = np) -> Any:
        """Return the B-splines at a mass, (size, *shape of the mass); ``library`` is NumPy or ``pytensor.tensor``."""
        m = abs(mass_mev)
        parts = []
        for a, b, n in zip(self.breaks, self.breaks[1:], self.cells, strict=False):
            inside = (m >= a) * (m < b) if b < self.breaks[-1] else (m >= a) * (m <= b)
            # At the very ends the slope of t in m is infinite, and that of an even function in t is 0.
            x = library.clip(1 - 2 * (m - a) / (b - a), -1 + 1e-12, 1 - 1e-12)
            place = np.arange(-1, n + 2).reshape(-1, *[1] * mass_mev.ndim)
            distance = abs(library.arccos(x) * (n / math.pi) - place)
            # max(x, 0), with operators that NumPy and PyTensor share.
            outer, inner = (((c - distance) + abs(c - distance)) / 2 for c in (2.0, 1.0))
            parts.append(inside * ((outer**3 - 4 * inner**3) / 6))
        return library.concatenate(parts)


@dataclass(frozen=True)
class CountModel:
    """The expected counts of all exposures and bins as one flat vector ``obs``.

    Attributes
    ----------
    couplings : tuple of str
        The couplings that are free.
    monomials : tuple
        Each a tuple of (index of coupling, power); the empty one is the constant.
    components : tuple of tuple of int
        For each component, the indices of the pulls that scale it; twice for a square.
    component_names : tuple of str
        Labels of the components.
    pulls : tuple of str
        Pull names.
    widths : ndarray, shape (pulls,)
        One-sigma widths as fractions.
    free : tuple of str
        Pulls without a constraint (a flat prior, no penalty), which the data alone determine; for these the width
        is only the unit in which they are minimised and sampled.
    signed : bool
        Whether components may be negative: modes of a covariance (`bayesnu.experiment.modes`), sums of pulls.
    arrays : ndarray, shape (components, monomials, obs)
        Counts per unit of the monomial.
    masses : MassSpline, optional
        If m_N is among the couplings. A monomial then contains (index of m_N, k) for the k-th B-spline;
        all of them follow each other, after the monomials without m_N.
    """

    couplings: tuple[str, ...]
    monomials: tuple[Monomial, ...]
    components: tuple[tuple[int, ...], ...]
    component_names: tuple[str, ...]
    pulls: tuple[str, ...]
    widths: Array
    arrays: Array
    free: tuple[str, ...] = ()
    masses: MassSpline | None = None
    signed: bool = False

    @cached_property
    def membership(self) -> Array:
        """The power of each pull's factor in each component; shape (components, pulls)."""
        indices = range(len(self.pulls))
        return np.array([[float(members.count(p)) for p in indices] for members in self.components])

    @property
    def floored(self) -> bool:
        """Whether counts of a component are cut off at 0: where a spline in m_N may ring by a trifle about none.

        Parts of a morph, modes of a covariance and parts of a sum of pulls may be negative; where there are any, every
        bin has other counts.
        """
        return self.masses is not None and not self.signed and bool(self.membership.max(initial=0.0) <= 1)

    @cached_property
    def constraint(self) -> Array:
        """1 for a pull with a normal constraint, 0 for a free one; shape (pulls,)."""
        return np.array([float(name not in self.free) for name in self.pulls])

    def pull_factors(self, pulls: Any, product: Callable[..., Any] = np.prod) -> Any:
        """Return Π_p (1 + f_p)^k of each component: (…, pulls) → (…, components)."""
        if self.membership.max(initial=0.0) > 1:
            return product((1 + pulls[..., None, :]) ** self.membership, axis=-1)
        return product(1 + self.membership * pulls[..., None, :], axis=-1)

    def monomial_values(self, couplings: Any, library: Any = np) -> Any:
        """Return the value of each monomial; ``couplings`` is indexed by coupling first, ``library`` has ``stack``."""
        one = couplings[0] * 0.0 + 1.0
        mass = self.couplings.index("m_N") if self.masses is not None else -1

        def value(monomial: Monomial) -> Any:
            return _product([couplings[j] for j, n in monomial for _ in range(n) if j != mass], one)

        plain = [monomial for monomial in self.monomials if all(j != mass for j, _ in monomial)]
        values = library.stack([value(monomial) for monomial in plain])
        if self.masses is None:
            return values
        # One monomial of the moments for all nodes.
        massive = self.monomials[len(plain) :: self.masses.size]
        basis = self.masses.basis(couplings[mass], library)
        return library.concatenate([values, *(value(monomial) * basis for monomial in massive)])

    def signal_strengths(self, couplings: Array) -> Array:
        """Return the counts of each component before pulls: (couplings, points) → (points, components, obs)."""
        values = self.monomial_values(couplings)
        counts = np.asarray(np.einsum("mg,cmo->gco", values, self.arrays))
        return np.maximum(counts, 0.0) if self.floored else counts

    def expected(self, couplings: Mapping[str, float] | None = None, pulls: Mapping[str, float] | None = None) -> Array:
        """Return the expected counts, shape (obs,), at given couplings (others 0) and pulls (others 0).

        Raises
        ------
        UsageError
            For a name that the model does not have.
        """
        for what, names, known in (("coupling", couplings, self.couplings), ("pull", pulls, self.pulls)):
            for name in names or ():
                if name not in known:
                    raise unknown_name(what, name, known)
        theta = np.array([(couplings or {}).get(name, 0.0) for name in self.couplings])
        given = pulls or {}
        f = np.array([given.get(name, 0.0) for name in self.pulls])
        values = self.monomial_values(theta)
        return np.asarray(expected_counts(self.arrays, values, self.pull_factors(f), self.floored))

    def change(self, j: int, power: int, m_N: float = 0.0) -> Array:
        """Return what a power of one coupling alone adds to the counts, per unit of it, shape (obs,).

        ``m_N`` in MeV, where it is free.
        """
        if self.masses is None:
            weights: dict[Monomial, float] = {((j, power),): 1.0}
        else:
            mass, basis = self.couplings.index("m_N"), self.masses.basis(np.array(m_N))
            weights = {((j, power),): 1.0}
            for k, value in enumerate(basis):
                weights[tuple(sorted([(j, power), (mass, k)]))] = float(value)
        places = {monomial: m for m, monomial in enumerate(self.monomials)}
        own = [weights[m] * self.arrays[:, places[m]].sum(axis=0) for m in weights if m in places]
        return np.sum([np.zeros(self.arrays.shape[2]), *own], axis=0)

    def depends_on(self, coupling: str) -> bool:
        """Return whether any count depends on a coupling."""
        j = self.couplings.index(coupling)
        own = [m for m, monomial in enumerate(self.monomials) if any(k == j for k, _ in monomial)]
        return bool(np.any(self.arrays[:, own] != 0))

    def restrict(self, couplings: Sequence[str], scales: Sequence[float]) -> CountModel:
        """Return the model of some couplings, in units of ``scales``, the others held at 0.

        All monomials up to the second power, or the highest that a coupling has, are kept, zero
        or not, so that models of any one coupling have the same shape.
        """
        if self.masses is not None and "m_N" not in couplings:
            raise UsageError("m_N: the model has it free; take that of one mass")
        kept = [self.couplings.index(name) for name in couplings]
        place = {old: new for new, old in enumerate(kept)}
        wanted: dict[Monomial, None] = {(): None}
        for j, name in enumerate(couplings):
            if name != "m_N":
                wanted |= {((j, 1),): None, ((j, 2),): None}
        sources: dict[Monomial, Array] = {}
        for m, monomial in enumerate(self.monomials):
            if all(j in place for j, _ in monomial):
                renamed = tuple(sorted((place[j], n) for j, n in monomial))
                factor = float(np.prod([scales[j] ** n for j, n in renamed if couplings[j] != "m_N"]))
                sources[renamed] = self.arrays[:, m] * factor
                wanted[renamed] = None
        zero = np.zeros((len(self.components), self.arrays.shape[2]))
        arrays = np.stack([sources.get(monomial, zero) for monomial in wanted], axis=1)
        return replace(self, couplings=tuple(couplings), monomials=tuple(wanted), arrays=arrays)


def free_mass(models: Sequence[CountModel], masses: MassSpline) -> CountModel:
    """Return the model with m_N free from the models at the spline's nodes.

    Monomials with a transition moment get one for each B-spline; the others are those of the first model.
    """
    first = models[0]
    mass = len(first.couplings)

    def depends(monomial: Monomial) -> bool:
        return any(COUPLINGS[first.couplings[j]].family in ("d", "dd") for j, _ in monomial)

    plain = [m for m, monomial in enumerate(first.monomials) if not depends(monomial)]
    massive = [m for m, monomial in enumerate(first.monomials) if depends(monomial)]
    splines = [masses.coefficients(np.array([model.arrays[:, m] for model in models])) for m in massive]
    monomials = [first.monomials[m] for m in plain]
    monomials += [(*first.monomials[m], (mass, k)) for m in massive for k in range(masses.size)]
    arrays = np.concatenate([first.arrays[:, plain], *(spline.swapaxes(0, 1) for spline in splines)], axis=1)
    couplings = (*first.couplings, "m_N")
    return replace(first, couplings=couplings, monomials=tuple(monomials), arrays=arrays, masses=masses)


def free_mixing_angle(model: CountModel, radius_cm2: float) -> CountModel:
    """Return the model with ``sin2_theta_w`` among its couplings: its difference δ from the card's value.

    In the Standard Model's amplitudes sin²θ_W enters as the charge radii of all flavours do, as
    s² (1 + m_W² ⟨r²⟩/(3 (ħc)²)).
    Counts at δ are those at ⟨r²⟩ + δ · ``radius_cm2`` of every flavour: no new folding, each power of ⟨r²⟩ is expanded.
    The coefficient of ⟨r²⟩ keeps the card's s², so that δ and equal radii are degenerate exactly, not to first order
    alone; what is left out is of the relative size δ/s² of the effect of a radius. The normalisation of the flux stays.

    Parameters
    ----------
    model : CountModel
    radius_cm2 : float
        The charge radius, of all flavours, that changes s² by 1.
    """
    angle = len(model.couplings)
    radii = [j for j, name in enumerate(model.couplings) if COUPLINGS[name].family == "r2"]
    arrays: dict[Monomial, Array] = {}
    massive: dict[Monomial, Array] = {}
    mass = model.couplings.index("m_N") if model.masses is not None else -1
    for m, monomial in enumerate(model.monomials):
        if any(j == mass for j, _ in monomial):
            massive[monomial] = model.arrays[:, m]
            continue
        powers = dict(monomial)
        own = [j for j in radii if j in powers]
        for left in itertools.product(*(range(powers[j] + 1) for j in own)):
            taken = sum(powers[j] for j in own) - sum(left)
            factor = math.prod(math.comb(powers[j], n) for j, n in zip(own, left, strict=True)) * radius_cm2**taken
            expanded = {**powers, **dict(zip(own, left, strict=True)), angle: taken}
            key = tuple(sorted((j, n) for j, n in expanded.items() if n))
            arrays[key] = arrays.get(key, 0.0) + factor * model.arrays[:, m]
    # Monomials with splines in m_N stay the last.
    arrays |= massive
    return replace(
        model,
        couplings=(*model.couplings, "sin2_theta_w"),
        monomials=tuple(arrays),
        arrays=np.stack(list(arrays.values()), axis=1),
    )


def expected_counts(arrays: Any, monomials: Any, factors: Any, floored: bool = False) -> Any:
    """Return Σ_c factor_c Σ_m monomial_m A[c, m, i], written as broadcast, multiply and sum.

    Parameters
    ----------
    arrays : shape (components, monomials, obs)
    monomials : shape (monomials,)
    factors : shape (components,)
    floored : bool
        Whether the sum over m is cut off at 0; see `CountModel.floored`.
    """
    if floored:
        counts = (monomials[None, :, None] * arrays).sum(1)
        return (factors[:, None] * (counts + abs(counts)) / 2).sum(0)
    weights = factors[:, None] * monomials[None, :]
    return (weights[:, :, None] * arrays).sum((0, 1))


def _product(factors: Sequence[Any], one: Any) -> Any:
    result = one
    for factor in factors:
        result = result * factor
    return result


def pull_names(card: Card, mode: str) -> dict[str, str]:
    """Return the name of each pull for one horn polarity: its own set where the card does not share them."""
    return {name: name if card.pulls.shared else f"{name}[{mode}]" for name in PULLS}


def channel_pulls(channel: str, mode: str) -> tuple[str, ...]:
    """Return the pulls of a channel, (3.2): the wrong-sign and electron-flavour factors inside the common one."""
    species = CHANNELS[channel]
    wrong = species.sign != (1 if mode == "neutrino" else -1)
    return (
        "flux_norm",
        *(["wrong_sign"] if wrong else []),
        *(["electron_flavour"] if species.flavour == "nue" else []),
    )


def norm_pulls(card: Card, exposure: Exposure) -> dict[str, float]:
    """Return the pulls whose sum is the f of the flux norm at an exposure's position, with their widths.

    With the correlation ρ of the card, f_p = σ (√ρ z_0 + √(1 - ρ) z_p) at each position p: one pull of all positions
    and one of each. With ρ = 1, or one position, there is one; with ρ = 0 one of each position.
    """
    width, rho = card.pulls.flux_norm, card.pulls.flux_correlation
    if rho == 1 or len({e.position_m for e in card.exposures}) == 1:
        return {pull_names(card, exposure.mode)["flux_norm"]: width}
    place = f"{exposure.position_m:.12g} m"
    own = f"flux_norm[{place}]" if card.pulls.shared else f"flux_norm[{exposure.mode}, {place}]"
    common = {pull_names(card, exposure.mode)["flux_norm"]: width * math.sqrt(rho)} if rho > 0 else {}
    return {**common, own: width * math.sqrt(1 - rho)}


def pull_widths(card: Card, exposure: Exposure) -> dict[str, float]:
    """Return the one-sigma width of every pull of an exposure."""
    others = {own: getattr(card.pulls, name) for name, own in pull_names(card, exposure.mode).items()}
    return {**norm_pulls(card, exposure), **{own: w for own, w in others.items() if not own.startswith("flux_norm")}}


def channel_factor(card: Card, channel: str, exposure: Exposure) -> list[tuple[float, tuple[str, ...]]]:
    """Return the factor of a channel as Σ weight Π (1 + f): weights, and the pulls of each product.

    One product with one pull of the flux norm; with two, 1 + f_0 + f_p = (1 + f_0) + (1 + f_p) - 1.
    """
    names = pull_names(card, exposure.mode)
    inside = tuple(names[name] for name in channel_pulls(channel, exposure.mode) if name != "flux_norm")
    norms = list(norm_pulls(card, exposure))
    products = [(1.0, (norm, *inside)) for norm in norms]
    return products if len(norms) == 1 else [*products, (-1.0, inside)]


def build_count_model(card: Card, templates: Templates, backgrounds: Array) -> CountModel:
    """Gather templates and backgrounds (counts per year, (exposures, 2, bins)) into one array.

    Channels under the same pulls are one component: N_exp of (3.2) with the
    factors (1 + f)(1 + f_ν)(1 + f_e), plus (1 + α) B for each background.
    """
    model = _gather(card, templates.values[..., None], backgrounds[..., None])
    return replace(model, arrays=model.arrays[..., 0])


def deviation_arrays(card: Card, templates: Templates, backgrounds: Array) -> Array:
    """Return the deviations of the response's sub-samples from the arrays of `build_count_model`.

    Shape (components, monomials, obs, sub-samples); the backgrounds have none.
    """
    none = np.zeros((*backgrounds.shape, templates.deviations.shape[-1]))
    return shift_arrays(card, templates.deviations, none)


def shift_arrays(card: Card, values: Array, backgrounds: Array) -> Array:
    """Return what shifts of templates and backgrounds change in the arrays of `build_count_model`.

    Parameters
    ----------
    card : Card
    values : ndarray, shape (exposures, channels, terms, bins, shifts)
        Counts in the exposure's years.
    backgrounds : ndarray, shape (exposures, 2, bins, shifts)
        Counts per year.

    Returns
    -------
    ndarray, shape (components, monomials, obs, shifts)
    """
    return _gather(card, values, backgrounds).arrays


def _gather(card: Card, values: Array, backgrounds: Array) -> CountModel:
    """Gather templates and backgrounds with one axis more, which the arrays keep as their last."""
    names: dict[str, int] = {}
    widths: dict[str, float] = {}
    signed = False
    components: dict[tuple[int, ...], int] = {}
    labels: list[str] = []
    n_bins, size = values.shape[3:]
    n_obs = len(card.exposures) * n_bins
    blocks: dict[tuple[int, Monomial], Array] = {}
    order = list(card.known_couplings)
    monomials: dict[Monomial, None] = {(): None}

    def component(members: Sequence[str], label: str) -> int:
        key = tuple(names.setdefault(name, len(names)) for name in members)
        if key not in components:
            components[key] = len(components)
            labels.append(label)
        return components[key]

    def add(place: int, monomial: Monomial, exposure: int, counts: Array) -> None:
        monomials[monomial] = None
        block = blocks.setdefault((place, monomial), np.zeros((n_obs, size)))
        block[exposure * n_bins : (exposure + 1) * n_bins] += counts

    for k, exposure in enumerate(card.exposures):
        own = pull_names(card, exposure.mode)
        suffix = "" if card.pulls.shared else f" ({exposure.mode} mode)"
        for name, width in pull_widths(card, exposure).items():
            names.setdefault(name, len(names))
            widths.setdefault(name, width)
        for c, channel in enumerate(CHANNELS):
            inside = channel_pulls(channel, exposure.mode)
            sign = "wrong-sign" if "wrong_sign" in inside else "right-sign"
            label = f"{sign} {'electron' if 'electron_flavour' in inside else 'muon'}{suffix}"
            for weight, members in channel_factor(card, channel, exposure):
                signed = signed or weight < 0
                if weight < 0:
                    place = component(members, f"{label}, taken off")
                else:
                    place = component(members, label if members[0] in own.values() else f"{label}, {members[0]}")
                for t, term in enumerate(FOLDED.values()):
                    monomial = tuple(
                        sorted((order.index(f"{family}_{CHANNELS[channel].flavour}"), n) for family, n in term)
                    )
                    add(place, monomial, k, weight * values[k, c, t])
        for b, name in enumerate(BACKGROUNDS):
            add(component([own[name]], name + suffix), (), k, backgrounds[k, b] * exposure.years)
    arrays = np.zeros((len(components), len(monomials), n_obs, size))
    for (place, monomial), counts in blocks.items():
        arrays[place, list(monomials).index(monomial)] = counts
    return CountModel(
        tuple(order), tuple(monomials), tuple(components), tuple(labels), tuple(names), np.array(list(widths.values())),
        arrays, signed=signed,
    )  # fmt: skip


def check_pulls(values: Mapping[str, float], model: CountModel) -> dict[str, float]:
    """Return the pulls, checked.

    Raises
    ------
    UsageError
        For an unknown pull, or a fraction that is not above -1.
    """
    for name, value in values.items():
        if name not in model.pulls:
            raise unknown_name("pull", name, model.pulls)
        if not value > -1:
            raise UsageError(f"pull {name} = {value}: must be a fraction above -1 (0.1 is 10%)")
    return dict(values)
