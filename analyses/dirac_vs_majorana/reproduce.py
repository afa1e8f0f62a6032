"""Dirac or Majorana N from the photons of ν A → N A, N → ν γ at NUCLEUS: the EPS-HEP 2021 proceedings, and how many.

Run from a checkout: ``python analyses/dirac_vs_majorana/reproduce.py``. Figures go
to figures/, tables to tables/ beside this file; README.md quotes them.
"""

from __future__ import annotations

import time
from pathlib import Path

from emissions import MODEL, load_recoils
from events_study import bayes_factors, write_assumptions, write_chirality, write_needs
from figures import (
    figure_bayes_factors,
    figure_chirality,
    figure_distributions,
    figure_double_differential,
    figure_events,
    figure_reality,
)
from reach_study import DENSE, reach, write_paths, write_reach, write_saturation
from shapes_study import histograms, write_shapes
from statements import write_statements

from bayesnu.experiment.recoil_photons import experiment_photons
from bayesnu.plotting.photons import plot_photons
from bayesnu.report.study import Figures, Tables

FOLDER = Path(__file__).parent
MASSES = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)
SHOWN = (1.0, 3.0, 5.0)
"""Masses of the figures of distributions."""


def main() -> None:
    """Run everything."""
    start = time.perf_counter()

    def step(text: str) -> None:
        print(f"{time.perf_counter() - start:6.1f} s  {text}", flush=True)

    for name in ("figures", "tables"):
        (FOLDER / name).mkdir(exist_ok=True)
    tables, save = Tables(FOLDER / "tables"), Figures(FOLDER / "figures").save
    experiment = load_recoils(MODEL)

    step("photon shapes")
    templates = {mass: experiment_photons(experiment, mass) for mass in MASSES}
    save(plot_photons([templates[mass] for mass in SHOWN]), "fig3_reconstructed")
    shapes, fixed = write_shapes(experiment, MASSES, templates, tables)
    own, one_energy = histograms(experiment)
    save(figure_distributions(own), "fig1_distributions")
    save(figure_distributions(one_energy), "fig2_fixed_energy")
    save(figure_double_differential([own[0], one_energy[0]]), "fig4_double_differential")

    step("events needed")
    needs = write_needs(templates, tables)
    save(figure_events(needs), "fig5_events_needed")
    save(figure_bayes_factors(bayes_factors(templates, SHOWN, tables)), "fig6_bayes_factors")
    step("chirality of the moment to N′")
    save(figure_chirality(write_chirality(SHOWN, tables)), "fig8_chirality")
    step("assumptions")
    write_assumptions(SHOWN, tables)

    step("moments and limits")
    dense = reach(DENSE, needs)
    write_reach(dense, MASSES, tables)
    save(figure_reality(dense), "fig7_reality")
    paths = write_paths(SHOWN, tables)
    write_saturation(templates, needs, tables)

    step("statements")
    write_statements(shapes, fixed, templates, needs, dense, paths, tables)
    step("done")


if __name__ == "__main__":
    main()
