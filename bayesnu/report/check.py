"""A check of a card as tables and figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesnu.report.tables import text_table
from bayesnu.resources import models_folder
from bayesnu.results.check import Check, CheckedCoupling

if TYPE_CHECKING:
    from rich.table import Table



def check_tables(check: Check) -> list[Table]:
    """Return what the program understood of a card as tables."""
    return [
        _summary(check),
        _keys(check),
        _exposures(check),
        _fluxes(check),
        _counts(check),
        _pulls(check),
        _couplings("Couplings", check.couplings),
        *(_couplings(f"Joint fit {own.name}", own.couplings) for own in check.joint),
        _files(check),
    ]


def _summary(check: Check) -> Table:
    published = f"{check.published} rows of its own" if check.published else "none of its own"
    rows = [
        ["title", check.title],
        ["source", check.paper],
        ["scattering", check.scattering],
        ["data", check.data],
        ["data against the SM", f"-2 ln L = {check.fit.deviance:.4g} for {check.fit.degrees} d.o.f., pulls profiled"],
        ["backgrounds", check.background],
        ["response", check.response],
        ["published limits", published],
    ]
    return text_table(f"{check.model}: valid", ["", "understood as"], rows)


def _keys(check: Check) -> Table:
    rows = [[key.name, _value(key.value) + ("" if key.given else " (default)"), key.meaning] for key in check.keys]
    return text_table("Keys of the card", ["key", "value", "meaning"], rows)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list) and len(value) > 4 and not isinstance(value[0], str | list):
        return f"{len(value)} from {value[0]:g} to {value[-1]:g}"
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {_value(own)}" for name, own in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _exposures(check: Check) -> Table:
    names = list(dict.fromkeys(name for block in check.blocks for name in block.exposure))
    rows = [[block.name, *(_number(block.exposure.get(name)) for name in names)] for block in check.blocks]
    return text_table("Exposures", ["exposure", *names], rows)


def _number(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.4g}"


def _fluxes(check: Check) -> Table:
    rows = [
        [flux.where, flux.channel, _number(flux.integral), flux.unit, _number(flux.mean_energy_gev)]
        for flux in check.fluxes
    ]
    return text_table("Flux", ["exposure", "channel", "integral", "unit", "mean energy [GeV]"], rows)


def _counts(check: Check) -> Table:
    signal = list(dict.fromkeys(name for block in check.blocks for name in block.signal))
    background = list(dict.fromkeys(name for block in check.blocks for name in block.background))
    rows = []
    for block in check.blocks:
        parts = [_sum(block.signal.get(name)) for name in signal] + [
            _sum(block.background.get(name)) for name in background
        ]
        rows.append([block.name, *parts, _number(block.significance), f"{block.data.sum():.6g}"])
    header = ["exposure", *(f"SM {name}" for name in signal), *background, "S/√B", "data"]
    return text_table("Counts in all bins", header, rows)


def _sum(counts: Any) -> str:
    return "–" if counts is None else f"{float(counts.sum()):.5g}"


def _pulls(check: Check) -> Table:
    rows: list[list[str]] = []
    for pull in check.pulls:
        rows.append([pull.name, "free" if math.isnan(pull.width) else f"{pull.width:.2%}"])
    return text_table("Pulls", ["pull", "width, one sigma"], rows)


def _couplings(title: str, couplings: Sequence[CheckedCoupling]) -> Table:
    rows = [[coupling.name, coupling.unit, coupling.prior] for coupling in couplings]
    return text_table(title, ["coupling", "unit", "prior"], rows)


def _files(check: Check) -> Table:
    rows = [[file.role, str(file.path), file.sha256[:12]] for file in check.files]
    return text_table("Files", ["read for", "file", "SHA-256"], rows)


def figures_folder(model: str, card: Path) -> Path:
    """Return where the figures go by default: beside a card of one's own, into ``./check-NAME`` for a shipped one."""
    beside = card.resolve().parent
    return Path(f"check-{model}") if beside == models_folder().resolve() else card.parent / "check"
