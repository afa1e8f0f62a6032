"""One hand-written ``pm.sample`` for each coupling, a summary, and ArviZ's figures saved: FOLDER ARRAYS.npz …"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import matplotlib

from benchmarks.handwritten import Analysis, build_model


def figures(trace: Any) -> dict[str, Any]:
    """Return the figures that a run of bayesnu has of each fit."""
    import arviz as az

    return {
        "predictive": az.plot_ppc_dist(trace, num_samples=100),
        "trace": az.plot_trace_dist(trace, var_names=["theta"]),
        "ranks": az.plot_rank(trace),
        "energy": az.plot_energy(trace),
        "pairs": az.plot_pair_focus(trace, var_names=["pulls"], focus_var="theta"),
    }


def main(folder: Path, arrays: list[Path]) -> None:
    """Sample each analysis, write its draws and its summary, and draw."""
    import arviz as az
    import pymc as pm
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    for k, path in enumerate(arrays):
        analysis = Analysis.load(path)
        with build_model(analysis):
            trace = pm.sample(chains=4, random_seed=k, progressbar=False)
            pm.sample_posterior_predictive(trace, extend_inferencedata=True, random_seed=k, progressbar=False)
        trace.to_netcdf(folder / f"{analysis.coupling}.nc", engine="h5netcdf")
        az.summary(trace).to_csv(folder / f"{analysis.coupling}.csv")
        for name, figure in figures(trace).items():
            for suffix in ("png", "pdf"):
                figure.savefig(folder / f"{analysis.coupling}-{name}.{suffix}", dpi=100)
        pyplot.close("all")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    matplotlib.use("Agg")
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
