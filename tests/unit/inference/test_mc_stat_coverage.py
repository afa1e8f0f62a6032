"""Coverage with a small response, drawn anew for each toy: it fails without the response's error, holds with it."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import stats

from bayesnu.detector.response import ResponseMatrix, build_subsampled
from bayesnu.detector.settings import ResponseSettings
from bayesnu.experiment import templates as templates_module
from bayesnu.experiment.electron import ElectronExperiment, count_model
from bayesnu.experiment.expectation import build_count_model, deviation_arrays
from bayesnu.experiment.mc_stat import response_modes
from bayesnu.experiment.setup import load_electron_experiment
from bayesnu.inference.laplace import laplace_posterior
from bayesnu.inference.likelihood import Problem, bracket, make_problem, minimise_pulls
from bayesnu.inference.priors import one_coupling
from bayesnu.inference.profile import delta_chi2_level
from bayesnu.inference.sampling import Sampler
from bayesnu.results.limits import laplace_interval, nuts_interval

# Four bins on axis, well-known fluxes, and 4,800 events of the response for 27,000 of the experiment.
SMALL = (
    "response.energy_cells=12",
    "response.angle_cells=8",
    "response.recoil_nodes=1",
    "detector.bin_edges_mev=[0.0, 0.5, 1.0, 1.5, 3.0]",
    "exposures=[{mode=\"neutrino\", position_m=0.0, years=3.5}]",
    "flux.normalisation=absolute",
    "backgrounds.model=ccqe",
    "pulls.flux_norm=0.02",
    "pulls.ccqe=0.02",
)
SAMPLED = (*SMALL, "response.samples=4800", "response.mc_stat=covariance")
TRUE = {"mu_nue": 8e-9}
CL = 0.90


@dataclass(frozen=True)
class Toys:
    """How often Δχ² at the truth is below the level of 90%, with and without the response's error."""

    number: int
    with_error: int
    without: int


def redrawn(experiment: ElectronExperiment, seed: int) -> ElectronExperiment:
    """Return the experiment with a response of another seed."""

    def build(settings: ResponseSettings, *_: object) -> ResponseMatrix:
        return build_subsampled(replace(settings, seed=seed))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(templates_module, "find_response", build)
        templates = templates_module.build_templates(experiment.card, experiment.flux, None, lambda _: None)
    backgrounds = experiment.backgrounds
    bare = build_count_model(experiment.card, templates, backgrounds)
    modes = response_modes(bare, deviation_arrays(experiment.card, templates, backgrounds))
    model = count_model(experiment.card, templates, backgrounds, (), modes)
    return replace(experiment, model=model, templates=templates, modes=modes)


def covers(problem: Problem, truth: float) -> bool:
    """Return whether the 90% Δχ² interval holds the truth."""
    true = truth / problem.scales[0]
    at_truth = minimise_pulls(problem, np.array([[true]])).value[0]
    low, high, lowest = 0.0, 2 * true, at_truth
    for _ in range(3):
        grid = np.linspace(low, high, 17)
        value = minimise_pulls(problem, grid[None, :]).value
        low, high = bracket(grid, int(value.argmin()))
        lowest = min(lowest, value.min())
    return bool(at_truth - lowest < delta_chi2_level(CL, 1))


def run_toys(number: int) -> Toys:
    """Draw data from the deterministic response, and for each toy a response to fit them with."""
    truth = load_electron_experiment("dune-on-axis", [*SMALL, "response.method=quadrature", "response.samples=60"])
    experiment = load_electron_experiment("dune-on-axis", SAMPLED)
    rng = np.random.default_rng(20)
    names = tuple(TRUE)
    found = []
    for seed in range(number):
        z = rng.standard_normal(len(truth.model.pulls))
        pulls = dict(zip(truth.model.pulls, truth.model.widths * z, strict=True))
        data = rng.poisson(truth.model.expected(TRUE, pulls)).astype(float)
        toy = replace(redrawn(experiment, seed), data=data)
        bare = toy.without_response_error()
        assert bare is not None
        found.append([covers(make_problem(e, names), TRUE[names[0]]) for e in (toy, bare)])
    return Toys(number, *(int(k) for k in np.sum(found, axis=0)))


def check(toys: Toys) -> None:
    """Compare with the nominal coverage by exact binomial tests."""
    assert stats.binomtest(toys.with_error, toys.number, CL).pvalue > 0.01
    assert stats.binomtest(toys.without, toys.number, CL, "less").pvalue < 1e-4


def test_coverage_needs_the_error_of_the_response() -> None:
    check(run_toys(16))


@pytest.mark.slow
def test_coverage_needs_the_error_of_the_response_with_many_toys() -> None:
    toys = run_toys(200)
    check(toys)
    assert toys.without < 0.65 * toys.number


@pytest.mark.slow
def test_nuts_agrees_with_the_laplace_grid() -> None:
    experiment = load_electron_experiment("dune-on-axis", SAMPLED)
    assert len(experiment.modes.weights) > 2
    problem, prior = one_coupling(experiment, "mu_nue")
    draws = Sampler().sample(problem, [prior], draws=5000, chains=4, tune=800, seed=2)
    found = nuts_interval(draws.theta[0], prior, 0.90, "upper")
    exact = laplace_interval(laplace_posterior(problem, prior), 0.90, "upper")
    assert abs(found.intervals[0][1] - exact.intervals[0][1]) < 4 * found.mc_error[0][1]
    assert found.mc_error[0][1] < 0.02 * found.intervals[0][1]
    assert int(np.asarray(draws.sample_stats["diverging"]).sum()) == 0
