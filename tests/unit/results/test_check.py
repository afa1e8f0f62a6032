"""What `check` says of a card is what the fit will use."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2

from bayesnu.errors import CardError, DataError, UsageError
from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.experiment.prediction import predict
from bayesnu.experiment.setup import load_experiment
from bayesnu.flux.stopped_pion import END_POINT_MEV, PROMPT_ENERGY_MEV
from bayesnu.inference.likelihood import make_problem, minimise_pulls
from bayesnu.physics.couplings import CHANNELS
from bayesnu.plotting.experiment import plot_flux_panels
from bayesnu.report.check import check_tables, figures_folder
from bayesnu.report.check_figures import count_panels, flux_panels, write_figures
from bayesnu.report.terminal import print_tables
from bayesnu.results.check import (
    Check,
    StandardModelFit,
    check_card,
    check_experiment,
    check_json,
    chi2_survival,
    standard_model_fit,
)
from bayesnu.results.joint import joint_priors


@pytest.fixture(scope="module")
def checked(on_axis: ElectronExperiment) -> Check:
    return check_experiment(on_axis)


def test_counts_are_those_of_the_prediction(checked: Check, on_axis: ElectronExperiment) -> None:
    predicted = predict(on_axis, {}, {}).exposures
    for block, own in zip(checked.blocks, predicted, strict=True):
        for channel in CHANNELS:
            np.testing.assert_allclose(block.signal[channel], own.signal[channel])
        assert set(block.background) == {"ccqe", "pi0"}
        np.testing.assert_allclose(block.background["ccqe"], own.background["ccqe"])
        signal, background = (
            own.total.sum() - sum(map(np.sum, own.background.values())),
            sum(map(np.sum, own.background.values())),
        )
        assert block.significance == pytest.approx(signal / math.sqrt(background))
        assert block.exposure == {"mass [t]": 50.0, "years": 3.5, "mass × time [t yr]": 175.0, "POT": 3.5 * 1.1e21}
    np.testing.assert_array_equal(np.concatenate([block.data for block in checked.blocks]), on_axis.data)


def test_flux_integral_and_mean(checked: Check, on_axis: ElectronExperiment) -> None:
    spectrum = on_axis.flux.spectrum("antineutrino", 0.0)
    low, high = spectrum.edges_gev[:-1], spectrum.edges_gev[1:]
    found = {flux.channel: flux for flux in checked.fluxes if flux.where == "antineutrino 0 m"}
    for c, channel in enumerate(CHANNELS):
        number = float(np.sum(spectrum.values[c] * (high - low)))
        # ∫E dE of a bin is half the difference of the squares.
        energy = float(np.sum(spectrum.values[c] * (high**2 - low**2) / 2))
        assert found[channel].integral == pytest.approx(number)
        assert found[channel].mean_energy_gev == pytest.approx(energy / number)


def test_pulls_couplings_and_files(checked: Check) -> None:
    widths = {pull.name: pull.width for pull in checked.pulls}
    assert widths == {"flux_norm": 0.1, "wrong_sign": 0.01, "electron_flavour": 0.01, "ccqe": 0.1, "pi0": 0.1}
    priors = {coupling.name: coupling.prior for coupling in checked.couplings}
    assert len(priors) == 6
    assert all("range found" in prior for prior in priors.values())
    assert checked.published == 6
    assert {"card", "flux.file", "flux.event_table", "backgrounds.file"} <= {file.role for file in checked.files}
    assert checked.background == "counts of backgrounds/dune_ccqe_pi0.csv"
    assert checked.data.startswith("Asimov")


def test_other_sources() -> None:
    """Mean energies of decays at rest: 0.7 and 0.6 of the end point, and a line."""
    found = check_card("coherent-csi-2017")
    means = {flux.channel: flux.mean_energy_gev for flux in found.fluxes}
    assert means["numu"] == pytest.approx(PROMPT_ENERGY_MEV * 1e-3)
    assert means["numubar"] == pytest.approx(0.7 * END_POINT_MEV * 1e-3, rel=1e-4)
    assert means["nue"] == pytest.approx(0.6 * END_POINT_MEV * 1e-3, rel=1e-4)
    assert [block.name for block in found.blocks] == ["coincidence", "anticoincidence"]
    assert set(found.blocks[0].background) == {"neutrons", "steady state"}
    assert not any(counts.any() for counts in found.blocks[1].signal.values())
    experiment = load_experiment("coherent-csi-2017")
    signal = np.concatenate([sum(block.signal.values()) for block in found.blocks])
    np.testing.assert_allclose(signal, experiment.signal_sm)
    background = np.concatenate([sum(block.background.values()) for block in found.blocks])
    np.testing.assert_allclose(signal + background, experiment.model.expected())
    assert math.isnan(next(pull.width for pull in found.pulls if pull.name == "steady_state[0]"))


@pytest.mark.parametrize("model", ["lsnd-nue", "nucleus-10g"])
def test_json_and_tables(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = check_card(model, ["sterile.m_N_prior={kind='uniform', low=0.1, high=7.0}"])
    text = json.dumps(check_json(found), allow_nan=False)
    assert json.loads(text)["couplings"][-1]["name"] == "m_N"
    print_tables(*check_tables(found))
    printed = capsys.readouterr().out
    for title in (
        "valid",
        "Keys of the card",
        "Exposures",
        "Flux",
        "Counts in all bins",
        "Pulls",
        "Couplings",
        "Files",
    ):
        assert title in printed
    for key in found.keys:
        assert key.name in printed


BOUNDED = tuple(f'couplings.{name}.prior={{kind="uniform", low=0.0, high=1e-9}}' for name in ("mu_nue", "d_nue"))


def test_a_joint_fit(capsys: pytest.CaptureFixture[str]) -> None:
    """The priors are those of the run, and stand in a table of their own."""
    fits = [("mu_nue", "d_nue"), ("d_nue", "mu_nue", "sin2_theta_w")]
    found = check_card("nucleus-10g", BOUNDED, fits)
    assert [own.name for own in found.joint] == ["mu_nue+d_nue", "d_nue+mu_nue+sin2_theta_w"]
    experiment = load_experiment("nucleus-10g", BOUNDED)
    for own, names in zip(found.joint, fits, strict=True):
        assert [item.prior for item in own.couplings] == [prior.describe() for prior in joint_priors(experiment, names)]
    assert found.joint[1].couplings[2].prior == "normal about 0.23857, sigma 0.0005"
    entry = json.loads(json.dumps(check_json(found), allow_nan=False))["joint"][0]
    assert [item["name"] for item in entry["couplings"]] == ["mu_nue", "d_nue"]
    print_tables(*check_tables(found))
    printed = capsys.readouterr().out
    assert all(f"Joint fit {own.name}" in printed for own in found.joint)


@pytest.mark.slow
def test_ranges_of_a_joint_fit(on_axis: ElectronExperiment) -> None:
    """Left out, a prior of a joint fit is wider than that of the coupling alone."""
    found = check_experiment(on_axis, [("r2_nue", "sin2_theta_w")])
    assert found.joint[0].couplings[0].prior == joint_priors(on_axis, ("r2_nue", "sin2_theta_w"))[0].describe()
    assert found.joint[0].couplings[0].prior != next(own.prior for own in found.couplings if own.name == "r2_nue")


REFUSED = (
    (("r2_nue", "r2_numu", "sin2_theta_w"), r"exactly degenerate with r2_nue = r2_numu; give it an error"),
    (("r2_nue",), r"joint = r2_nue: needs two different couplings or more"),
    (("mu_nue", "mu_nuu"), r"unknown coupling 'mu_nuu': .* did you mean 'mu_numu'"),
    (("r2_nue", "m_N"), r"joint = r2_nue,m_N: m_N needs a transition moment"),
)


@pytest.mark.parametrize(("names", "message"), REFUSED)
def test_a_joint_fit_that_cannot_be(names: tuple[str, ...], message: str, on_axis: ElectronExperiment) -> None:
    """The errors of the run; without the mixing angle's prior the one of the degeneracy."""
    physics = on_axis.card.physics.model_copy(update={"sin2_theta_w_error": "none"})
    card = on_axis.card.model_copy(update={"physics": physics})
    experiment = replace(
        on_axis, loaded=replace(on_axis.loaded, card=card), templates=replace(on_axis.templates, card=card)
    )
    with pytest.raises(UsageError, match=message):
        check_experiment(experiment, [names])


