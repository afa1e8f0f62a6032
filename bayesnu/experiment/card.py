"""What the cards of all kinds share: tables, types of keys, priors of the couplings, files of counts."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from bayesnu.errors import UsageError, nearest
from bayesnu.physics.couplings import COUPLINGS, ELECTROMAGNETIC, TRANSITION
from bayesnu.physics.materials import material

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Width = Annotated[float, Field(ge=0, le=1)]
MixingAngleError = Annotated[float, Field(gt=0, lt=0.1)] | Literal["none"]
SIN2_THETA_W_ERROR = 0.0005
WHOLE = "observed counts are whole numbers; say expected_data = true of the expectation of a model"


def check_edges[Number: (int, float)](edges: list[Number]) -> list[Number]:
    """Return edges of bins, or raise ValueError where they do not increase from 0 or more."""
    if edges[0] < 0:
        raise ValueError("the first edge must be at least 0")
    for low, high in pairwise(edges):
        if high <= low:
            raise ValueError(f"edges must increase; {high:g} follows {low:g}")
    return edges


def check_curve(points: list[list[float]]) -> list[list[float]]:
    """Return pairs of energy and efficiency, or raise ValueError where they are no curve."""
    if len(points) < 2:
        raise ValueError("an efficiency curve needs at least 2 points")
    for (low, _), (high, _) in pairwise(points):
        if high <= low:
            raise ValueError(f"energies must increase; {high:g} follows {low:g}")
    for energy, efficiency in points:
        if not 0 <= efficiency <= 1:
            raise ValueError(f"an efficiency is between 0 and 1, not {efficiency:g}, as at {energy:g}")
    return points


def check_material(name: str) -> str:
    """Return the name or formula of a material, or raise ValueError where it is none."""
    try:
        material(name)
    except UsageError as error:
        raise ValueError(str(error).removeprefix(f"'{name}': ").removeprefix(f"'{name}' ")) from error
    return name


Edges = Annotated[list[float], Field(min_length=2), AfterValidator(check_edges)]
Curve = Annotated[list[Annotated[list[NotNegative], Field(min_length=2, max_length=2)]], AfterValidator(check_curve)]
"""Pairs of true energy and efficiency, with straight lines between them."""
MaterialName = Annotated[str, AfterValidator(check_material)]
"""A chemical formula, or a name of `bayesnu.physics.materials.NAMES`."""


class Table(BaseModel):
    """A TOML table: strict types, finite numbers, and no keys but its own."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    hint = f"allowed are {', '.join(cls.model_fields)}{nearest(str(key), cls.model_fields)}"
                    raise PydanticCustomError("unknown_key", "unknown key; {hint}", {"key": str(key), "hint": hint})
        return data

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in meanings(cls).items():
            # What the definition of a table says already is not said again beside its name.
            if name in properties and handler.resolve_ref_schema(properties[name]).get("description") != text:
                properties[name]["description"] = text
        return schema


@cache
def meanings(table: type[BaseModel]) -> dict[str, str]:
    """Return what each key of a table means: the sentence below it in the source of the class.

    Read when somebody asks; to have all classes read as they are made takes longer than a card.
    """
    import ast
    import inspect

    found: dict[str, str] = {}
    for own in reversed(table.__mro__):
        if not issubclass(own, Table):
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(own))).body
        for key, below_it in pairwise(getattr(definition, "body", ())):
            match key, below_it:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = inspect.cleandoc(text)
    return found


class Source(Table):
    """Where the analysis comes from."""

    paper: str
    """The paper, as in arXiv:2111.14884, or what else the numbers come from."""
    equations: list[str] = []
    """Equations that the analysis takes from it."""


class UniformPrior(Table):
    """Flat between finite bounds."""

    kind: Literal["uniform"]
    """Flat in the coupling."""
    low: float
    """Lower bound, in the coupling's own unit."""
    high: float
    """Upper bound, in the coupling's own unit."""


class NormalPrior(Table):
    """Normal about 0; for a magnetic moment truncated at 0."""

    kind: Literal["normal"]
    """Normal about 0."""
    sigma: Positive
    """Standard deviation, in the coupling's own unit."""


class HalfNormalPrior(Table):
    """Normal about 0, restricted to values above 0."""

    kind: Literal["half-normal"]
    """Normal about 0, above 0."""
    sigma: Positive
    """Standard deviation of the whole normal, in the coupling's own unit."""


class UniformSquaredPrior(Table):
    """Flat in the square, up to a value of the coupling; for couplings that enter squared only."""

    kind: Literal["uniform-squared"]
    """Flat in the square."""
    high: Positive
    """Upper bound of the coupling, in its own unit."""


class LogUniformPrior(Table):
    """Flat in the logarithm between positive bounds."""

    kind: Literal["log-uniform"]
    """Flat in the logarithm."""
    low: Positive
    """Lower bound, above 0, in the coupling's own unit."""
    high: Positive
    """Upper bound, in the coupling's own unit."""


class JeffreysPrior(Table):
    """√I, I the Fisher information of the card; without bounds over the range that the program finds and reports.

    ``high`` alone is a range from 0, for couplings that enter squared only.
    """

    kind: Literal["jeffreys"]
    """√I of the Fisher information."""
    low: float | None = None
    """Lower bound, in the coupling's own unit; 0 or absent for a moment."""
    high: float | None = None
    """Upper bound, in the coupling's own unit."""


PriorCard = Annotated[
    UniformPrior | NormalPrior | HalfNormalPrior | UniformSquaredPrior | LogUniformPrior | JeffreysPrior,
    Field(discriminator="kind"),
]


