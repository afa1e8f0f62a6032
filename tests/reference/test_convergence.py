"""Every numerical integral is converged: doubling each grid and each sample moves no limit by 1%."""

import pytest

from bayesnu.experiment import backgrounds
from bayesnu.experiment.setup import load_experiment
from bayesnu.inference.likelihood import make_problem
from bayesnu.inference.profile import delta_chi2_intervals
from bayesnu.physics.couplings import ELECTROMAGNETIC

DOUBLED = {
    "energy_cells": ["response.energy_cells=240"],
    "angle_cells": ["response.angle_cells=128"],
    "recoil_nodes": ["response.recoil_nodes=6"],
    "samples": ["response.samples=40_000_000"],
    "another seed": ["response.seed=1"],
    "all": [
        "response.energy_cells=240",
        "response.angle_cells=128",
        "response.recoil_nodes=6",
        "response.samples=160_000_000",
    ],
    "background points": ["backgrounds.model=ccqe"],
}


def limits(model: str, overrides: list[str]) -> dict[str, tuple[tuple[float, float], ...]]:
    experiment = load_experiment(model, overrides)
    return {name: delta_chi2_intervals(make_problem(experiment, [name], "chi2"), 0.90) for name in ELECTROMAGNETIC}


@pytest.mark.slow
@pytest.mark.parametrize("what", list(DOUBLED))
@pytest.mark.parametrize("model", ["dune-on-axis", "dune-prism"])
def test_doubling_changes_no_limit(model: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = limits(model, [])
    if what == "background points":
        monkeypatch.setattr(backgrounds, "POINTS", 2 * backgrounds.POINTS)
    doubled = limits(model, DOUBLED[what])
    for name, intervals in reference.items():
        assert len(doubled[name]) == len(intervals)
        for new, old in zip(doubled[name], intervals, strict=True):
            assert new == pytest.approx(old, rel=0.01, abs=0), name


@pytest.mark.slow
@pytest.mark.parametrize("model", ["dune-on-axis", "dune-prism"])
def test_quadrature_response_gives_the_same_limits(model: str) -> None:
    """The deterministic response instead of the Monte Carlo one, on a coarser grid."""
    exact = [
        "response.method=quadrature",
        "response.samples=120",
        "response.energy_cells=40",
        "response.angle_cells=24",
    ]
    reference, other = limits(model, []), limits(model, exact)
    for name, intervals in reference.items():
        for new, old in zip(other[name], intervals, strict=True):
            assert new == pytest.approx(old, rel=0.01, abs=0), name
