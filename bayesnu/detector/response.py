"""The response matrix: probability of each reconstructed bin, given the true E_e and E_e θ²."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesnu.detector.settings import FORMAT_VERSION, REPLICATES, SUBSAMPLES, ResponseSettings
from bayesnu.errors import ResponseError
from bayesnu.resources import write_atomically

if TYPE_CHECKING:
    import xarray as xr

Array = NDArray[np.float64]
DIMENSIONS = ("energy_true", "e_theta2_true", "bin")


@dataclass(frozen=True)
class ResponseMatrix:
    """A response matrix with its statistical error.

    Attributes
    ----------
    settings : ResponseSettings
        Edges, resolutions, method, sample size and seed it was made with.
    values : ndarray, shape (energy_cells, angle_cells, bins)
        P(reconstructed bin | true cell), averaged over the cell (uniform in ln E_e and in E_e θ²).
    error : ndarray, same shape
        Its statistical standard error; zero for quadrature.
    deviations : ndarray of float32, shape (energy_cells, angle_cells, bins, SUBSAMPLES), optional
        Of independent sub-samples from ``values``, which are then their mean: `build_subsampled`.

    Raises
    ------
    ResponseError
        If the shapes do not fit the edges, a value is outside [0, 1], or a row sums to more than one.
    """

    settings: ResponseSettings
    values: Array
    error: Array
    deviations: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        s = self.settings
        shape = (s.energy_cells, s.angle_cells, s.bins)
        for name, array in (("values", self.values), ("error", self.error)):
            if array.shape != shape:
                raise ResponseError(f"response {name} have shape {array.shape}, the edges need {shape}")
            if not np.isfinite(array).all() or (array < 0).any():
                raise ResponseError(f"response {name} must be finite and at least 0")
        if self.deviations is not None and (
            self.deviations.shape != (*shape, SUBSAMPLES) or not np.isfinite(self.deviations).all()
        ):
            raise ResponseError(f"response deviations must be finite and of shape {(*shape, SUBSAMPLES)}")
        rows = self.values.sum(axis=2)
        if rows.max() > 1 + 1e-9:
            i, j = np.unravel_index(int(rows.argmax()), rows.shape)
            raise ResponseError(
                f"response row (energy {i}, e_theta2 {j}) sums to {rows.max():.9f}: at most 1 is allowed"
            )

    @property
    def subsamples(self) -> int:
        """Number of sub-samples; 0 without ``deviations``."""
        return 0 if self.deviations is None else SUBSAMPLES

    def fold(self, true_counts: Array) -> Array:
        """Fold counts in the true cells, shape (…, energy_cells, angle_cells), to bins, shape (…, bins)."""
        return _fold(true_counts, self.values)

    def fold_error(self, true_counts: Array) -> Array:
        """Return the statistical standard error of `fold`, cells being independent."""
        return np.sqrt(_fold(true_counts**2, self.error**2))

    def fold_deviations(self, true_counts: Array) -> Array:
        """Return what each sub-sample folds minus `fold`, shape (…, bins, subsamples)."""
        if self.deviations is None:
            return np.zeros((*true_counts.shape[:-2], self.settings.bins, 0))
        return _fold(true_counts, self.deviations)

    def labelled(self) -> xr.Dataset:
        """Return the matrix as a Dataset with edges, units and provenance."""
        import xarray as xr

        s = self.settings
        coords: dict[str, Any] = {}

        def label(name: str, dimension: str, low: Array, high: Array, unit: str) -> None:
            coords[name] = (dimension, (low + high) / 2, {"units": unit})
            coords[f"{name}_lo"] = (dimension, low, {"units": unit})
            coords[f"{name}_hi"] = (dimension, high, {"units": unit})

        for name, edges, unit in zip(
            DIMENSIONS[:2], (s.energy_edges_gev, s.angle_edges_gev * 1e3), ("GeV", "MeV"), strict=True
        ):
            label(name, name, edges[:-1], edges[1:], unit)
        if s.bin_edges_mev:
            bins = np.array(s.bin_edges_mev)
            label("bin", "bin", bins[:-1], bins[1:], "MeV")
        else:
            energy, angle = np.array(s.energy_bin_edges_gev), np.array(s.angle_bin_edges_deg)
            rows, columns = (index.ravel() for index in np.indices((energy.size - 1, angle.size - 1)))
            coords["bin"] = ("bin", np.arange(s.bins), {"long_name": "bins of E_e by θ, θ the fast index"})
            label("energy", "bin", energy[rows], energy[rows + 1], "GeV")
            label("angle", "bin", angle[columns], angle[columns + 1], "deg")
        variables: dict[str, Any] = {
            "response": (DIMENSIONS, self.values, {"units": "1", "long_name": "P(reconstructed bin | true cell)"}),
            "error": (DIMENSIONS, self.error, {"units": "1", "long_name": "statistical standard error"}),
        }
        if self.deviations is not None:
            meaning = {"units": "1", "long_name": "deviation of each sub-sample from the response"}
            variables["deviations"] = ((*DIMENSIONS, "subsample"), self.deviations, meaning)
        return xr.Dataset(
            variables,
            coords=coords,
            attrs={
                "settings": json.dumps(s.content, sort_keys=True),
                "key": s.key,
                "format_version": FORMAT_VERSION,
                "source": "arXiv:2111.14884, appendix A",
            },
        )

    def save(self, path: Path) -> None:
        """Write a netCDF file, aside and renamed."""
        dataset = self.labelled()
        packing = {"zlib": True, "complevel": 5, "shuffle": True}
        write_atomically(
            path,
            lambda temporary: dataset.to_netcdf(
                temporary, engine="h5netcdf", encoding=dict.fromkeys(map(str, dataset.data_vars), packing)
            ),
            ResponseError,
        )


def _fold(true_counts: Array, matrix: NDArray[np.floating[Any]]) -> Array:
    """Sum over the true cells, (…, energy_cells, angle_cells) and (energy_cells, angle_cells, …)."""
    energies, angles = matrix.shape[:2]
    rows = true_counts.reshape(-1, energies, angles).swapaxes(0, 1)
    # A product for each energy cell: where others compute, threads that share a larger one wait for each other.
    folded = (rows @ matrix.reshape(energies, angles, -1)).sum(axis=0)
    return np.asarray(folded.reshape(*true_counts.shape[:-2], *matrix.shape[2:]))


def load_response(path: Path) -> ResponseMatrix:
    """Read a response file.

    Raises
    ------
    ResponseError
        If the file is missing, truncated, not a response, of another version, or not physical.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            version = int(np.ravel(file.attrs["format_version"])[0])
            text, key = str(file.attrs["settings"]), str(file.attrs["key"])
            values, error = np.asarray(file["response"], dtype=float), np.asarray(file["error"], dtype=float)
            deviations = np.asarray(file["deviations"], dtype=np.float32) if "deviations" in file else None
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as problem:
        raise ResponseError(f"{path}: not a response file, or truncated ({problem})") from problem
    if version != FORMAT_VERSION:
        raise ResponseError(f"{path}: format version {version}; this bayesnu reads {FORMAT_VERSION}")
    try:
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in json.loads(text).items()
        }
        settings = ResponseSettings(**fields)
    except (TypeError, AttributeError, ValueError) as problem:
        raise ResponseError(f"{path}: settings cannot be read ({problem})") from problem
    if settings.key != key:
        raise ResponseError(f"{path}: key {key} does not belong to its settings ({settings.key})")
    try:
        return ResponseMatrix(settings, values, error, deviations)
    except ResponseError as problem:
        raise ResponseError(f"{path}: {problem}") from problem


