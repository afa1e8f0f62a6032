"""Results that show themselves as the command line does."""

from __future__ import annotations

import importlib
from typing import Any


class Shown:
    """A result whose ``repr``, and HTML in a notebook, are the tables that the command line prints.

    What makes tables stands above all results; it is asked for by name, when somebody looks.
    """

    def __repr__(self) -> str:
        return str(_tables().as_text(self))

    def _repr_html_(self) -> str:
        return str(_tables().as_html(self))


def _tables() -> Any:
    return importlib.import_module("bayesnu.report.shown")
