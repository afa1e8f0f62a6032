"""Several experiments as one: products of likelihoods, pulls that are shared, and what does not fit together."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import poisson

from bayesnu.errors import CardError, UsageError
from bayesnu.experiment.combined import CombinedExperiment, combine
from bayesnu.experiment.setup import Experiment, load_combination, load_experiment
from bayesnu.inference.laplace import laplace_posterior
from bayesnu.inference.likelihood import make_problem, minimise_pulls
from bayesnu.inference.priors import Prior
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.results.check import check_card
from bayesnu.results.runs import make_arguments

SHARED = 'pulls.shared_with_others=["flux_norm"]'


@pytest.fixture(scope="module")
def nucleus() -> Experiment:
    return load_experiment("nucleus-10kg")


@pytest.fixture(scope="module")
def lsnd() -> Experiment:
    return load_experiment("lsnd-nue")


def profiled(experiment: Experiment, coupling: str, values: np.ndarray, statistic: str) -> np.ndarray:
    problem = make_problem(experiment, [coupling], statistic)  # type: ignore[arg-type]
    found = minimise_pulls(problem, values[None, :] / problem.scales[:, None])
    assert found.converged.all()
    return found.value


@pytest.mark.parametrize("statistic", ["poisson", "chi2"])
def test_with_nothing_shared_it_is_the_product(
    statistic: str, on_axis: Experiment, nucleus: Experiment, lsnd: Experiment
) -> None:
    """Counts with counts, and with data that have normal errors; couplings of one name are one parameter."""
    values = np.linspace(0, 3e-9, 7)
    for members in ((on_axis, nucleus), (on_axis, lsnd), (on_axis, lsnd, nucleus)):
        together = profiled(combine(members), "mu_nue", values, statistic)
        alone = sum(profiled(member, "mu_nue", values, statistic) for member in members)
        np.testing.assert_allclose(together, alone, rtol=1e-9, atol=1e-9)
    other = profiled(combine([on_axis, nucleus]), "mu_numu", values, statistic)
    none = profiled(nucleus, "mu_nue", np.zeros(1), statistic)
    np.testing.assert_allclose(other, profiled(on_axis, "mu_numu", values, statistic) + none, rtol=1e-9, atol=1e-9)


def test_posterior_is_the_product(on_axis: Experiment, lsnd: Experiment) -> None:
    prior = Prior(COUPLINGS["mu_nue"], "uniform", 0.0, 2e-9)
    members = (on_axis, lsnd, combine([on_axis, lsnd]))
    grids = [laplace_posterior(make_problem(member, ["mu_nue"]), prior, 301) for member in members]
    for grid in grids:
        np.testing.assert_array_equal(grid.values, grids[0].values)
    product = grids[0].density * grids[1].density
    product /= np.trapezoid(product, grids[0].values)
    np.testing.assert_allclose(grids[2].density, product, rtol=1e-7, atol=1e-7 * product.max())


def test_a_shared_pull_is_one() -> None:
    """The profile by another minimiser: two sums of Poisson terms, one constraint of the flux for both."""
    dune = load_experiment("dune-on-axis", [SHARED])
    nucleus = load_experiment("nucleus-10kg", [SHARED, "pulls.flux_norm=0.1"])
    both = combine([dune, nucleus])
    assert both.model.pulls.count("flux_norm") == 1
    assert len(both.model.pulls) == len(dune.model.pulls) + len(nucleus.model.pulls) - 1
    given = {"flux_norm": 0.07}
    parts = [member.model.expected({"mu_nue": 1e-10}, given) for member in (dune, nucleus)]
    np.testing.assert_allclose(both.model.expected({"mu_nue": 1e-10}, given), np.concatenate(parts), rtol=1e-13)
    coupling = 2e-11
    widths = both.model.widths

    def deviance(z: np.ndarray) -> float:
        expected = both.model.expected({"mu_nue": coupling}, dict(zip(both.model.pulls, z * widths, strict=True)))
        free = poisson.logpmf(0, expected) + both.data * np.log(expected)
        saturated = -both.data + both.data * np.log(both.data)
        return float(2 * (saturated - free).sum() + (z**2).sum())

    by_hand = minimize(deviance, np.zeros(widths.size), jac="3-point", tol=1e-10)
    found = profiled(both, "mu_nue", np.array([coupling]), "poisson")[0]
    assert found == pytest.approx(by_hand.fun, abs=1e-6)
    apart = sum(profiled(member, "mu_nue", np.array([coupling]), "poisson")[0] for member in (dune, nucleus))
    assert found > apart + 0.01


def test_a_pull_is_shared_by_those_that_list_it_alone(lsnd: Experiment) -> None:
    listed = [load_experiment(card, [SHARED, "pulls.flux_norm=0.1"]) for card in ("dune-on-axis", "nucleus-10kg")]
    pulls = combine([*listed, lsnd]).model.pulls
    assert {"flux_norm", "lsnd-nue:flux_norm", "dune-on-axis:pi0", "nucleus-10kg:background[CaWO4]"} <= set(pulls)


def test_what_it_is(on_axis: Experiment, nucleus: Experiment) -> None:
    both = combine([on_axis, nucleus])
    assert both.card.name == "dune-on-axis_and_nucleus-10kg"
    assert list(both.card.couplings) == [*on_axis.card.couplings, "d_nue"]
    assert both.data.size == both.signal_sm.size == both.background.size == on_axis.data.size + nucleus.data.size
    np.testing.assert_allclose(both.signal_sm + both.background, both.model.expected(), rtol=1e-12)
    coordinates = both.observation_coordinates()
    assert coordinates["exposure"][1][0] == "dune-on-axis: neutrino 0 m"
    assert {len(values) for _, values, *_ in coordinates.values()} == {both.data.size}
    assert "dune-on-axis: card" in both.files
    assert both.digest != combine([nucleus, on_axis]).digest
    assert both.variances == ("sm", "sm+background")


@pytest.mark.slow
def test_the_mass_of_N_is_common() -> None:
    cards = ("nucleus-10g", "coherent-csi-2017")
    both = load_combination(cards, ["sterile.m_N=2"])
    assert both.mass_of("d_nue") == 2
    moved = both.at(3.0)
    parts = [load_experiment(card, ["sterile.m_N=3"]).model.expected({"d_nue": 1e-9}) for card in cards]
    np.testing.assert_allclose(moved.model.expected({"d_nue": 1e-9}), np.concatenate(parts), rtol=1e-12)
    with pytest.raises(CardError, match=r"sterile: cards with a transition moment must agree.*2 in.*0 in"):
        combine([load_experiment(cards[0], ["sterile.m_N=2"]), load_experiment(cards[1], ["sterile.m_N=0"])])


def test_the_mixing_angle_is_common(on_axis: Experiment) -> None:
    other = load_experiment("nucleus-10kg", ["physics.sin2_theta_w=0.2312"])
    with pytest.raises(UsageError, match=r"must agree: dune-on-axis has 0\.2385 ± 0\.0005; nucleus-10kg has 0\.2312 ±"):
        combine([on_axis, other]).with_free_mixing_angle()
    same = load_experiment("nucleus-10kg", ["physics.sin2_theta_w=0.2385"])
    both = combine([on_axis, same]).with_free_mixing_angle()
    parts = [m.with_free_mixing_angle().model.expected({"sin2_theta_w": 0.01}) for m in (on_axis, same)]
    np.testing.assert_allclose(both.model.expected({"sin2_theta_w": 0.01}), np.concatenate(parts), rtol=1e-12)


def test_gamma_distributed_means_beside_counts(on_axis: Experiment, nucleus: Experiment) -> None:
    spread = replace(on_axis, bin_errors=np.full(on_axis.data.size, 0.02**2))  # type: ignore[call-arg]
    both = combine([spread, nucleus])
    assert make_problem(both, ["mu_nue"]).statistic == "gamma-poisson"
    values = np.linspace(0, 3e-9, 4)
    alone = sum(profiled(member, "mu_nue", values, "poisson") for member in (spread, nucleus))
    np.testing.assert_allclose(profiled(both, "mu_nue", values, "poisson"), alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([SHARED], [], r"dune-on-axis\.toml.*shared_with_others: 'flux_norm' is listed by this card alone"),
        ([SHARED], [SHARED], r"pulls\.flux_norm: a shared pull needs one width, not 0\.1 in dune-on-axis, 0\.0"),
        (
            ["couplings.mu_nue.prior={kind='uniform',low=0,high=1e-9}"],
            ["couplings.mu_nue.prior={kind='uniform',low=0,high=2e-9}"],
            r"couplings\.mu_nue\.prior: differs between dune-on-axis and nucleus-10kg",
        ),
    ],
)
def test_what_does_not_fit_together(first: list[str], second: list[str], message: str) -> None:
    with pytest.raises(CardError, match=message):
        combine([load_experiment("dune-on-axis", first), load_experiment("nucleus-10kg", second)])


def test_one_prior_is_enough(on_axis: Experiment) -> None:
    given = load_experiment("nucleus-10kg", ["couplings.mu_nue.prior={kind='uniform',low=0,high=1e-9}"])
    prior = combine([on_axis, given]).card.couplings["mu_nue"].prior
    assert prior == given.card.couplings["mu_nue"].prior is not None


def test_the_same_card_twice_and_one_alone(on_axis: Experiment) -> None:
    with pytest.raises(CardError, match="two cards are named 'dune-on-axis'"):
        combine([on_axis, on_axis])
    with pytest.raises(CardError, match="needs two cards or more"):
        combine([on_axis])


@pytest.mark.parametrize("card", ["dune-on-axis", "nucleus-10kg", "lsnd-nue"])
def test_an_unknown_pull_is_refused_when_the_card_is_read(card: str) -> None:
    with pytest.raises(CardError, match=r"shared_with_others: unknown pull 'flux_nor'.*did you mean 'flux_norm'"):
        load_experiment(card, ['pulls.shared_with_others=["flux_nor"]'])


LIMIT = """
name = "reactor"
title = "A reactor"
scattering = "published-limit"
approximate = true
[source]
paper = "arXiv:0000.00000"
[couplings.mu_nue]
[couplings.q_nue]
[[limits]]
coupling = "mu_nue"
form = "half-normal in the square"
cl = 0.90
upper = 1e-9
source = "their Table 2"
[[limits]]
coupling = "q_nue"
form = "normal"
cl = 0.95
low = -1e-9
high = 3e-9
source = "their Table 3"
"""


@pytest.fixture
def limit_card(tmp_path: Path) -> Callable[..., Path]:
    def write(old: str = "", new: str = "") -> Path:
        assert old in LIMIT
        path = tmp_path / "reactor.toml"
        path.write_text(LIMIT.replace(old, new, 1) if old else LIMIT, encoding="utf-8")
        return path

    return write


def test_a_published_limit_is_no_experiment(limit_card: Callable[..., Path]) -> None:
    path = limit_card()
    for refused in (lambda: check_card(str(path)), lambda: make_arguments(load_experiment(str(path)), (), 1, 1, 1)):
        with pytest.raises(UsageError, match="has published limits and no counts; `bayesnu combine` takes it"):
            refused()


def test_a_published_limit_gives_itself_back(limit_card: Callable[..., Path], on_axis: Experiment) -> None:
    """A normal: Δ(-2 ln L) at its central bounds is the square of their quantile; and it adds up with others."""
    alone = load_experiment(str(limit_card()))
    moments = profiled(alone, "mu_nue", np.array([0.0, 1e-9]), "poisson")
    assert moments[1] - moments[0] == pytest.approx(2.705543, rel=1e-6)
    charges = profiled(alone, "q_nue", np.array([-1e-9, 1e-9, 3e-9]), "poisson")
    np.testing.assert_allclose(charges - charges[1], [3.841459, 0, 3.841459], rtol=1e-6, atol=1e-12)
    both = combine([on_axis, alone])
    assert isinstance(both, CombinedExperiment)
    assert [line.split(" C.L.")[0] for line in both.approximations] == [
        "APPROXIMATE: reactor is not a likelihood but the published limit on mu_nue (90%",
        "APPROXIMATE: reactor is not a likelihood but the published limit on q_nue (95%",
    ]
    values = np.linspace(0, 2e-9, 5)
    np.testing.assert_allclose(
        profiled(both, "mu_nue", values, "poisson"),
        profiled(on_axis, "mu_nue", values, "poisson") + profiled(alone, "mu_nue", values, "poisson"),
        rtol=1e-9,
        atol=1e-9,
    )
    # The mixing angle is none of its business.
    free = both.with_free_mixing_angle().model
    assert free.expected({"sin2_theta_w": 0.01})[-2:] == pytest.approx(free.expected()[-2:])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("approximate = true", "", r"approximate: field required"),
        ("approximate = true", "approximate = false", r"approximate = False: must be true"),
        ('"half-normal in the square"', '"normal"', r"limits\.0\.form 'normal': for mu_nue allowed is|limits\.0\.form"),
        ('"half-normal in the square"', '"lognormal"', r"limits\.0\.form = 'lognormal'"),
        ("upper = 1e-9", "upper = -1e-9", r"limits\.0\.upper = -1e-09"),
        ("upper = 1e-9", "low = 0.0\nhigh = 1e-9", r"limits\.0\.upper: missing"),
        ("low = -1e-9\n", "", r"limits\.1\.low: missing"),
        ("low = -1e-9", "low = 4e-9", r"limits\.1\.low: 4e-09 must be below high = 3e-09"),
        ("cl = 0.90", "cl = 90", r"limits\.0\.cl = 90"),
        ('coupling = "q_nue"', 'coupling = "d_nue"', r"limits\.1\.coupling: 'd_nue': allowed are mu_nue"),
        ('coupling = "q_nue"', 'coupling = "q_numu"', r"limits\.1\.coupling: 'q_numu': is not among the card's"),
        ("[couplings.q_nue]", "[couplings.q_nue]\n[couplings.r2_nue]", r"couplings\.r2_nue: no limit of the card"),
        ("upper = 1e-9", "upper = 1e-200", r"limits: a bound is too small or too large"),
        ('source = "their Table 2"', 'source = ""', r"limits\.0\.source"),
    ],
)
def test_published_limits_that_are_refused(
    limit_card: Callable[..., Path], old: str, new: str, message: str
) -> None:
    with pytest.raises(CardError, match=message):
        load_experiment(str(limit_card(old, new)))
