"""What is shown of a run whose diagnostics end in "fail": no limit, unless it is asked for, and then it is said first.

limits.json keeps every number beside its verdict. All that prints limits (tables, limits.csv, report, figures) takes
its content through `withhold`, which leaves no number of a failed fit to be printed.
"""

from __future__ import annotations

import copy
from typing import Any

INTERVALS = ("credible", "laplace", "chi2", "chi2_background", "poisson")
"""The interval sets of one coupling in limits.json."""
WITHHELD = "withheld"


def failed(limits: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the fits of a run whose verdict is "fail", each with its reasons and what to do about them.

    Parameters
    ----------
    limits : dict
        The content of limits.json.
    """
    found = {}
    for entry in limits["limits"]:
        diagnostics = entry["diagnostics"]
        if diagnostics["verdict"] == "fail":
            found[entry["coupling"]] = ("; ".join(diagnostics["reasons"]), diagnostics["hint"])
    for fit in limits["joint"]:
        if fit["verdict"] == "fail":
            hints = dict.fromkeys(p["diagnostics"]["hint"] for p in fit["parameters"] if p["diagnostics"]["hint"])
            found[fit["name"]] = ("; ".join(fit["reasons"]), "; ".join(hints) or "give more --draws")
    return found


def withhold(limits: dict[str, Any], allow_unconverged: bool = False) -> dict[str, Any]:
    """Return the content of limits.json without any limit of a failed fit: its interval sets are empty.

    The limits by Δχ² and on the Laplace grid go with that of the sampler: they stand in one table, and the check of
    one by the other is what failed. `bayesnu limit` prints each by itself.
    """
    names = [] if allow_unconverged else list(failed(limits))
    shown = copy.deepcopy(limits) | {"withheld": names}
    for entry in shown["limits"]:
        if entry["coupling"] not in names:
            continue
        entry.pop("mc_stat", None)
        for interval in (entry[key] for key in INTERVALS if entry[key] is not None):
            interval["intervals"], interval["mc_error"] = [], []
        for row in entry["comparisons"]:
            row["ratio"] = []
        entry["priors"] |= {"limits": [], "modes": [], "advice": ""}
    for fit in shown["joint"]:
        if fit["name"] in names:
            for parameter in fit["parameters"]:
                parameter["credible"] |= {"intervals": [], "mc_error": []}
    return shown


def warning(limits: dict[str, Any]) -> str:
    """Return the first line of output that shows limits which did not converge; empty if all did."""
    return "; ".join(not_converged(name, reasons) for name, (reasons, _) in failed(limits).items())


def not_converged(name: str, reasons: str) -> str:
    """Return what is said of one limit that is shown although its verdict is "fail"."""
    return f"NOT CONVERGED: the limit on {name} is shown although the sampler's verdict is fail ({reasons})"


def notices(limits: dict[str, Any]) -> list[str]:
    """Return one line for each fit whose limit is withheld: why, and what to do about it."""
    return [
        f"{name}: the limit is withheld, since the sampler's verdict is fail: {reasons}; {hint}, or see it "
        "nevertheless with --allow-unconverged"
        for name, (reasons, hint) in failed(limits).items()
    ]
