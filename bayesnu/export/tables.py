"""The limits of a run as CSV and as LaTeX."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from bayesnu.physics.couplings import COUPLINGS, UNIT_SYMBOLS
from bayesnu.report.tables import describe_region, joint_rows, limits_notes, limits_rows, mass_note
from bayesnu.results.runs import Run
from bayesnu.results.summary import limits_csv
from bayesnu.results.verdict import warning, withhold

ESCAPED = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "∪": r"$\cup$", "±": r"$\pm$",
    "√": r"$\surd$", "²": "$^2$", "×": r"$\times$", "≤": r"$\leq$", "⟨": r"$\langle$", "⟩": r"$\rangle$", "–": "--",
}  # fmt: skip
CAPITALS = "GAMMA|DELTA|THETA|LAMDA|XI|PI|SIGMA|UPSILON|PHI|PSI|OMEGA"
GREEK = re.compile(rf"GREEK (SMALL LETTER (?!OMICRON)[A-Z]+|CAPITAL LETTER (?:{CAPITALS}))")
"""Letters for which LaTeX has a command."""


def csv_text(run: Run, *, allow_unconverged: bool = False) -> str:
    """Return the limits as CSV: a row for each coupling, method and piece, with kind, probability and variance.

    What is withheld has no row; shown nevertheless, the first line is a comment that says so.
    """
    return limits_csv(withhold(run.limits, allow_unconverged), warning(run.limits) if allow_unconverged else "")


def latex(text: str) -> str:
    """Return text for LaTeX: its special characters escaped, mathematical ones and negative numbers in dollars."""

    def one(letter: str) -> str:
        if letter in ESCAPED:
            return ESCAPED[letter]
        greek = GREEK.fullmatch(unicodedata.name(letter, ""))
        if greek is None:
            return letter
        case, _, name = greek[1].split()
        name = name.replace("LAMDA", "LAMBDA").lower()
        return rf"$\{name if case == 'SMALL' else name.capitalize()}$"

    # A minus sign, unlike the hyphen of a name or a range.
    parts = re.split(r"(?<![\w.])-(?=\d)", text)
    return "$-$".join("".join(map(one, part)) for part in parts)


def latex_head(label: str) -> str:
    """Return the first cell of a row, "NAME [10^K UNIT]", with the symbol of the coupling."""
    found = re.fullmatch(r"(\w+) \[10\^(-?\d+) (.+)\]", label)
    if found is None or found[1] not in COUPLINGS:
        return latex(label)
    unit = UNIT_SYMBOLS[COUPLINGS[found[1]].unit]
    power = "" if found[2] == "0" else rf"10^{{{found[2]}}}\,"
    return rf"${COUPLINGS[found[1]].symbol}$ [${power}{unit}$]"


def latex_table(caption: str, label: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table environment; the first column is that of the couplings."""
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{latex(caption)}}}", rf"\label{{{label}}}"]
    lines += [rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}", r"\hline"]
    lines += [" & ".join(map(latex, header)) + r" \\", r"\hline"]
    lines += [" & ".join([latex_head(row[0]), *map(latex, row[1:])]) + r" \\" for row in rows]
    return "\n".join([*lines, r"\hline", r"\end{tabular}", r"\end{table}"]) + "\n"


def latex_text(run: Run, *, allow_unconverged: bool = False) -> str:
    """Return the limits table of a run, and one of each joint fit, as LaTeX without any package.

    Methods and levels are in the header, kinds and variance in the caption. What is withheld is a word; shown
    nevertheless, the first line and the captions say so.
    """
    limits: dict[str, Any] = withhold(run.limits, allow_unconverged)
    unconverged = warning(run.limits) if allow_unconverged else ""
    first = f"{unconverged}. " if unconverged else ""
    title = f"{limits['title']}: limits{mass_note(limits['m_N'])}."
    label = f"tab:{limits['model']}"
    tables = [latex_table(" ".join([f"{first}{title}", *limits_notes(limits)]), label, *limits_rows(limits))]
    for entry in limits["joint"]:
        together = f"{first}{limits['title']}: {' and '.join(entry['couplings'])}, free together."
        caption = " ".join([together, *(f"{reason}." for reason in entry["reasons"]), describe_region(entry)]).strip()
        tables.append(latex_table(caption, f"{label}-{entry['name']}", *joint_rows(entry)))
    comment = f"% {unconverged}\n" if unconverged else ""
    return comment + "\n".join(tables)