def test_prior_and_published_limits_are_validated(tmp_path: Path, edited_card: Callable[..., Path]) -> None:
    """What load_experiment does not look at."""
    prior = 'couplings.mu_nue.prior={kind="normal", sigma=1e-9}'
    found = check_card("lsnd-nue", [prior])
    assert found.couplings[0].prior == "half-normal, sigma 1e-09 mu_B"
    (tmp_path / "limits.csv").write_text(
        "source,scenario,coupling,lower,upper,unit,cl\nme,LSND,mu_nue,0,1,1e-9 apples,0.9\n"
    )
    card = edited_card(("published/limits.csv", "limits.csv"), model="lsnd-nue")
    with pytest.raises(DataError, match=r"limits\.csv"):
        check_card(str(card))
    with pytest.raises(CardError, match=r"comparison\.scenario"):
        check_card("lsnd-nue", ["comparison.scenario=LSDN"])


def test_figures(checked: Check, tmp_path: Path) -> None:
    assert [panel.title for panel in flux_panels(checked.fluxes)] == ["neutrino 0 m", "antineutrino 0 m"]
    assert [panel.title for panel in count_panels(checked.blocks)] == ["neutrino 0 m", "antineutrino 0 m"]
    assert figures_folder(checked.model, checked.card) == Path("check-dune-on-axis")
    lsnd = check_card("lsnd-nue")
    files = write_figures(lsnd.fluxes, lsnd.blocks, lsnd.data, tmp_path / "figures")
    assert [path.name for path in files] == ["flux.png", "spectrum.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in files)


def test_figures_of_an_own_card_are_beside_it(edited_card: Callable[..., Path], monkeypatch: Any) -> None:
    card = edited_card(model="lsnd-nue")
    assert figures_folder("lsnd-nue", card) == card.parent / "check"


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 24, 101, 2000])
def test_probability_of_a_larger_chi2(degrees: int) -> None:
    for value in (1e-9, 0.3, 2.0, 0.7 * degrees, degrees, 1.2 * degrees + 5, 400.0):
        assert chi2_survival(degrees, value) == pytest.approx(chi2.sf(value, degrees), rel=1e-11, abs=0)
    assert (chi2_survival(degrees, 0.0), chi2_survival(degrees, -1e-13), chi2_survival(degrees, math.inf)) == (1, 1, 0)


