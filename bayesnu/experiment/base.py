"""What every experiment is to a fit: a card, expected counts, data, and labels of the observations."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import CardError, ConvergenceError, DataError, UsageError, nearest
from bayesnu.experiment.card import AnalysisCard
from bayesnu.experiment.covariance import CovarianceModes
from bayesnu.experiment.expectation import CountModel, MassSpline, free_mass, free_mixing_angle
from bayesnu.experiment.load import LoadedCard
from bayesnu.physics.constants import HBARC2_CM2_GEV2, W_MASS_GEV
from bayesnu.physics.couplings import COUPLINGS, FREE_TOGETHER
from bayesnu.resources import find_data, read_table

if TYPE_CHECKING:
    import xarray as xr

Array = NDArray[np.float64]
Coordinates = dict[str, tuple[Any, ...]]
Variance = Literal["sm", "sm+background", "measured"]
MASS_STEPS = 120
"""Steps between the masses at which counts are folded where m_N is free."""
LEAST_STEPS = 30
"""Steps between two thresholds."""


@dataclass(frozen=True, repr=False)
class Experiment(ABC):
    """A card with its expected counts and data.

    Attributes
    ----------
    loaded : LoadedCard
        The card and where it came from.
    model : CountModel
        All couplings free.
    data : ndarray, shape (obs,)
        Counts to fit, backgrounds included: observed, or the SM expectation.
    observed : bool
        Whether ``data`` were observed; otherwise they are Asimov data, not rounded.
    files : dict
        Role to path of every file that was read.
    """

    loaded: LoadedCard
    model: CountModel
    data: Array
    observed: bool
    files: dict[str, Path]

    @property
    def card(self) -> AnalysisCard:
        """The validated card."""
        return self.loaded.card

    def __repr__(self) -> str:
        data = "observed" if self.observed else "Asimov data"
        sizes = f"{self.data.size} observations ({data}), {len(self.model.pulls)} pulls"
        return f"<{type(self).__name__} {self.card.name}: {sizes}, couplings {', '.join(self.card.couplings)}>"

    @property
    @abstractmethod
    def signal_sm(self) -> Array:
        """The expected SM counts without backgrounds, shape (obs,)."""

    @property
    @abstractmethod
    def background(self) -> Array:
        """The nominal background counts, shape (obs,)."""

    @property
    def errors(self) -> Array | None:
        """Measured errors of the data, which are then normal; None for counts, which are Poisson."""
        return None

    @property
    def relative_variance(self) -> Array | None:
        """Squared relative errors of the expected counts that are independent from bin to bin, shape (obs,).

        The counts are then Poisson about a gamma-distributed mean; None for none.
        """
        return None

    @property
    def covariances(self) -> tuple[CovarianceModes, ...]:
        """The modes of correlated systematics that are pulls of the model."""
        return ()

    @property
    def normal_variance(self) -> Array:
        """Squared measured errors, shape (obs,); 0 of what are counts."""
        return np.zeros(self.data.size) if self.errors is None else self.errors**2

    def chi2_variance(self, variance: Variance) -> Array:
        """Return V of χ² (3.1), shape (obs,), with the independent errors of the expected counts.

        Raises
        ------
        UsageError
            If some bin expects no counts.
        """
        if self.errors is not None:
            return np.asarray(self.errors**2)
        spread = self.signal_sm + (self.background if variance == "sm+background" else 0.0)
        if not (spread > 0).all():
            raise UsageError(
                f"variance = {variance}: bin {int(np.argmin(spread))} expects no counts; use the method poisson"
            )
        if self.relative_variance is not None:
            spread = spread + self.relative_variance * self.model.expected() ** 2
        return spread

    @property
    def alone(self) -> bool:
        """Whether it is an experiment by itself, and not what others can be combined with only."""
        return True

    def require_alone(self) -> None:
        """Check that the card is one of an experiment.

        Raises
        ------
        UsageError
            If it is one of published limits.
        """
        if not self.alone:
            raise UsageError(
                f"{self.loaded.where}: has published limits and no counts; `bayesnu combine` takes it with other cards"
            )

    @property
    def approximations(self) -> tuple[str, ...]:
        """What of the likelihood stands in for one that is not known, a line each; such lines are printed first."""
        return ()

    @property
    def response_error(self) -> str:
        """How the response's Monte Carlo error enters the likelihood; empty where it does not."""
        return ""

    def without_response_error(self) -> Self | None:
        """Return the experiment with its response taken for exact; None where its error is not in the likelihood."""
        return None

    @property
    def variances(self) -> tuple[Variance, ...]:
        """The variances V of χ² (3.1) that make sense here, the default first."""
        return ("sm+background",)

    def responds(self, coupling: str) -> bool:
        """Return whether the expected counts depend on a coupling at all."""
        return self.model.depends_on(coupling)

    @property
    def mass_reaches(self) -> tuple[float, ...]:
        """Masses of N in MeV beyond which one of the source's spectra produces none, increasing."""
        return ()

    def mass_of(self, coupling: str) -> float | None:
        """Return the mass of N (MeV) at which a coupling acts; None for one that has nothing to do with N."""
        return self.card.sterile.m_N if COUPLINGS[coupling].family in ("d", "dd") else None

    def caution(self, coupling: str, value: float) -> str:
        """Return what to know about the counts at a value of a coupling; empty where they hold."""
        del coupling, value
        return ""

    def with_free_mass(self, highest_mev: float, steps: int = MASS_STEPS) -> Self:
        """Return the experiment with ``m_N`` among the couplings of its model, from 0 to a highest mass.

        Counts are folded at about ``steps`` masses and interpolated by `MassSpline`.
        """
        reaches = self.mass_reaches
        highest = min(highest_mev, reaches[-1]) if reaches else highest_mev
        breaks = (0.0, *(mass for mass in reaches if mass < highest), highest)
        cells = [max(LEAST_STEPS, round(steps * (b - a) / highest)) for a, b in pairwise(breaks)]
        masses = MassSpline(breaks, tuple(cells))
        models = {mass: self.at(mass).model for mass in np.unique(masses.nodes).tolist()}
        model = free_mass([models[mass] for mass in masses.nodes.tolist()], masses)
        return replace(self, model=model)

    @property
    def sin2_theta_w(self) -> tuple[float, float | None]:
        """The card's sin²θ_W and its error; None where the card gives it no prior.

        Raises
        ------
        UsageError
            If the counts cannot be given at another value.
        """
        physics: Any = getattr(self.card, "physics", None)
        if not hasattr(physics, "sin2_theta_w_error"):
            raise UsageError(
                f"{self.loaded.where}: sin2_theta_w: can be free for ν-e scattering in bins of E_e θ² and for nuclear "
                "recoils alone"
            )
        error = physics.sin2_theta_w_error
        return physics.sin2_theta_w, None if error == "none" else error

    def with_free_mixing_angle(self) -> Self:
        """Return the experiment with ``sin2_theta_w`` among the couplings of its model; see `free_mixing_angle`.

        Raises
        ------
        UsageError
            If no count depends on it.
        """
        value, _ = self.sin2_theta_w
        radius = 3 * HBARC2_CM2_GEV2 / (W_MASS_GEV**2 * value)
        experiment = replace(self, model=free_mixing_angle(self.model, radius))
        if not experiment.model.depends_on("sin2_theta_w"):
            raise UsageError(f"{self.loaded.where}: sin2_theta_w: no count depends on it, so that it cannot be fitted")
        return experiment

    @property
    def response_key(self) -> str | None:
        """The hash that names a stored response matrix; None where there is none."""
        return None

    @abstractmethod
    def observation_coordinates(self) -> Coordinates:
        """Return ``exposure``, ``bin``, ``bin_lo``, ``bin_hi`` and more as coordinates on the flat dimension ``obs``.

        ``bin_lo`` and ``bin_hi`` carry units and, as ``long_name``, the label of an axis.
        """

    @abstractmethod
    def at(self, m_N: float) -> Experiment:
        """Return the experiment with N of another mass (MeV); only what depends on it is folded again."""

    def expected_labelled(self, couplings: dict[str, float], pulls: dict[str, float]) -> xr.DataArray:
        """Return the expected counts as a DataArray over ``obs`` with exposure, bin and edges."""
        import xarray as xr

        counts = finite(self.model.expected(couplings, pulls), couplings, pulls)
        coords = self.observation_coordinates()
        return xr.DataArray(counts, dims="obs", coords=coords, attrs={"units": "counts"}, name="expected")

    def fitted(self, coupling: str) -> str:
        """Return ``coupling`` if the card fits it.

        Raises
        ------
        UsageError
            If the card does not list it.
        """
        names = self.card.couplings
        if coupling not in names and not (coupling in FREE_TOGETHER and coupling in self.model.couplings):
            allowed = f"{self.loaded.path.name} has {', '.join(names)}{nearest(coupling, names)}"
            raise UsageError(f"unknown coupling '{coupling}': {allowed}")
        return coupling

    @property
    def digest(self) -> str:
        """SHA-256 of everything a fit depends on: card, templates, backgrounds, data and priors."""
        hasher = hashlib.sha256(self.card.model_dump_json().encode())
        measured = () if self.errors is None else (self.errors,)
        for array in (self.model.arrays, self.model.widths, self.data, *measured):
            hasher.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        return hasher.hexdigest()