def build_response(settings: ResponseSettings) -> ResponseMatrix:
    """Build a response matrix by the method that the settings name.

    Raises
    ------
    ResponseError
        If there are fewer samples than the method needs.
    """
    if settings.samples < settings.least_samples:
        raise ResponseError(
            f"response.samples = {settings.samples}: at least {settings.least_samples} are needed for "
            f"{settings.energy_cells} × {settings.angle_cells} true cells by method {settings.method}"
        )
    from bayesnu.detector import smearing

    cells = settings.energy_cells * settings.angle_cells
    grid = (settings.energy_edges_gev, settings.angle_edges_gev)
    detector = settings.smearing
    rng = np.random.default_rng(settings.seed)
    if settings.method == "quadrature":
        values = smearing.quadrature(*grid, detector, settings.samples, max(1, settings.samples // 3))
        return ResponseMatrix(settings, values, np.zeros_like(values))
    if settings.method == "sample-and-histogram":
        seeds = rng.integers(2**31, size=settings.energy_cells)
        return ResponseMatrix(
            settings, *smearing.sample_and_histogram(*grid, detector, settings.samples // cells, seeds)
        )
    shifts = rng.random((settings.energy_cells, settings.angle_cells, REPLICATES, 4))
    points = settings.samples // (cells * REPLICATES)
    sums, weights = smearing.variance_reduced(*grid, detector, points, shifts)
    # The spread of the replicates, each with its weights normalised, gives the error.
    replicates = np.moveaxis(sums / weights[:, :, None, :], -1, 0)
    values = sum(replicates / REPLICATES)
    spread = sum((replicates - values) ** 2)
    return ResponseMatrix(settings, values, np.sqrt(spread / (REPLICATES * (REPLICATES - 1))))


def build_subsampled(settings: ResponseSettings) -> ResponseMatrix:
    """Build a response as the mean of independent sub-samples, and keep their deviations from it.

    Sub-sample s has weighted sums A_s and weights W_s in a cell; the response is R = Σ A_s/Σ W_s, and
    δ_s = S (A_s - R W_s)/Σ W_s its deviation, to first order. The covariance of anything that is linear in R is
    Σ_s of its δ_s δ_sᵀ/(S (S - 1)), whatever the method: each sub-sample is one more shifted sequence of
    "variance-reduced", or so many more events of "sample-and-histogram".

    Raises
    ------
    ResponseError
        For quadrature, which has no such error, or fewer samples than one in each cell and sub-sample.
    """
    from bayesnu.detector import smearing

    if settings.method == "quadrature":
        raise ResponseError("response.method = 'quadrature': has no Monte Carlo error and no sub-samples")
    if settings.samples < settings.least_subsampled:
        raise ResponseError(
            f"response.samples = {settings.samples}: at least {settings.least_subsampled} are needed for {SUBSAMPLES} "
            f"sub-samples of {settings.energy_cells} × {settings.angle_cells} true cells"
        )
    cells = (settings.energy_cells, settings.angle_cells)
    grid = (settings.energy_edges_gev, settings.angle_edges_gev)
    detector = settings.smearing
    points = settings.samples // settings.least_subsampled
    rng = np.random.default_rng([settings.seed, SUBSAMPLES])
    if settings.method == "sample-and-histogram":
        # No seed twice: the same events twice would not be independent.
        seeds = rng.choice(2**31, size=(SUBSAMPLES, cells[0]), replace=False)
        made = [smearing.sample_and_histogram(*grid, detector, points, own)[0] for own in seeds]
        sums, weights = np.stack(made, axis=-1), np.ones((*cells, SUBSAMPLES))
    else:
        shifts = rng.random((*cells, SUBSAMPLES, 4))
        sums, weights = smearing.variance_reduced(*grid, detector, points, shifts)
    total = weights.sum(axis=-1)[..., None]
    values = sums.sum(axis=-1) / total
    deviations = SUBSAMPLES * (sums - values[..., None] * weights[:, :, None, :]) / total[..., None]
    error = np.sqrt((deviations**2).sum(axis=-1) / (SUBSAMPLES * (SUBSAMPLES - 1)))
    return ResponseMatrix(settings, values, error, deviations.astype(np.float32))


def quadrature_settings(settings: ResponseSettings, tilts: int = 120) -> ResponseSettings:
    """Return the same detector and grid with the deterministic method: ``tilts`` nodes in |θ_1|, a third in azimuth."""
    return replace(settings, method="quadrature", samples=tilts, seed=0)
