"""Sample a hand-written model with ``pm.sample``: ARRAYS.npz OUT.npz SEED [NUTS_SAMPLER]."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np

from benchmarks.handwritten import Analysis, sample


def main(arrays: str, out: str, seed: str, nuts_sampler: str = "") -> None:
    """Write draws of the coupling and of the pulls, and which trajectories diverged."""
    options = {"nuts_sampler": nuts_sampler} if nuts_sampler else {}
    trace = sample(Analysis.load(Path(arrays)), int(seed), **options)
    found = trace["posterior"]
    diverging = trace["sample_stats"]["diverging"].values
    np.savez(out, theta=found["theta"].values, pulls=found["pulls"].values, diverging=diverging)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
