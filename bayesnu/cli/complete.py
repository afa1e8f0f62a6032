"""What the shell offers on a tab; nothing here is imported or called before a tab is pressed on that option."""

from __future__ import annotations

from collections.abc import Callable


def models(incomplete: str) -> list[str]:
    """Return the names of shipped cards; where there is none, the shell goes on with the names of files."""
    from bayesnu.resources import shipped_models

    return [name for name in shipped_models() if name.startswith(incomplete)]


def couplings(incomplete: str) -> list[str]:
    """Return the names of couplings."""
    from bayesnu.physics.couplings import COUPLINGS

    return [name for name in COUPLINGS if name.startswith(incomplete)]


def among(*names: str) -> Callable[[str], list[str]]:
    """Return a completion among some names."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


def assignments(names: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """Return a completion of NAME=VALUE, whose names another one gives."""

    def complete(incomplete: str) -> list[str]:
        return [f"{name}=" for name in names(incomplete)]

    return complete


def listed(names: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """Return a completion of A,B,…: of the last name, which none of those before it is."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [before + comma + name for name in names(last) if name not in before.split(",")]

    return complete
