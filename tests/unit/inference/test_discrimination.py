"""Bayes factors against integrals and sums done otherwise; the command line of `discriminate`."""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import binom, poisson

from bayesnu import cli
from bayesnu.errors import UsageError
from bayesnu.experiment.photons import PhotonTemplates
from bayesnu.experiment.setup import load_experiment
from bayesnu.inference import discrimination
from bayesnu.inference.discrimination import (
    SignalPrior,
    events_needed,
    log_bayes_factor,
    log_ratio,
    relative_entropy,
    simulate,
)
from bayesnu.report.tables import discrimination_table
from bayesnu.results.discrimination import discriminate, discrimination_json


def make(dirac: Any, majorana: Any) -> PhotonTemplates:
    d, m = np.array(dirac, dtype=float), np.array(majorana, dtype=float)
    edges = np.arange(d.shape[0] + 1.0), np.linspace(-1, 1, d.shape[1] + 1)
    return PhotonTemplates(1.0, *edges, d, m)


@pytest.fixture(scope="module")
def small() -> PhotonTemplates:
    """Six bins."""
    return make([[0.30, 0.20], [0.20, 0.15], [0.10, 0.05]], [[0.15, 0.10], [0.20, 0.20], [0.15, 0.20]])


@pytest.fixture(scope="module")
def coin() -> PhotonTemplates:
    """Two bins, so that everything is binomial."""
    return make([[0.7, 0.3]], [[0.4, 0.6]])


SIGN = {"majorana": 1, "dirac": -1}
BACKGROUND = np.array([[2.0, 0.5], [1.0, 0.3], [0.2, 0.0]])


# Without background


def test_is_the_sum_over_events(small: PhotonTemplates) -> None:
    counts = [[3, 0], [1, 2], [0, 4]]
    expected = 3 * math.log(0.5) + 0 + 2 * math.log(4 / 3) + 4 * math.log(4)
    assert float(log_bayes_factor(counts, small)) == pytest.approx(expected, rel=1e-12)
    several = log_bayes_factor(np.array([[counts, np.zeros((3, 2))]]), small)
    assert several == pytest.approx(np.array([[expected, 0]]))


@pytest.mark.parametrize("prior", [SignalPrior(0, 50), SignalPrior(0.1, 1e4, "log-uniform")])
def test_no_prior_on_the_signal_matters_without_background(prior: SignalPrior, small: PhotonTemplates) -> None:
    counts = np.array([[3, 0], [1, 2], [0, 4]])
    plain = float(log_bayes_factor(counts, small))
    assert float(log_bayes_factor(counts, small, prior=prior)) == plain
    # A background of nearly nothing goes through the integrals.
    faint = float(log_bayes_factor(counts, small, np.full((3, 2), 1e-12), prior))
    assert faint == pytest.approx(plain, abs=1e-9)


@pytest.mark.parametrize("truth", ["majorana", "dirac"])
def test_mean_of_the_inverse_is_one(truth: str, small: PhotonTemplates) -> None:
    """E[1/B] = 1 under the true hypothesis: summed for one and two events, simulated for more, fixed and Poisson."""
    shape = getattr(small, truth).ravel()
    inverse = np.exp(-SIGN[truth] * log_ratio(small))
    assert shape @ inverse == pytest.approx(1, abs=1e-14)
    pairs = itertools.product(range(6), repeat=2)
    assert sum(shape[i] * shape[j] * inverse[i] * inverse[j] for i, j in pairs) == pytest.approx(1, abs=1e-14)
    for counts in ("fixed", "poisson"):
        sample = simulate(small, truth, 4, 50_000, np.random.default_rng(3), counts=counts)
        values = np.exp(-SIGN[truth] * log_bayes_factor(sample, small))
        assert values.mean() == pytest.approx(1, abs=4 * values.std() / math.sqrt(values.size))