def test_data_against_the_standard_model(on_axis: ElectronExperiment) -> None:
    """A scaled data set is absorbed by the flux norm; counts of another exposure are not."""
    assert standard_model_fit(on_axis) == StandardModelFit(pytest.approx(0.0, abs=1e-9), 24)  # type: ignore[arg-type]
    problem = make_problem(on_axis, ["mu_numu"])
    shifted = replace(on_axis, data=on_axis.data * np.linspace(0.99, 1.01, 24))
    fit = standard_model_fit(shifted)
    expected = minimise_pulls(replace(problem, data=shifted.data), np.zeros((1, 1))).value[0]
    assert fit.deviance == pytest.approx(expected)
    assert fit.p_value == pytest.approx(chi2.sf(expected, 24))
    assert fit.problem == ""
    foreign = standard_model_fit(replace(on_axis, data=on_axis.data[::-1].copy()))
    assert foreign.p_value < 1e-4
    assert "are they the counts of this card?" in foreign.problem
    # Free pulls are fixed by the data alone.
    assert standard_model_fit(load_experiment("coherent-csi-2017")).degrees == 12


def test_the_flux_is_drawn_over_six_decades(checked: Check) -> None:
    """As the axis says, below the highest flux of the panel."""
    figure = plot_flux_panels(flux_panels(checked.fluxes))
    for axes, where in zip(figure.axes, ("neutrino 0 m", "antineutrino 0 m"), strict=True):
        top = max(flux.density.max() for flux in checked.fluxes if flux.where == where)
        assert axes.get_ylim() == pytest.approx((1e-6 * top, 3 * top))
        assert axes.get_ylabel() == "ν per GeV, per cm² and POT; 6 decades"
