"""Templates of a card: all couplings folded, with the response in the cache."""

from __future__ import annotations

import os
import sys
import tempfile
import time

import numpy as np

from benchmarks.agreement import require_close
from benchmarks.measure import Aim, Contest, Figures, Row, fresh

CARD = "dune-prism"


def assembled() -> tuple[float, float]:
    """Return the seconds from a card's name to the expected counts of all couplings; its modules are imported.

    At first they are folded, with the shipped response, and kept; the second time they are in the cache.
    """
    import h5py  # noqa: F401

    from bayesnu.experiment import electron  # noqa: F401
    from bayesnu.experiment.setup import load_experiment

    with tempfile.TemporaryDirectory() as cache:
        os.environ["BAYESNU_CACHE"] = cache
        start = time.perf_counter()
        load_experiment(CARD)
        folded = time.perf_counter()
        load_experiment(CARD)
        return folded - start, time.perf_counter() - folded


def contest() -> Contest:
    """Check the templates against sums over single bins of the flux, and time them in fresh processes."""
    from bayesnu.experiment.setup import load_electron_experiment
    from bayesnu.experiment.templates import shift_templates

    own = load_electron_experiment(CARD)
    spectra = [own.flux.spectrum(exposure.mode, exposure.position_m).values for exposure in own.card.exposures]
    # A shift of the flux by itself gives the templates again, folded bin by bin of the neutrino energy.
    again = shift_templates(own.templates, own.card, own.flux, [np.ones((*values.shape, 1)) for values in spectra])
    scale = np.abs(own.templates.values).max(axis=-1, keepdims=True) + 1e-300
    agreement = require_close(
        "templates and their sum over bins of the flux, as fractions of the largest bin,",
        own.templates.values / scale,
        again.values[..., 0] / scale,
        1e-10,
    )

    def go() -> Figures:
        folded, kept = map(float, fresh([sys.executable, "-m", "benchmarks.templates"]).output.split())
        return {"seconds": folded, "from_the_cache": kept}

    go()
    return Contest(go, None, agreement)


def rows() -> list[Row]:
    """Return the row."""
    reason = (
        "of 0.11 s where nothing else computes, folding takes 0.05; the card's schema, the response's file and the "
        "digest of the program take the rest, and all of it longer where others compute"
    )
    aims = (Aim(bound=0.2), Aim("from_the_cache", "s"))
    return [Row(f"templates of {CARD}, all couplings, from the card", "", contest, aims, reason)]


if __name__ == "__main__":
    print(*assembled())
