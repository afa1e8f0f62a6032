"""Time bayesnu's commands in fresh processes, each beside a fixed reference process in the same run.

Machines are noisy, so every figure is a median with its quartiles, and beside the seconds stands the ratio to the
reference, which alternates with the command: a process that imports numpy, scipy.optimize and xarray. Run from a
checkout: ``make bench``. Writes ``benchmarks/RESULTS.md`` and ``benchmarks/results.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOYS = [sys.executable, str(HERE / "toys.py")]
"""Prints the seconds that count, without those of starting."""
BAYESNU = [sys.executable, "-m", "bayesnu.cli"]
REFERENCE = [sys.executable, "-c", "import numpy, scipy.optimize, xarray"]
PACKAGES = ("bayesnu", "numpy", "scipy", "xarray", "pymc", "nutpie", "arviz", "numba")


def tasks(folder: Path) -> dict[str, tuple[list[str], float, int]]:
    """Return task name to (command, seconds that the project aims at on two idle cores, repeats)."""
    out = str(folder / "run")
    return {
        "bayesnu --help": ([*BAYESNU, "--help"], 0.4, 5),
        "predict dune-on-axis": ([*BAYESNU, "predict", "dune-on-axis", "--format", "json"], 1.5, 5),
        "predict dune-prism": ([*BAYESNU, "predict", "dune-prism", "--format", "json"], 1.5, 5),
        "limit --method chi2": ([*BAYESNU, "limit", "dune-on-axis", "--coupling", "mu_numu"], 2.0, 5),
        "limit --method laplace": (
            [*BAYESNU, "limit", "dune-on-axis", "--coupling", "mu_numu", "--method", "laplace"], 2.0, 5,
        ),
        "limit --scan, 24 masses, nucleus-10g": (
            [
                *BAYESNU, "limit", "nucleus-10g", "--coupling", "d_nue", "--method", "poisson",
                "--scan", "m_N=0.1:7.5:24:log", "--format", "json",
            ], 3.0, 5,
        ),
        "discriminate nucleus-10g-radiative": (
            [*BAYESNU, "discriminate", "nucleus-10g-radiative", "--m-N", "1", "--events", "20"], 10.0, 3,
        ),
        "10,000 toys with two fits, dune-prism mu_numu": ([*TOYS, "batch", "dune-prism", "mu_numu"], 1.0, 5),
        "the same by iminuit, scaled from 500 toys": ([*TOYS, "iminuit", "dune-prism", "mu_numu"], 22.0, 5),
        "Feldman-Cousins to 1%, dune-on-axis mu_nue": ([*TOYS, "limit", "dune-on-axis", "mu_nue"], 10.0, 3),
        "Feldman-Cousins to 1%, dune-on-axis q_nue": ([*TOYS, "limit", "dune-on-axis", "q_nue"], 10.0, 3),
        "Feldman-Cousins to 1%, dune-prism r2_nue": ([*TOYS, "limit", "dune-prism", "r2_nue"], 10.0, 3),
        "Feldman-Cousins to 1%, coherent-csi-2017 d_nue": ([*TOYS, "limit", "coherent-csi-2017", "d_nue"], 10.0, 3),
        "region of 40 × 40 to 3%, dune-on-axis mu_nue, mu_numu": (
            [*BAYESNU, "region", "dune-on-axis", "--couplings", "mu_nue,mu_numu"], 120.0, 2,
        ),
        "calibrate, 10,000 by laplace, dune-on-axis mu_numu": (
            [*BAYESNU, "calibrate", "dune-on-axis", "--coupling", "mu_numu"], 30.0, 2,
        ),
        "calibrate, 500 by nuts, dune-on-axis mu_numu": (
            [*BAYESNU, "calibrate", "dune-on-axis", "--coupling", "mu_numu", "--method", "nuts"], 60.0, 2,
        ),
        "response at 5e6 events, empty cache": (
            [*BAYESNU, "response", "dune-on-axis", "--samples", "5000000", "--seed", "1"], 10.0, 3,
        ),
        "run dune-on-axis, warm caches": ([*BAYESNU, "run", "dune-on-axis", "--out", out, "--force"], 40.0, 2),
    }  # fmt: skip


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """Return the wall time of one fresh process, or that of its work alone where the process prints it."""
    start = time.perf_counter()
    found = subprocess.run(command, check=True, capture_output=True, env=environment, text=True)
    return float(found.stdout) if command[: len(TOYS)] == TOYS else time.perf_counter() - start


def measure(command: list[str], repeats: int, folder: Path) -> tuple[list[float], list[float]]:
    """Return the times of a command and of the reference, alternating; each with an empty response cache."""
    own, reference = [], []
    for k in range(repeats):
        environment = {**os.environ, "BAYESNU_CACHE": str(folder / f"cache-{k}-{time.time_ns()}")}
        for name in ("run.json", "limits.json"):
            (folder / "run" / name).unlink(missing_ok=True)
        for path in (folder / "run" / "posteriors").glob("*.nc"):
            path.unlink()
        reference.append(seconds(REFERENCE, environment))
        own.append(seconds(command, environment))
    return own, reference


def main() -> None:
    """Measure every task and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="measure tasks whose name contains this")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for task, (command, aim, repeats) in tasks(folder).items():
            if arguments.only and arguments.only not in task:
                continue
            seconds(command, dict(os.environ))  # warm the bytecode and compilation caches
            own, reference = measure(command, repeats, folder)
            row = {
                "task": task,
                "seconds": statistics.median(own),
                "lowest": min(own),
                "highest": max(own),
                "ratio": statistics.median(a / b for a, b in zip(own, reference, strict=True)),
                "aim": aim,
                "repeats": repeats,
            }
            rows.append(row)
            print(f"{task}: {row['seconds']:.2f} s, {row['ratio']:.1f} × the reference, aim {aim:g} s", flush=True)
    versions = {package: metadata.version(package) for package in PACKAGES}
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    content = {"machine": machine, "versions": versions, "tasks": rows}
    (HERE / "results.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    lines = [
        "# Timings",
        "",
        "Fresh processes, warm compilation caches; of toys and of Feldman-Cousins limits only the work, on all cores,",
        "without starting and loading. Seconds are the median, with the lowest and the highest. The ratio",
        "is to a process that imports numpy, scipy.optimize and xarray, measured in alternation: compare ratios, not",
        "seconds, between machines.",
        "",
        "| task | seconds | lowest to highest | ratio to the reference | aim, seconds | repeats |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['task']} | {row['seconds']:.2f} | {row['lowest']:.2f} to {row['highest']:.2f} "
            f"| {row['ratio']:.1f} | {row['aim']:g} | {row['repeats']} |"
        )
    lines += ["", f"Machine: {machine}. Versions: {', '.join(f'{p} {v}' for p, v in versions.items())}.", ""]
    (HERE / "RESULTS.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
