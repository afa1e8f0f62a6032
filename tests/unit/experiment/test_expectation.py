"""Expected counts: monomials, pulls, one function for NumPy and PyTensor, derivatives."""

from dataclasses import replace

import numpy as np
import pytest
from pytensor import function
from pytensor import tensor as pt
from pytensor.gradient import grad

from bayesnu.errors import UsageError
from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.experiment.expectation import PULLS, CountModel, channel_pulls, check_pulls, expected_counts
from bayesnu.experiment.prediction import predict
from bayesnu.experiment.setup import Experiment, load_electron_experiment
from bayesnu.inference.likelihood import make_problem, minimise_pulls
from bayesnu.physics.couplings import CHANNELS, ELECTROMAGNETIC, TRANSITION
from bayesnu.physics.electron import FOLDED
from bayesnu.results.limits import limit

COUPLING_VALUES = {
    "mu_nue": 2e-9, "mu_numu": 3e-10, "q_nue": -8e-9, "q_numu": 9e-10, "r2_nue": 1.5e-31, "r2_numu": -2e-33,
    "d_nue": 1e-9, "d_numu": 2e-10,
}  # fmt: skip
PULL_VALUES = {"flux_norm": 0.08, "wrong_sign": -0.02, "electron_flavour": 0.015, "ccqe": -0.2, "pi0": 0.3}
WRONG_SIGN = {("neutrino", "numubar"), ("neutrino", "nuebar"), ("antineutrino", "numu"), ("antineutrino", "nue")}


def by_hand(experiment: Experiment, couplings: dict[str, float], pulls: dict[str, dict[str, float]]) -> np.ndarray:
    """(3.2) written out: loops over exposures, channels, terms and backgrounds; ``pulls`` by mode."""
    result = []
    for k, exposure in enumerate(experiment.card.exposures):
        f = pulls[exposure.mode]
        counts = np.zeros(12)
        for c, channel in enumerate(CHANNELS):
            flavour = CHANNELS[channel].flavour
            factor = 1 + f["flux_norm"]
            factor *= 1 + f["wrong_sign"] if (exposure.mode, channel) in WRONG_SIGN else 1
            factor *= 1 + f["electron_flavour"] if flavour == "nue" else 1
            for t, term in enumerate(FOLDED.values()):
                monomial = np.prod([couplings[f"{family}_{flavour}"] ** power for family, power in term])
                counts += factor * monomial * experiment.templates.values[k, c, t]
        for b, name in enumerate(("ccqe", "pi0")):
            counts += (1 + f[name]) * experiment.backgrounds[k, b] * exposure.years
        result.append(counts)
    return np.concatenate(result)


@pytest.mark.parametrize("fixture", ["on_axis", "prism"])
def test_expected_is_3_2(fixture: str, request: pytest.FixtureRequest) -> None:
    experiment: Experiment = request.getfixturevalue(fixture)
    both = {"neutrino": PULL_VALUES, "antineutrino": PULL_VALUES}
    np.testing.assert_allclose(
        experiment.model.expected(COUPLING_VALUES, PULL_VALUES), by_hand(experiment, COUPLING_VALUES, both), rtol=1e-12
    )


def test_separate_pulls_for_each_polarity(separate_pulls: Experiment) -> None:
    model = separate_pulls.model
    assert set(model.pulls) == {f"{name}[{mode}]" for name in PULLS for mode in ("neutrino", "antineutrino")}
    other = {name: -value / 2 for name, value in PULL_VALUES.items()}
    given = {f"{name}[neutrino]": value for name, value in PULL_VALUES.items()}
    given |= {f"{name}[antineutrino]": value for name, value in other.items()}
    np.testing.assert_allclose(
        model.expected(COUPLING_VALUES, given),
        by_hand(separate_pulls, COUPLING_VALUES, {"neutrino": PULL_VALUES, "antineutrino": other}),
        rtol=1e-12,
    )
    widths = dict(zip(model.pulls, model.widths, strict=True))
    assert widths["wrong_sign[antineutrino]"] == 0.01
    assert widths["pi0[neutrino]"] == 0.1


