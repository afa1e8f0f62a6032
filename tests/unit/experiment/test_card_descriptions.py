"""Every key of every kind of card says what it means, for editors and for the documentation."""

import json
from typing import Any

import pytest

from bayesnu.errors import UsageError
from bayesnu.experiment.load import SCHEMAS, card_class, card_schema, load_card
from bayesnu.experiment.overview import card_keys
from bayesnu.resources import shipped_models


def description(schema: dict[str, Any], key: dict[str, Any]) -> str:
    """A key's own description, or that of the table it is, where both are the same."""
    reference = key.get("$ref") or next((own["$ref"] for own in key.get("anyOf", ()) if "$ref" in own), "")
    return str(key.get("description") or schema["$defs"].get(reference.rpartition("/")[2], {}).get("description", ""))


@pytest.mark.parametrize("kind", SCHEMAS)
def test_every_key_has_a_description(kind: str) -> None:
    schema = card_schema(kind)
    json.dumps(schema, allow_nan=False)
    tables = {**schema["$defs"], kind: schema}
    keys = [(name, key, value) for name, table in tables.items() for key, value in table["properties"].items()]
    assert len(keys) > 30
    assert [(name, key) for name, key, value in keys if len(description(schema, value)) < 8] == []
    assert [name for name, table in tables.items() if table["additionalProperties"] is not False] == []


@pytest.mark.parametrize("kind", SCHEMAS)
def test_schema_has_the_keys_of_the_card(kind: str) -> None:
    schema = card_schema(kind)
    assert set(schema["properties"]) == set(card_class(kind).model_fields)
    assert schema["properties"]["couplings"]["propertyNames"]["enum"] == list(card_class(kind).known_couplings)


def test_unknown_kind() -> None:
    with pytest.raises(UsageError, match=r"unknown kind 'nuclues'.*did you mean 'nucleus'"):
        card_schema("nuclues")


@pytest.mark.parametrize("model", shipped_models())
def test_keys_of_shipped_cards(model: str) -> None:
    card = load_card(model).card
    keys = {key.name: key for key in card_keys(card)}
    assert [name for name, key in keys.items() if not key.meaning] == []
    assert not any(name.split(".")[0] in ("couplings", "source", "name", "title") for name in keys)
    assert keys["scattering"].value == card.model_dump()["scattering"]
    assert any(key.given for key in keys.values())


def test_given_and_default_keys() -> None:
    keys = {key.name: key for key in card_keys(load_card("dune-on-axis", ["sterile.m_N=3.0"]).card)}
    assert (keys["sterile.m_N"].value, keys["sterile.m_N"].given) == (3.0, True)
    assert (keys["response.samples"].given, keys["target.mass_tonnes"].given) == (False, True)
    assert (keys["exposures.1.mode"].value, keys["exposures.1.years"].value) == ("antineutrino", 3.5)
