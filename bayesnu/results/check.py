"""Everything that a run would read and make of a card before it fits: validated, and as numbers to look at."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bayesnu.errors import silent
from bayesnu.experiment.base import Experiment
from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.experiment.overview import Key, blocks, card_keys, fluxes
from bayesnu.experiment.setup import load_experiment
from bayesnu.experiment.spectra import Block, Flux
from bayesnu.inference.likelihood import make_problem, minimise_pulls
from bayesnu.inference.priors import mass_prior, one_coupling
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.results.comparison import read_published
from bayesnu.shown import Shown


@dataclass(frozen=True)
class CheckedPull:
    """A pull and its one-sigma width as a fraction; NaN where the data alone determine it."""

    name: str
    width: float


@dataclass(frozen=True)
class CheckedCoupling:
    """A coupling of the card: unit, and its prior in words; without one where no count depends on it."""

    name: str
    unit: str
    prior: str


@dataclass(frozen=True)
class CheckedJoint:
    """A joint fit: its couplings with the priors that it would take, which are not those of each alone."""

    name: str
    couplings: tuple[CheckedCoupling, ...]


@dataclass(frozen=True)
class CheckedFile:
    """A file that was read: the card's key, where it was found, and its SHA-256."""

    role: str
    path: Path
    sha256: str


