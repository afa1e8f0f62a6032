"""Tables and figures of the scripts in analyses/."""

import csv
import math
from pathlib import Path

from matplotlib.figure import Figure

from bayesnu.report.study import Figures, Tables, union


def test_a_table_as_csv_and_markdown(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    tables.write("numbers", "A title", ["name", "value"], [["a", 1.23456789e-9], ["b", math.nan], ["c", 12.3456]])
    rows = list(csv.reader((tmp_path / "numbers.csv").read_text(encoding="utf-8").splitlines()))
    assert rows == [["name", "value"], ["a", "1.23457e-09"], ["b", ""], ["c", "12.3456"]]
    text = (tmp_path / "numbers.md").read_text(encoding="utf-8")
    assert text == tables.written["numbers"]
    assert text.splitlines()[0] == "**A title**"
    assert text.splitlines()[2:] == [
        "| name | value |",
        "| --- | --- |",
        "| a | 1.23e-09 |",
        "| b |  |",
        "| c | 12.3 |",
    ]


def test_the_same_figure_is_the_same_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        Figures(tmp_path).save(Figure((1, 1), layout="constrained"), name)
    for suffix in ("png", "pdf"):
        first, second = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("one", "two"))
        assert first == second


def test_unions() -> None:
    assert union([(-2e-32, 1e-32), (3e-32, 4.56e-32)], 1e-32) == "[-2, 1] ∪ [3, 4.56]"
    assert union([(0.0, 2.5e-9)], 1e-9, upper=True) == "< 2.5"
