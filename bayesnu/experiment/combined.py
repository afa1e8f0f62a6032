"""Several experiments as one: their observations one after the other, couplings common, pulls shared as cards say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import CardError, UsageError, nearest
from bayesnu.experiment.base import Coordinates, Experiment, Variance
from bayesnu.experiment.card import AnalysisCard, CouplingCard, Source, Sterile
from bayesnu.experiment.covariance import CovarianceModes
from bayesnu.experiment.expectation import CountModel, Monomial
from bayesnu.experiment.load import LoadedCard
from bayesnu.physics.couplings import COUPLINGS

Array = NDArray[np.float64]


class CombinedCard(AnalysisCard):
    """What the cards of a combination have in common, and each of them."""

    known_couplings: ClassVar[tuple[str, ...]] = tuple(COUPLINGS)

    cards: dict[str, dict[str, Any]]


@dataclass(frozen=True, repr=False)
class CombinedExperiment(Experiment):
    """Several experiments with one set of couplings.

    Attributes
    ----------
    members : tuple of Experiment
        In the order of their observations.
    """

    members: tuple[Experiment, ...]

    @property
    def signal_sm(self) -> Array:
        """The expected SM counts without backgrounds, shape (obs,)."""
        return np.concatenate([member.signal_sm for member in self.members])

    @property
    def background(self) -> Array:
        """The nominal background counts, shape (obs,)."""
        return np.concatenate([member.background for member in self.members])

    @property
    def covariances(self) -> tuple[CovarianceModes, ...]:
        """The modes of correlated systematics, each of its card alone."""
        return tuple(
            replace(modes, name=f"{member.card.name}:{modes.name}")
            for member in self.members
            for modes in member.covariances
        )

    @property
    def errors(self) -> Array | None:
        """Measured errors where all data have them."""
        found = [member.errors for member in self.members if member.errors is not None]
        return np.concatenate(found) if len(found) == len(self.members) else None

    @property
    def relative_variance(self) -> Array | None:
        """Squared relative errors of the expected counts, 0 for a member without; None if there are none at all."""
        own = [member.relative_variance for member in self.members]
        if all(variance is None for variance in own):
            return None
        sizes = [member.data.size for member in self.members]
        return np.concatenate([np.zeros(n) if v is None else v for v, n in zip(own, sizes, strict=True)])

    @property
    def normal_variance(self) -> Array:
        """Squared measured errors of the members that have them, 0 of the counts of others."""
        return np.concatenate([member.normal_variance for member in self.members])

    @property
    def variances(self) -> tuple[Variance, ...]:
        """The variances V of χ² (3.1) that some member with counts has; none if one has none."""
        sets = [member.variances for member in self.members if member.errors is None]
        if not sets:
            return ("measured",)
        return tuple(v for v in get_args(Variance) if any(v in own for own in sets)) if all(sets) else ()

    def chi2_variance(self, variance: Variance) -> Array:
        """Return V of χ² (3.1), shape (obs,): that of each member, its default where it has not this one."""
        own = [variance if variance in member.variances else member.variances[0] for member in self.members]
        return np.concatenate([member.chi2_variance(v) for member, v in zip(self.members, own, strict=True)])

    @property
    def approximations(self) -> tuple[str, ...]:
        """What of it is no likelihood, a line for each published limit."""
        return tuple(line for member in self.members for line in member.approximations)

    @property
    def response_error(self) -> str:
        """How the responses' Monte Carlo errors enter the likelihood; empty where they do not."""
        found = [f"{member.card.name}: {member.response_error}" for member in self.members if member.response_error]
        return "; ".join(found)

    def without_response_error(self) -> CombinedExperiment | None:
        """Return the combination with all responses taken for exact; None where no error is in the likelihood."""
        bare = [member.without_response_error() for member in self.members]
        if all(member is None for member in bare):
            return None
        return combine([own or member for own, member in zip(bare, self.members, strict=True)])

    @property
    def mass_reaches(self) -> tuple[float, ...]:
        """Masses of N in MeV beyond which one of the sources' spectra produces none, increasing."""
        return tuple(sorted({mass for member in self.members for mass in member.mass_reaches}))

    def caution(self, coupling: str, value: float) -> str:
        """Return what to know about the counts at a value of a coupling; empty where they hold."""
        own = [member for member in self.members if coupling in member.model.couplings]
        return "; ".join(text for member in own if (text := member.caution(coupling, value)))

    @property
    def sin2_theta_w(self) -> tuple[float, float | None]:
        """The cards' sin²θ_W and its error.

        Raises
        ------
        UsageError
            If they differ, or the counts of a member cannot be given at another value.
        """
        # What a published limit stands for took the mixing angle as known.
        counted = [member for member in self.members if member.alone]
        if not counted:
            raise UsageError("sin2_theta_w: no count depends on it, so that it cannot be fitted")
        own = {member.card.name: member.sin2_theta_w for member in counted}
        if len(set(own.values())) > 1:
            given = "; ".join(f"{name} has {value:g} ± {error or 'none'}" for name, (value, error) in own.items())
            raise UsageError(f"physics.sin2_theta_w: cards of a combination in which it is free must agree: {given}")
        return next(iter(own.values()))

    def with_free_mixing_angle(self) -> CombinedExperiment:
        """Return the combination with ``sin2_theta_w`` among the couplings of its model; see `free_mixing_angle`."""
        # Raises where the cards do not agree.
        _ = self.sin2_theta_w
        models = [member.with_free_mixing_angle().model if member.alone else member.model for member in self.members]
        return replace(self, model=_join(self.members, models))

    def observation_coordinates(self) -> Coordinates:
        """Return exposure (with the name of its card), bin and bin edges as coordinates on ``obs``."""
        rows: dict[str, list[Any]] = {name: [] for name in ("exposure", "bin", "bin_lo", "bin_hi")}
        labels: dict[str, list[str]] = {"units": [], "long_name": [], "scale": []}
        for member in self.members:
            own = member.observation_coordinates()
            rows["exposure"] += [f"{member.card.name}: {name}" for name in own["exposure"][1]]
            for name in ("bin", "bin_lo", "bin_hi"):
                rows[name] += list(own[name][1])
            for key, default in (("units", "1"), ("long_name", ""), ("scale", "linear")):
                labels[key].append(own["bin_lo"][2].get(key, default))
        label = {key: " or ".join(dict.fromkeys(values)) for key, values in labels.items()}
        label["scale"] = "log" if set(labels["scale"]) == {"log"} else "linear"
        edges = {"bin_lo": ("obs", rows["bin_lo"], label), "bin_hi": ("obs", rows["bin_hi"], label)}
        return {"exposure": ("obs", rows["exposure"]), "bin": ("obs", rows["bin"]), **edges}

    def at(self, m_N: float) -> CombinedExperiment:
        """Return the combination with N of another mass (MeV)."""
        return combine([member.at(m_N) for member in self.members])


