"""Measure bayesnu beside its peers: ``make bench``, or from a checkout ``python -m benchmarks.run``.

Writes ``benchmarks/RESULTS.md`` and ``benchmarks/results.json``; with ``--only`` it prints the rows and writes nothing.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks import commands, likelihood, posteriors, response, scaling, tables, templates, toys
from benchmarks.measure import Row, alternate

HERE = Path(__file__).resolve().parent


def all_rows(folder: Path) -> list[Row]:
    """Return the rows in the order of the page; a folder for what they write."""
    return [
        *response.rows(),
        *templates.rows(),
        *likelihood.rows(),
        *toys.rows(),
        *posteriors.rows(folder),
        *commands.rows(folder),
    ]


def main() -> None:
    """Measure every row and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="rows whose task or peer contains this; nothing is written")
    parser.add_argument("--repeats", type=int, default=5, help="goes of each side")
    parser.add_argument("--all", action="store_true", help="as many goes of what takes longer than 10 s, too")
    arguments = parser.parse_args()
    if arguments.repeats < 1:
        parser.error(f"--repeats {arguments.repeats}: must be at least 1")
    measured = []
    with tempfile.TemporaryDirectory() as name:
        for row in all_rows(Path(name)):
            if arguments.only in row.task or arguments.only in row.peer:
                found = alternate(row, arguments.repeats, arguments.all)
                measured += found
                print(*(tables.alone_lines if row.alone else tables.row_lines)(found)[2:], sep="\n", flush=True)
                print(f"  {found[0].contest.agreement}\n  {found[0].contest.note}")
    if not measured:
        parser.error(f"--only {arguments.only}: no task and no peer contains this")
    if arguments.only:
        return
    growths = scaling.measure()
    scaling.draw(growths)
    tables.write(HERE, measured, scaling.lines(growths), [growth.content for growth in growths])


if __name__ == "__main__":
    main()
