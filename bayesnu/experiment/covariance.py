"""A named covariance of flux bins or background counts: its leading eigenvectors are correlated pulls.

The fractional covariance is C = Σ_k λ_k e_k e_kᵀ over its bins. One standard deviation of the pull ``name[k]`` changes
the content of bin r by the fraction √λ_k e_k[r]; folded, that is the shift D_k of the expected counts
(`bayesnu.experiment.modes`). Eigenvectors are kept, largest first, until their λ sum up to the fraction ``keep`` of
Σ λ = tr C.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import CardError, DataError, nearest
from bayesnu.experiment.backgrounds import BACKGROUNDS
from bayesnu.experiment.electron_card import Card, CovarianceCard
from bayesnu.experiment.expectation import shift_arrays
from bayesnu.experiment.templates import Templates, TemplateShifts, shift_templates
from bayesnu.flux.covariance_file import check_covariance, read_covariance, read_covariance_csv
from bayesnu.flux.table import MODES, FluxTable, Spectrum
from bayesnu.physics.couplings import CHANNELS
from bayesnu.resources import number, read_table

Array = NDArray[np.float64]
ROWS = {"flux": ("channel", tuple(CHANNELS)), "backgrounds": ("background", BACKGROUNDS)}
"""What each row of a matrix is of: the column that names it, and its values."""
FLUX_AXES = (("e_lo_gev", "e_hi_gev", "GeV"),)
"""The columns of the edges of a bin of the flux, and their unit."""
MOST_MODES = 64
"""Each is one more pull to profile and to sample."""
LEADING = 3
"""Eigenvectors that a report names."""
EDGE = 1e-9
"""Relative difference of edges that are the same."""


class Span(NamedTuple):
    """What a bin covers of one variable."""

    low: float
    high: float
    unit: str

    def __str__(self) -> str:
        return f"{self.low:g}–{self.high:g} {self.unit}"


@dataclass(frozen=True)
class Row:
    """One row of a matrix: a bin of one channel (or background) in one horn polarity at one position.

    ``spans`` is of the energy of the flux, of E_e θ², or of E_e and of θ.
    """

    mode: str
    position_m: float
    kind: str
    spans: tuple[Span, ...]

    @property
    def label(self) -> str:
        """The row in words."""
        return f"{self.mode} {self.position_m:g} m {self.kind} {' '.join(map(str, self.spans))}"


class Bins(NamedTuple):
    """The bins that rows hold: their edges in each variable, shape (variables, bins), and the units."""

    low: Array
    high: Array
    units: tuple[str, ...]

    def spans(self, b: int) -> tuple[Span, ...]:
        """Return what a bin covers."""
        return tuple(map(Span, self.low[:, b].tolist(), self.high[:, b].tolist(), self.units))


def flux_bins(spectrum: Spectrum) -> Bins:
    """Return the bins of a flux."""
    return Bins(spectrum.edges_gev[None, :-1], spectrum.edges_gev[None, 1:], ("GeV",))


def detector_bins(card: Card) -> Bins:
    """Return the reconstructed bins of a card, flat."""
    axes = card.detector.axes
    low, high = (np.stack([getattr(axis, end) for axis in axes]) for end in ("low", "high"))
    return Bins(low, high, tuple(axis.units for axis in axes))


def row_axes(of: str, card: Card) -> tuple[tuple[str, str, str], ...]:
    """Return the columns of a row's edges with their unit: of the flux's energy, or of the card's bins."""
    return FLUX_AXES if of == "flux" else tuple((*axis.columns, axis.units) for axis in card.detector.axes)


