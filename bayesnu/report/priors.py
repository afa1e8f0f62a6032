"""Limits under several priors, as tables: for the terminal and for the page of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from bayesnu.report.tables import mass_note, significant_set
from bayesnu.results.intervals import percent

HEADER = ("prior", "range or width", "kind", "probability", "interval", "moved by, with the range doubled")


def prior_rows(limits: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Return one row per prior of a study in limits.json; none where they are withheld."""
    rows = []
    for item in limits:
        limit = item["limit"]
        change = item["range_doubled_change"]
        rows.append(
            [
                item["label"],
                item["prior"],
                limit["kind"],
                percent(limit["cl"]),
                significant_set(limit),
                "–" if change is None else f"{change:.1e}",
            ]
        )
    return rows


def priors_table(study: dict[str, Any]) -> Table:
    """Return the limits on one coupling under several priors, with what to quote.

    Parameters
    ----------
    study : dict
        The output of `bayesnu.results.prior_study.study_json`, with "model" and "coupling".
    """
    first = study["limits"][0]["limit"]
    whose = f"{study['model']}: " if study["model"] else ""
    title = f"{whose}{study['coupling']} [{first['unit']}] under several priors{mass_note(first.get('m_N'))}"
    left_out = [f"Left out: {reason}." for reason in study["left_out"]]
    caption = " ".join([study["advice"], *left_out, "Laplace grid: deterministic."])
    table = Table(title=Text(title), caption=Text(caption), caption_justify="left")
    for k, name in enumerate(HEADER):
        table.add_column(Text(name), justify="left" if k < 2 else "right", overflow="fold")
    for row in prior_rows(study["limits"]):
        table.add_row(*map(Text, row))
    return table


def describe_power_scaling(found: dict[str, Any]) -> str:
    """Return the power-scaling sensitivity of limits.json as one phrase."""
    if found["prior"] is None:
        return str(found["text"])
    return f"prior {found['prior']:.3f}, likelihood {found['likelihood']:.3f}: {found['text']}"


def mode_rows(diagnostics: dict[str, Any]) -> list[tuple[str, str]]:
    """Return how much of the posterior each of several modes holds, and of each chain's draws."""
    rows = []
    for k, (peak, share) in enumerate(zip(diagnostics["mode_peaks"], diagnostics["mode_shares"], strict=True)):
        chains = ", ".join(f"{visits[k]:.0%}" for visits in diagnostics["mode_visits"])
        rows.append((f"mode at {peak:.3g}: share of the Laplace grid; of each chain", f"{share:.0%}; {chains}"))
    return rows