def test_separate_and_shared_pulls_give_the_same_counts_when_equal(
    on_axis: Experiment, separate_pulls: Experiment
) -> None:
    given = {name: PULL_VALUES[name.partition("[")[0]] for name in separate_pulls.model.pulls}
    np.testing.assert_allclose(
        separate_pulls.model.expected(COUPLING_VALUES, given),
        on_axis.model.expected(COUPLING_VALUES, PULL_VALUES),
        rtol=1e-13,
    )


@pytest.mark.parametrize(
    ("channel", "mode", "pulls"),
    [
        ("numu", "neutrino", ("flux_norm",)),
        ("numubar", "neutrino", ("flux_norm", "wrong_sign")),
        ("nue", "neutrino", ("flux_norm", "electron_flavour")),
        ("nuebar", "neutrino", ("flux_norm", "wrong_sign", "electron_flavour")),
        ("numu", "antineutrino", ("flux_norm", "wrong_sign")),
        ("numubar", "antineutrino", ("flux_norm",)),
        ("nue", "antineutrino", ("flux_norm", "wrong_sign", "electron_flavour")),
        ("nuebar", "antineutrino", ("flux_norm", "electron_flavour")),
    ],
)
def test_pulls_of_a_channel(channel: str, mode: str, pulls: tuple[str, ...]) -> None:
    assert channel_pulls(channel, mode) == pulls


def symbolic(model: CountModel) -> tuple[list, list, object]:
    theta = [pt.dscalar(f"t{j}") for j in range(len(model.couplings))]
    pulls = [pt.dscalar(f"f{p}") for p in range(len(model.pulls))]
    expected = expected_counts(
        pt.as_tensor(model.arrays), model.monomial_values(theta, pt), model.pull_factors(pt.stack(pulls), pt.prod)
    )
    return theta, pulls, expected


@pytest.mark.parametrize("fixture", ["on_axis", "separate_pulls"])
def test_pytensor_equals_numpy(fixture: str, request: pytest.FixtureRequest) -> None:
    model: CountModel = request.getfixturevalue(fixture).model
    theta, pulls, expected = symbolic(model)
    compiled = function([*theta, *pulls], expected, mode="FAST_COMPILE")
    rng = np.random.default_rng(11)
    for _ in range(20):
        values = {name: COUPLING_VALUES[name] * rng.normal() for name in model.couplings}
        f = dict(zip(model.pulls, 3 * model.widths * rng.normal(size=len(model.pulls)), strict=True))
        found = compiled(*values.values(), *f.values())
        np.testing.assert_allclose(found, model.expected(values, f), rtol=1e-12)


