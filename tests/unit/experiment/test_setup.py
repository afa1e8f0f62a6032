"""The assembled experiment: data, labels, files, digest, and the last checks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bayesnu.errors import CardError, ConvergenceError, UsageError
from bayesnu.experiment.setup import Experiment, load_experiment


def test_asimov_data_are_the_sm_with_backgrounds_not_rounded(on_axis: Experiment) -> None:
    assert not on_axis.observed
    np.testing.assert_allclose(on_axis.data, on_axis.signal_sm + on_axis.background, rtol=1e-12)
    assert (on_axis.data != np.round(on_axis.data)).all()


def test_observed_counts_are_the_data() -> None:
    first, second = np.arange(100, 112), np.arange(200, 212)
    loaded = load_experiment(
        "dune-on-axis",
        [f"exposures.0.observed_counts={first.tolist()}", f"exposures.1.observed_counts={second.tolist()}"],
    )
    assert loaded.observed
    np.testing.assert_array_equal(loaded.data, np.concatenate([first, second]))


def test_files_that_were_read(prism: Experiment) -> None:
    assert {role: path.name for role, path in prism.files.items()} == {
        "card": "dune-prism.toml",
        "flux.file": "dune_nd.csv",
        "flux.event_table": "dune_table1.csv",
        "flux.event_table, made for": "dune_table1.toml",
        "backgrounds.file": "dune_ccqe_pi0.csv",
        "backgrounds.file, made for": "dune_ccqe_pi0.toml",
        "comparison.published": "limits.csv",
    }


def test_labelled_expectation(prism: Experiment) -> None:
    array = prism.expected_labelled({"mu_nue": 3e-9}, {"flux_norm": 0.1})
    assert array.dims == ("obs",)
    assert array.attrs["units"] == "counts"
    np.testing.assert_array_equal(array.values, prism.model.expected({"mu_nue": 3e-9}, {"flux_norm": 0.1}))
    third = array[24:36]
    assert set(third.exposure.values) == {"neutrino 18 m"}
    assert (set(third["mode"].values), set(third.position_m.values)) == ({"neutrino"}, {18.0})
    assert third.bin.values.tolist() == list(range(12))
    np.testing.assert_allclose(third.bin_hi[:-1], third.bin_lo[1:])


def test_scenario_must_be_published() -> None:
    message = r"on-axs\): comparison\.scenario = 'on-axs': limits\.csv has on-axis, .*did you mean 'on-axis'"
    with pytest.raises(CardError, match=message):
        load_experiment("dune-on-axis", ["comparison.scenario=on-axs"])


@pytest.mark.parametrize(
    ("couplings", "pulls"), [({"mu_numu": 1e160}, {}), ({"q_nue": float("nan")}, {}), ({}, {"flux_norm": float("inf")})]
)
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_overflow_names_what_was_set(on_axis: Experiment, couplings: dict[str, float], pulls: dict[str, float]) -> None:
    name = next(iter({**couplings, **pulls}))
    with pytest.raises(ConvergenceError, match=name):
        on_axis.expected_labelled(couplings, pulls)


def test_only_the_couplings_of_the_card_are_fitted(edited_card: Callable[..., Path]) -> None:
    loaded = load_experiment(str(edited_card(("[couplings.mu_nue]             # μ_B", ""))))
    assert loaded.fitted("mu_numu") == "mu_numu"
    with pytest.raises(
        UsageError, match=r"unknown coupling 'mu_nue': card\.toml has mu_numu, .*did you mean 'mu_numu'"
    ):
        loaded.fitted("mu_nue")


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("exposures.0.years=3.6", False),
        ("pulls.ccqe=0.11", False),
        ("couplings.q_nue.prior={kind='normal', sigma=1e-9}", False),
        ("exposures.0.years=3.5", True),
    ],
)
def test_digest_depends_on_what_a_fit_depends_on(on_axis: Experiment, override: str, same: bool) -> None:
    assert (load_experiment("dune-on-axis", [override]).digest == on_axis.digest) is same


def test_unknown_position_lists_what_the_flux_has() -> None:
    with pytest.raises(CardError, match=r"exposures\.1\.position_m = 12.*dune_nd\.csv.*antineutrino 18"):
        load_experiment("dune-on-axis", ["exposures.1.position_m=12"])


def test_a_bin_without_any_expectation_is_refused(coarse: tuple[str, ...], tmp_path: Path) -> None:
    """A flux of zero leaves nothing to expect."""
    flux = tmp_path / "flux.csv"
    flux.write_text(
        "mode,position_m,e_lo_gev,e_hi_gev,numu,numubar,nue,nuebar\n"
        "neutrino,0,0,20,0,0,0,0\nantineutrino,0,0,20,0,0,0,0\n"
    )
    overrides = [*coarse, f'flux.file="{flux}"', "flux.normalisation=absolute", "backgrounds.model=ccqe"]
    with pytest.raises(CardError, match="bin 0 expects no counts"):
        load_experiment("dune-on-axis", overrides)


def test_notices_reach_the_caller(coarse: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAYESNU_CACHE", str(tmp_path))
    notices: list[str] = []
    load_experiment("dune-on-axis", coarse, notices.append)
    assert [notice.split()[:4] for notice in notices] == [["building", "the", "detector", "response"]]
    load_experiment("dune-on-axis", coarse, notices.append)
    assert len(notices) == 1
