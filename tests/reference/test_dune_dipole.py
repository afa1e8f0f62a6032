"""Limits on transition moments at DUNE: a magnetic moment where N is light, weaker where it is heavy, then none."""

import math
from itertools import pairwise

import numpy as np
import pytest

from bayesnu.experiment import templates as templates_module
from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.experiment.setup import load_electron_experiment, with_parameters
from bayesnu.physics.kinematics import neutrino_energy_from_angle
from bayesnu.results.limits import limit

FLAVOURS = ("nue", "numu")


def upper(experiment: ElectronExperiment, coupling: str) -> float:
    return limit(experiment, coupling).intervals[0][1]


@pytest.fixture(scope="module")
def dipole() -> ElectronExperiment:
    priors = [f"couplings.mu_{flavour}={{}}" for flavour in FLAVOURS]
    return load_electron_experiment("dune-on-axis-dipole", priors)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_light_n_is_a_magnetic_moment(dipole: ElectronExperiment, flavour: str) -> None:
    """The limit on d is half of that on μ; 0.2% more, since μ has the angle of (2.3), which drops m_e/E_e."""
    moment = upper(dipole, f"mu_{flavour}")
    at_zero, light = (upper(with_parameters(dipole, {"m_N": m}), f"d_{flavour}") for m in (0.0, 1e-3))
    assert light == pytest.approx(at_zero, rel=1e-6)
    assert at_zero == pytest.approx(moment / 2, rel=3e-3)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_with_one_angle_it_is_half_of_it(
    dipole: ElectronExperiment, flavour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elastic(recoil: np.ndarray, angle: np.ndarray, mass: float, target: float) -> np.ndarray:
        return neutrino_energy_from_angle(recoil, angle**2 * (recoil + target))

    monkeypatch.setattr(templates_module, "energy_from_recoil_angle", elastic)
    massless = with_parameters(dipole, {"m_N": 0.0})
    assert upper(massless, f"d_{flavour}") == pytest.approx(upper(dipole, f"mu_{flavour}") / 2, rel=1e-4)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_limit_against_the_mass(dipole: ElectronExperiment, flavour: str) -> None:
    """Weaker with the mass but for 25 to 60 MeV, where the electrons turn forward, away from the SM's; then none."""
    name = f"d_{flavour}"
    scan = [upper(with_parameters(dipole, {"m_N": m}), name) for m in (2.0, 20.0, 70.0, 100.0, 140.0, 143.0)]
    assert all(low < high for low, high in pairwise(scan))
    assert math.isinf(scan[-1])
    assert 4 < scan[-2] / scan[-3] < 8


def test_limits_do_not_improve_on_fewer_counts_alone(dipole: ElectronExperiment) -> None:
    """At 40 MeV there are fewer events than at 25, in fewer bins: the limit on d_numu is better for the shape."""
    early, late = (with_parameters(dipole, {"m_N": m}) for m in (25.0, 40.0))
    assert upper(late, "d_numu") < upper(early, "d_numu")
    counts = [e.templates.values[0, 0, -1] for e in (early, late)]
    assert counts[1].sum() < 0.7 * counts[0].sum()
    assert counts[1][0] / counts[1].sum() > 2 * counts[0][0] / counts[0].sum()
