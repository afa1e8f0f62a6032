"""The limits as CSV and LaTeX."""

import re
from collections.abc import Callable

import pytest

from bayesnu.export.tables import csv_text, latex, latex_head, latex_table, latex_text
from bayesnu.report.tables import limits_rows
from bayesnu.results.runs import Run
from bayesnu.results.verdict import withhold


def test_csv_is_that_of_the_run(finished_run: Run) -> None:
    assert csv_text(finished_run) == (finished_run.folder / "limits.csv").read_text()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mu_nue & 5% #1 {x} $~^", r"mu\_nue \& 5\% \#1 \{x\} \$\textasciitilde{}\textasciicircum{}"),
        (r"a\b", r"a\textbackslash{}b"),
        ("[-1.12, 3e-5] ∪ < 2 ± 1", r"[$-$1.12, 3e-5] $\cup$ $<$ 2 $\pm$ 1"),
        ("χ² of ν-e, Δ, Λ, √α", r"$\chi$$^2$ of $\nu$-e, $\Delta$, $\Lambda$, $\surd$$\alpha$"),
        ("arXiv:2111.14884, 2022-10", "arXiv:2111.14884, 2022-10"),
        ("– é ο", "-- é ο"),
    ],
)
def test_escapes(text: str, expected: str) -> None:
    assert latex(text) == expected


def test_first_cell_is_a_symbol() -> None:
    assert latex_head("mu_nue [10^-9 mu_B]") == r"$\mu_{\nu_e}$ [$10^{-9}\,\mu_B$]"
    assert latex_head("m_N [10^0 MeV]") == r"$m_N$ [$\mathrm{MeV}$]"
    assert latex_head("other [10^0 MeV]") == r"other [10\textasciicircum{}0 MeV]"


def balanced(text: str) -> bool:
    """Whether braces, dollars and environments close, with what is escaped left out."""
    bare = re.sub(r"\\.", "", text, flags=re.DOTALL)
    depth = 0
    for letter in bare:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if depth < 0:
            return False
    begun, ended = (re.findall(rf"\\{word}\{{(\w+)\}}", text) for word in ("begin", "end"))
    return depth == 0 and bare.count("$") % 2 == 0 and sorted(begun) == sorted(ended)


def test_balance_is_seen() -> None:
    assert balanced(r"\begin{a}{$x$}\{\end{a}")
    assert not balanced(r"\begin{a}")
    assert not balanced("}{")
    assert not balanced("$")


def test_latex_is_the_limits_table(joint_run: Callable[[str], Run]) -> None:
    run = joint_run("pass")
    text = latex_text(run)
    assert balanced(text)
    # Nothing that plain LaTeX does not take; an underscore or a power stands in dollars alone.
    assert text.isascii()
    assert not re.search(r"(?<!\\)[_^#%~]", re.sub(r"\$[^$]*\$|\\label.*", "", text))
    header, rows = limits_rows(withhold(run.limits))
    for own, table in zip((rows, run.limits["joint"][0]["parameters"]), text.split(r"\end{tabular}"), strict=False):
        lines = [line for line in table.splitlines() if line.endswith(r"\\")]
        assert len(lines) == len(own) + 1
        assert len({line.count(" & ") for line in lines}) == 1
    assert text.splitlines()[4] == rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}"
    assert r"90\% credible (NUTS) & MC error & Laplace grid & 90\% C.L. $\chi$$^2$" in text
    assert r"Credible: one-sided upper limit for moments" in text
    assert r"variance N\_SM." in text
    assert rows[0][1].replace("<", "$<$") in text
    assert r"\label{tab:dune-on-axis-mu_numu+q_numu}" in text


def test_failed_fit_is_withheld_or_said_first(failing_run: Run) -> None:
    text, number = latex_text(failing_run), limits_rows(withhold(failing_run.limits, True))[1][0][1].removeprefix("< ")
    row = next(line for line in text.splitlines() if line.startswith(r"$\mu_{\nu_\mu}$"))
    assert row.split(" & ")[1] == "withheld"
    assert number not in row
    shown = latex_text(failing_run, allow_unconverged=True)
    assert shown.startswith("% NOT CONVERGED: the limit on mu_numu")
    assert r"\caption{NOT CONVERGED: the limit on mu\_numu is shown" in shown
    assert number in shown
    assert "mu_numu" not in csv_text(failing_run)
    assert csv_text(failing_run, allow_unconverged=True).startswith("# NOT CONVERGED: the limit on mu_numu")


def test_any_label_is_allowed_in_a_cell() -> None:
    assert balanced(latex_table("50% {of", "tab:a", ["a_b", "c"], [["x}", "$"]]))