class CouplingCard(Table):
    """One coupling of the analysis; without a prior, flat over the range that the program finds and reports."""

    prior: PriorCard | None = None
    """Prior density, in the coupling's own unit."""


class Sterile(Table):
    """The sterile neutrino N of the transition moments."""

    m_N: NotNegative = 0.0
    """Mass in MeV at which the transition moments are taken."""
    m_N_prior: Annotated[UniformPrior | LogUniformPrior, Field(discriminator="kind")] | None = None
    """In MeV, for fits in which the mass is free."""

    @field_validator("m_N_prior")
    @classmethod
    def _positive_masses(cls, prior: UniformPrior | LogUniformPrior | None) -> UniformPrior | LogUniformPrior | None:
        if prior is not None and not 0 <= prior.low < prior.high:
            raise ValueError(f"needs 0 ≤ low < high, not {prior.low:g} and {prior.high:g}")
        return prior


class CountsFile(Table):
    """Observed counts in a file that names the bins they belong to; the card's own, in any format of numbers."""

    file: str
    """CSV file with a row for each bin, in the card's order; `bayesnu new` writes one with the right columns."""


class Counts(CountsFile):
    """Observed counts in a file, or the SM expectation in their place."""

    asimov: bool = False
    """Whether to fit the SM expectation instead of the counts; a pulsed beam's background is still from them."""


class Comparison(Table):
    """Which rows of the published limits are this analysis's own."""

    published: str = "published/limits.csv"
    """CSV file of published limits."""
    scenario: str
    """Value of its column scenario in this analysis's own rows."""


class AnalysisCard(Table):
    """What every card has.

    ``known_couplings`` are those that the kind of scattering has.
    """

    known_couplings: ClassVar[tuple[str, ...]] = (*ELECTROMAGNETIC, *TRANSITION)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Short name: letters, digits, dots, dashes and underscores. Run folders begin with it."""
    title: str
    """Title of tables and of the report."""
    source: Source
    """Where the analysis comes from."""
    couplings: dict[str, CouplingCard]
    """The couplings to fit, each a table, which may be empty."""
    sterile: Sterile = Sterile.model_construct()
    """The sterile neutrino N of the transition moments."""
    comparison: Comparison | None = None
    """The analysis's own rows among the published limits; absent, it has none."""

    @field_validator("couplings", mode="before")
    @classmethod
    def _known_couplings(cls, couplings: Any) -> Any:
        if couplings == {}:
            raise ValueError(f"at least one coupling is needed; allowed are {', '.join(cls.known_couplings)}")
        for name in couplings if isinstance(couplings, dict) else ():
            if name not in cls.known_couplings:
                raise PydanticCustomError(
                    "unknown_key",
                    "unknown coupling; allowed are {names}",
                    {"key": name, "names": f"{', '.join(cls.known_couplings)}{nearest(name, cls.known_couplings)}"},
                )
        return couplings

    @field_validator("couplings")
    @classmethod
    def _physical_priors(cls, couplings: dict[str, CouplingCard]) -> dict[str, CouplingCard]:
        for name, coupling in couplings.items():
            if coupling.prior is not None:
                _check_prior(name, coupling.prior)
        return couplings


def below(key: str, message: str) -> PydanticCustomError:
    """An error at a key below the validated one."""
    return PydanticCustomError("below", "{text}", {"key": key, "text": message})


def check_whole(key: str, counts: Sequence[float]) -> None:
    """Refuse counts of a card that are no whole numbers."""
    for index, value in enumerate(counts):
        if value != round(value):
            raise below(f"{key}.{index}", f"{value:.12g}: {WHOLE}")


def _check_prior(name: str, prior: PriorCard) -> None:
    """Refuse a prior with low ≥ high, or one that reaches outside the physical region."""
    if isinstance(prior, UniformPrior | LogUniformPrior) and prior.low >= prior.high:
        raise below(f"{name}.prior", f"low = {prior.low:g} must be below high = {prior.high:g}")
    squared_only = COUPLINGS[name].squared_only
    if isinstance(prior, JeffreysPrior):
        _check_jeffreys(name, prior)
    elif squared_only and isinstance(prior, UniformPrior) and prior.low < 0:
        raise below(f"{name}.prior.low", f"{prior.low:g}: a moment is at least 0")
    if isinstance(prior, UniformSquaredPrior) and not squared_only:
        raise below(f"{name}.prior.kind", "'uniform-squared' is for couplings that enter squared only (moments)")
    if isinstance(prior, UniformPrior) and not math.isfinite(prior.high - prior.low):
        raise below(f"{name}.prior", "the range high - low must be finite")


def _check_jeffreys(name: str, prior: JeffreysPrior) -> None:
    """Refuse half a range, an empty one, or one that reaches outside the physical region."""
    squared_only = COUPLINGS[name].squared_only
    if prior.high is None and prior.low is not None:
        raise below(f"{name}.prior.high", "missing; give low and high, or neither for the range that the program finds")
    if prior.high is not None and prior.low is None and not squared_only:
        raise below(f"{name}.prior.low", "missing; give low and high, or neither for the range that the program finds")
    low = prior.low or 0.0
    if squared_only and low < 0:
        raise below(f"{name}.prior.low", f"{low:g}: a moment is at least 0")
    if prior.high is not None and low >= prior.high:
        raise below(f"{name}.prior", f"low = {low:g} must be below high = {prior.high:g}")
    if prior.high is not None and not math.isfinite(prior.high - low):
        raise below(f"{name}.prior", "the range high - low must be finite")