def test_relative_entropy_is_the_mean_per_event(small: PhotonTemplates) -> None:
    for truth, own, other in (("majorana", small.majorana, small.dirac), ("dirac", small.dirac, small.majorana)):
        expected = float((own * np.log(own / other)).sum())
        assert relative_entropy(small, truth) == pytest.approx(expected, rel=1e-12)
        sample = simulate(small, truth, 10, 20_000, np.random.default_rng(5))
        values = SIGN[truth] * log_bayes_factor(sample, small)
        assert values.mean() == pytest.approx(10 * expected, abs=4 * values.std() / math.sqrt(values.size))


def test_bins_that_one_hypothesis_leaves_empty() -> None:
    templates = make([[0.5, 0.5, 0.0, 0.0]], [[0.5, 0.0, 0.5, 0.0]])
    assert float(log_bayes_factor([[1, 0, 1, 0]], templates)) == math.inf
    assert float(log_bayes_factor([[1, 1, 0, 0]], templates)) == -math.inf
    assert float(log_bayes_factor([[4, 0, 0, 0]], templates)) == 0
    with pytest.raises(UsageError, match="neither hypothesis nor background"):
        log_bayes_factor([[1, 0, 0, 1]], templates)
    with pytest.raises(UsageError, match="each hypothesis leaves a bin empty"):
        log_bayes_factor([[0, 1, 1, 0]], templates)
    # With background nothing is certain; where there is none, it still is.
    some, prior = [[0.1, 0.1, 0.1, 0.0]], SignalPrior(0, 20)
    assert 0 < float(log_bayes_factor([[1, 0, 1, 0]], templates, some, prior)) < math.inf
    assert float(log_bayes_factor([[1, 0, 1, 0]], templates, [[0.1, 0.1, 0.0, 0.0]], prior)) == math.inf


# With background


def by_quad(counts: np.ndarray, templates: PhotonTemplates, background: np.ndarray, prior: SignalPrior) -> float:
    """ln B from scipy's adaptive integrals of products of scipy's Poisson probabilities."""

    def evidence(shape: np.ndarray) -> float:
        def integrand(s: float) -> float:
            density = 1 / s if prior.kind == "log-uniform" else 1.0
            return density * float(np.prod(poisson.pmf(counts, s * shape + background)))

        middle = max(float(counts.sum() - background.sum()), 1.0)
        cuts = [prior.low, *[x for x in (middle / 2, middle, 2 * middle) if prior.low < x < prior.high], prior.high]
        return sum(quad(integrand, a, b, epsabs=0, epsrel=1e-10, limit=500)[0] for a, b in itertools.pairwise(cuts))

    return math.log(evidence(templates.majorana) / evidence(templates.dirac))


@pytest.mark.parametrize(
    "prior",
    [
        SignalPrior(0, 30),
        SignalPrior(0, 300),
        SignalPrior(5, 8),
        SignalPrior(0.01, 100, "log-uniform"),
        SignalPrior(20, 40, "log-uniform"),
    ],
    ids=str,
)
@pytest.mark.parametrize("counts", [[[3, 0], [1, 2], [0, 4]], [[0, 0], [0, 0], [0, 0]], [[9, 5], [12, 9], [7, 10]]])
def test_background_against_adaptive_integrals(counts: Any, prior: SignalPrior, small: PhotonTemplates) -> None:
    found = float(log_bayes_factor(counts, small, BACKGROUND, prior))
    assert found == pytest.approx(by_quad(np.array(counts), small, BACKGROUND, prior), abs=1e-8)


@pytest.mark.parametrize(("low", "high", "kind"), [(0, 1, "uniform"), (3, 9e3, "uniform"), (1e-6, 1e3, "log-uniform")])
def test_quadrature_integrates_the_prior(low: float, high: float, kind: Any) -> None:
    s, weight = SignalPrior(low, high, kind).quadrature()
    assert weight.sum() == pytest.approx(1, rel=1e-8)
    mean = (low + high) / 2 if kind == "uniform" else (high - low) / math.log(high / low)
    assert s @ weight == pytest.approx(mean, rel=1e-8)
    assert (s > low).all()
    assert (s < high).all()


