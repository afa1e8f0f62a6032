"""The page of card keys, from the schema that validates a card: every key, its type, default, range and meaning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bayesnu.experiment.card import AnalysisCard
from bayesnu.experiment.electron_card import Card
from bayesnu.experiment.electron_window_card import ElectronWindowCard
from bayesnu.experiment.recoil_card import RecoilCard

Schema = dict[str, Any]
KINDS: tuple[tuple[str, str, type[AnalysisCard]], ...] = (
    ("electron", "Neutrino-electron scattering", Card),
    ("nucleus", "Nuclear recoils", RecoilCard),
    ("electron-window", "Events in windows of energy", ElectronWindowCard),
)
NAMES = {"couplings": "COUPLING", "targets": "COMPOUND"}
"""What the free keys of a table stand for."""
LIMITS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
TYPES = {"number": "number", "integer": "integer", "string": "text", "boolean": "true or false"}
PLURALS = {"number": "numbers", "integer": "integers", "text": "texts"}


@dataclass(frozen=True)
class Key:
    """One key of a table.

    Attributes
    ----------
    name, value, default, meaning : str
        As the page has them: ``value`` is type and range, ``default`` is "required" where the key must be given.
    """

    name: str
    value: str
    default: str
    meaning: str


@dataclass(frozen=True)
class KeyTable:
    """One TOML table: how it is headed in a card, what it is, and its keys."""

    heading: str
    meaning: str
    keys: tuple[Key, ...]


class Walk:
    """The tables of one schema in the order of a card; one that an earlier schema had is not repeated."""

    def __init__(self, schema: Schema, seen: set[str]) -> None:
        self.definitions: dict[str, Schema] = schema.get("$defs", {})
        self.seen = seen

    def tables(self, schema: Schema, path: str = "", listed: bool = False) -> Iterator[KeyTable]:
        """Yield a table and those within it."""
        required = schema.get("required", [])
        inner: list[tuple[Schema, str, bool]] = []
        keys = []
        for name, item in schema["properties"].items():
            own = f"{path}.{name}" if path else name
            below = [
                (s, f"{own}.{NAMES.get(name, 'NAME')}" if free else own, many) for s, free, many in self.nested(item)
            ]
            new = [(s, where, many) for s, where, many in below if self.name_of(s) not in self.seen]
            inner += new
            kind = "table" if below else self.type_of(item)
            if any(many for _, _, many in below):
                kind = "list of tables"
            value = ", ".join(filter(None, (kind, self.range_of(item))))
            meaning = meaning_of(item) or (meaning_of(below[0][0]) if below else "")
            keys.append(Key(name, value, default_of(name, item, required), meaning))
        heading = f"[[{path}]]" if listed else f"[{path}]" if path else "the top of the card"
        discriminator = schema["properties"].get("kind", {}).get("const")
        if discriminator is not None:
            heading += f' with kind = "{discriminator}"'
        yield KeyTable(heading, schema.get("description", ""), tuple(keys))
        for found, where, many in inner:
            if self.name_of(found) not in self.seen:
                self.seen.add(self.name_of(found))
                yield from self.tables(found, where, many)

    def name_of(self, schema: Schema) -> str:
        """The name and content of a definition, by which it is known again."""
        return json.dumps(schema, sort_keys=True)

    def nested(self, item: Schema) -> list[tuple[Schema, bool, bool]]:
        """The tables that a key may hold, whether its keys are free names, and whether there is a list of them."""
        if "$ref" in item:
            return [(self.definitions[item["$ref"].rpartition("/")[2]], False, False)]
        found = [entry for part in (*item.get("anyOf", ()), *item.get("oneOf", ())) for entry in self.nested(part)]
        if isinstance(item.get("additionalProperties"), dict):
            found += [(schema, True, many) for schema, _, many in self.nested(item["additionalProperties"])]
        if isinstance(item.get("items"), dict):
            found += [(schema, free, True) for schema, free, _ in self.nested(item["items"])]
        return found

    def type_of(self, item: Schema) -> str:
        """What values of a key are."""
        if "const" in item:
            return code(item["const"])
        if "enum" in item:
            return " or ".join(code(value) for value in item["enum"])
        options = [*item.get("anyOf", ()), *item.get("oneOf", ())]
        if options:
            return " or ".join(self.type_of(option) for option in options if option.get("type") != "null")
        if item.get("type") == "array":
            return f"list of {plural(self.type_of(item['items']))}"
        if item.get("type") == "object":
            return f"table of {plural(self.type_of(item['additionalProperties']))}"
        return TYPES[item["type"]]

    def range_of(self, item: Schema) -> str:
        """The range of a key's values, or of the entries of a list."""
        parts = [f"{sign} {item[name]:g}" for name, sign in LIMITS.items() if name in item]
        if item.get("minItems") and item.get("minItems") == item.get("maxItems"):
            parts.append(f"{item['minItems']} entries")
        elif item.get("minItems"):
            parts.append(f"at least {item['minItems']} {'entry' if item['minItems'] == 1 else 'entries'}")
        if "pattern" in item:
            parts.append(f"matches {code(item['pattern'])}")
        for part in (*item.get("anyOf", ()), item.get("items"), item.get("additionalProperties")):
            if isinstance(part, dict) and part.get("type") != "null" and "$ref" not in part:
                parts += [text] if (text := self.range_of(part)) else []
        return ", ".join(parts)


def plural(kind: str) -> str:
    """What several values of a type are called."""
    return PLURALS.get(kind, kind.replace("list of", "lists of"))


def default_of(name: str, item: Schema, required: list[str]) -> str:
    """The default of a key as the page has it."""
    if name in required:
        return "required"
    value = item.get("default")
    return "left out" if value is None or isinstance(value, dict) else code(value)


def meaning_of(item: Schema) -> str:
    """The description of a key."""
    return " ".join(item.get("description", "").split())


def code(value: object) -> str:
    """A value as TOML has it, in code letters."""
    return f"`{json.dumps(value, ensure_ascii=False)}`" if not isinstance(value, str) else f'`"{value}"`'


def cell(text: str) -> str:
    """Text for a cell of a Markdown table; what is in backticks stays as it is."""
    parts = text.replace("|", "\\|").split("`")
    return "`".join(part if k % 2 else part.replace("*", "\\*").replace("$", "\\$") for k, part in enumerate(parts))


def key_tables() -> list[tuple[str, str, list[KeyTable]]]:
    """Return kind, title and tables of each kind of card."""
    seen: set[str] = set()
    pages = []
    for kind, title, card in KINDS:
        schema = card.model_json_schema()
        pages.append((kind, title, list(Walk(schema, seen).tables(schema))))
    return pages


def card_page() -> str:
    """Return the keys of every kind of card as Markdown."""
    lines = []
    for kind, title, tables in key_tables():
        lines += [f"## {title}", "", f'`scattering = "{kind}"`', ""]
        for table in tables:
            heading = f"`{table.heading}`" if table.heading.startswith("[") else table.heading.capitalize()
            lines += [f"### {heading}", "", cell(" ".join(table.meaning.split())), ""]
            lines += ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
            lines += [
                f"| `{key.name}` | {cell(key.value)} | {cell(key.default)} | {cell(key.meaning)} |"
                for key in table.keys
            ]
            lines.append("")
    return "\n".join(lines)
