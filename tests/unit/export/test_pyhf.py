"""A pyhf workspace has the likelihood of bayesnu, and says what it leaves out."""

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyhf
import pytest

from bayesnu.errors import RunError, UsageError
from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.experiment.electron_card import CovarianceCard
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.export.pyhf import choose_coupling, make_workspace, write_workspace
from bayesnu.inference.toys import poisson_log_likelihood
from bayesnu.results.limits import limit
from bayesnu.results.runs import Run

POINTS = 50
pytestmark = pytest.mark.filterwarnings("ignore:jsonschema:DeprecationWarning")
"""pyhf's own use of jsonschema."""


class Reader:
    """A workspace as pyhf reads it, in bayesnu's couplings and pulls."""

    def __init__(self, experiment: Experiment, coupling: str) -> None:
        self.experiment, self.coupling = experiment, coupling
        self.made = make_workspace(experiment, coupling)
        workspace = pyhf.Workspace(json.loads(json.dumps(self.made.specification)))
        self.model = workspace.model()
        self.data = workspace.data(self.model)
        self.widths = dict(zip(experiment.model.pulls, experiment.model.widths.tolist(), strict=True))

    def parameters(self, value: float, pulls: dict[str, float]) -> list[float]:
        own = {"mu2": (value / self.made.scale) ** 2, "lumi": 1 + pulls.get("flux_norm", 0.0)}
        own |= {name: pulls.get(name, 0.0) / width for name, width in self.widths.items() if name != "flux_norm"}
        return [own[name] for name in self.model.config.par_order]

    def counts(self, value: float, pulls: dict[str, float]) -> np.ndarray:
        found = self.model.expected_data(self.parameters(value, pulls), include_auxdata=False)
        # pyhf has channels in the order of their names.
        names = [channel["name"] for channel in self.made.specification["channels"]]
        return np.concatenate([found[self.model.config.channel_slices[name]] for name in names])

    def theirs(self, value: float, pulls: dict[str, float]) -> float:
        return -2 * float(self.model.logpdf(self.parameters(value, pulls), self.data)[0])

    def ours(self, value: float, pulls: dict[str, float]) -> float:
        expected = self.experiment.model.expected({self.coupling: value}, pulls)
        constraint = sum((pulls[name] / self.widths[name]) ** 2 for name in pulls)
        return float(-2 * poisson_log_likelihood(self.experiment.data, expected).sum() + constraint)