@pytest.mark.parametrize("truth", ["majorana", "dirac"])
def test_mean_of_the_inverse_is_one_with_background(truth: str, small: PhotonTemplates) -> None:
    """If the simulated signal follows the prior of the integral."""
    rng, prior = np.random.default_rng(9), SignalPrior(1, 12)
    s = rng.uniform(1, 12, 40_000)
    shape = getattr(small, truth)
    sample = rng.poisson(s[:, None, None] * shape + BACKGROUND)
    values = np.exp(-SIGN[truth] * log_bayes_factor(sample, small, BACKGROUND, prior))
    assert values.mean() == pytest.approx(1, abs=4 * values.std() / math.sqrt(values.size))


def test_background_weakens_the_evidence(small: PhotonTemplates) -> None:
    prior = SignalPrior(0, 200)
    medians = []
    for scale in (0.0, 1.0, 20.0):
        b = scale * (BACKGROUND + 0.1)
        sample = simulate(small, "majorana", 20, 2000, np.random.default_rng(1), background=b)
        medians.append(float(np.median(log_bayes_factor(sample, small, b, prior))))
    assert medians[0] > medians[1] > medians[2] > 0


# Simulated experiments and the events needed


def test_simulated_counts(small: PhotonTemplates) -> None:
    rng = np.random.default_rng(2)
    fixed = simulate(small, "dirac", 7, 20_000, rng)
    assert fixed.shape == (20_000, 3, 2)
    assert (fixed.sum(axis=(1, 2)) == 7).all()
    assert fixed.mean(axis=0) == pytest.approx(7 * small.dirac, abs=0.05)
    varied = simulate(small, "majorana", 7.5, 20_000, rng, counts="poisson", background=BACKGROUND)
    assert varied.mean(axis=0) == pytest.approx(7.5 * small.majorana + BACKGROUND, abs=0.07)
    assert varied.var(axis=0) == pytest.approx(7.5 * small.majorana + BACKGROUND, rel=0.06)
    again = simulate(small, "dirac", 7, 20_000, np.random.default_rng(2))
    assert (again == fixed).all()


def exact_share(n: int, truth: str) -> float:
    """P(B > 10) after n tosses of the coin."""
    k = np.arange(n + 1)
    value = k * math.log(0.4 / 0.7) + (n - k) * math.log(0.6 / 0.3)
    return float(binom.pmf(k, n, 0.4 if truth == "majorana" else 0.7)[SIGN[truth] * value > math.log(10)].sum())


@pytest.mark.parametrize("truth", ["majorana", "dirac"])
def test_walks_give_binomial_shares(truth: str, coin: PhotonTemplates) -> None:
    """After a fixed and after a Poisson number of events, against sums."""
    walk = discrimination._Walk(
        SIGN[truth] * log_ratio(coin), getattr(coin, truth).ravel(), 20_000, math.log(10), np.random.default_rng(4)
    )
    share = np.array([exact_share(n, truth) for n in range(190)])
    for n in (1, 5, 17, 40, 90):
        assert walk.fixed(n) == pytest.approx(exact_share(n, truth), abs=0.015)
        mixed = poisson.pmf(np.arange(190), n) @ share
        assert walk.poisson(n) == pytest.approx(mixed, abs=0.015)


@pytest.mark.parametrize("truth", ["majorana", "dirac"])
@pytest.mark.parametrize("probability", [0.5, 0.9])
def test_events_needed_with_a_poisson_number(truth: str, probability: float, coin: PhotonTemplates) -> None:
    """The exact share grows smoothly with the mean, which makes the least one definite."""
    share = np.array([exact_share(n, truth) for n in range(160)])
    mixed = poisson.pmf(np.arange(160), np.arange(1, 100)[:, None]) @ share
    expected = 1 + int(np.argmax(mixed >= probability))
    found = events_needed(coin, truth, probability, np.random.default_rng(6), counts="poisson")
    assert abs(found.events - expected) <= 1 + 4 * found.error
    assert 0 < found.error < 2


