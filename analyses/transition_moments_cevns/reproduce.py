"""Reach of NUCLEUS and COHERENT for transition moments: Fig. 2 and the statements of the TAUP 2021 proceedings.

Run from a checkout: ``python analyses/transition_moments_cevns/reproduce.py [--quick]``. Figures go to
figures/, tables to tables/ beside this file; README.md quotes them. ``--quick`` leaves NUTS out.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import coherent_study
from joint_study import TARGET_ACCEPT, all_joint, write_joint
from lsnd_study import write_lsnd
from reach_figures import figure_joint, figure_map, figure_priors, figure_reach
from reach_study import (
    TARGETS,
    crossing,
    reach,
    write_coincidence,
    write_equal_path,
    write_priors,
    write_proportion,
    write_reach,
    write_scaling,
    write_sterile,
)
from taup_statements import Findings, write_statements

from bayesnu.inference.sampling import Sampler
from bayesnu.plotting.limits import plot_posteriors
from bayesnu.plotting.predictive import plot_predictive
from bayesnu.report.figures import predictive_panels
from bayesnu.report.study import Figures, Tables

FOLDER = Path(__file__).parent


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave NUTS out")
    quick = parser.parse_args().quick
    start = time.perf_counter()

    def step(text: str) -> None:
        print(f"{time.perf_counter() - start:6.1f} s  {text}", flush=True)

    for name in ("figures", "tables"):
        (FOLDER / name).mkdir(exist_ok=True)
    tables, save = Tables(FOLDER / "tables"), Figures(FOLDER / "figures").save

    step("COHERENT")
    coherent_study.write_standard_model(tables)
    coherent_study.write_couplings(tables)
    if not quick:
        trees = coherent_study.fits(Sampler())
        save(plot_posteriors(coherent_study.density_panels(trees, tables)), "coherent_posteriors")
        for name, tree in trees.items():
            save(plot_predictive(predictive_panels(tree), "observed counts"), f"coherent_predictive_{name}")

    write_lsnd(tables)
    step("joint posteriors of the mass and the moment")
    joints, moment = all_joint(None if quick else Sampler(TARGET_ACCEPT))
    write_joint(joints, moment, tables)
    save(figure_joint(joints, moment), "joint")

    step("limits against the mass")
    found = reach(step)
    write_reach(found, tables)
    write_equal_path(found, tables)
    save(figure_reach(found), "reach")
    save(figure_map(found), "map")
    step("priors")
    save(figure_priors(found, write_priors(tables)), "priors")

    step("statements")
    findings = Findings(
        found,
        write_scaling(tables),
        write_proportion(found, tables),
        write_sterile(found, tables),
        write_coincidence(tables),
        {target: crossing(found, target) for target in TARGETS},
        joints,
    )
    write_statements(findings, tables)
    step("done")


if __name__ == "__main__":
    main()
