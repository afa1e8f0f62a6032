"""LSND's ν_e e events: limits on magnetic moments by recipe, and what decays in flight would do to them."""

from __future__ import annotations

import math

from bayesnu.experiment.setup import load_experiment
from bayesnu.report.study import Tables
from bayesnu.results.comparison import read_published
from bayesnu.results.limits import limit

MODEL = "lsnd-nue"
PUBLISHED_WEIGHT = 2.4
"""Of mu_numu² beside mu_nue² in the published bound, hep-ex/0101039; with decays in flight and the efficiency."""


def write_lsnd(tables: Tables) -> None:
    """Tabulate limits on both moments beside the published ones."""
    with_error, without = load_experiment(MODEL), load_experiment(MODEL, ["pulls.flux_norm=0"])
    published = {
        row.coupling: row.true_units[1]
        for row in read_published(with_error.files["comparison.published"])
        if row.scenario == "LSND"
    }
    rows: list[list[object]] = []
    for label, experiment, method in (
        ("Δχ² = 2.706, systematic error 10%", with_error, "chi2"),
        ("credible, flat in μ, systematic error 10%", with_error, "laplace"),
        ("Δχ² = 2.706, statistical error alone", without, "chi2"),
        ("credible, flat in μ, statistical error alone", without, "laplace"),
    ):
        e, mu = (limit(experiment, name, method=method).intervals[0][1] for name in ("mu_nue", "mu_numu"))
        weight = (e / mu) ** 2
        heavier = mu * math.sqrt(weight / PUBLISHED_WEIGHT)
        rows.append([label, f"{e:.3g}", f"{mu:.3g}", f"{weight:.3f}", f"{heavier:.3g}"])
    rows.append(
        ["published", f"{published['mu_nue']:.3g}", f"{published['mu_numu']:.3g}", f"{PUBLISHED_WEIGHT:g}", "–"]
    )
    header = ["recipe", "mu_nue [μ_B]", "mu_numu [μ_B]", "weight of mu_numu²", "mu_numu with the weight 2.4"]
    title = "LSND, 191 ± 22 events: 90% upper limits, one moment at a time"
    tables.write("lsnd", title, header, rows)
