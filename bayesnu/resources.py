"""Where models/ and data/ are, in a checkout and in an installed wheel, and whether they are whole.

Shipped data files are listed with their SHA-256 in ``data/MANIFEST.sha256`` and
verified every time one is read. Files of the user's own are read as they are.
"""

from __future__ import annotations

import csv
import hashlib
import math
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bayesnu.errors import BayesnuError, DataError, nearest, unknown_name

MANIFEST = "MANIFEST.sha256"
COMPUTING_ROOMS = ("physics", "flux", "detector", "experiment", "inference", "results", "workers")
"""Subpackages whose code numbers depend on."""


@cache
def program_digest(package: Path | None = None) -> str:
    """Return the SHA-256 of the source files of `COMPUTING_ROOMS`, names and content; they are read once."""
    package = package or Path(__file__).resolve().parent
    hasher = hashlib.sha256()
    for room in COMPUTING_ROOMS:
        for path in sorted((package / room).rglob("*.py")):
            content = path.read_bytes()
            hasher.update(f"{path.relative_to(package).as_posix()} {len(content)}\n".encode() + content)
    return hasher.hexdigest()


def share_root() -> Path:
    """Return the folder that holds ``models/`` and ``data/``."""
    package = Path(__file__).resolve().parent
    installed = package / "_share"
    root = installed if installed.is_dir() else package.parent
    if not (root / "models").is_dir() or not (root / "data").is_dir():
        raise DataError(f"{root}: models/ and data/ are not here; reinstall bayesnu")
    return root


def models_folder() -> Path:
    """Return the folder of the shipped cards."""
    return share_root() / "models"


def data_folder() -> Path:
    """Return the folder of the shipped data."""
    return share_root() / "data"


def cache_folder() -> Path:
    """Return the folder for what can be recomputed; ``BAYESNU_CACHE`` moves it."""
    chosen = os.environ.get("BAYESNU_CACHE")
    if chosen:
        return Path(chosen)
    from platformdirs import user_cache_path

    return Path(user_cache_path("bayesnu"))


def shipped_models() -> dict[str, Path]:
    """Return the shipped cards, name to path, sorted by name."""
    return {path.stem: path for path in sorted(models_folder().glob("*.toml"))}


def find_card(model: str) -> Path:
    """Return the path of a card given as a name in models/ or as a path.

    Raises
    ------
    UsageError
        If it is neither; the message lists the shipped names and the nearest one.
    DataError
        If it looks like a path and no such file exists.
    """
    shipped = shipped_models()
    if model in shipped:
        return shipped[model]
    path = Path(model)
    if path.is_file():
        return path
    if path.suffix == ".toml" or len(path.parts) > 1:
        reason = "is a folder" if path.is_dir() else "no such card"
        raise DataError(f"{model}: {reason}; shipped models are {', '.join(shipped)}")
    raise unknown_name("model", model, shipped)


def find_data(name: str, folders: Sequence[Path]) -> Path:
    """Return the first of ``folders`` and the shipped data that holds file ``name``.

    Raises
    ------
    DataError
        If none does.
    """
    places = [Path(folder) for folder in folders] + [data_folder()]
    for folder in places:
        path = folder / Path(name).expanduser()
        if path.is_file():
            return path
    raise DataError(f"{name}: no such file beside the card, in the working folder or in the shipped data")


def read_manifest(folder: Path) -> dict[str, str]:
    """Return ``relative path -> SHA-256`` of a manifest in the format of sha256sum."""
    path = folder / MANIFEST
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"{path}: the checksum manifest cannot be read ({error.strerror})") from error
    entries: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not name:
            raise DataError(f"{path}: line {number} is not '<sha256>  <path>'")
        entries[name] = digest
    return entries


def manifest_lines(folder: Path) -> str:
    """Return the manifest text for every data file below ``folder`` (SOURCE.md pages excepted)."""
    lines = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in (MANIFEST, "SOURCE.md") and path.suffix != ".part":
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            lines.append(f"{digest}  {path.relative_to(folder).as_posix()}")
    return "\n".join(lines) + "\n"


