"""Read a card: TOML text, overrides, validation, and errors that name file, key and value."""

from __future__ import annotations

import importlib
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from bayesnu.errors import CardError, nearest, unknown_name
from bayesnu.experiment.card import AnalysisCard
from bayesnu.resources import find_card

# Setting a key by an override replaces those that it stands in the place of.
ALTERNATIVES = {
    ("backgrounds", "file"): ("model",),
    ("backgrounds", "model"): ("file",),
    ("flux", "file"): ("spectra",),
    ("flux", "spectra"): ("file",),
    ("detector", "efficiency"): ("efficiency_file",),
    ("detector", "efficiency_file"): ("efficiency",),
    ("detector", "bin_edges_mev"): ("energy_bin_edges_gev", "angle_bin_edges_deg"),
    ("detector", "energy_bin_edges_gev"): ("bin_edges_mev",),
    ("detector", "angle_bin_edges_deg"): ("bin_edges_mev",),
    ("detector", "bin_edges_ev"): ("bins", "highest_ev"),
    ("detector", "bins"): ("bin_edges_ev",),
    ("detector", "highest_ev"): ("bin_edges_ev",),
}
SCHEMAS = {
    "electron": ("bayesnu.experiment.electron_card", "Card"),
    "electron-window": ("bayesnu.experiment.electron_window_card", "ElectronWindowCard"),
    "nucleus": ("bayesnu.experiment.recoil_card", "RecoilCard"),
    "published-limit": ("bayesnu.experiment.published_limit_card", "PublishedLimitCard"),
}
"""Module and class of the schema of each kind of scattering; imported for a card of this kind (`card_class`)."""
KINDS = {
    "prior": ("half-normal", "jeffreys", "log-uniform", "normal", "uniform", "uniform-squared"),
    "m_N_prior": ("log-uniform", "uniform"),
    "detector": ("phonons", "photoelectrons"),
}
"""The allowed values of ``kind`` in each table that has one."""
TAGS = {kind for kinds in KINDS.values() for kind in kinds}
"""What pydantic adds to the location of an error inside such a table; no keys of the card."""


@dataclass(frozen=True)
class LoadedCard:
    """A validated card, the file it came from, and the overrides, ``KEY=VALUE`` each."""

    card: AnalysisCard
    path: Path
    overrides: tuple[str, ...]

    @property
    def where(self) -> str:
        """The card and its overrides, as an error names them."""
        return name_card(self.path, self.overrides)

    def folders(self, key: str) -> tuple[Path, ...]:
        """Return where the path under a key (``flux.spectra.0.file``) is looked up before the shipped data.

        Beside the card; if an override set the key, or a table or list that holds it, in the working folder first.
        """
        parts = key.split(".")
        given = (read_override(text)[0] for text in self.overrides)
        overridden = any(own == parts[: len(own)] for own in given)
        return (Path.cwd(), self.path.parent) if overridden else (self.path.parent,)


def card_class(kind: str) -> type[AnalysisCard]:
    """Return the schema of a kind of scattering, one of `SCHEMAS`."""
    module, name = SCHEMAS[kind]
    found: type[AnalysisCard] = getattr(importlib.import_module(module), name)
    return found


def name_card(path: Path, overrides: Sequence[str]) -> str:
    """Return a card's path, and its overrides if it has any."""
    return f"{path} (with -o {' -o '.join(overrides)})" if overrides else str(path)


def read_override(text: str) -> tuple[list[str], Any]:
    """Split ``KEY=VALUE``; the value is TOML, a bare word is a string.

    Raises
    ------
    CardError
        If there is no '=' or the value is neither TOML nor a bare word.
    """
    key, separator, value = text.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise CardError(f"-o {text}: must be KEY=VALUE, with dots between the parts of the key")
    value = value.strip()
    try:
        return parts, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError as error:
        if re.fullmatch(r"[\w./~+][\w./~+-]*", value):
            return parts, value
        raise CardError(f"-o {text}: '{value}' is neither a TOML value nor a bare word") from error


