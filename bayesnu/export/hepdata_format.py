"""The format of HEPData: a table of columns with qualifiers, its name of a file, numbers and text, YAML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bayesnu.errors import RunError


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    name, units : str
        Units empty for a pure number.
    values : list
        Numbers or words, (low, high) of a bin, or (value, symmetric error, label of the error).
    qualifiers : tuple of (name, value, units)
    """

    name: str
    units: str
    values: list[Any]
    qualifiers: tuple[tuple[str, str | float, str], ...] = ()

    def content(self) -> dict[str, Any]:
        """Return the column as HEPData has it."""
        header = {"name": self.name} | ({"units": self.units} if self.units else {})
        found: dict[str, Any] = {"header": header}
        if self.qualifiers:
            found["qualifiers"] = [
                {"name": name, "value": value} | ({"units": units} if units else {})
                for name, value, units in self.qualifiers
            ]
        return found | {"values": [_value(value) for value in self.values]}


@dataclass(frozen=True)
class Table:
    """One table of a submission.

    Attributes
    ----------
    name : str
        At most 64 characters.
    description : str
    observables : tuple of str
        Keywords.
    independent, dependent : tuple of Column
        All of one length.
    """

    name: str
    description: str
    observables: tuple[str, ...]
    independent: tuple[Column, ...]
    dependent: tuple[Column, ...]

    def __post_init__(self) -> None:
        """Check name and lengths."""
        lengths = {len(column.values) for column in (*self.independent, *self.dependent)}
        if len(lengths) != 1 or not self.dependent or 0 in lengths:
            raise RunError(f"table '{self.name}': columns must have rows, and all as many; found {sorted(lengths)}")
        if len(self.name) > 64:
            raise RunError(f"table '{self.name}': a name may have 64 characters, not {len(self.name)}")

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"table-{re.sub(r'[^a-z0-9]+', '-', self.name.lower()).strip('-')}.yaml"

    def content(self) -> dict[str, Any]:
        """Return the table as HEPData has it."""
        return {
            "independent_variables": [column.content() for column in self.independent],
            "dependent_variables": [column.content() for column in self.dependent],
        }


def rounded(value: float) -> float:
    """Return a number with the digits that mean something."""
    return float(f"{value:.7g}")


def _value(value: Any) -> dict[str, Any]:
    if not isinstance(value, tuple):
        return {"value": value if isinstance(value, str | int) else rounded(value)}
    if len(value) == 2:
        return {"low": float(value[0]), "high": float(value[1])}
    number, error, label = value
    return {"value": rounded(number), "errors": [{"symerror": rounded(error), "label": label}]}


def plain(text: str) -> str:
    """Return a phrase of limits.json in ASCII."""
    for letter, word in {"Δ": "Delta ", "χ²": "chi2", "μ": "mu", "²": "^2", "σ": "sigma"}.items():
        text = text.replace(letter, word)
    return text


def to_yaml(documents: Sequence[dict[str, Any]]) -> str:
    """Return YAML documents in ASCII, keys in their order; a value is one line."""
    import yaml

    # libyaml, where PyYAML has it, is ten times as fast.
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(
        yaml.dump_all(
            documents, Dumper=dumper, sort_keys=False, default_flow_style=None, width=100, explicit_start=True
        )
    )