class MeasuredExperiment(Experiment):
    """Numbers that were measured with normal errors above any background."""

    @property
    @abstractmethod
    def errors(self) -> Array:
        """The measured errors of the data, shape (obs,)."""

    @property
    def variances(self) -> tuple[Variance, ...]:
        """The squares of the measured errors."""
        return ("measured",)

    @property
    def signal_sm(self) -> Array:
        """What is expected in the SM, shape (obs,)."""
        return self.model.expected()

    @property
    def background(self) -> Array:
        """Zero."""
        return np.zeros(self.data.size)


def finite(counts: Array, couplings: dict[str, float], pulls: dict[str, float]) -> Array:
    """Return ``counts`` if all are finite.

    Raises
    ------
    ConvergenceError
        If a coupling or pull is so large that they overflow.
    """
    if not np.isfinite(counts).all():
        given = ", ".join(f"{name} = {value:g}" for name, value in {**couplings, **pulls}.items() if value) or "card"
        raise ConvergenceError(f"{given}: the expected counts overflow; choose smaller values")
    return counts


def locate(
    loaded: LoadedCard, files: dict[str, Path], table: str, key: str, name: str, index: int | None = None
) -> Path:
    """Return the path of a file that a card names, and note it in ``files``; ``index`` in a list of tables.

    Raises
    ------
    CardError
        If it is not found.
    """
    role = f"{table}.{key}" if index is None else f"{table}.{index}.{key}"
    try:
        files[role] = find_data(name, loaded.folders(role))
    except DataError as error:
        message = str(error).removeprefix(f"{name}: ")
        raise CardError(f"{role} = '{name}': {message}") from error
    return files[role]


def check_comparison(loaded: LoadedCard, files: dict[str, Path], card: AnalysisCard) -> None:
    """Check that the table of published limits has the card's scenario.

    Raises
    ------
    CardError
        Otherwise.
    """
    if card.comparison is None:
        return
    path = locate(loaded, files, "comparison", "published", card.comparison.published)
    scenarios = list(dict.fromkeys(row["scenario"] for row in read_table(path, ("scenario",))))
    if card.comparison.scenario not in scenarios:
        raise CardError(
            f"comparison.scenario = '{card.comparison.scenario}': {path.name} has {', '.join(scenarios)}"
            f"{nearest(card.comparison.scenario, scenarios)}"
        )