@dataclass(frozen=True)
class CovarianceModes:
    """The leading eigenvectors of a covariance.

    Attributes
    ----------
    name : str
        Their pulls are ``name[1]``, ``name[2]``, …
    of : {"flux", "backgrounds"}
    rows : tuple of Row
        The bins that the card has exposures for.
    shifts : ndarray, shape (modes, rows)
        √λ_k e_k: one standard deviation of each mode, as a fraction of the bin's content; the largest one positive.
    shares : ndarray, shape (modes,)
        λ_k over the sum of all.
    """

    name: str
    of: str
    rows: tuple[Row, ...]
    shifts: Array
    shares: Array

    @property
    def left_out(self) -> float:
        """Share of the variance that is left out."""
        return max(0.0, 1.0 - float(self.shares.sum()))

    def leading(self, k: int) -> tuple[str, float]:
        """Return the bin that mode k (from 0) shifts most, and by what fraction."""
        r = int(np.abs(self.shifts[k]).argmax())
        return self.rows[r].label, float(self.shifts[k, r])


def covariance_json(modes: CovarianceModes) -> dict[str, Any]:
    """Return what a report says of a covariance as JSON-able values."""
    leading = [modes.leading(k) for k in range(min(LEADING, len(modes.shares)))]
    return {
        "name": modes.name,
        "of": modes.of,
        "rows": len(modes.rows),
        "pulls": len(modes.shares),
        "left_out": modes.left_out,
        "leading": [
            {"pull": f"{modes.name}[{k + 1}]", "share": float(modes.shares[k]), "largest": label, "shift": shift}
            for k, (label, shift) in enumerate(leading)
        ],
    }


def read_labelled(
    path: Path,
    of: str,
    matrix_path: Path | None = None,
    name: str | None = None,
    axes: Sequence[tuple[str, str, str]] = FLUX_AXES,
) -> tuple[tuple[Row, ...], Array]:
    """Read a matrix with its labels; see `CovarianceCard` for the columns.

    Parameters
    ----------
    path : Path
        Of the rows.
    of : {"flux", "backgrounds"}
    matrix_path : Path, optional
        Of the matrix; in columns of ``path`` by default.
    name : str, optional
        Of the matrix in a ROOT file; CSV by default.
    axes : sequence of (str, str, str)
        Columns of the lower and the upper edge in each variable, and their unit; see `row_axes`.

    Raises
    ------
    DataError
        For a missing column, an unknown name, edges that do not increase, a number that is not finite, or a matrix
        that is not symmetric or has negative eigenvalues.
    """
    what, allowed = ROWS[of]
    table = read_table(path, ("mode", "position_m", what, *(column for low, high, _ in axes for column in (low, high))))
    size = len(table)
    matrix_columns = [name for name in table[0] if name.isdecimal()]
    if matrix_path is not None and matrix_columns:
        raise DataError(f"{path}: has columns of a matrix, and {matrix_path.name} is one; give one of both")
    if matrix_path is None and matrix_columns != [str(k) for k in range(1, size + 1)]:
        raise DataError(
            f"{path}: {size} rows need the columns 1 to {size} of the matrix in this order; found {len(matrix_columns)}"
        )
    rows = []
    for line in table:
        for column, names in (("mode", MODES), (what, allowed)):
            if line[column] not in names:
                known = f"allowed are {', '.join(names)}{nearest(line[column], names)}"
                raise DataError(f"{path}: line {line['line']}, {column} = '{line[column]}': {known}")
        spans = tuple(_span(path, line, *axis) for axis in axes)
        rows.append(Row(line["mode"], number(path, line, "position_m", minimum=0), line[what], spans))
    if matrix_path is not None:
        matrix = read_covariance_csv(matrix_path, size) if name is None else read_covariance(matrix_path, name, size)
        return tuple(rows), matrix
    columns = np.array([[number(path, line, column) for column in matrix_columns] for line in table])
    return tuple(rows), check_covariance(str(path), columns, size)


def _span(path: Path, line: dict[str, str], low: str, high: str, unit: str) -> Span:
    """Read the edges of a row in one variable."""
    edges = number(path, line, low, minimum=0), number(path, line, high, minimum=0)
    if edges[0] >= edges[1]:
        raise DataError(f"{path}: line {line['line']}, {high} = {edges[1]:g}: must be above {low} = {edges[0]:g}")
    return Span(*edges, unit)


