"""Coverage of every kind of interval, and expected limits, for dune-on-axis and nucleus-10g.

Run from a checkout: ``python analyses/coverage/study.py``. What each coupling gave is stored in results/ and drawn in
figures/; one that is stored already is kept. The tables are written again at the end; README.md quotes them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bayesnu.experiment.setup import load_experiment
from bayesnu.plotting.coverage import plot_coverage
from bayesnu.report.study import Figures, Tables
from bayesnu.resources import write_text
from bayesnu.results.coverage import coverage, coverage_json
from bayesnu.results.sensitivity import sensitivity, sensitivity_json
from bayesnu.results.toy_limits import ToyRunner
from bayesnu.workers import Workers, open_workers

FOLDER = Path(__file__).parent
CARDS = ("dune-on-axis", "nucleus-10g")
CL = 0.90
TOYS = 1000
SEED = 20211122


def study(card: str, coupling: str, workers: Workers) -> None:
    """Find coverage and expected limits of one coupling, unless they are stored."""
    path = FOLDER / "results" / f"{card}_{coupling}.json"
    if path.exists():
        return
    experiment, runner = load_experiment(card), ToyRunner(workers)
    covered = coverage(experiment, coupling, number=TOYS, seed=SEED, runner=runner)
    expected = sensitivity(experiment, coupling, CL, TOYS, SEED, runner)
    Figures(FOLDER / "figures").save(plot_coverage(covered, CL), f"{card}_{coupling}")
    content = {"coverage": coverage_json(covered, CL), "sensitivity": sensitivity_json(expected)}
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    print(f"{card}, {coupling}", flush=True)


def span(values: list[float]) -> str:
    """Return the lowest and the highest of some shares."""
    return f"{min(values):.1%} to {max(values):.1%}"


def coverage_rows(stored: dict[str, Any]) -> list[list[object]]:
    """Return one row per method: coverage at the first truth, and its range over all."""
    rows: list[list[object]] = []
    for method, found in stored["methods"].items():
        error = max(found["error"])
        first = f"{found['coverage'][0]:.1%}" if stored["truths"][0] == 0 else ""
        at = int(min(range(len(stored["truths"])), key=found["coverage"].__getitem__))
        lowest = f"{stored['truths'][at]:.2g} {stored['unit']}"
        shares = span(found["coverage"])
        rows.append([stored["model"], stored["coupling"], method, first, shares, lowest, f"{error:.1%}"])
    return rows


def band_rows(stored: dict[str, Any]) -> list[list[object]]:
    """Return one row per method: the upper bound for Asimov data and over experiments."""
    return [
        [stored["model"], f"{stored['coupling']} [{stored['unit']}]", item["method"], item["asimov"][1], *item["upper"]]
        for item in stored["limits"]
    ]


def write_tables() -> None:
    """Write the tables of all that is stored."""
    paths = sorted((FOLDER / "results").glob("*.json"))
    stored = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    tables = Tables(FOLDER / "tables")
    tables.write(
        "coverage",
        f"Coverage of {CL:.0%} intervals, {TOYS} pseudo-experiments at each of nine true values, seed {SEED}",
        ["card", "coupling", "method", "at 0", "over all true values", "lowest at", "largest error"],
        [row for item in stored for row in coverage_rows(item["coverage"])],
    )
    tables.write(
        "expected",
        f"Upper {CL:.0%} bounds without the coupling: Asimov data, and -2, -1, 0, +1, +2 standard deviations over "
        f"{TOYS} pseudo-experiments",
        ["card", "coupling", "method", "Asimov", "-2", "-1", "median", "+1", "+2"],
        [row for item in stored for row in band_rows(item["sensitivity"])],
    )


def main() -> None:
    """Run what is not stored."""
    with open_workers() as workers:
        for card in CARDS:
            for coupling in load_experiment(card).card.couplings:
                study(card, coupling, workers)
    write_tables()


if __name__ == "__main__":
    main()
