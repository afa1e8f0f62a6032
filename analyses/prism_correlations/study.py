"""What off-axis running adds to the limits, for every correlation of the flux norm between positions.

Run from a checkout: ``python analyses/prism_correlations/study.py``. Seven years on axis against the split of
dune-prism, 90% limits by χ² of (3.1) for Asimov data without the coupling; then the best
split over the three positions. The tables and figures are written again each time; README.md quotes them.
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.experiment.setup import load_electron_experiment
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.report.study import Figures, Tables, union
from bayesnu.results.limits import limit
from bayesnu.results.mc_stat import width
from bayesnu.results.optimise import optimise

FOLDER = Path(__file__).parent
NAMES = ("mu_nue", "q_nue", "r2_nue", "mu_numu", "q_numu", "r2_numu")
TITLES = {
    "mu_nue": r"$\mu_{\nu_e}$", "q_nue": r"$q_{\nu_e}$", "r2_nue": r"$\langle r^2_{\nu_e}\rangle$",
    "mu_numu": r"$\mu_{\nu_\mu}$", "q_numu": r"$q_{\nu_\mu}$", "r2_numu": r"$\langle r^2_{\nu_\mu}\rangle$",
}  # fmt: skip
COLOURS = dict(zip(NAMES, ("#0072b2", "#009e73", "#56b4e9", "#d55e00", "#e69f00", "#cc79a7"), strict=True))
CORRELATIONS = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
SPLITS = (1.0,)


def prism(correlation: float) -> ElectronExperiment:
    """Return dune-prism with a correlation of the flux norm between positions."""
    return load_electron_experiment("dune-prism", [f"pulls.flux_correlation={correlation}"])


def size(experiment: ElectronExperiment, coupling: str) -> float:
    """Return the upper limit of a moment, else the width of the interval."""
    found = limit(experiment, coupling)
    return found.intervals[-1][1] if COUPLINGS[coupling].squared_only else width(found)


def by_correlation(tables: Tables, figures: Figures) -> None:
    """Compare the card's own split with seven years on axis, for each correlation."""
    on_axis = load_electron_experiment("dune-on-axis")
    alone = {name: size(on_axis, name) for name in NAMES}
    rows: list[list[object]] = []
    ratio: dict[str, list[float]] = {name: [] for name in NAMES}
    for correlation in CORRELATIONS:
        experiment = prism(correlation)
        for name in NAMES:
            ratio[name].append(size(experiment, name) / alone[name])
    for name in NAMES:
        squared_only = COUPLINGS[name].squared_only
        shown = union(limit(on_axis, name).intervals, upper=squared_only)
        rows.append([f"{name} [{COUPLINGS[name].unit}]", shown, *ratio[name]])
    tables.write(
        "correlation",
        "90% limits by χ²: seven years on axis, and those of dune-prism (3.5 + 1.75 + 1.75 years) over them at each "
        "correlation ρ of the flux norm between positions (moments: upper limit; others: width of the interval)",
        ["coupling", "on axis", *(f"ρ = {value:g}" for value in CORRELATIONS)],
        rows,
    )
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, names in zip(axes, (NAMES[:3], NAMES[3:]), strict=True):
        for name in names:
            axis.plot(CORRELATIONS, ratio[name], "o-", color=COLOURS[name], label=TITLES[name], markersize=4)
        axis.axhline(1.0, color="0.5", linewidth=1, linestyle="--")
        axis.set_xlabel("correlation ρ of the flux norm between positions")
        axis.legend(frameon=False)
    axes[0].set_ylabel("limit of DUNE-PRISM / seven years on axis")
    axes[0].set_title(r"couplings of $\nu_e$")
    axes[1].set_title(r"couplings of $\nu_\mu$")
    figures.save(figure, "correlation")


def best_splits(tables: Tables) -> None:
    """Find the best split of seven years over three positions for each coupling."""
    rows: list[list[object]] = []
    for correlation in SPLITS:
        experiment = prism(correlation)
        for name in NAMES:
            found = optimise(experiment, name)
            years = [round(place.years_best, 2) for place in found.places]
            rows.append([f"{name} [{found.unit}]", correlation, *years, found.size_now, found.size_best, found.gain])
            print(*rows[-1], flush=True)
    tables.write(
        "splits",
        "Best split of seven years over positions, 90% limits by χ² (moments: upper limit; others: width of the "
        "interval)",
        ["coupling", "ρ", "years at 0 m", "at 18 m", "at 30 m", "dune-prism's split", "best split", "lower by"],
        rows,
    )


def main() -> None:
    """Write everything."""
    tables, figures = Tables(FOLDER / "tables"), Figures(FOLDER / "figures")
    by_correlation(tables, figures)
    best_splits(tables)


if __name__ == "__main__":
    main()