def covariance_modes(
    path: Path, matrix_path: Path | None, index: int, card: Card, flux: FluxTable, backgrounds: Array
) -> CovarianceModes:
    """Return the modes of a covariance of a card; rows of exposures that the card does not have are left out.

    Parameters
    ----------
    path : Path
        Of the rows.
    matrix_path : Path or None
        Of the matrix, if it has a file of its own.
    index : int
        Of the covariance in the card.
    card : Card
    flux : FluxTable
    backgrounds : ndarray, shape (exposures, 2, bins)
        Counts per year.

    Raises
    ------
    CardError
        If rows do not cover every bin of every exposure once, cut a bin in two, vary what is 0, or if too many modes
        would be kept.
    """
    wanted, where = card.covariances[index], f"covariances.{index}"
    rows, matrix = read_labelled(path, wanted.of, matrix_path, wanted.matrix, row_axes(wanted.of, card))
    places = {(exposure.mode, exposure.position_m) for exposure in card.exposures}
    kept = [r for r, row in enumerate(rows) if (row.mode, row.position_m) in places]
    rows, matrix = tuple(rows[r] for r in kept), matrix[np.ix_(kept, kept)]
    try:
        content = _contents(rows, wanted, card, flux, backgrounds)
    except CardError as error:
        raise CardError(f"{where}.file = '{wanted.file}': {error}") from error
    if not wanted.relative:
        empty = np.flatnonzero((content == 0) & (np.diagonal(matrix) > 0))
        if empty.size:
            raise CardError(f"{where}.file = '{wanted.file}': {rows[empty[0]].label} has a variance but is 0")
        inverse = np.divide(1.0, content, out=np.zeros_like(content), where=content > 0)
        matrix = matrix * inverse[:, None] * inverse
    values, vectors = np.linalg.eigh(matrix)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1].T
    if values[0] == 0:
        raise CardError(f"{where}.file = '{wanted.file}': no variance of the exposures of the card")
    shares = values / values.sum()
    reached = np.cumsum(shares) >= wanted.keep * (1 - 1e-12)
    size = min(int(np.argmax(reached)) + 1, int((shares > 1e-14).sum()))
    if size > MOST_MODES:
        raise CardError(f"{where}.keep = {wanted.keep:g}: takes {size} eigenvectors, more than {MOST_MODES}; keep less")
    shifts = np.sqrt(values[:size, None]) * vectors[:size]
    k, r = (int(n) for n in np.unravel_index(int(np.abs(shifts).argmax()), shifts.shape))
    if abs(shifts[k, r]) > 1:
        unit = "a matrix that is not relative is in (ν per cm² per GeV per POT)², or in (counts per year)²"
        raise CardError(
            f"{where}.file = '{wanted.file}': one standard deviation of {rows[r].label} is {abs(shifts[k, r]):.3g} of "
            f"it, more than all of it; {unit}"
        )
    # The sign of an eigenvector is free.
    shifts *= np.sign(shifts[np.arange(size), np.abs(shifts).argmax(axis=1)])[:, None]
    return CovarianceModes(wanted.name, wanted.of, rows, shifts, shares[:size])


def _contents(rows: Sequence[Row], wanted: CovarianceCard, card: Card, flux: FluxTable, backgrounds: Array) -> Array:
    """Return what is in each row's bin: mean flux, or background counts per year; checks that all bins are covered."""
    content = np.zeros(len(rows))
    for k, exposure in enumerate(card.exposures):
        for c, kind in enumerate(ROWS[wanted.of][1]):
            if wanted.of == "flux":
                spectrum = flux.spectrum(exposure.mode, exposure.position_m)
                bins, weights = flux_bins(spectrum), spectrum.values[c]
            else:
                bins, weights = detector_bins(card), backgrounds[k, c]
            place = row_of_bin(rows, exposure.mode, exposure.position_m, kind, bins)
            widths = (bins.high - bins.low)[0] if wanted.of == "flux" else np.ones(place.size)
            for r in np.unique(place).tolist():
                inside = place == r
                mean = float(weights[inside] @ widths[inside])
                content[r] = mean / widths[inside].sum() if wanted.of == "flux" else mean
    return content


