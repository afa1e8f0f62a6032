"""The documentation: keys of cards from the schema, links between pages, and the build itself."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if path.relative_to(DOCS).parts[0] not in ("_build", "_generated"))
GENERATED = ("_generated/",)


@pytest.fixture
def card_keys(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(DOCS))
    return importlib.import_module("card_keys")


def rows(page: str) -> list[list[str]]:
    """The cells of every row of every table of a page."""
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in page.splitlines() if line[:1] == "|"]


def plain(text: str) -> str:
    return " ".join(re.sub(r"[`\\]", "", text).split())


def test_every_key_of_every_card_is_on_the_page(card_keys: ModuleType) -> None:
    found = {(row[0].strip("`"), plain(row[-1])) for row in rows(card_keys.card_page())}
    keys = {name for name, _ in found}
    for _, _, card in card_keys.KINDS:
        schema: dict[str, Any] = card.model_json_schema()
        for table in (schema, *schema["$defs"].values()):
            for name, item in table["properties"].items():
                assert name in keys
                if "description" in item:
                    assert (name, plain(item["description"])) in found


def test_rows_say_type_range_and_default(card_keys: ModuleType) -> None:
    found = rows(card_keys.card_page())
    assert ["`mass_tonnes`", "number, > 0", "required"] in [row[:3] for row in found]
    assert ["`samples`", "integer, > 0", "`20000000`"] in [row[:3] for row in found]
    assert ["`acceptance`", "list of numbers, 3 entries, > 0", "required"] in [row[:3] for row in found]
    assert ["`energy_max_mev`", "number, > 2, ≤ 10", "`8.0`"] in [row[:3] for row in found]
    headings = [line for line in card_keys.card_page().splitlines() if line.startswith("### ")]
    assert '### `[couplings.COUPLING.prior] with kind = "jeffreys"`' in headings
    assert "### `[[reactor.cores]]`" in headings
    assert headings.count("### `[source]`") == 1, "a table that an earlier kind of card has is not repeated"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_links_and_includes_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text) + re.findall(r"\{include\} (\S+)", text)
    missing = [link for link in links if not link.startswith(GENERATED) and not (page.parent / link).exists()]
    assert missing == []


def test_every_page_is_in_the_contents() -> None:
    contents = re.findall(r"```\{toctree\}\n(.*?)```", (DOCS / "index.md").read_text(encoding="utf-8"), re.S)
    listed = {line for part in contents for line in part.splitlines() if line and not line.startswith(":")}
    assert listed == {str(page.relative_to(DOCS).with_suffix("")) for page in PAGES} - {"index"}


def test_folders_and_scripts_that_pages_name_exist() -> None:
    for page in PAGES:
        for name in re.findall(r"(?<![\w/.])((?:analyses|data|models)/[\w./-]+)", page.read_text(encoding="utf-8")):
            assert (ROOT / name.rstrip(".")).exists(), f"{page.name}: {name}"


@pytest.mark.slow
def test_documentation_builds_without_warnings() -> None:
    kept = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKEOVERRIDES", "ARGUMENTS")}
    done = subprocess.run(
        ["make", "docs", f"VENV={sys.prefix}", "ARGUMENTS=-E"],
        cwd=ROOT, env=kept, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    start = (DOCS / "_build" / "html" / "start.html").read_text(encoding="utf-8")
    assert "bayesnu new my-experiment --like dune-on-axis" in re.sub(r"<[^>]+>", "", start)
    formulas = (DOCS / "_build" / "html" / "physics-electron.html").read_text(encoding="utf-8")
    assert formulas.count("<math") > 20
    assert "cdn" not in formulas
    shown = (DOCS / "_build" / "html" / "notebooks" / "dune.html").read_text(encoding="utf-8")
    assert shown.count("<img") >= 4
