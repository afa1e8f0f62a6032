"""Arrays that take a second to compute, kept in the user's cache under a hash of all they depend on."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import DataError, silent
from bayesnu.resources import cache_folder, program_digest, write_atomically

Array = NDArray[np.float64]


def content_key(content: Mapping[str, Any]) -> str:
    """Return the hash of what an array depends on: values, and the source of the program that computes it."""
    text = json.dumps({"program": program_digest(), **content}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def kept_array(
    name: str,
    content: Mapping[str, Any],
    shape: tuple[int, ...],
    compute: Callable[[], Array],
    notice: Callable[[str], None] = silent,
) -> Array:
    """Return an array that was computed before, or compute and keep it.

    What is not finite is not kept. A file that is damaged or of something else is reported and computed again; a cache
    that cannot be written is reported, and the array used without being kept.

    Parameters
    ----------
    name : str
        What the array is; its file's name begins so.
    content : mapping
        All that it depends on besides the program, as JSON-able values.
    shape : tuple of int
        What it must have.
    compute : callable
        Returns the array.
    notice : callable, optional
        Receives each one-line notice.
    """
    key = content_key({"name": name, **content})
    path = cache_folder() / f"{name}-{key[:16]}.npz"
    if path.exists():
        try:
            return _read(path, key, shape)
        except DataError as problem:
            notice(f"{problem}; computing it again")
    values = compute()
    if not np.isfinite(values).all():
        return values
    try:
        write_atomically(path, lambda temporary: _write(temporary, key, values))
    except DataError as problem:
        notice(f"{problem}; the array is used without being kept")
    return values


def _read(path: Path, key: str, shape: tuple[int, ...]) -> Array:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            found, values = str(stored["key"]), np.asarray(stored["values"], dtype=float)
    except (OSError, ValueError, TypeError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile) as problem:
        raise DataError(f"{path}: damaged ({problem})") from problem
    if found != key or values.shape != shape or not np.isfinite(values).all():
        raise DataError(f"{path}: holds something else")
    return values


def _write(path: Path, key: str, values: Array) -> None:
    with path.open("wb") as file:
        np.savez(file, key=key, values=values)