def row_of_bin(rows: Sequence[Row], mode: str, position_m: float, kind: str, bins: Bins) -> NDArray[np.intp]:
    """Return the row that holds each bin.

    Raises
    ------
    CardError
        If a bin has no row or two, or a row's edge lies inside it.
    """
    found = np.full(bins.low.shape[1], -1)
    slack = EDGE * bins.high.max(axis=1, keepdims=True)
    for r, row in enumerate(rows):
        if (row.mode, row.position_m, row.kind) != (mode, position_m, kind):
            continue
        low, high = (np.array([[getattr(span, end)] for span in row.spans]) for end in ("low", "high"))
        inside = ((bins.high > low + slack) & (bins.low < high - slack)).all(axis=0)
        cut = inside & ((bins.low < low - slack) | (bins.high > high + slack)).any(axis=0)
        if cut.any():
            within = " ".join(map(str, bins.spans(int(np.argmax(cut)))))
            raise CardError(f"{row.label}: an edge lies inside the bin {within}; rows must hold whole bins")
        if (found[inside] >= 0).any():
            twice = rows[int(found[inside].max())]
            raise CardError(f"{row.label}: overlaps {twice.label}")
        found[inside] = r
    if (found < 0).any():
        missing = Row(mode, position_m, kind, bins.spans(int(np.argmax(found < 0))))
        raise CardError(f"no row for {missing.label}")
    return found


@dataclass(frozen=True)
class FoldedModes:
    """The modes of a covariance with what one standard deviation of each changes.

    Attributes
    ----------
    modes : CovarianceModes
    templates : TemplateShifts, optional
        Of a covariance of the flux.
    backgrounds : ndarray, shape (exposures, 2, bins, modes), optional
        Counts per year, of a covariance of backgrounds.
    """

    modes: CovarianceModes
    templates: TemplateShifts | None = None
    backgrounds: Array | None = None

    def arrays(self, card: Card, templates: Templates, backgrounds: Array) -> Array:
        """Return D_k of the count model, shape (modes, components, monomials, obs)."""
        size = len(self.modes.shares)
        values = np.zeros((*templates.values.shape, size)) if self.templates is None else self.templates.values
        shifted = np.zeros((*backgrounds.shape, size)) if self.backgrounds is None else self.backgrounds
        return np.moveaxis(shift_arrays(card, values, shifted), -1, 0)


def fold_modes(
    modes: CovarianceModes,
    card: Card,
    flux: FluxTable,
    templates: Templates,
    backgrounds: Array,
    made: FoldedModes | None = None,
) -> FoldedModes:
    """Fold the modes of a covariance; ``made`` is the same at another mass of N, of which all but d² is taken over."""
    if modes.of == "backgrounds":
        return FoldedModes(modes, backgrounds=background_shifts(modes, card, backgrounds))
    relative = flux_shifts(modes, card, flux)
    return FoldedModes(
        modes, shift_templates(templates, card, flux, relative, None if made is None else made.templates)
    )


def flux_shifts(modes: CovarianceModes, card: Card, flux: FluxTable) -> list[Array]:
    """Return the shifts of the flux of each exposure as fractions of it, each (channels, flux bins, modes)."""
    result = []
    for exposure in card.exposures:
        bins = flux_bins(flux.spectrum(exposure.mode, exposure.position_m))
        places = [row_of_bin(modes.rows, exposure.mode, exposure.position_m, c, bins) for c in CHANNELS]
        result.append(np.stack([modes.shifts[:, place].T for place in places]))
    return result


def background_shifts(modes: CovarianceModes, card: Card, backgrounds: Array) -> Array:
    """Return the shifts of the backgrounds, counts per year, (exposures, 2, bins, modes)."""
    bins = detector_bins(card)
    shifts = np.zeros((*backgrounds.shape, len(modes.shares)))
    for k, exposure in enumerate(card.exposures):
        for b, name in enumerate(BACKGROUNDS):
            place = row_of_bin(modes.rows, exposure.mode, exposure.position_m, name, bins)
            shifts[k, b] = backgrounds[k, b, :, None] * modes.shifts[:, place].T
    return shifts