def combine(members: Sequence[Experiment]) -> CombinedExperiment:
    """Combine experiments: the likelihood is the product of theirs, with the constraint of a shared pull once.

    Couplings of one name are one parameter. A pull belongs to its card, as ``CARD:PULL``, unless the cards name it in
    ``pulls.shared_with_others``: those of one name are then one pull.

    Parameters
    ----------
    members : sequence of Experiment

    Raises
    ------
    CardError
        For fewer than two cards or two of one name; for priors or masses of N that differ; for a shared pull that is
        listed in one card alone, or has other widths.
    """
    names = [member.card.name for member in members]
    if len(members) < 2:
        raise CardError("combine: needs two cards or more")
    twice = [name for name, number in Counter(names).items() if number > 1]
    if twice:
        raise CardError(f"combine: two cards are named '{twice[0]}'; a copy of a card needs a name of its own")
    check_shared_pulls(members)
    card = CombinedCard(
        name="_and_".join(names),
        title=" and ".join(member.card.title for member in members),
        source=Source(paper="; ".join(dict.fromkeys(member.card.source.paper for member in members))),
        couplings=common_couplings(members),
        sterile=common_sterile(members),
        cards={member.card.name: member.card.model_dump(mode="json") for member in members},
    )
    loaded = LoadedCard(card, Path(" + ".join(str(member.loaded.path) for member in members)), ())
    files = {f"{member.card.name}: {role}": path for member in members for role, path in member.files.items()}
    data = np.concatenate([member.data for member in members])
    model = _join(members, [member.model for member in members])
    return CombinedExperiment(loaded, model, data, all(m.observed for m in members), files, tuple(members))


def _join(members: Sequence[Experiment], models: Sequence[CountModel]) -> CountModel:
    return joined_model(models, [member.card.name for member in members], [listed_pulls(member) for member in members])


def listed_pulls(experiment: Experiment) -> list[str]:
    """Return the pulls that a card shares with others.

    Raises
    ------
    CardError
        For a name that is no pull of the card.
    """
    listed: list[str] = getattr(getattr(experiment.card, "pulls", None), "shared_with_others", [])
    for name in listed:
        if name not in experiment.model.pulls:
            known = experiment.model.pulls
            raise CardError(
                f"{experiment.loaded.where}: pulls.shared_with_others: unknown pull '{name}'; allowed are "
                f"{', '.join(known)}{nearest(name, known)}"
            )
    return listed


