"""The weak mixing angle as a parameter: no new folding, exactly degenerate with equal charge radii."""

import numpy as np
import pytest

from bayesnu.errors import BayesnuError, CardError, UsageError
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.inference.likelihood import make_problem
from bayesnu.inference.priors import mixing_angle_prior
from bayesnu.physics.constants import HBARC2_CM2_GEV2, W_MASS_GEV
from bayesnu.results.joint import check_joint

SIX = ("mu_nue", "mu_numu", "q_nue", "q_numu", "r2_nue", "r2_numu")
SEVEN = (*SIX, "sin2_theta_w")


@pytest.mark.parametrize(
    ("card", "overrides"), [("dune-on-axis", ["flux.normalisation=absolute"]), ("nucleus-10kg", [])]
)
def test_counts_are_those_folded_at_another_angle(card: str, overrides: list[str]) -> None:
    """A table of events would scale the flux with the angle; what is free here is the cross section's."""
    own = load_experiment(card, overrides)
    value = own.sin2_theta_w[0]
    other = load_experiment(card, [*overrides, f"physics.sin2_theta_w={value + 0.01}"])
    others = {"q_nue": 3e-9, "mu_nue": 1e-9, "d_nue": 1e-9}
    found = own.with_free_mixing_angle().model.expected({**others, "sin2_theta_w": 0.01})
    np.testing.assert_allclose(found, other.model.expected(others), rtol=1e-12)
    assert np.abs(found / own.model.expected(others) - 1).max() > 1e-3


def test_it_is_exactly_degenerate_with_equal_radii(on_axis: Experiment) -> None:
    model = on_axis.with_free_mixing_angle().model
    shift = 0.02
    radius = shift * 3 * HBARC2_CM2_GEV2 / (W_MASS_GEV**2 * 0.2385)
    start = {"q_numu": 2e-9, "r2_nue": 1e-31, "mu_nue": 1e-9}
    as_radii = {**start, "r2_nue": start["r2_nue"] + radius, "r2_numu": radius}
    pulls = {"flux_norm": 0.1, "wrong_sign": 0.02}
    together = model.expected({**start, "sin2_theta_w": shift}, pulls)
    np.testing.assert_allclose(together, model.expected(as_radii, pulls), rtol=1e-13)


def test_it_goes_with_a_free_mass() -> None:
    """Monomials with splines in m_N stay the last: the counts at a mass are those of the card at that mass."""
    card = load_experiment("nucleus-10g", ["sterile.m_N_prior={kind='uniform',low=0,high=7}"])
    free = card.with_free_mass(7.0, 8)
    both = free.with_free_mixing_angle()
    at = {"d_nue": 1e-10, "m_N": 2.0, "q_nue": 1e-12}
    np.testing.assert_allclose(both.model.expected(at), free.model.expected(at), rtol=1e-14)
    moved = both.model.expected({**at, "sin2_theta_w": 0.01}) - both.model.expected(at)
    assert (np.abs(moved) > 0).all()
    problem = make_problem(both, ["d_nue", "m_N", "sin2_theta_w"])
    scaled = np.array([[1e-10], [2.0], [0.01]]) / problem.scales[:, None]
    np.testing.assert_allclose(
        problem.model.signal_strengths(scaled)[0].sum(axis=0),
        both.model.expected({"d_nue": 1e-10, "m_N": 2.0, "sin2_theta_w": 0.01}),
        rtol=1e-12,
    )


def test_prior_is_normal_about_the_cards_value(on_axis: Experiment) -> None:
    prior = mixing_angle_prior(on_axis)
    assert (prior.kind, prior.sigma, prior.origin) == ("normal", 0.0005, 0.2385)
    assert prior.describe() == "normal about 0.2385, sigma 0.0005"
    wide = mixing_angle_prior(load_experiment("dune-on-axis", ["physics.sin2_theta_w_error=none"]))
    assert (wide.low + wide.origin, wide.high + wide.origin) == (0.0, 1.0)
    assert wide.describe() == "uniform, 0 to 1"


def test_without_a_prior_the_degeneracy_is_refused() -> None:
    free = load_experiment("dune-on-axis", ["physics.sin2_theta_w_error=none"])
    with pytest.raises(UsageError, match=r"error = 'none'.*exactly degenerate with r2_nue = r2_numu"):
        check_joint(free, SEVEN)
    assert check_joint(free, ("r2_numu", "sin2_theta_w")) == ("r2_numu", "sin2_theta_w")
    assert check_joint(load_experiment("dune-on-axis"), SEVEN) == SEVEN
    # Reactors make one flavour: its radius alone is degenerate.
    with pytest.raises(UsageError, match=r"exactly degenerate with r2_nue; give it an error"):
        check_joint(load_experiment("nucleus-10kg", ["physics.sin2_theta_w_error=none"]), ("r2_nue", "sin2_theta_w"))


@pytest.mark.parametrize(
    ("card", "names", "message"),
    [
        ("lsnd-nue", ("mu_nue", "sin2_theta_w"), r"lsnd-nue\.toml: sin2_theta_w: can be free for ν-e scattering"),
        ("nucleus-10g-radiative", ("d_nue", "sin2_theta_w"), "sin2_theta_w: no count depends on it"),
        ("dune-on-axis", ("sin2_theta_w",), "needs two different couplings"),
        ("dune-on-axis", ("sin2_theta_", "mu_nue"), "unknown coupling 'sin2_theta_'"),
    ],
)
def test_where_it_cannot_be_free(card: str, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(BayesnuError, match=message):
        check_joint(load_experiment(card), names)


def test_it_is_no_coupling_of_a_card(on_axis: Experiment) -> None:
    with pytest.raises(UsageError, match="unknown coupling 'sin2_theta_w'"):
        on_axis.fitted("sin2_theta_w")
    with pytest.raises(CardError, match=r"couplings\.sin2_theta_w: unknown coupling"):
        load_experiment("dune-on-axis", ["couplings.sin2_theta_w={}"])


@pytest.mark.parametrize("error", ["0", "-0.1", "0.2", "some"])
def test_errors_that_are_refused(error: str) -> None:
    for card in ("dune-on-axis", "nucleus-10kg"):
        with pytest.raises(CardError, match=r"physics\.sin2_theta_w_error"):
            load_experiment(card, [f"physics.sin2_theta_w_error={error}"])
