"""Pages that are made at every build: keys of cards, commands, and the Python API by room."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path
from typing import Any

from card_keys import card_page
from sphinx.application import Sphinx

import bayesnu

ROOMS = (
    "errors", "resources", "workers", "physics", "flux", "detector", "experiment", "inference", "results", "export",
    "plotting", "report",
)  # fmt: skip
"""From the bottom of ARCHITECTURE.md's list up; one that is not there yet is left out."""
WIDTH = 100


def modules_of(room: str) -> list[str]:
    """Return the modules of a room by name; none for a room that does not exist."""
    name = f"bayesnu.{room}"
    try:
        package = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return []
    inside = pkgutil.walk_packages(getattr(package, "__path__", []), f"{name}.")
    return [name, *(module.name for module in inside if not module.name.rpartition(".")[2].startswith("__"))]


def heading(text: str, line: str) -> list[str]:
    """Return a reStructuredText heading."""
    return [text, line * len(text), ""]


def room_page(room: str, modules: list[str]) -> str:
    """Return the page of one room: each of its modules with all that is public in it."""
    lines = heading(f"bayesnu.{room}", "=")
    for module in modules:
        if module != f"bayesnu.{room}":
            lines += heading(module, "-")
        lines += [f".. automodule:: {module}", ""]
    return "\n".join(lines)


def front_page() -> str:
    """Return what `import bayesnu` gives: the names of its `__all__`, where they are defined."""
    names = [name for name in getattr(bayesnu, "__all__", ()) if callable(getattr(bayesnu, name))]
    lines = []
    for name in names:
        item = getattr(bayesnu, name)
        where = f"{item.__module__}.{item.__qualname__}"
        directive = "autoclass" if isinstance(item, type) else "autofunction"
        lines += [f".. {directive}:: {where}", "   :no-index:", ""]
    return "\n".join(lines)


def command_page() -> str:
    """Return `--help` of every command as Markdown."""
    import typer

    from bayesnu.cli.app import app

    commands: Any = typer.main.get_command(app)
    lines = []
    with commands.make_context("bayesnu", [], resilient_parsing=True) as top:
        for name, command in commands.commands.items():
            with command.make_context(name, [], parent=top, resilient_parsing=True, terminal_width=WIDTH) as context:
                lines += [f"## {name}", "", "```text", command.get_help(context).strip(), "```", ""]
    return "\n".join(lines)


def write(app: Sphinx) -> None:
    """Write every page that differs from what is there."""
    folder = Path(app.srcdir) / "_generated"
    found = {room: modules_of(room) for room in ROOMS}
    pages = {f"api/{room}.rst": room_page(room, modules) for room, modules in found.items() if modules}
    pages |= {"cards.md": card_page(), "commands.md": command_page(), "bayesnu.md": ""}
    rooms = "\n".join(f"/_generated/api/{room}" for room, modules in found.items() if modules)
    pages["rooms.md"] = f"```{{toctree}}\n:maxdepth: 1\n\n{rooms}\n```\n"
    public = front_page()
    if public:
        pages["bayesnu.md"] = f"```{{eval-rst}}\n{public}\n```\n"
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def plain(app: Sphinx, what: str, name: str, item: object, options: object, lines: list[str]) -> None:
    """Make reStructuredText of a docstring's plain text: formulas on lines of their own stay as they are written.

    An indented block after a blank line, before any numpydoc section, becomes literal; elsewhere ``*``, ``|`` and
    ``_`` at the end of a word lose their special meaning.
    """
    result: list[str] = []
    sections = literal = False
    last_indent = 0
    for k, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        sections = sections or (k + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[k + 1].strip()) is not None)
        if line.strip():
            after_blank = k > 0 and not lines[k - 1].strip()
            if not literal and not sections and indent >= 4 and after_blank and last_indent == 0:
                result += ["::", ""]
                literal = True
            elif literal and indent == 0:
                literal = False
            last_indent = indent
        result.append(line if literal else escaped(line))
    if what in ("attribute", "data", "property") and ":" in result[0]:
        # Napoleon takes what stands before a colon there for a type.
        result[0] = f": {result[0]}"
    lines[:] = [single for line in result for single in separated(line)]


def separated(line: str) -> list[str]:
    """Return a line that gives several names one type, ``a, b : float``, as one line for each name."""
    found = re.fullmatch(r"(\w+(?:, \w+)+) : (.+)", line)
    return [line] if found is None else [f"{name} : {found[2]}" for name in found[1].split(", ")]


def escaped(line: str) -> str:
    """Return a line with the special characters of its prose escaped, and what is in backticks set apart from it."""
    parts = re.split(r"(``[^`]*``|`[^`]*`)", line)
    for k in range(0, len(parts), 2):
        parts[k] = re.sub(r"(?<=\w)_(?!\w)", r"\\_", re.sub(r"([*|])", r"\\\1", parts[k]))
        if k > 0 and re.match(r"[^\s'\"\-/:.,;!?)\]}>]", parts[k]):
            parts[k] = "\\ " + parts[k]
        if k + 1 < len(parts) and re.search(r"[^\s'\"\-/:(\[{<]$", parts[k]):
            parts[k] += "\\ "
    return "".join(parts)


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages when a build starts, and hear every docstring before napoleon does."""
    app.connect("builder-inited", write)
    app.connect("autodoc-process-docstring", plain, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
