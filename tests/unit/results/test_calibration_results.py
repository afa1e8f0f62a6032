"""A calibration as a whole: verdict, files, figure, table and command."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bayesnu.errors import RunError, UsageError
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.inference.calibration import HIGHEST_RANK
from bayesnu.plotting.calibration import plot_calibration
from bayesnu.report.calibration import calibration_table, save_calibration
from bayesnu.results.calibration import LEVEL, Calibration, calibrate, calibration_json, check_arguments
from bayesnu.results.toy_limits import ToyRunner
from bayesnu.workers import InProcess, Watched, open_workers

NUMBER = 60


@pytest.fixture(scope="module")
def lsnd() -> Experiment:
    return load_experiment("lsnd-nue")


def calibrated(experiment: Experiment, folder: Path | None = None, seed: int = 3, workers: int = 1) -> Calibration:
    with open_workers(number=workers) as team:
        return calibrate(experiment, "mu_numu", "laplace", NUMBER, seed, ToyRunner(team, folder))


@pytest.fixture(scope="module")
def result(lsnd: Experiment) -> Calibration:
    return calibrated(lsnd)


@pytest.fixture
def uneven(result: Calibration) -> Calibration:
    """Ranks of the coupling all in the middle, as of a posterior far too wide."""
    ranks = result.ranks.copy()
    ranks[:, 0] = 45 + np.arange(NUMBER) % 10
    return replace(result, ranks=ranks)


def sampled(result: Calibration) -> Calibration:
    """The same with what NUTS leaves."""
    divergences, rhat, attempts = np.zeros(NUMBER, dtype=int), np.full(NUMBER, 1.01), np.ones(NUMBER, dtype=int)
    divergences[:3], rhat[0], attempts[:6] = 2, 1.3, 2
    found = {"divergences": divergences, "rhat": rhat, "attempts": attempts, "ess": np.full(NUMBER, 300.0)}
    return replace(result, method="nuts", diagnostics=found)


def test_pulls_at_the_edge_are_said(result: Calibration) -> None:
    assert not any("edge" in remark for remark in result.remarks)
    two = replace(result, diagnostics=result.diagnostics | {"bent": np.arange(NUMBER) < 2})
    assert any(remark.startswith(f"2 of {NUMBER} simulations have a pull at the edge") for remark in two.remarks)
    assert calibration_json(two)["sampler"]["simulations_without_minimum"] == 2


def test_ranks_of_every_quantity(result: Calibration) -> None:
    assert result.quantities == ("mu_numu", "flux_norm", "log_likelihood")
    assert result.ranks.shape == (NUMBER, 3)
    assert result.ranks.min() >= 0
    assert result.ranks.max() <= HIGHEST_RANK
    assert result.p_value == pytest.approx(min(1.0, 3 * result.p_values.min()))
    assert (result.verdict == "calibrated") == (result.p_value >= LEVEL)


def test_verdict_of_uneven_ranks(uneven: Calibration) -> None:
    assert uneven.p_values[0] < 1e-3
    assert uneven.verdict == "not calibrated"


def test_seed_and_chunks(lsnd: Experiment, result: Calibration, tmp_path: Path) -> None:
    again = calibrated(lsnd, tmp_path / "chunks")
    np.testing.assert_array_equal(again.ranks, result.ranks)
    kept = calibrated(lsnd, tmp_path / "chunks")
    np.testing.assert_array_equal(kept.ranks, result.ranks)
    assert not np.array_equal(calibrated(lsnd, seed=4).ranks, result.ranks)


def test_files(result: Calibration, tmp_path: Path) -> None:
    save_calibration([result], tmp_path)
    (stored,) = json.loads((tmp_path / "calibration.json").read_text(encoding="utf-8"))
    assert stored == calibration_json(result)
    assert (stored["seed"], stored["simulations"], stored["draws_per_rank"]) == (3, NUMBER, HIGHEST_RANK)
    assert list(stored["p_values"]) == list(result.quantities)
    with np.load(tmp_path / "ranks.npz") as arrays:
        np.testing.assert_array_equal(arrays["mu_numu.ranks"], result.ranks)
        assert arrays["mu_numu.quantities"].tolist() == list(result.quantities)
        assert arrays["mu_numu.theta"].shape == (NUMBER,)
    assert {path.name for path in tmp_path.iterdir()} == {
        "calibration.json", "ranks.npz", "ecdf_mu_numu.png", "ecdf_mu_numu.pdf"
    }  # fmt: skip


def test_what_the_sampler_did_is_said(result: Calibration) -> None:
    nuts = sampled(result)
    assert nuts.remarks[1:] == (
        "5.0% of 60 simulations had divergences, 1.7% an R-hat above 1.05 (worst 1.300), "
        "10.0% were sampled again with more draws",
    )
    content = calibration_json(nuts)["sampler"]
    assert (content["simulations_with_divergences"], content["divergences"]) == (3, 6)
    assert (content["simulations_with_rhat_above_1.05"], content["largest_rhat"]) == (1, 1.3)


def test_simulations_with_too_few_effective_draws_are_counted(result: Calibration) -> None:
    nuts = sampled(result)
    assert calibration_json(nuts)["sampler"]["simulations_with_too_few_effective_draws"] == 0
    few = replace(nuts, diagnostics=nuts.diagnostics | {"ess": np.append(np.full(NUMBER - 2, 198.0), [150.0, 197.9])})
    assert calibration_json(few)["sampler"]["simulations_with_too_few_effective_draws"] == 2
    assert few.remarks[2] == (
        "2 of 60 simulations have fewer effective draws than the 198 that ranks need to be nearly independent, however "
        "often sampled again (fewest 150); their ranks count all the same"
    )


def test_what_the_weights_are_worth_is_said(result: Calibration) -> None:
    content = calibration_json(result)["sampler"]
    assert content["least_ess"] == result.diagnostics["ess"].min() > 450
    assert content["simulations_sampled_again"] == content["simulations_with_too_few_effective_draws"] == 0
    assert 2e-3 < content["largest_share_of_one_draw"] < 4e-3
    few = replace(result, diagnostics=result.diagnostics | {"ess": np.append(np.full(NUMBER - 1, 900.0), 20.0)})
    assert calibration_json(few)["sampler"]["simulations_with_too_few_effective_draws"] == 1
    assert any(remark.startswith("1 of 60 simulations have fewer effective draws") for remark in few.remarks)


def test_how_little_few_simulations_see_is_said(result: Calibration) -> None:
    """Between the band of one place, 1.96 √(1/4N), and twice that; and a distribution off by as much is in the band."""
    single = 1.96 * np.sqrt(0.25 / NUMBER)
    assert single < result.least_seen < 2 * single
    assert result.remarks[0] == (
        f"60 simulations: only gross errors would be seen, since a distribution of ranks that is off by less than "
        f"{result.least_seen:.2f} would pass"
    )
    assert calibration_json(result)["least_deviation_seen"] == result.least_seen
    many = replace(result, ranks=np.tile(result.ranks, (10, 1)))
    assert many.least_seen < result.least_seen / 2
    assert many.remarks == ()


def test_more_simulations_and_couplings_share_a_folder(lsnd: Experiment, tmp_path: Path) -> None:
    asked: list[int] = []
    runner = ToyRunner(Watched(InProcess(), lambda done, total: asked.append(total) if not done else None), tmp_path)
    calibrate(lsnd, "mu_numu", "laplace", 500, 3, runner)
    calibrate(lsnd, "mu_nue", "laplace", 250, 3, runner)
    more = calibrate(lsnd, "mu_numu", "laplace", 600, 3, runner)
    # Two chunks of 250, one of the other coupling, and the 100 that are new.
    assert asked == [2, 1, 1]
    np.testing.assert_array_equal(more.ranks, calibrate(lsnd, "mu_numu", "laplace", 600, 3).ranks)
    with pytest.raises(RunError, match=r"holds another study \(seed = 3, not 4\); .*--force"):
        calibrate(lsnd, "mu_numu", "laplace", 600, 4, runner)


def test_constrained_free_pulls_are_said(result: Calibration) -> None:
    free = replace(result, free=("steady_state[0]", "steady_state[1]"))
    assert free.remarks[1:] == (
        "2 free pulls (steady_state[0], …) have a flat prior, which cannot be drawn from: here they had the normal "
        "constraint of their unit width",
    )
    assert calibration_json(free)["free_pulls_constrained"] == ["steady_state[0]", "steady_state[1]"]


def test_figure_names_quantities_and_p_values(result: Calibration, uneven: Calibration) -> None:
    figure = plot_calibration(result)
    titles = [axis.get_title() for axis in figure.axes if axis.get_visible()]
    assert [title.split()[0] for title in titles] == list(result.quantities)
    assert titles[0].endswith(f"p = {result.p_values[0]:.2g}")
    title = figure.get_suptitle()
    assert result.verdict in title
    assert "seed 3" in title
    colours = [axis.lines[1].get_color() for axis in plot_calibration(uneven).axes if axis.get_visible()]
    assert colours[0] == "C3"


def test_table_has_a_row_for_each_quantity(result: Calibration) -> None:
    table = calibration_table([result])
    assert table.row_count == len(result.quantities) + 1
    assert list(table.columns[1].cells)[-1] == f"overall: {result.verdict}"


@pytest.mark.parametrize(
    ("coupling", "method", "simulations", "said"),
    [
        ("mu_numu", "nut", None, "unknown method 'nut': allowed are nuts, laplace; did you mean 'nuts'"),
        ("mu_num", "nuts", None, "unknown coupling 'mu_num'"),
        ("mu_numu", "laplace", 5, "simulations = 5: needs at least 20"),
        ("mu_numu", "laplace", 10**9, "simulations = 1000000000: .* at most 1000000"),
    ],
)
def test_what_cannot_be_calibrated(
    lsnd: Experiment, coupling: str, method: str, simulations: int | None, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        check_arguments(lsnd, [coupling], method, simulations)


def test_defaults(lsnd: Experiment) -> None:
    assert check_arguments(lsnd, [], "nuts", None) == (["mu_nue", "mu_numu"], 500)
    assert check_arguments(lsnd, ["mu_nue", "mu_nue"], "laplace", None) == (["mu_nue"], 10_000)


@pytest.mark.slow
def test_two_processes_give_the_same_ranks(lsnd: Experiment, result: Calibration, tmp_path: Path) -> None:
    with open_workers(number=2) as team:
        found = calibrate(lsnd, "mu_numu", "laplace", 600, 3, ToyRunner(team))
    with open_workers(number=1) as alone:
        single = calibrate(lsnd, "mu_numu", "laplace", 600, 3, ToyRunner(alone))
    np.testing.assert_array_equal(found.ranks, single.ranks)
    np.testing.assert_array_equal(found.ranks[:NUMBER], result.ranks)


@pytest.mark.slow
def test_nuts_of_a_card_with_one_pull(lsnd: Experiment) -> None:
    with open_workers(number=1) as team:
        found = calibrate(lsnd, "mu_numu", "nuts", 100, 3, ToyRunner(team))
    assert found.verdict == "calibrated"
    assert set(found.diagnostics) == {"divergences", "rhat", "ess", "attempts", "theta"}
    assert (found.diagnostics["divergences"] > 0).mean() < 0.05


def test_script_takes_several_cards() -> None:
    path = Path(__file__).parents[3] / "analyses" / "calibration" / "calibrate_all.py"
    spec = importlib.util.spec_from_file_location("calibrate_all", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    one = script.read_arguments(["--card", "lsnd-nue", "--card", "nucleus-10g", "dune-prism"])
    assert one.card == ["lsnd-nue", "nucleus-10g", "dune-prism"]
    assert script.read_arguments([]).card is None