def check_points(experiment: Experiment, coupling: str) -> None:
    reader, rng = Reader(experiment, coupling), np.random.default_rng(20)
    differences = []
    for k in range(POINTS):
        pulls = {name: float(width * rng.standard_normal()) for name, width in reader.widths.items()}
        pulls[("wrong_sign", "electron_flavour")[k % 2]] = 0.0
        value = float(4 * reader.made.scale * rng.random())
        differences.append((reader.ours(value, pulls), reader.theirs(value, pulls)))
    ours, theirs = np.array(differences).T
    assert np.ptp(ours) > 10
    np.testing.assert_allclose(ours - ours[0], theirs - theirs[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("coupling", ["mu_nue", "mu_numu"])
def test_likelihood_is_that_of_bayesnu(on_axis: Experiment, coupling: str) -> None:
    check_points(on_axis, coupling)


@pytest.mark.slow
def test_likelihood_of_many_exposures(prism: Experiment) -> None:
    check_points(prism, "mu_numu")


def test_product_term_is_what_is_left_out(on_axis: Experiment) -> None:
    reader = Reader(on_axis, "mu_nue")
    product = reader.made.product
    assert product is not None
    one_sigma = {name: reader.widths[name] for name in product.pulls}
    assert product.widths == tuple(one_sigma.values())
    for mu2 in (0.0, 1.0):
        value = float(np.sqrt(mu2)) * reader.made.scale
        left = on_axis.model.expected({"mu_nue": value}, one_sigma) - reader.counts(value, one_sigma)
        total = product.counts_standard_model + mu2 * product.counts_per_mu2
        assert left.sum() == pytest.approx(total, rel=1e-8)
    share = (on_axis.model.expected({}, one_sigma) - reader.counts(0.0, one_sigma)) / on_axis.model.expected()
    assert product.largest_share == pytest.approx(share.max(), rel=1e-6)
    assert f"it is {product.counts_standard_model:.3g} SM counts" in product.describe()


def test_modifiers(on_axis: Experiment) -> None:
    specification = make_workspace(on_axis, "mu_nue").specification
    kinds = {
        (modifier["name"], modifier["type"])
        for channel in specification["channels"]
        for sample in channel["samples"]
        for modifier in sample["modifiers"]
    }
    names = ("wrong_sign", "electron_flavour", "ccqe", "pi0")
    assert kinds == {("lumi", "lumi"), ("mu2", "normfactor"), *((name, "histosys") for name in names)}
    assert [channel["name"] for channel in specification["channels"]] == ["neutrino 0 m", "antineutrino 0 m"]
    assert specification["observations"][0]["data"] == on_axis.data[:12].tolist()


def test_pull_of_width_zero_needs_no_modifier() -> None:
    narrow = load_experiment("dune-on-axis", ["pulls.wrong_sign=0", "pulls.flux_norm=0"])
    made = make_workspace(narrow, "mu_numu")
    assert made.product is None
    text = json.dumps(made.specification)
    assert '"lumi"' not in text
    assert '"wrong_sign"' not in text
    assert '"electron_flavour"' in text


def with_card(experiment: ElectronExperiment, **update: Any) -> ElectronExperiment:
    card = experiment.card.model_copy(update=update)
    return dataclasses.replace(experiment, templates=dataclasses.replace(experiment.templates, card=card))


def test_refusals_say_why(on_axis: ElectronExperiment, separate_pulls: Experiment) -> None:
    response = on_axis.card.response.model_copy(update={"mc_stat": "gamma-poisson"})
    partly = on_axis.card.pulls.model_copy(update={"flux_correlation": 0.5})
    beam = CovarianceCard(name="beam", of="flux", file="beam.csv")
    dark = dataclasses.replace(on_axis.model, arrays=np.zeros_like(on_axis.model.arrays))
    cases = [
        (on_axis, "q_nue", "only a magnetic moment"),
        (on_axis, "mu_nutau", "unknown coupling"),
        (separate_pulls, "mu_nue", r"pulls\.shared = false"),
        (with_card(on_axis, pulls=partly), "mu_nue", r"pulls\.flux_correlation < 1: each position has its flux_norm"),
        (with_card(on_axis, covariances=[beam]), "mu_nue", "covariances: their pulls multiply wrong_sign"),
        (with_card(on_axis, response=response), "mu_nue", r"response\.mc_stat = gamma-poisson"),
        (dataclasses.replace(on_axis, model=dark), "mu_nue", "no count depends on it"),
        (load_experiment("lsnd-nue"), "mu_nue", "measured errors; exportable are mu_nue and mu_numu"),
        (load_experiment("nucleus-10g"), "d_nue", "one of nuclear recoils; exportable are mu_nue and mu_numu"),
    ]
    for experiment, coupling, message in cases:
        with pytest.raises(UsageError, match=message):
            make_workspace(experiment, coupling)


def with_couplings(run: Run, *names: str) -> Run:
    limits = copy.deepcopy(run.limits)
    limits["limits"] = [{"coupling": name} for name in names]
    return dataclasses.replace(run, limits=limits)


def test_coupling_of_the_run_is_chosen(finished_run: Run) -> None:
    assert choose_coupling(finished_run, None) == "mu_numu"
    assert choose_coupling(finished_run, "q_numu") == "q_numu"
    with pytest.raises(UsageError, match=r"unknown coupling of .*'mu_nue': allowed are mu_numu, q_numu, r2_numu"):
        choose_coupling(finished_run, "mu_nue")
    with pytest.raises(UsageError, match="has mu_nue and mu_numu; choose one with --coupling"):
        choose_coupling(with_couplings(finished_run, "mu_nue", "mu_numu"), None)
    with pytest.raises(UsageError, match="has q_nue, none of which can be written"):
        choose_coupling(with_couplings(finished_run, "q_nue"), None)


def test_what_is_written(finished_run: Run, on_axis: Experiment, tmp_path: Path) -> None:
    folder = tmp_path / "pyhf"
    made = write_workspace(finished_run, on_axis, "mu_numu", folder)
    assert sorted(path.name for path in folder.iterdir()) == ["about.json", "workspace.json"]
    assert json.loads((folder / "workspace.json").read_text()) == made.specification
    about = json.loads((folder / "about.json").read_text())
    assert about["mu2"] == {"meaning": "(mu_numu/scale)²", "scale": made.scale}
    assert about["left_out"]["counts_standard_model"] == made.product.counts_standard_model  # type: ignore[union-attr]
    assert about["pulls"]["flux_norm"] == {"one_sigma": 0.1, "parameter": "lumi", "meaning": "lumi = 1 + pull"}
    assert about["run"] == finished_run.limits["hash"]
    with pytest.raises(RunError, match="holds an export"):
        write_workspace(finished_run, on_axis, "mu_numu", folder)
    write_workspace(finished_run, on_axis, "mu_numu", folder, force=True)


@pytest.mark.slow
def test_profile_by_pyhf_is_that_of_bayesnu(on_axis: Experiment) -> None:
    """Δ(-2 ln L) at the bound by the Poisson deviance, minimised by pyhf, is the level of 90%."""
    reader = Reader(on_axis, "mu_numu")
    bound = limit(on_axis, "mu_numu", method="poisson").intervals[-1][1]
    at_bound, least = (
        float(
            pyhf.infer.mle.fixed_poi_fit(
                (value / reader.made.scale) ** 2, reader.data, reader.model, return_fitted_val=True
            )[1]
        )
        for value in (bound, 0.0)
    )
    assert at_bound - least == pytest.approx(2.7055, abs=2e-3)
