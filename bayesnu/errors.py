"""Every failure that bayesnu foresees, each with a name and a one-line message.

A message says which file and key, the value found, what is allowed and, where a
name is wrong, the nearest valid one. The command line prints it on stderr and
exits with status 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def silent(_: str) -> None:
    """Drop a notice: for callers that give no one to tell."""


class BayesnuError(Exception):
    """Base of all errors that bayesnu raises on purpose; the message is one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class CardError(BayesnuError):
    """A card, or an override of one of its keys, is not valid."""


class DataError(BayesnuError):
    """A data file is missing, damaged, or not what its reader needs."""


class ResponseError(BayesnuError):
    """A response matrix is damaged, of another version, or not physical."""


class RunError(BayesnuError):
    """A run folder cannot be written, read or resumed."""


class UsageError(BayesnuError):
    """An argument of a function or command is not among what is allowed."""


class ConvergenceError(BayesnuError):
    """A numerical step did not converge or left the range of finite numbers."""


class UnconvergedError(BayesnuError):
    """A limit is withheld, since the diagnostics of the sampler end in "fail"; the command line exits with status 1."""


class InterruptedStudyError(BayesnuError):
    """Ctrl-C, with what is kept; the command line exits with status 130."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the closest allowed name, or ''.

    Parameters
    ----------
    name : str
        What was given.
    allowed : iterable of str
        The valid names.
    """
    names = list(allowed)
    # The start of a name is a better hint than any likeness.
    started = [known for known in names if len(name) > 1 and known.startswith(name)]
    close = started or difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


def unknown_name(what: str, name: str, allowed: Iterable[str]) -> UsageError:
    """Build the error for a name that is not among the allowed ones."""
    names = list(allowed)
    return UsageError(f"unknown {what} '{name}': allowed are {', '.join(names)}{nearest(name, names)}")