def test_error_of_the_events_needed_is_their_spread(small: PhotonTemplates) -> None:
    rng = np.random.default_rng(8)
    found = [events_needed(small, "majorana", 0.9, rng, experiments=400, counts="poisson") for _ in range(60)]
    spread = np.std([item.events for item in found])
    assert np.median([item.error for item in found]) == pytest.approx(spread, rel=0.4)


def test_events_needed_with_background(small: PhotonTemplates) -> None:
    """A faint background changes nothing, a strong one asks for more."""
    clean = events_needed(small, "majorana", 0.5, np.random.default_rng(1), experiments=4000)
    prior, rng = SignalPrior(0, 400), np.random.default_rng(2)
    needed = [
        events_needed(small, "majorana", 0.5, rng, experiments=1500, background=b * BACKGROUND, prior=prior)
        for b in (1e-6, 5.0)
    ]
    assert needed[0].events == pytest.approx(clean.events, abs=2)
    assert needed[1].events > 1.3 * clean.events


def test_templates_that_are_alike_need_too_many(small: PhotonTemplates) -> None:
    same = replace(small, dirac=small.majorana)
    nearly = replace(small, dirac=small.majorana * np.array([[1, 1], [1, 1], [1.02, 0.985]]))
    for templates in (same, nearly):
        with pytest.raises(UsageError, match="so alike that 10000 events do not decide"):
            events_needed(templates, "majorana", 0.99, np.random.default_rng(1), experiments=200)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: log_bayes_factor([1, 2], t), "counts have shape"),
        (lambda t: log_bayes_factor(np.full((3, 2), -1), t), "finite and at least 0"),
        (lambda t: log_bayes_factor(np.ones((3, 2)), t, [1.0]), "background has shape"),
        (lambda t: log_bayes_factor(np.ones((3, 2)), t, np.full((3, 2), -1.0)), "background: must be finite"),
        (lambda t: log_bayes_factor(np.ones((3, 2)), t, np.ones((3, 2))), "the prior on the signal is needed"),
        (lambda t: simulate(t, "weyl", 5, 100, np.random.default_rng()), "unknown truth 'weyl'"),
        (lambda t: simulate(t, "dirac", 5, 100, np.random.default_rng(), counts="some"), "unknown counts 'some'"),
        (lambda t: simulate(t, "dirac", 0, 100, np.random.default_rng()), "events = 0: must be between 1"),
        (lambda t: simulate(t, "dirac", 2.5, 100, np.random.default_rng()), "must be whole"),
        (lambda t: simulate(t, "dirac", 5, 10, np.random.default_rng()), "experiments = 10: must be between"),
        (lambda t: events_needed(t, "dirac", 1.0, np.random.default_rng()), "probability = 1.0: must be between"),
        (lambda t: events_needed(t, "dirac", 0.5, np.random.default_rng(), decisive=1.0), "decisive = 1.0"),
        (lambda t: relative_entropy(t, "weyl"), "unknown truth"),
        (lambda _: SignalPrior(3, 2), "needs 0 ≤ low < high"),
        (lambda _: SignalPrior(0, 2, "log-uniform"), "log-uniform needs low > 0"),
        (lambda _: SignalPrior(0, 2, "flat"), "unknown prior 'flat'"),  # type: ignore[arg-type]
    ],
)
def test_bad_arguments(call: Callable[[PhotonTemplates], Any], message: str, small: PhotonTemplates) -> None:
    with pytest.raises(UsageError, match=message):
        call(small)


# The command


