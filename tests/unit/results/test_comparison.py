"""Published limits as printed and in true units, and ratios to them."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from bayesnu.errors import DataError
from bayesnu.physics.couplings import COUPLINGS, ELECTROMAGNETIC
from bayesnu.resources import data_folder
from bayesnu.results.comparison import (
    FOOTNOTE,
    GAUSSIAN_PAPER,
    PublishedLimit,
    compare,
    own_row,
    read_published,
)

ROOT_ALPHA = math.sqrt(1 / 137.035999)
HEADER = "scenario,coupling,unit,cl,lower,upper,equation,source\n"


@pytest.fixture(scope="module")
def published() -> list[PublishedLimit]:
    return read_published(data_folder() / "published" / "limits.csv")


@pytest.fixture
def table(tmp_path: Path) -> Callable[[str], Path]:
    def write(rows: str) -> Path:
        path = tmp_path / "limits.csv"
        path.write_text(HEADER + rows, encoding="utf-8")
        return path

    return write


def row(limits: list[PublishedLimit], scenario: str, coupling: str) -> PublishedLimit:
    (found,) = [item for item in limits if (item.scenario, item.coupling) == (scenario, coupling)]
    return found


def test_each_coupling_has_the_papers_row_of_both_scenarios(published: list[PublishedLimit]) -> None:
    for name in ELECTROMAGNETIC:
        for scenario in ("on-axis", "prism"):
            item = row(published, scenario, name)
            assert item.source == GAUSSIAN_PAPER
            assert item.cl == 0.90
            assert item.equation.startswith("(4.") or item.equation.startswith("4.")
            assert item.converted == (COUPLINGS[name].family == "q")
    assert {item.coupling for item in published} <= set(COUPLINGS)


def test_millicharge_of_the_paper_is_converted_with_its_ends_exchanged(published: list[PublishedLimit]) -> None:
    item = row(published, "on-axis", "q_numu")
    assert item.printed == pytest.approx((-9.3e-11, 9.1e-11))
    assert item.true_units == pytest.approx((-1.065e-9, 1.089e-9), rel=1e-3)
    assert item.true_units == pytest.approx((-item.printed[1] / ROOT_ALPHA, -item.printed[0] / ROOT_ALPHA), rel=1e-6)
    assert item.true_units[0] < 0 < item.true_units[1]


def test_other_couplings_and_other_papers_are_as_printed(published: list[PublishedLimit]) -> None:
    radius = row(published, "on-axis", "r2_numu")
    assert radius.true_units == radius.printed
    assert not radius.converted
    others = [i for i in published if i.coupling == "q_numu" and i.source != GAUSSIAN_PAPER and i.printed[0] < 0]
    assert all(item.true_units == item.printed for item in others)


def test_bound_on_a_magnitude_is_both_ends_of_a_signed_coupling(table: Callable[[str], Path]) -> None:
    path = table("A,q_numu,1e-8 e,0.90,,3,(1),elsewhere\nA,mu_numu,1e-10 mu_B,,,2.5,(2),elsewhere\n")
    charge, moment = read_published(path)
    assert charge.true_units == pytest.approx((-3e-8, 3e-8))
    assert math.isnan(charge.printed[0])
    assert not charge.converted
    assert moment.true_units[1] == pytest.approx(2.5e-10)
    assert math.isnan(moment.true_units[0])
    assert math.isnan(moment.cl)


def test_row_for_every_flavour_and_rows_of_other_physics(table: Callable[[str], Path]) -> None:
    path = table("A,q,1e-12 e,0.90,,4,(1),elsewhere\nA,g_ae,1e-9 mu_B,0.90,,4,(1),elsewhere\n")
    assert [item.coupling for item in read_published(path)] == ["q_nue", "q_numu"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("A,q_nue,1e-9 C,0.90,-1,1,(1),x\n", r"line 2, unit = '1e-9 C': must be a number and one of mu_B, e, cm\^2"),
        ("A,q_nue,e,0.90,-1,1,(1),x\n", "line 2, unit = 'e'"),
        ("A,q_nue,much e,0.90,-1,1,(1),x\n", "line 2, unit = 'much'"),
        ("A,q_nue,-1 e,0.90,-1,1,(1),x\n", "line 2, unit = -1"),
        ("A,q_nue,1 e,0.90,-1,one,(1),x\n", "line 2, upper = 'one'"),
        ("A,q_nue,1 e,high,-1,1,(1),x\n", "line 2, cl = 'high'"),
    ],
)
def test_damaged_row(table: Callable[[str], Path], rows: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"limits\.csv: {message}"):
        read_published(table(rows))


def test_ratio_is_ours_over_theirs_in_true_units(published: list[PublishedLimit]) -> None:
    rows = compare("q_numu", [(-1.07e-9, 1.07e-9)], published)
    own = own_row(rows, "on-axis")
    assert own is not None
    assert own.ratio == pytest.approx((1.07 / 1.065, 1.07 / 1.089), rel=1e-3)
    assert own_row(rows, "no such scenario") is None
    assert own_row(rows, None) is None
    assert {item.published.coupling for item in rows} == {"q_numu"}


def test_union_is_compared_by_its_hull(published: list[PublishedLimit]) -> None:
    own = own_row(compare("q_nue", [(-1e-8, 1e-8), (2e-8, 4e-8)], published), "on-axis")
    assert own is not None
    assert own.ours == (-1e-8, 4e-8)


def test_magnetic_moment_is_compared_by_its_upper_bound(published: list[PublishedLimit]) -> None:
    own = own_row(compare("mu_numu", [(0.0, 2.94e-10)], published), "on-axis")
    assert own is not None
    assert math.isnan(own.ours[0])
    assert math.isnan(own.ratio[0])
    assert own.ratio[1] == pytest.approx(2.94e-10 / own.published.true_units[1])


def test_missing_end_has_no_ratio() -> None:
    one_sided = PublishedLimit("A", "r2_nue", "x", "(1)", 0.9, (math.nan, 1e-32), (math.nan, 1e-32))
    (found,) = compare("r2_nue", [(-1e-32, 2e-32)], [one_sided])
    assert math.isnan(found.ratio[0])
    assert found.ratio[1] == pytest.approx(2)
    (open_end,) = compare("r2_nue", [(-1e-32, math.inf)], [one_sided])
    assert math.isnan(open_end.ratio[1])


def test_footnote_says_what_is_done() -> None:
    for word in ("2111.14884", "-√α", "exchanged"):
        assert word in FOOTNOTE
