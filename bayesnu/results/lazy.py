"""What ArviZ leaves to be loaded at the first look, and nobody here needs."""

from __future__ import annotations

import sys
from types import ModuleType


def leave_jax() -> None:
    """Keep JAX, where it is installed, from being loaded by a look at it; call once ArviZ is imported.

    ArviZ leaves a module in its place that loads it at the first look, and Matplotlib and SciPy look whether an array
    is JAX's. Nothing here is, and loading takes a second; who imports JAX finds it as before.
    """
    if type(sys.modules.get("jax", sys)) is not ModuleType:
        del sys.modules["jax"]