def chi2_survival(degrees: int, chi2: float) -> float:
    """Return the probability of a larger χ², in closed form; 0 if it is not finite.

    With h = χ²/2 it is e⁻ʰ Σ hʲ/Γ(j + 1) over j = 0, 1, … below degrees/2; of an odd number of degrees over
    j = 1/2, 3/2, …, and erfc(√h) more.
    """
    if not math.isfinite(chi2):
        return 0.0
    if chi2 <= 0:
        return 1.0
    half = chi2 / 2
    odd = degrees % 2
    powers = (k + odd / 2 for k in range(degrees // 2))
    terms = (math.exp(j * math.log(half) - half - math.lgamma(j + 1)) for j in powers)
    return math.fsum([math.erfc(math.sqrt(half)) if odd else 0.0, *terms])


@dataclass(frozen=True)
class StandardModelFit:
    """The data against the Standard Model, pulls profiled.

    Attributes
    ----------
    deviance : float
        -2 ln L over that of a model that meets every count; infinite where it expects none and there are some.
    degrees : int
        Observations less the pulls that nothing but the data fixes.
    """

    deviance: float
    degrees: int

    @property
    def p_value(self) -> float:
        """Share of experiments of the Standard Model that fit worse, by χ²; meant for bins of many counts."""
        return chi2_survival(self.degrees, self.deviance)

    @property
    def problem(self) -> str:
        """What to say of data that the Standard Model does not describe; empty otherwise."""
        if self.p_value >= UNLIKELY:
            return ""
        return (
            f"the data are far from the Standard Model (-2 ln L = {self.deviance:.4g} for {self.degrees} degrees of "
            "freedom, pulls profiled): are they the counts of this card?"
        )


@dataclass(frozen=True, repr=False)
class Check(Shown):
    """What the program understood of a card.

    Attributes
    ----------
    model, title, paper, scattering : str
    card : Path
    keys : tuple of Key
        Every key, also by default, with its meaning.
    background : str
        Where the backgrounds come from.
    response : str
        Which response serves.
    data : str
        Observed counts, or the SM expectation.
    fluxes : tuple of Flux
    blocks : tuple of Block
        Counts by exposure.
    pulls : tuple of CheckedPull
    couplings : tuple of CheckedCoupling
    published : int
        Rows of the card's scenario in its table of published limits.
    files : tuple of CheckedFile
    fit : StandardModelFit
        How well the Standard Model describes the data.
    joint : tuple of CheckedJoint
        Of the joint fits that were asked for.
    """

    model: str
    title: str
    paper: str
    scattering: str
    card: Path
    keys: tuple[Key, ...]
    background: str
    response: str
    data: str
    fluxes: tuple[Flux, ...]
    blocks: tuple[Block, ...]
    pulls: tuple[CheckedPull, ...]
    couplings: tuple[CheckedCoupling, ...]
    published: int
    files: tuple[CheckedFile, ...]
    fit: StandardModelFit
    joint: tuple[CheckedJoint, ...] = ()


def check_card(
    model: str,
    overrides: Sequence[str] = (),
    joint: Sequence[Sequence[str]] = (),
    notice: Callable[[str], None] = silent,
) -> Check:
    """Validate everything that a run of a card would read, and say what was understood.

    Parameters
    ----------
    model : str
        A name in models/ or the path of a card.
    overrides : sequence of str
        ``KEY=VALUE`` each.
    joint : sequence of sequences of str
        Couplings that a run would fit together, as in `bayesnu.run`.
    notice : callable, optional
        Receives one-line notices, such as that a response is built.

    Raises
    ------
    BayesnuError
        If any input is not valid, a prior cannot be built, or couplings cannot be fitted together: the mixing angle
        without a prior beside all charge radii, for one.
    """
    return check_experiment(load_experiment(model, overrides, notice), joint)


UNLIKELY = 1e-4
"""Probability below which data are said to be far from the Standard Model."""


def check_experiment(experiment: Experiment, joint: Sequence[Sequence[str]] = ()) -> Check:
    """Return what the program understood of an assembled card, and of joint fits; see `check_card`.

    Raises
    ------
    BayesnuError
        If a prior cannot be built, couplings cannot be fitted together, or the table of published limits cannot be
        read.
    """
    experiment.require_alone()
    card = experiment.card
    published = 0
    if card.comparison is not None:
        rows = read_published(experiment.files["comparison.published"])
        published = sum(row.scenario == card.comparison.scenario for row in rows)
    return Check(
        card.name,
        card.title,
        card.source.paper,
        str(card.model_dump()["scattering"]),
        experiment.loaded.path,
        tuple(card_keys(card)),
        background_source(experiment),
        response_used(experiment),
        data_used(experiment),
        tuple(fluxes(experiment)),
        tuple(blocks(experiment)),
        tuple(pull_widths(experiment)),
        tuple(coupling_priors(experiment)),
        published,
        tuple(
            CheckedFile(role, path, hashlib.sha256(path.read_bytes()).hexdigest())
            for role, path in experiment.files.items()
        ),
        standard_model_fit(experiment),
        tuple(joint_couplings(experiment, names) for names in joint),
    )


def background_source(experiment: Experiment) -> str:
    """Return where the backgrounds come from."""
    if isinstance(experiment, ElectronExperiment):
        backgrounds = experiment.card.backgrounds
        if backgrounds.file is not None:
            return f"counts of {backgrounds.file}"
        return f"computed from the flux (model {backgrounds.model})"
    if "counts.file" in experiment.files and any(name.startswith("steady_state") for name in experiment.model.pulls):
        return "anticoincidence counts of counts.file, and neutrons of the card"
    return "of the card" if experiment.background.any() else "none"


def response_used(experiment: Experiment) -> str:
    """Return which response serves."""
    error = f"; {experiment.response_error}" if experiment.response_error else ""
    if experiment.response_key is None:
        return f"computed on loading{error}"
    return f"matrix {experiment.response_key[:12]}{error}"


def data_used(experiment: Experiment) -> str:
    """Return what would be fitted."""
    if not experiment.observed:
        return "Asimov: the SM expectation, not rounded"
    name = experiment.files["counts.file"].name if "counts.file" in experiment.files else "the card"
    errors = "" if experiment.errors is None else ", with their measured errors"
    kind = "expected" if getattr(experiment.card, "expected_data", False) else "observed"
    return f"{kind} counts of {name}{errors}"


def pull_widths(experiment: Experiment) -> list[CheckedPull]:
    """Return the pulls of the model with their widths."""
    model = experiment.model
    return [
        CheckedPull(name, math.nan if name in model.free else float(width))
        for name, width in zip(model.pulls, model.widths, strict=True)
    ]


def coupling_priors(experiment: Experiment) -> list[CheckedCoupling]:
    """Return the couplings with the priors that a run would take."""
    found = []
    for name in experiment.card.couplings:
        prior = "no count depends on it: no limit"
        if experiment.responds(name):
            prior = one_coupling(experiment, name)[1].describe()
        found.append(CheckedCoupling(name, COUPLINGS[name].unit, prior))
    if experiment.card.sterile.m_N_prior is not None:
        found.append(CheckedCoupling("m_N", COUPLINGS["m_N"].unit, mass_prior(experiment).describe()))
    return found


def joint_couplings(experiment: Experiment, couplings: Sequence[str]) -> CheckedJoint:
    """Return a joint fit with the priors that a run would take.

    Raises
    ------
    UsageError
        If the couplings cannot be fitted together; see `bayesnu.results.joint.check_joint`.
    ConvergenceError
        If the data do not bound one of them with the others free.
    """
    # It knows the sampler: not for a check without it.
    from bayesnu.results.joint import check_joint, joint_name, joint_priors

    priors = joint_priors(experiment, check_joint(experiment, couplings))
    own = [CheckedCoupling(prior.coupling.name, prior.coupling.unit, prior.describe()) for prior in priors]
    return CheckedJoint(joint_name(couplings), tuple(own))


def standard_model_fit(experiment: Experiment) -> StandardModelFit:
    """Return how well the Standard Model describes the data."""
    names = list(experiment.card.couplings)
    problem = make_problem(experiment, [next(filter(experiment.responds, names), names[0])])
    value = float(minimise_pulls(problem, np.zeros((1, 1))).value[0])
    return StandardModelFit(value, max(1, problem.data.size - len(problem.model.free)))


def check_json(check: Check) -> dict[str, Any]:
    """Return a check as JSON-able values, without the points of the figures; what is not a number is null."""

    def number(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return {
        "model": check.model,
        "title": check.title,
        "paper": check.paper,
        "scattering": check.scattering,
        "card": str(check.card),
        "keys": {key.name: key.value for key in check.keys},
        "backgrounds": check.background,
        "response": check.response,
        "data": check.data,
        "standard_model_fit": {
            "minus_two_log_likelihood": number(check.fit.deviance),
            "degrees_of_freedom": check.fit.degrees,
            "p_value": check.fit.p_value,
        },
        "fluxes": [
            {
                "where": flux.where,
                "channel": flux.channel,
                "integral": flux.integral,
                "unit": flux.unit,
                "mean_energy_gev": number(flux.mean_energy_gev),
            }
            for flux in check.fluxes
        ],
        "exposures": [
            {
                "name": block.name,
                "exposure": block.exposure,
                "bin_edges": block.edges.tolist(),
                "signal": {name: counts.tolist() for name, counts in block.signal.items()},
                "background": {name: counts.tolist() for name, counts in block.background.items()},
                "data": block.data.tolist(),
                "signal_over_sqrt_background": number(block.significance),
            }
            for block in check.blocks
        ],
        "pulls": {pull.name: number(pull.width) for pull in check.pulls},
        "couplings": [asdict(coupling) for coupling in check.couplings],
        "joint": [asdict(own) for own in check.joint],
        "published_rows": check.published,
        "files": {file.role: {"path": str(file.path), "sha256": file.sha256} for file in check.files},
    }
