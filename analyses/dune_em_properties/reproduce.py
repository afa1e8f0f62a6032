"""Reproduce Table 1, Figs 1 to 8 and the limits of arXiv:2111.14884 (JHEP 10 (2022) 041), and what they depend on.

Run from a checkout: ``python analyses/dune_em_properties/reproduce.py``. Figures
go to figures/, tables to tables/ beside this file; README.md quotes them.
"""

from __future__ import annotations

import time
from pathlib import Path

from figures import (
    figure_2,
    figure_4,
    figure_5,
    figure_7,
    figure_all_couplings,
    figure_regions,
    figure_second_solution,
    figure_shared_pulls,
)
from joint_study import fit_all, write_joint
from limits_study import (
    MODELS,
    UNITS,
    all_limits,
    exposure_reading,
    interference,
    published_rows,
    second_solutions,
    study,
    write_limits,
)
from regions_study import PLANES, joint_result, write_regions
from statements import write_statements

from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.experiment.setup import load_electron_experiment
from bayesnu.inference.sampling import Sampler
from bayesnu.physics.couplings import CHANNELS
from bayesnu.plotting.fluxes import plot_fluxes
from bayesnu.report.study import Figures, Tables
from bayesnu.results.limits import DEFAULT_SEED

FOLDER = Path(__file__).parent


def table_1(absolute: ElectronExperiment, table: ElectronExperiment, tables: Tables) -> None:
    """Tabulate SM events per year, absolute and normalised to the paper's Table 1."""
    rows = []
    for k, exposure in enumerate(absolute.card.exposures):
        for c, channel in enumerate(CHANNELS):
            own, normalised = float(absolute.templates.per_year[k, c, 0]), float(table.templates.per_year[k, c, 0])
            where = [exposure.mode, f"{exposure.position_m:g}"]
            rows.append([*where, channel, own, normalised, f"{own / normalised:.3f}"])
        sums = [float(e.templates.per_year[k, :, 0].sum()) for e in (absolute, table)]
        rows.append([*where, "all", *sums, f"{sums[0] / sums[1]:.3f}"])
    title = "SM ν-e events per year above 30 MeV: from the flux, normalised to the paper's Table 1, and their ratio"
    tables.write("table1", title, ["mode", "position [m]", "channel", "absolute", "table", "ratio"], rows, digits=4)


def main() -> None:
    """Run everything."""
    start = time.perf_counter()

    def step(text: str) -> None:
        print(f"{time.perf_counter() - start:6.1f} s  {text}", flush=True)

    for name in ("figures", "tables"):
        (FOLDER / name).mkdir(exist_ok=True)
    tables, save = Tables(FOLDER / "tables"), Figures(FOLDER / "figures").save
    experiments = {scenario: load_electron_experiment(model) for scenario, model in MODELS.items()}
    one_year = [f"exposures.{k}.years=1" for k in range(6)]
    yearly = load_electron_experiment("dune-prism", one_year)

    step("Table 1 and the spectra")
    table_1(load_electron_experiment("dune-prism", [*one_year, "flux.normalisation=absolute"]), yearly, tables)
    flux = yearly.flux
    save(plot_fluxes([flux.labelled(mode, position) for mode, position in flux.spectra]), "fig1_fluxes")
    save(figure_2(yearly), "fig2_magnetic_moment")
    save(figure_4(), "fig4_millicharge_terms")
    save(figure_5(yearly), "fig5_millicharge")
    save(figure_7(yearly), "fig7_charge_radius")

    step("limits, one coupling at a time")
    sampler = Sampler()
    limits = all_limits(experiments, sampler)
    write_limits(limits, tables)

    step("studies")
    names = list(experiments["prism"].card.couplings)
    title = "One set of pulls per polarity, χ² (sm)"
    separate = study("separate_pulls", title, ["pulls.shared=false"], names, limits, tables)
    save(figure_shared_pulls(limits, separate), "study_shared_pulls")
    title = "No background pulls, χ² (sm)"
    study("no_background_pulls", title, ["pulls.ccqe=0", "pulls.pi0=0"], names, limits, tables)
    title = "(4.8) and (4.9) as printed, χ² (sm); in the default, millicharges are in units of +e"
    printed = study("as_printed", title, ['physics.millicharge="as-printed"'], ["q_nue", "q_numu"], limits, tables)
    curves = second_solutions(experiments, tables)
    save(figure_second_solution(curves, limits), "study_second_solution")
    longer = load_electron_experiment("dune-prism", [f"exposures.{k}.years=1.75" for k in range(2, 6)])
    longer_limits = exposure_reading(limits, tables)
    terms = interference(experiments, limits, tables)

    step("two-coupling regions")
    published = published_rows(experiments["on-axis"])
    joint = []
    for j, (family, plane) in enumerate(PLANES.items()):
        own = [joint_result(s, model, plane, sampler, DEFAULT_SEED + j) for s, model in MODELS.items()]
        joint += own
        name = {"mu": "fig3_magnetic_moments", "q": "fig6_millicharges", "r2": "fig8_charge_radii"}[family]
        save(figure_regions(own, published, DEFAULT_SEED, sm_point=family == "r2"), name)
        step(f"  {', '.join(plane.couplings)}")
    write_regions(joint, UNITS, tables)

    step("all couplings at once")
    together = [fit_all(scenario, experiment) for scenario, experiment in experiments.items()]
    write_joint(together, tables)
    save(figure_all_couplings(together), "joint_all_couplings")

    step("statements")
    write_statements(experiments, limits, terms, longer, longer_limits, printed, tables)
    step("done")


if __name__ == "__main__":
    main()