def check_shared_pulls(members: Sequence[Experiment]) -> None:
    """Check that pulls that cards share fit together.

    Raises
    ------
    CardError
        See `combine`.
    """
    found: dict[str, list[Experiment]] = {}
    for member in members:
        for name in listed_pulls(member):
            found.setdefault(name, []).append(member)
    for name, own in found.items():
        if len(own) < 2:
            raise CardError(
                f"{own[0].loaded.where}: pulls.shared_with_others: '{name}' is listed by this card alone; list it in "
                "each card that shares it"
            )
        places = [(member, member.model.pulls.index(name)) for member in own]
        widths = [float(member.model.widths[p]) for member, p in places]
        if len(set(widths)) > 1 or len({bool(member.model.constraint[p]) for member, p in places}) > 1:
            given = ", ".join(f"{width:g} in {member.card.name}" for width, member in zip(widths, own, strict=True))
            raise CardError(f"pulls.{name}: a shared pull needs one width, not {given}")


def common_couplings(members: Sequence[Experiment]) -> dict[str, CouplingCard]:
    """Return the couplings of all cards, in the order of every table; a prior is that of the card that has one.

    Raises
    ------
    CardError
        If two cards give a coupling priors that differ.
    """
    found: dict[str, CouplingCard] = {}
    for name in COUPLINGS:
        own = [member for member in members if name in member.card.couplings]
        given = [member for member in own if member.card.couplings[name].prior is not None]
        if len({member.card.couplings[name].prior for member in given}) > 1:
            where = " and ".join(member.card.name for member in given)
            raise CardError(f"couplings.{name}.prior: differs between {where}; the posterior has one prior")
        if own:
            found[name] = (given or own)[0].card.couplings[name]
    return found


def common_sterile(members: Sequence[Experiment]) -> Sterile:
    """Return the sterile neutrino of the cards that have a transition moment.

    Raises
    ------
    CardError
        If they differ.
    """
    own = [m for m in members if any(COUPLINGS[name].family in ("d", "dd") for name in m.card.couplings)]
    if len({member.card.sterile for member in own}) > 1:
        given = ", ".join(f"{member.card.sterile.m_N:g} in {member.card.name}" for member in own)
        raise CardError(f"sterile: cards with a transition moment must agree in it; m_N is {given}")
    return own[0].card.sterile if own else Sterile()


def joined_model(
    models: Sequence[CountModel], names: Sequence[str], shared: Sequence[Sequence[str]]
) -> CountModel:
    """Return the expected counts of several models, one after the other.

    Parameters
    ----------
    models : sequence of CountModel
        Of known masses of N.
    names : sequence of str
        Of their cards, which begin the names of pulls that are not shared.
    shared : sequence of sequence of str
        The pulls of each that are one with those of others that list them.
    """
    couplings = tuple(name for name in COUPLINGS if any(name in model.couplings for model in models))
    size = sum(model.arrays.shape[2] for model in models)
    pulls: dict[str, float] = {}
    free: dict[str, None] = {}
    components: list[tuple[int, ...]] = []
    labels: list[str] = []
    blocks: list[dict[Monomial, Array]] = []
    start = 0
    for name, model, listed in zip(names, models, shared, strict=True):
        own = [pull if pull in listed else f"{name}:{pull}" for pull in model.pulls]
        for pull, width, full in zip(model.pulls, model.widths.tolist(), own, strict=True):
            pulls.setdefault(full, width)
            free |= {full: None} if pull in model.free else {}
        places = [list(pulls).index(full) for full in own]
        place = [couplings.index(coupling) for coupling in model.couplings]
        end = start + model.arrays.shape[2]
        for c, members in enumerate(model.components):
            block: dict[Monomial, Array] = {}
            for m, monomial in enumerate(model.monomials):
                renamed = tuple(sorted((place[j], n) for j, n in monomial))
                block.setdefault(renamed, np.zeros(size))[start:end] += model.arrays[c, m]
            components.append(tuple(places[p] for p in members))
            labels.append(f"{name}: {model.component_names[c]}")
            blocks.append(block)
        start = end
    monomials = list(dict.fromkeys([(), *(monomial for block in blocks for monomial in block)]))
    arrays = np.zeros((len(blocks), len(monomials), size))
    for c, block in enumerate(blocks):
        for monomial, counts in block.items():
            arrays[c, monomials.index(monomial)] = counts
    return CountModel(
        couplings,
        tuple(monomials),
        tuple(components),
        tuple(labels),
        tuple(pulls),
        np.array(list(pulls.values())),
        arrays,
        tuple(free),
        signed=any(model.signed for model in models),
    )
