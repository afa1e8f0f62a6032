"""Histograms in ROOT files, read by uproot (the extra ``root``)."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import BayesnuError, DataError, UsageError, nearest, silent
from bayesnu.flux.globes import UNITS, factor_of
from bayesnu.flux.table import Spectrum
from bayesnu.physics.couplings import CHANNELS
from bayesnu.resources import read_data

Array = NDArray[np.float64]
SHOWN = 12
"""How many of a file's names an error lists."""


def read_root(
    path: Path,
    unit: str,
    histograms: Mapping[str, str],
    position_m: float,
    notice: Callable[[str], None] = silent,
) -> Spectrum:
    """Read the flux at one position from a histogram per channel.

    A histogram has the neutrino energy in GeV on its first axis and, if it is a TH2, the off-axis
    position in m on its second; the bin that contains ``position_m`` is taken, its lower edge
    included. The flux is constant in each bin of energy.

    Parameters
    ----------
    path : Path
    unit : str
        Of the contents, a name of `bayesnu.flux.globes.UNITS`: the file does not say.
    histograms : mapping of str to str
        Channel to name in the file, folders before it with ``/``; all channels of `CHANNELS`.
    position_m : float
        Not used by a TH1.
    notice : callable
        Told of contents beyond the energy axis (under- and overflow), which are left out.

    Returns
    -------
    Spectrum
        Edges in GeV, values in ν cm⁻² GeV⁻¹ POT⁻¹ (or s⁻¹).

    Raises
    ------
    UsageError
        For an unknown unit or channel, or a channel without a histogram.
    DataError
        If uproot is not installed, the file is not a ROOT file, a name is not in it or not a TH1 or
        TH2, a content is negative or not finite, the axes differ, say that they are in another unit,
        or do not contain the position.
    """
    factor = factor_of(unit, UNITS)
    for channel in {**histograms, **CHANNELS}:
        if channel not in CHANNELS or channel not in histograms:
            problem = f"no histogram of '{channel}'" if channel in CHANNELS else f"unknown channel '{channel}'"
            raise UsageError(f"{problem}: channels are {', '.join(CHANNELS)}{nearest(channel, CHANNELS)}")
    edges: Array | None = None
    values = []
    with open_root(path) as file:
        for channel in CHANNELS:
            where = f"{path}: histogram '{histograms[channel]}'"
            histogram = find_object(path, file, histograms[channel], ("TH1", "TH2"))
            own, content = _column(where, histogram, position_m, notice)
            if edges is not None and not np.array_equal(own, edges):
                raise DataError(f"{where}: its energy axis differs from that of '{histograms[next(iter(CHANNELS))]}'")
            edges = own
            values.append(content)
    return Spectrum(np.asarray(edges), np.array(values) * factor)


def _column(where: str, histogram: Any, position_m: float, notice: Callable[[str], None]) -> tuple[Array, Array]:
    """Return energy edges and contents of a TH1, or of a TH2 at a position."""
    energy = histogram.axis(0)
    _check_title(where, energy, "GeV", r"\b[kMT]?eV\b")
    edges, content = energy.edges().astype(float), histogram.values(flow=True).astype(float)
    if not (edges[0] >= 0 and (np.diff(edges) > 0).all()):
        raise DataError(f"{where}: the energy axis begins at {edges[0]:g} GeV; it must be at least 0 and increase")
    if content.ndim == 2:
        position = histogram.axis(1)
        _check_title(where, position, "m", r"\b([cmk]m|mrad|rad|deg|degrees)\b")
        content = content[:, _bin(where, position.edges(), position_m) + 1]
    for k, value in enumerate(content[1:-1]):
        if not (np.isfinite(value) and value >= 0):
            raise DataError(
                f"{where}: {value:g} between {edges[k]:g} and {edges[k + 1]:g} GeV; must be finite and at least 0"
            )
    if content[0] != 0 or content[-1] != 0:
        notice(f"{where}: under- or overflow, beyond {edges[0]:g} to {edges[-1]:g} GeV, is left out")
    return edges, content[1:-1]


def _check_title(where: str, axis: Any, unit: str, others: str) -> None:
    """Refuse an axis whose title names another unit."""
    title = str(axis.member("fTitle"))
    found = re.search(others, title)
    if found is not None:
        raise DataError(f"{where}: the axis '{title}' is in {found.group()}; it must be in {unit}")


def _bin(where: str, edges: Array, position_m: float) -> int:
    """Return the bin of a position, lower edge included."""
    k = int(np.searchsorted(edges, position_m, side="right")) - 1
    if not 0 <= k < edges.size - 1:
        raise DataError(
            f"{where}: position_m = {position_m:g} is outside its second axis, from {edges[0]:g} up to but not at "
            f"{edges[-1]:g} m"
        )
    return k


@contextmanager
def open_root(path: Path) -> Iterator[Any]:
    """Open a ROOT file; what uproot cannot read is an error that names the file.

    Raises
    ------
    DataError
        If uproot is not installed, or the file is not a whole ROOT file.
    """
    try:
        import uproot
    except ImportError as error:
        raise DataError(f"{path}: a ROOT file needs uproot; pip install 'bayesnu[root]'") from error
    content = read_data(path)
    try:
        with uproot.open(io.BytesIO(content)) as file:
            yield file
    except BayesnuError:
        raise
    except Exception as error:  # uproot tells of damage by whatever its reader happens to meet
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{path}: cannot be read as a ROOT file ({reason})") from error


def find_object(path: Path, file: Any, name: str, kinds: tuple[str, ...]) -> Any:
    """Return an object of an open file.

    Parameters
    ----------
    path : Path
        For errors.
    file : uproot.ReadOnlyDirectory
    name : str
    kinds : tuple of str
        How the names of the allowed classes begin.

    Raises
    ------
    DataError
        If there is none of this name, or it is of another class.
    """
    classes = {key.partition(";")[0]: kind for key, kind in file.classnames().items()}
    if name not in classes:
        have = ", ".join(list(classes)[:SHOWN]) + (", …" if len(classes) > SHOWN else "")
        raise DataError(f"{path}: no '{name}'; it has {have or 'nothing'}{nearest(name, classes)}")
    if not classes[name].startswith(kinds):
        raise DataError(f"{path}: '{name}' is a {classes[name]}; allowed are {', '.join(kinds)}")
    return file[name]