@pytest.fixture
def bayesnu_(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], tuple[int, str, str]]:
    """Call `bayesnu discriminate` in this process; return status, stdout and stderr."""

    def call(line: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bayesnu", "discriminate", *line.split()])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return call


def test_command(bayesnu_: Any) -> None:
    options = "--m-N 7 --events 20 --truth dirac --counts poisson --seed 4 --experiments 300"
    status, out, err = bayesnu_(f"nucleus-10g {options} --format json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    result = discriminate(load_experiment("nucleus-10g"), 7.0, 20, "dirac", "poisson", 300, 4)
    assert found == discrimination_json(result)
    assert list(found) == [
        "model", "m_N", "events", "truth", "log10_bayes_factor", "events_for_median_10", "events_for_90_percent"
    ]  # fmt: skip
    assert (found["model"], found["m_N"], found["events"], found["truth"]) == ("nucleus-10g", 7.0, 20, "dirac")
    spread = found["log10_bayes_factor"]
    assert spread["q10"] < spread["median"] < spread["q90"]
    assert isinstance(found["events_for_median_10"], int)
    assert 5 < found["events_for_median_10"] < found["events_for_90_percent"] < 100
    assert discrimination_table(result).row_count == 4


DECAYS = "--m-N 7 --events 20 --experiments 300 -o decay.d_NNp=1e-6 -o decay.chirality=0 --format json"


@pytest.mark.slow
def test_command_of_a_decay_that_tells_nothing(bayesnu_: Any) -> None:
    """A moment to N′ of both chiralities."""
    status, out, err = bayesnu_(f"nucleus-10g-radiative {DECAYS}")
    assert (status, out) == (2, "")
    assert "so alike that 10000 events do not decide" in err


def test_command_knows_how_n_decays(bayesnu_: Any) -> None:
    """A moment to active neutrinos beside one to N′ that tells nothing decides."""
    status, out, err = bayesnu_(f"nucleus-10g-radiative {DECAYS} --set d_nue=3e-6 --set d_nutau=4e-6")
    assert status == 0
    assert json.loads(out)["events_for_median_10"] < 40
    status, out, err = bayesnu_(f"nucleus-10g-radiative {DECAYS} --set mu_nue=3e-6")
    assert (status, out) == (2, "")
    assert "unknown coupling 'mu_nue'" in err


def test_command_prints_a_table_and_takes_overrides(bayesnu_: Any) -> None:
    options = "--m-N 7 --events 5 --experiments 200 -o detector.threshold_ev=100"
    status, out, err = bayesnu_(f"nucleus-10g {options}")
    assert (status, err) == (0, "")
    assert "Majorana over Dirac, m_N = 7 MeV" in out
    assert "200 simulated experiments with 5 photons each" in out


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("nucleus-10g", "--m-N 9 --events 20", "m_N = 9.0: must be above 0 and below the highest neutrino energy"),
        ("nucleus-10g", "--m-N 0 --events 20", "m_N = 0.0: must be above 0"),
        ("nucleus-10g", "--m-N nan --events 20", "m_N = nan: must be above 0"),
        ("nucleus-10g", "--m-N 1 --events 0", "events = 0: must be between 1 and 10000"),
        ("nucleus-10g", "--m-N 1 --events 2 --truth majorna", "unknown truth 'majorna': allowed are majorana, dirac;"),
        ("nucleus-10g", "--m-N 1 --events 2 --counts some", "unknown counts 'some': allowed are fixed, poisson"),
        ("nucleus-10g", "--m-N 1 --events 2 --experiments 1", "experiments = 1: must be between 100 and 100000"),
        ("nucleus-10g", "--m-N 1 --events 2 --seed -1", "seed = -1: must be at least 0"),
        (
            "coherent-csi-2017",
            "--m-N 1 --events 20",
            "coherent-csi-2017: photons from N need a card of nuclear recoils",
        ),
        ("dune-on-axis", "--m-N 1 --events 20", "dune-on-axis: photons from N need a card of nuclear recoils"),
        ("nucleus-10g", "--events 20", "--m-N"),
    ],
)
def test_bad_input_is_one_line(model: str, options: str, message: str, bayesnu_: Any) -> None:
    status, out, err = bayesnu_(f"{model} {options}")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("bayesnu: ")
    assert message in err
