"""A finished run in which a fit failed, and one with a joint fit."""

import copy
import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from bayesnu.results.fits import posterior_path
from bayesnu.results.posterior import FORMAT_VERSION, save_posterior
from bayesnu.results.runs import Run


@pytest.fixture
def failing_run(finished_run: Run) -> Run:
    """The fit of mu_numu failed."""
    limits = copy.deepcopy(finished_run.limits) | {"verdict": "fail"}
    limits["limits"][0]["diagnostics"] |= {"verdict": "fail", "reasons": ["ESS 12 below 400"], "hint": "give more"}
    return dataclasses.replace(finished_run, limits=limits)


@pytest.fixture
def joint_run(finished_run: Run, tmp_path: Path) -> Callable[[str], Run]:
    """With a joint fit of mu_numu and q_numu of some verdict, whose density is a disc and whose profile a cone."""

    def make(verdict: str) -> Run:
        folder = tmp_path / f"joint-{verdict}"
        shutil.copytree(finished_run.folder, folder)
        names = ("mu_numu", "q_numu")
        axes = (np.linspace(0, 4e-10, 41), np.linspace(-2e-9, 2e-9, 61))
        radius = np.hypot(axes[0][:, None] / 2e-10, axes[1][None, :] / 1e-9)
        weight = np.exp(-(radius**2))
        stored = xr.Dataset(
            {
                "density": (names, weight),
                "weight": (names, weight / weight.sum()),
                "delta_chi2": (names, 4.605170186 * radius),
                **{f"width_{name}": (name, np.gradient(axis)) for name, axis in zip(names, axes, strict=True)},
            },
            coords={name: (name, axis, {"logarithmic": 0}) for name, axis in zip(names, axes, strict=True)},
        )
        tree = xr.DataTree.from_dict({"region": stored})
        tree.attrs = {"format_version": FORMAT_VERSION}
        save_posterior(tree, posterior_path(folder, "+".join(names)))
        limits = copy.deepcopy(finished_run.limits)
        keys = ("coupling", "unit", "prior", "credible", "diagnostics")
        fit = {
            "name": "+".join(names),
            "couplings": list(names),
            "parameters": [{key: entry[key] for key in keys} for entry in limits["limits"][:2]],
            "correlation": [[1.0, 0.2], [0.2, 1.0]],
            "region": None,
            "verdict": verdict,
            "reasons": ["R-hat 1.2"] if verdict == "fail" else [],
        }
        return dataclasses.replace(finished_run, folder=folder, limits=limits | {"joint": [fit]})

    return make