def read_data(path: Path) -> bytes:
    """Read a data file; one of the shipped files must match its checksum.

    Raises
    ------
    DataError
        If the file cannot be read, is not in the manifest, or its checksum differs.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    folder = data_folder().resolve()
    resolved = Path(path).resolve()
    if not resolved.is_relative_to(folder):
        return content
    name = resolved.relative_to(folder).as_posix()
    expected = read_manifest(folder).get(name)
    found = hashlib.sha256(content).hexdigest()
    if expected is None:
        raise DataError(f"{path}: not listed in data/{MANIFEST}; keep your own files outside the shipped data")
    if found != expected:
        raise DataError(
            f"{path}: changed or damaged: its checksum {found[:12]}… is not {expected[:12]}… of data/{MANIFEST}"
        )
    return content


@dataclass(frozen=True)
class DataFile:
    """One shipped data file: path relative to data/, size in bytes, checksum, and whether it is intact."""

    name: str
    size: int
    sha256: str
    intact: bool


def shipped_data() -> list[DataFile]:
    """List the shipped data files with the state of each."""
    folder = data_folder()
    files = []
    for name, digest in read_manifest(folder).items():
        path = folder / name
        content = path.read_bytes() if path.is_file() else b""
        files.append(DataFile(name, len(content), digest, hashlib.sha256(content).hexdigest() == digest))
    return files


def write_atomically(path: Path, write: Callable[[Path], None], error: type[BayesnuError] = DataError) -> None:
    """Call ``write`` with a temporary path beside ``path``, then rename it to ``path``.

    Raises
    ------
    BayesnuError
        Of the class ``error``, if the folder cannot be written; nothing is left behind.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=f"{path.suffix}.part")
        os.close(handle)
    except OSError as problem:
        raise error(f"{path.parent}: cannot be written ({problem.strerror})") from problem
    temporary = Path(name)
    try:
        write(temporary)
        # mkstemp makes files private to the user; a result has the permissions of any other file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as problem:
        raise error(f"{path}: cannot be written ({problem.strerror or problem})") from problem
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, error: type[BayesnuError] = DataError) -> None:
    """Write a text file aside and rename it."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomically(path, write, error)


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read a CSV file that has at least ``columns``; each row a dict, with its line number under ``"line"``.

    Raises
    ------
    DataError
        If the file is empty, not text, lacks a column, or has a row of another length.
    """
    try:
        text = read_data(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file in UTF-8") from error
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines:
        raise DataError(f"{path}: the file is empty; expected a header {','.join(columns)}")
    header = [name.strip() for name in _split(path, *lines[0])]
    for column in columns:
        if column not in header:
            raise DataError(f"{path}: column '{column}' is missing; found {', '.join(header)}{nearest(column, header)}")
    if len(lines) == 1:
        raise DataError(f"{path}: the table has a header and no rows")
    rows = []
    for number, line in lines[1:]:
        fields = _split(path, number, line)
        if len(fields) != len(header):
            raise DataError(f"{path}: line {number} has {len(fields)} fields, the header has {len(header)}")
        rows.append({**dict(zip(header, (field.strip() for field in fields), strict=True)), "line": str(number)})
    return rows


def _split(path: Path, number: int, line: str) -> list[str]:
    """Split one line of a CSV file; a quote that is not closed on its line is an error."""
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error as error:
        raise DataError(f"{path}: line {number} is not CSV ({error})") from error


def number(path: Path, row: dict[str, str], column: str, *, minimum: float = -math.inf) -> float:
    """Return a finite number of a row of `read_table`, at least ``minimum``.

    Raises
    ------
    DataError
        If it is no number, not finite, or too small; names file, line and column.
    """
    text = row[column]
    try:
        value = float(text)
    except ValueError as error:
        raise DataError(f"{path}: line {row['line']}, {column} = '{text}': must be a number") from error
    if not math.isfinite(value):
        raise DataError(f"{path}: line {row['line']}, {column} = {text}: must be finite")
    if value < minimum:
        raise DataError(f"{path}: line {row['line']}, {column} = {text}: must be at least {minimum:g}")
    return value
