"""What the shell offers on a tab; nothing here is imported or called before a tab is pressed on that option."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def models(incomplete: str) -> list[str]:
    """Return shipped cards, and cards and folders on disk."""
    from bayesnu.resources import shipped_models

    start = Path(incomplete)
    folder, stem = (start, "") if incomplete.endswith("/") else (start.parent, start.name)
    here = sorted(folder.glob(f"{stem}*")) if folder.is_dir() else []
    found = [f"{path}/" for path in here if path.is_dir() and not path.name.startswith(".")]
    found += [str(path) for path in here if path.suffix == ".toml"]
    return [name for name in shipped_models() if name.startswith(incomplete)] + found


def couplings(incomplete: str) -> list[str]:
    """Return the names of couplings."""
    from bayesnu.physics.couplings import COUPLINGS

    return [name for name in COUPLINGS if name.startswith(incomplete)]


def among(*names: str) -> Callable[[str], list[str]]:
    """Return a completion among some names."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete
