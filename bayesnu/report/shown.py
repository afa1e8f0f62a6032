"""Every result as tables, in plain text and in HTML: what `bayesnu.shown.Shown` asks for."""

from __future__ import annotations

import io
from functools import singledispatch
from html import escape

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bayesnu.experiment.own import OwnExperiment
from bayesnu.experiment.prediction import Prediction
from bayesnu.experiment.recoil_prediction import RecoilPrediction
from bayesnu.inference.contour import Contour
from bayesnu.inference.region import ToyRegion
from bayesnu.report.calibration import calibration_table
from bayesnu.report.check import check_tables
from bayesnu.report.cite import citation_text
from bayesnu.report.contour import contour_table
from bayesnu.report.coverage import coverage_tables, region_table, sensitivity_table
from bayesnu.report.limits import combination_table, limit_tables, scan_table
from bayesnu.report.optimise import optimum_table
from bayesnu.report.priors import priors_table
from bayesnu.report.runs import run_tables
from bayesnu.report.tables import discrimination_table, prediction_tables, recoil_prediction_tables
from bayesnu.report.toys import toys_tables
from bayesnu.report.weighted import weighted_tables
from bayesnu.results.calibration import Calibration
from bayesnu.results.check import Check
from bayesnu.results.cite import Citation
from bayesnu.results.combination import Combination
from bayesnu.results.coverage import Coverage
from bayesnu.results.discrimination import Discrimination
from bayesnu.results.intervals import IntervalSet
from bayesnu.results.limits import MassScan
from bayesnu.results.optimise import Optimum
from bayesnu.results.prior_study import PriorStudy, study_json
from bayesnu.results.runs import Run, RunComparison
from bayesnu.results.sensitivity import Sensitivity
from bayesnu.results.toys import ToyStudy
from bayesnu.results.weighted import WeightedPosterior
from bayesnu.shown import Shown

WIDTH = 140
CREDIBILITY = 0.90
"""At which a coverage is shown; its method ``covered`` takes any."""


@singledispatch
def tables(result: Shown) -> list[Table]:
    """Return what the command line prints of a result; plain text is a table without columns."""
    raise TypeError(f"{type(result).__name__} has no tables")


def text_only(text: str) -> list[Table]:
    """Return text as a table that has nothing but a title."""
    return [Table(title=Text(text))]


@tables.register
def _(result: IntervalSet) -> list[Table]:
    return limit_tables("", result)


@tables.register
def _(result: MassScan) -> list[Table]:
    return [scan_table(result.model, result.points)]


@tables.register
def _(result: Combination) -> list[Table]:
    said = [table for line in result.approximations for table in text_only(line)]
    return [*said, combination_table(result.model, result.limits)]


@tables.register
def _(result: WeightedPosterior) -> list[Table]:
    return weighted_tables(result)


@tables.register
def _(result: PriorStudy) -> list[Table]:
    return [priors_table({"model": "", "coupling": result.coupling, **study_json("", result)})]


@tables.register
def _(result: Sensitivity) -> list[Table]:
    return [sensitivity_table(result)]


@tables.register
def _(result: ToyStudy) -> list[Table]:
    return toys_tables(result)


@tables.register
def _(result: Contour) -> list[Table]:
    return [contour_table("", result)]


@tables.register
def _(result: ToyRegion) -> list[Table]:
    return [region_table("", result)]


@tables.register
def _(result: Coverage) -> list[Table]:
    return coverage_tables(result, CREDIBILITY)


@tables.register
def _(result: Calibration) -> list[Table]:
    return [calibration_table([result])]


@tables.register
def _(result: Discrimination) -> list[Table]:
    return [discrimination_table(result)]


@tables.register
def _(result: Optimum) -> list[Table]:
    return [optimum_table(result)]


@tables.register
def _(result: Check) -> list[Table]:
    return check_tables(result)


@tables.register
def _(result: Prediction) -> list[Table]:
    return prediction_tables(result)


@tables.register
def _(result: RecoilPrediction) -> list[Table]:
    return recoil_prediction_tables(result)


@tables.register
def _(result: Run) -> list[Table]:
    return run_tables([result])


@tables.register
def _(result: RunComparison) -> list[Table]:
    return run_tables(result.runs)


@tables.register
def _(result: Citation) -> list[Table]:
    return text_only(citation_text(result))


@tables.register
def _(result: OwnExperiment) -> list[Table]:
    return text_only("\n".join(map(str, (result.card, *result.files))))


def as_text(result: Shown) -> str:
    """Return a result as the command line prints it."""
    stream = io.StringIO()
    console = Console(file=stream, width=WIDTH, color_system=None)
    for table in tables(result):
        console.print(table if table.columns else table.title)
    return stream.getvalue().rstrip()


def as_html(result: Shown) -> str:
    """Return a result as HTML tables, for a notebook."""
    return "\n".join(map(_html, tables(result)))


def _html(table: Table) -> str:
    if not table.columns:
        return f"<pre>{escape(str(table.title))}</pre>"
    columns = list(table.columns)
    head = "".join(f"<th>{_inside(column.header)}</th>" for column in columns)
    rows = zip(*(column.cells for column in columns), strict=True)
    body = "".join(f"<tr>{''.join(f'<td>{_inside(cell)}</td>' for cell in row)}</tr>" for row in rows)
    title = f"<caption>{_inside(table.title)}</caption>" if table.title else ""
    note = f"<p>{_inside(table.caption)}</p>" if table.caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"


def _inside(cell: object) -> str:
    return escape(cell.plain if isinstance(cell, Text) else str(cell)).replace("\n", "<br>")