def apply_override(content: dict[str, Any], parts: list[str], value: Any, text: str) -> None:
    """Set one key of a card's content in place; list elements are addressed by index.

    Raises
    ------
    CardError
        If the key runs through a value that is not a table, or an index is out of range.
    """
    place: Any = content
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(place, list):
            if not (part.isascii() and part.isdecimal()) or int(part) >= len(place):
                where = ".".join(parts[:depth])
                raise CardError(f"-o {text}: {where} has elements 0 to {len(place) - 1}, not '{part}'")
            index: Any = int(part)
        elif isinstance(place, dict):
            index = part
        else:
            raise CardError(f"-o {text}: {'.'.join(parts[:depth])} is a value, not a table")
        if last:
            place[index] = value
        else:
            place = place[index] if isinstance(place, list) else place.setdefault(index, {})
    for other in ALTERNATIVES.get((parts[0], parts[-1]), ()) if len(parts) == 2 else ():
        content[parts[0]].pop(other, None)


def load_card(model: str, overrides: Sequence[str] = ()) -> LoadedCard:
    """Read, override and validate a card.

    Parameters
    ----------
    model : str
        A name in models/ or the path of a TOML file.
    overrides : sequence of str
        ``KEY=VALUE`` each, applied in order.

    Raises
    ------
    BayesnuError
        With one line that names file, key, value and what is allowed.
    """
    path = find_card(model)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CardError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CardError(f"{path}: not TOML: {error}") from error
    for text in overrides:
        parts, value = read_override(text)
        apply_override(content, parts, value, text)
    scattering = content.get("scattering", "electron")
    if scattering not in SCHEMAS:
        raise CardError(
            f"{path}: scattering = {scattering!r}: allowed are {', '.join(SCHEMAS)}{nearest(str(scattering), SCHEMAS)}"
        )
    try:
        card = card_class(scattering).model_validate(content)
    except ValidationError as error:
        raise CardError(f"{name_card(path, overrides)}: {describe(error)}") from error
    return LoadedCard(card, path, tuple(overrides))


def card_schema(kind: str) -> dict[str, Any]:
    """Return the JSON schema of a kind of card: every key with its type, range, default and meaning.

    Parameters
    ----------
    kind : {"electron", "nucleus", "electron-window"}
        The card's ``scattering``.

    Raises
    ------
    UsageError
        For another kind.
    """
    if kind not in SCHEMAS:
        raise unknown_name("kind", kind, SCHEMAS)
    schema = card_class(kind).model_json_schema()
    known = list(card_class(kind).known_couplings)
    schema["properties"]["couplings"] |= {"propertyNames": {"enum": known}, "minProperties": 1}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def describe(error: ValidationError) -> str:
    """Return the first problem of a validation error as ``key = value: message``."""
    problem = error.errors(include_url=False)[0]
    context = problem.get("ctx", {})
    parts = [str(part) for part in problem["loc"] if str(part) not in TAGS]
    if "key" in context and problem["type"] in ("unknown_key", "below"):
        parts.append(str(context["key"]))
    value = problem["input"]
    allowed = re.findall(r"'([^']+)'", str(context.get("expected") or context.get("expected_tags") or ""))
    if problem["type"] == "union_tag_not_found":
        return f"{'.'.join(parts)}.kind: missing; allowed are {', '.join(KINDS[parts[-1]])}"
    if problem["type"] in ("model_type", "dict_type", "model_attributes_type"):
        return f"{'.'.join(parts)} = {problem['input']!r}: must be a table"
    if problem["type"] == "union_tag_invalid":
        parts, value = [*parts, "kind"], context["tag"]
    key = ".".join(parts)
    message = str(problem["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    shown = "" if isinstance(value, dict | list | BaseModel) or problem["type"] == "missing" else f" = {value!r}"
    if not key:
        return message
    return f"{key}{shown}: {message}{nearest(str(value), allowed)}"
