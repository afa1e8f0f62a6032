"""Simulation-based calibration of every shipped card: one coupling by NUTS, all by the Laplace grid.

Run from a checkout: ``python analyses/calibration/calibrate_all.py [--method nuts|laplace] [--card NAME ...]``.
Each calibration goes to results/METHOD/CARD (calibration.json, ranks.npz) and figures/METHOD_CARD_COUPLING; one that
is stored already is kept. The table of all that is stored is written again at the end; README.md quotes it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bayesnu.errors import ConvergenceError
from bayesnu.experiment.setup import load_experiment
from bayesnu.plotting.calibration import plot_calibration
from bayesnu.report.study import Figures, Tables
from bayesnu.resources import shipped_models
from bayesnu.results.calibration import Calibration, calibrate, write_calibration
from bayesnu.results.toy_limits import ToyRunner
from bayesnu.workers import open_workers

FOLDER = Path(__file__).parent
SEED = 20211122
BY_NUTS = {
    "coherent-csi-2017": "mu_numu",
    "dune-on-axis": "mu_numu",
    "dune-on-axis-dipole": "d_numu",
    "dune-prism": "mu_numu",
    "dune-prism-dipole": "d_numu",
    "lsnd-nue": "mu_numu",
    "nucleus-10g": "mu_nue",
    "nucleus-10g-radiative": "d_nue",
    "nucleus-1kg": "mu_nue",
    "nucleus-10kg": "mu_nue",
    "nucleus-10kg-radiative": "d_nue",
}
"""The coupling that NUTS is calibrated with, by card."""


def calibrate_card(card: str, method: str, runner: ToyRunner) -> None:
    """Calibrate a card unless its results are stored, and draw the figures; a coupling that cannot be is said."""
    folder = FOLDER / "results" / method / card
    if (folder / "calibration.json").exists():
        return
    experiment = load_experiment(card)
    names = [BY_NUTS[card]] if method == "nuts" else list(experiment.card.couplings)
    results: list[Calibration] = []
    for name in names:
        try:
            results.append(calibrate(experiment, name, method, seed=SEED, runner=runner))
        except ConvergenceError as error:
            print(f"{card}, {name} by {method}: {error}", flush=True)
            continue
        print(f"{card}, {name} by {method}: p = {results[-1].p_value:.2g}, {results[-1].seconds:.0f} s", flush=True)
        Figures(FOLDER / "figures").save(plot_calibration(results[-1]), f"{method}_{card}_{name}")
    write_calibration(results, folder)


def row(stored: dict[str, Any]) -> list[object]:
    """Return one calibration as a row of the table."""
    worst = min(stored["p_values"], key=stored["p_values"].__getitem__)
    sampler = stored["sampler"]
    troubles = ["simulations_with_divergences", "simulations_sampled_again", "least_ess", "largest_rhat"]
    return [
        stored["model"],
        stored["coupling"],
        stored["method"],
        stored["simulations"],
        stored["seed"],
        len(stored["p_values"]),
        f"{worst}: {stored['p_values'][worst]:.2g}",
        stored["p_value"],
        stored["verdict"],
        *(sampler.get(name) for name in troubles),
        stored["seconds"],
    ]


def write_table() -> None:
    """Write the table of all stored calibrations."""
    paths = sorted((FOLDER / "results").glob("*/*/calibration.json"))
    rows = [row(item) for path in paths for item in json.loads(path.read_text(encoding="utf-8"))]
    header = ["card", "coupling", "method", "simulations", "seed", "quantities", "least p-value", "overall p-value",
              "verdict", "with divergences", "sampled again", "fewest effective draws", "worst R-hat",
              "seconds"]  # fmt: skip
    Tables(FOLDER / "tables").write("calibration", "Calibration of the shipped cards", header, rows)


def read_arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line: ``method`` or None, ``card`` a list or None."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", choices=("nuts", "laplace"), help="both by default")
    cards = sorted(shipped_models())
    parser.add_argument("--card", nargs="+", action="extend", choices=cards, help="repeatable; all by default")
    return parser.parse_args(given)


def main() -> None:
    """Run what is asked for and not stored yet."""
    arguments = read_arguments()
    for name in ("figures", "tables", "results"):
        (FOLDER / name).mkdir(exist_ok=True)
    with open_workers() as workers:
        runner = ToyRunner(workers)
        for method in [arguments.method] if arguments.method else ["nuts", "laplace"]:
            for card in arguments.card or shipped_models():
                calibrate_card(card, method, runner)
    write_table()


if __name__ == "__main__":
    main()
