"""The folder in which a study keeps its finished chunks."""

from __future__ import annotations

import json
import textwrap
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import RunError, silent
from bayesnu.resources import write_atomically, write_text

FORMAT_VERSION = 1


def difference(found: object, wanted: object) -> str:
    """Return in what one description of a study differs from another; empty if in nothing that they say.

    Of another command nothing else is said, since it has other arguments.
    """
    if not (isinstance(found, Mapping) and isinstance(wanted, Mapping)):
        return ""
    own: dict[str, Any] = json.loads(json.dumps(wanted))
    names = [name for name in dict.fromkeys((*found, *own)) if found.get(name) != own.get(name)]
    names = ["command"] if "command" in names else names

    def said(value: object) -> str:
        return textwrap.shorten(str(value), 60, placeholder=" …")

    return "; ".join(f"{name} = {said(found.get(name))}, not {said(own.get(name))}" for name in names)


class Chunks:
    """The folder of the finished chunks of one study.

    ``study.json`` names the study, ``chunks/NAME.npz`` holds the result of one task, with the study's key in it.

    Parameters
    ----------
    folder : Path or None
        None keeps nothing.
    key : str
        Hash of everything that the study depends on.
    description : str or mapping
        What the study is, for the reader of ``study.json``.
    force : bool
        Overwrite another study in the folder. Files other than ``study.json`` and the chunks are left alone.
    notice : callable
        Receives one-line notices of chunks that are run again.

    Raises
    ------
    RunError
        If the folder holds another study or other files and ``force`` is not set, or cannot be written.
    """

    def __init__(
        self,
        folder: Path | None,
        key: str,
        description: str | Mapping[str, Any] = "",
        *,
        force: bool = False,
        notice: Callable[[str], None] = silent,
    ) -> None:
        self._folder, self._key, self._notice = folder, key, notice
        if folder is not None:
            self._open(folder, description, force)

    def _open(self, folder: Path, description: str | Mapping[str, Any], force: bool) -> None:
        record, found, content = folder / "study.json", None, {}
        if folder.exists() and not folder.is_dir():
            raise RunError(f"{folder}: is a file; choose another folder")
        if record.exists():
            try:
                content = json.loads(record.read_text(encoding="utf-8"))
                found = content["key"]
            except (OSError, ValueError, KeyError, TypeError) as error:
                if not force:
                    raise RunError(f"{record}: cannot be read, or is no record of a study ({error})") from error
            if found != self._key and not force:
                what = difference(content.get("description"), description) or f"{found}, not {self._key}"
                raise RunError(f"{folder}: holds another study ({what}); choose another folder or give --force")
        elif folder.exists() and any(folder.iterdir()) and not force:
            raise RunError(f"{folder}: is not empty and holds no study; choose another folder or give --force")
        # Of the same study only what a killed process was writing goes, of another all.
        pattern = ".*.part" if found == self._key else "*"
        try:
            for path in [path for path in (folder / "chunks").glob(pattern) if path.suffix in (".npz", ".part")]:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"{folder}: cannot be written ({error.strerror})") from error
        if found != self._key:
            content = {"format_version": FORMAT_VERSION, "key": self._key, "description": description}
            write_text(record, json.dumps(content, indent=1, ensure_ascii=False) + "\n", RunError)

    def _path(self, name: str) -> Path | None:
        return None if self._folder is None else self._folder / "chunks" / f"{name}.npz"

    def read(self, name: str) -> dict[str, NDArray[Any]] | None:
        """Return a finished chunk, or None if it has to be run.

        A chunk that is damaged, or of another study, is not used: a notice says so and it is run again, since that
        costs only time and gives the same numbers.
        """
        path = self._path(name)
        if path is None or not path.exists():
            return None
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
                arrays = {key: content[key] for key in content.files}
            found = (str(arrays.pop("study")), str(arrays.pop("task")))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            self._notice(f"{path}: damaged ({error}); it is run again")
            return None
        if found != (self._key, name):
            self._notice(f"{path}: is task {found[1]} of study {found[0]}; it is run again")
            return None
        return {key.removeprefix("result."): array for key, array in arrays.items()}

    def write(self, name: str, result: Mapping[str, NDArray[Any]]) -> None:
        """Write a finished chunk aside and rename it."""
        path = self._path(name)
        if path is None:
            return
        arrays: dict[str, Any] = {"study": self._key, "task": name}
        arrays |= {f"result.{key}": array for key, array in result.items()}

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.savez(file, **arrays)

        write_atomically(path, write, RunError)