def test_derivative_of_the_log_likelihood_equals_finite_differences(on_axis: Experiment) -> None:
    """Poisson ln L of the restricted model, in all six couplings and five pulls."""
    names = ELECTROMAGNETIC
    scales = np.array([abs(COUPLING_VALUES[name]) for name in names])
    model, data = on_axis.model.restrict(names, scales), on_axis.data
    theta, pulls, expected = symbolic(model)
    log_likelihood = (data * pt.log(expected) - expected).sum()
    compiled = function([*theta, *pulls], grad(log_likelihood, [*theta, *pulls]), mode="FAST_COMPILE")

    def value(point: np.ndarray) -> float:
        counts = expected_counts(model.arrays, model.monomial_values(point[:6]), model.pull_factors(point[6:]))
        return float((data * np.log(counts / data) - counts + data).sum())

    for seed in range(3):
        rng = np.random.default_rng(seed)
        point = np.concatenate([rng.normal(size=6), 0.05 * rng.normal(size=5)])
        step = 1e-4 * np.eye(11)
        differences = [
            (8 * (value(point + h) - value(point - h)) - value(point + 2 * h) + value(point - 2 * h)) / 12e-4
            for h in step
        ]
        np.testing.assert_allclose(np.array(compiled(*point)), differences, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize(
    "names", [("q_nue",), ("mu_numu",), ("r2_nue", "q_nue"), ("mu_nue", "r2_numu"), ELECTROMAGNETIC]
)
def test_restricted_model_gives_the_same_counts(prism: Experiment, names: tuple[str, ...]) -> None:
    scales = [abs(COUPLING_VALUES[name]) for name in names]
    restricted = prism.model.restrict(names, scales)
    assert restricted.couplings == names
    scaled = {name: COUPLING_VALUES[name] / scale for name, scale in zip(names, scales, strict=True)}
    whole = {name: COUPLING_VALUES[name] for name in names}
    np.testing.assert_allclose(
        restricted.expected(scaled, PULL_VALUES), prism.model.expected(whole, PULL_VALUES), rtol=1e-12
    )


def test_restricted_models_of_one_coupling_have_one_shape(on_axis: Experiment) -> None:
    models = [on_axis.model.restrict([name], [1.0]) for name in ELECTROMAGNETIC]
    assert {(model.monomials, model.arrays.shape) for model in models} == {
        (models[0].monomials, models[0].arrays.shape)
    }


def test_signal_strengths_are_counts_before_pulls(on_axis: Experiment) -> None:
    model = on_axis.model
    theta = np.array([[COUPLING_VALUES[name]] for name in model.couplings])
    strengths = model.signal_strengths(np.concatenate([theta, 0 * theta], axis=1))
    np.testing.assert_allclose(strengths[0].sum(axis=0), model.expected(COUPLING_VALUES), rtol=1e-12)
    np.testing.assert_allclose(strengths[1].sum(axis=0), model.expected(), rtol=1e-12)


def test_shapes_and_names(prism: Experiment) -> None:
    model = prism.model
    assert model.couplings == (*ELECTROMAGNETIC, *TRANSITION)
    assert model.pulls == PULLS
    assert len(model.components) == len(set(model.component_names)) == 6
    assert model.arrays.shape == (6, len(model.monomials), 72)
    # 1, and for either flavour mu², q, q², r2, r2², q·r2, d²
    assert len(model.monomials) == 15


@pytest.mark.parametrize(
    ("values", "fragments"),
    [
        ({"flux": 0.1}, ("pull 'flux'", "did you mean 'flux_norm'")),
        ({"ccqe": -1.0}, ("ccqe = -1.0", "above -1")),
        ({"pi0": float("nan")}, ("pi0 = nan", "above -1")),
    ],
)
def test_check_pulls_refuses(on_axis: Experiment, values: dict[str, float], fragments: tuple[str, ...]) -> None:
    assert check_pulls(PULL_VALUES, on_axis.model) == PULL_VALUES
    with pytest.raises(UsageError) as caught:
        check_pulls(values, on_axis.model)
    assert [fragment for fragment in fragments if fragment not in str(caught.value)] == []


RHO = 0.6


@pytest.fixture(scope="module")
def partly() -> ElectronExperiment:
    return load_electron_experiment("dune-prism", [f"pulls.flux_correlation={RHO}"])


def test_flux_norms_that_are_partly_correlated_add_up(partly: ElectronExperiment, prism: Experiment) -> None:
    """At each position 1 + f_0 + f_p in the place of 1 + f, inside the other factors; predictions are the same."""
    names = ("flux_norm", "flux_norm[0 m]", "flux_norm[18 m]", "flux_norm[30 m]")
    assert partly.model.pulls == (*names[:2], *PULLS[1:], *names[2:])
    width = dict(zip(partly.model.pulls, partly.model.widths, strict=True))
    assert [width[name] for name in names] == pytest.approx([0.1 * RHO**0.5, *[0.1 * (1 - RHO) ** 0.5] * 3])
    given = {**PULL_VALUES, "flux_norm[0 m]": -0.03, "flux_norm[18 m]": 0.05, "flux_norm[30 m]": -0.11}
    expected = []
    for k, exposure in enumerate(partly.card.exposures):
        f = PULL_VALUES["flux_norm"] + given[f"flux_norm[{exposure.position_m:g} m]"]
        total = by_hand(
            prism, COUPLING_VALUES, dict.fromkeys(("neutrino", "antineutrino"), PULL_VALUES | {"flux_norm": f})
        )
        expected.append(total[12 * k : 12 * (k + 1)])
    np.testing.assert_allclose(partly.model.expected(COUPLING_VALUES, given), np.concatenate(expected), rtol=1e-12)
    predicted = predict(partly, COUPLING_VALUES, given)
    np.testing.assert_allclose([e.total for e in predicted.exposures], expected, rtol=1e-12)
    assert partly.model.signed


@pytest.mark.parametrize("rho", [RHO, 0.0])
def test_profile_with_correlated_flux_norms_is_that_of_the_full_covariance(rho: float) -> None:
    """V = diag(N) + σ² (ρ S Sᵀ + (1 - ρ) Σ_p S_p S_pᵀ), S_p the signal of one position."""
    fixed = [f"pulls.{name}=0" for name in PULLS[1:]]
    card = load_electron_experiment("dune-prism", [*fixed, f"pulls.flux_correlation={rho}"])
    data = card.data * (1 + 0.1 * np.random.default_rng(5).standard_normal(card.data.size))
    problem = make_problem(replace(card, data=data), ["q_numu"], "chi2")
    found = minimise_pulls(problem, np.array([[0.7]])).value[0]
    value = {"q_numu": 0.7 * problem.scales[0]}
    centre = card.model.expected(value)
    signal = centre - card.background
    positions = np.repeat([exposure.position_m for exposure in card.card.exposures], 12)
    same = (positions[:, None] == positions).astype(float)
    covariance = np.diag(card.signal_sm) + 0.01 * (rho + (1 - rho) * same) * signal[:, None] * signal
    assert found == pytest.approx((data - centre) @ np.linalg.solve(covariance, data - centre), rel=1e-9)


def test_full_correlation_is_one_pull(prism: Experiment, partly: ElectronExperiment) -> None:
    """ρ = 1 number for number the card without the key, ρ near 1 near it, ρ = 0 a pull of each position."""
    one = load_electron_experiment("dune-prism", ["pulls.flux_correlation=1.0"]).model
    assert (one.pulls, one.components) == (prism.model.pulls, prism.model.components)
    np.testing.assert_array_equal(one.arrays, prism.model.arrays)
    assert not one.signed
    none = load_electron_experiment("dune-prism", ["pulls.flux_correlation=0"]).model
    assert none.pulls == ("flux_norm[0 m]", *PULLS[1:], "flux_norm[18 m]", "flux_norm[30 m]")
    assert not none.signed
    limits = [
        limit(load_electron_experiment("dune-prism", [f"pulls.flux_correlation={rho}"]), "mu_nue").intervals[0][1]
        for rho in (1e-7, 0.0, 1 - 1e-7, 1.0)
    ]
    assert limits[0] == pytest.approx(limits[1], rel=1e-5)
    assert limits[2] == pytest.approx(limits[3], rel=1e-5)
    # Norms of their own average out, and one of all is measured on axis: in between there is least of both.
    assert limit(partly, "mu_nue").intervals[0][1] > limits[1] > limits[3]


def test_correlation_with_one_position_or_separate_polarities(on_axis: Experiment) -> None:
    """There is nothing to correlate at one position; polarities with pulls of their own have one of each position."""
    alone = load_electron_experiment("dune-on-axis", ["pulls.flux_correlation=0.3"])
    assert alone.model.pulls == on_axis.model.pulls
    np.testing.assert_array_equal(alone.model.arrays, on_axis.model.arrays)
    apart = load_electron_experiment("dune-prism", ["pulls.flux_correlation=0.3", "pulls.shared=false"])
    norms = [name for name in apart.model.pulls if name.startswith("flux_norm")]
    assert len(norms) == 2 + 2 * 3
    assert {"flux_norm[neutrino]", "flux_norm[antineutrino, 30 m]"} < set(norms)
