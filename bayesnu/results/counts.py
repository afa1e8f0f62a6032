"""The expected counts of a run as JSON (counts.json): what the explorer of its page evaluates again in a browser."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bayesnu.errors import RunError
from bayesnu.experiment.base import Coordinates, Experiment
from bayesnu.experiment.expectation import CountModel
from bayesnu.inference.likelihood import make_problem

MASS_IS_FREE = "its counts are splines in m_N, no polynomials"


def counts_path(folder: Path) -> Path:
    """Return where the expected counts of a run are kept."""
    return folder / "counts.json"


def counts_json(experiment: Experiment, couplings: Sequence[str]) -> dict[str, Any]:
    """Return counts, data and statistic of some couplings (the others 0) as JSON-able values.

    λ_i = Σ_component Π_p (1 + f_p)^k Σ_monomial Π_j θ_j^n · A[component, monomial, i], as in
    `bayesnu.experiment.expectation`; blocks of A that are 0 are left out, every other number is kept as it is. Where
    m_N is free there are no such numbers, and ``left_out`` says so.
    """
    if experiment.model.masses is not None:
        return {"left_out": MASS_IS_FREE}
    problem = make_problem(experiment, couplings)
    model = experiment.model.restrict(couplings, [1.0] * len(couplings))
    return {
        "left_out": "",
        "couplings": list(couplings),
        "monomials": [[list(factor) for factor in monomial] for monomial in model.monomials],
        "components": [_powers(row) for row in model.membership.tolist()],
        "blocks": _blocks(model),
        "pulls": [
            {"name": name, "width": width, "constrained": name not in model.free}
            for name, width in zip(model.pulls, model.widths.tolist(), strict=True)
        ],
        "statistic": problem.statistic,
        "normal_variance": problem.normal_variance.tolist(),
        "relative_variance": problem.relative_variance.tolist(),
        "data": problem.data.tolist(),
        "errors": None if experiment.errors is None else experiment.errors.tolist(),
        "observed": experiment.observed,
        "axis": _axis(experiment.observation_coordinates()),
        "exposures": _exposures(experiment.observation_coordinates()),
    }


def read_counts(folder: Path, run: str) -> dict[str, Any]:
    """Return the content of counts.json.

    Raises
    ------
    RunError
        If the file is truncated or belongs to another run than that of this hash.
    """
    path = counts_path(folder)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = content["hash"]
    except FileNotFoundError:
        return {"left_out": "the run is of a version that kept no counts.json; run it again"}
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: not the counts of a run, or truncated ({error})") from error
    if found != run:
        raise RunError(f"{path}: belongs to another run ({found})")
    return dict(content)


def _powers(row: Sequence[float]) -> list[list[int]]:
    """Return (pull, power) of the pulls that scale a component."""
    return [[p, int(power)] for p, power in enumerate(row) if power]


def _blocks(model: CountModel) -> list[dict[str, Any]]:
    """Return the stretches of the arrays that are not 0."""
    blocks = []
    for c, m in np.argwhere(model.arrays.any(axis=2)).tolist():
        filled = np.flatnonzero(model.arrays[c, m])
        first, last = int(filled[0]), int(filled[-1])
        counts = model.arrays[c, m, first : last + 1].tolist()
        blocks.append({"component": c, "monomial": m, "first": first, "counts": counts})
    return blocks


def _axis(coordinates: Coordinates) -> dict[str, str]:
    """Return label and scale of the axis of the bins."""
    attributes = coordinates["bin_lo"][2]
    return {"label": attributes["long_name"], "scale": attributes.get("scale", "linear")}


def _exposures(coordinates: Coordinates) -> list[dict[str, Any]]:
    """Return name, first observation and bin edges of each exposure; of each slice where bins have two dimensions."""
    bins = list(coordinates["bin"][1])
    low, high = (list(coordinates[f"slice_{end}"][1]) if "slice_lo" in coordinates else [] for end in ("lo", "hi"))
    unit = coordinates["slice_lo"][2]["units"] if low else ""
    starts = [k for k, b in enumerate(bins) if b == 0 or (low and low[k] != low[k - 1])] + [len(bins)]
    return [
        {
            "name": str(coordinates["exposure"][1][a]) + (f", {low[a]:g} to {high[a]:g} {unit}" if low else ""),
            "first": a,
            "edges": [*map(float, coordinates["bin_lo"][1][a:b]), float(coordinates["bin_hi"][1][b - 1])],
        }
        for a, b in pairwise(starts)
    ]
