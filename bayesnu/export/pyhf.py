"""A pyhf workspace (HistFactory JSON 1.0.0) of a magnetic moment, in its square.

Counts of ν-e scattering are Σ_component (1 + f_flux) Π_p (1 + f_p) (A_SM + μ² A_μ). In a workspace they are

    lumi · Σ_sample [A + Σ_p α_p σ_p A] · (mu2 for a sample of the moment)

with lumi = 1 + f_flux, α_p = f_p/σ_p and mu2 = (μ/scale)²: a `histosys` modifier with A (1 ± σ_p) is linear in α_p
(a `normsys` is not), and pyhf adds before it multiplies. -2 ln L then differs from that of
`bayesnu.inference.likelihood` by a constant wherever f_wrong · f_electron = 0: a sample under both pulls has no
counterpart of its product term f_wrong f_electron A, whose size is kept beside the workspace.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import UsageError, unknown_name
from bayesnu.experiment.base import Experiment
from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.export.source import write_folder
from bayesnu.inference.likelihood import coupling_scale
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.results.runs import Run

Array = NDArray[np.float64]
VERSION = "1.0.0"
"""Of the format of workspaces."""
EXPORTABLE = "exportable are mu_nue and mu_numu of a card of ν-e scattering with Poisson counts and shared pulls"
FILES = ("workspace.json", "about.json")
HIGHEST = 100.0
"""Upper bound of mu2; Δχ² is about 1 at mu2 = 1 with pulls fixed."""


@dataclass(frozen=True)
class ProductTerm:
    """What a workspace leaves out: f_wrong f_electron A of the samples under both pulls, at one sigma of both.

    Attributes
    ----------
    pulls : (str, str)
    widths : (float, float)
        One sigma of each, as fractions.
    counts_standard_model : float
        Σ σ_wrong σ_electron A_SM over all bins.
    counts_per_mu2 : float
        The same of the moment's counts, per unit of mu2.
    largest_share : float
        The largest of a bin's expected SM counts, backgrounds included, that its own is.
    """

    pulls: tuple[str, str]
    widths: tuple[float, float]
    counts_standard_model: float
    counts_per_mu2: float
    largest_share: float

    def describe(self) -> str:
        """Return one line."""
        first, second = self.pulls
        return (
            f"{first} × {second} has no counterpart in a workspace: at one sigma of both it is "
            f"{self.counts_standard_model:.3g} SM counts, at most {self.largest_share:.2g} of a bin, and "
            f"{self.counts_per_mu2:.3g} counts per unit of mu2"
        )


@dataclass(frozen=True)
class Workspace:
    """A workspace and what it takes to read it.

    Attributes
    ----------
    coupling, unit : str
    scale : float
        mu2 = (coupling/scale)², in ``unit``.
    specification : dict
        What pyhf reads.
    product : ProductTerm or None
        None where no sample is under both pulls.
    """

    coupling: str
    unit: str
    scale: float
    specification: dict[str, Any]
    product: ProductTerm | None


def check_exportable(experiment: Experiment, coupling: str) -> ElectronExperiment:
    """Return the experiment if a workspace can hold its likelihood of a coupling.

    Raises
    ------
    UsageError
        Otherwise, with the reason.
    """

    def refusal(reason: str) -> UsageError:
        return UsageError(f"{experiment.card.name}: {coupling} cannot be written for pyhf: {reason}; {EXPORTABLE}")

    experiment.fitted(coupling)
    if not isinstance(experiment, ElectronExperiment):
        measured = experiment.errors is not None
        raise refusal("the card's data have measured errors" if measured else "the card is one of nuclear recoils")
    if COUPLINGS[coupling].family != "mu":
        raise refusal("only a magnetic moment scales a sample of its own by μ² and does nothing else")
    if experiment.card.response.mc_stat != "none":
        raise refusal(
            f"response.mc_stat = {experiment.card.response.mc_stat}: the response's Monte Carlo error has no modifier"
        )
    if not experiment.card.pulls.shared:
        raise refusal("pulls.shared = false: each horn polarity has its flux_norm, and a workspace has one lumi")
    if experiment.card.pulls.flux_correlation < 1:
        raise refusal("pulls.flux_correlation < 1: each position has its flux_norm, and a workspace has one lumi")
    if experiment.card.covariances:
        raise refusal("covariances: their pulls multiply wrong_sign and electron_flavour, which histosys cannot")
    if not experiment.responds(coupling):
        raise refusal("no count depends on it")
    return experiment


def exportable(run: Run) -> list[str]:
    """Return the couplings of a run that a workspace may hold."""
    return [entry["coupling"] for entry in run.limits["limits"] if COUPLINGS[entry["coupling"]].family == "mu"]


def choose_coupling(run: Run, coupling: str | None) -> str:
    """Return the coupling to write: the one that is given, or the only magnetic moment of the run.

    Raises
    ------
    UsageError
        If the run has no such coupling, or it is not clear which.
    """
    names = [entry["coupling"] for entry in run.limits["limits"]]
    if coupling is not None:
        if coupling not in names:
            raise unknown_name(f"coupling of {run.folder}", coupling, names)
        return coupling
    moments = exportable(run)
    if not moments:
        raise UsageError(f"{run.folder}: has {', '.join(names)}, none of which can be written for pyhf; {EXPORTABLE}")
    if len(moments) > 1:
        raise UsageError(f"{run.folder}: has {' and '.join(moments)}; choose one with --coupling")
    return moments[0]


def make_workspace(experiment: Experiment, coupling: str) -> Workspace:
    """Return the workspace of one magnetic moment, the other couplings 0.

    A channel for each exposure; a sample for each component (channels and backgrounds under the same pulls), and one
    more for what the moment adds to it.

    Parameters
    ----------
    experiment : Experiment
        Of ν-e scattering, with Poisson counts and shared pulls.
    coupling : {"mu_nue", "mu_numu"}

    Raises
    ------
    UsageError
        If the coupling or the card is not exportable; the message says why.
    """
    checked = check_exportable(experiment, coupling)
    scale = coupling_scale(checked.model, coupling)
    model = checked.model.restrict([coupling], [scale])
    standard, moment = (model.arrays[:, model.monomials.index(monomial)] for monomial in ((), ((0, 2),)))
    widths = dict(zip(model.pulls, model.widths.tolist(), strict=True))
    # A pull of width 0 does not move, and needs no modifier.
    pulls = [[model.pulls[p] for p in members if model.widths[p] > 0] for members in model.components]
    exposures = np.asarray(checked.observation_coordinates()["exposure"][1])

    def samples(inside: NDArray[np.bool_]) -> list[dict[str, Any]]:
        found = []
        for name, own, counts, signal in zip(model.component_names, pulls, standard, moment, strict=True):
            found.append(_sample(name, counts[inside], own, widths))
            found.append(_sample(f"{name}, {coupling}", signal[inside], own, widths, "mu2"))
        return [sample for sample in found if any(sample["data"])]

    channels = {name: exposures == name for name in dict.fromkeys(exposures.tolist())}
    parameters: list[dict[str, Any]] = [{"name": "mu2", "inits": [0.0], "bounds": [[0.0, HIGHEST]]}]
    if widths["flux_norm"] > 0:
        parameters.append(
            {"name": "lumi", "auxdata": [1.0], "sigmas": [widths["flux_norm"]], "inits": [1.0], "bounds": [[0.0, 10.0]]}
        )
    specification = {
        "channels": [{"name": name, "samples": samples(inside)} for name, inside in channels.items()],
        "observations": [{"name": name, "data": checked.data[inside].tolist()} for name, inside in channels.items()],
        "measurements": [{"name": coupling, "config": {"poi": "mu2", "parameters": parameters}}],
        "version": VERSION,
    }
    both = [c for c, own in enumerate(pulls) if {"wrong_sign", "electron_flavour"} <= set(own)]
    product = None
    if both:
        pair = (widths["wrong_sign"], widths["electron_flavour"])
        left, more = (pair[0] * pair[1] * array[both].sum(axis=0) for array in (standard, moment))
        product = ProductTerm(
            ("wrong_sign", "electron_flavour"),
            pair,
            float(left.sum()),
            float(more.sum()),
            float((left / standard.sum(axis=0)).max()),
        )
    return Workspace(coupling, COUPLINGS[coupling].unit, scale, specification, product)


def _sample(
    name: str, counts: Array, pulls: list[str], widths: dict[str, float], strength: str | None = None
) -> dict[str, Any]:
    """Return one sample: ``flux_norm`` as lumi, other pulls as symmetric histosys, its strength as normfactor."""
    modifiers: list[dict[str, Any]] = [{"name": strength, "type": "normfactor", "data": None}] if strength else []
    for pull in pulls:
        if pull == "flux_norm":
            modifiers.append({"name": "lumi", "type": "lumi", "data": None})
            continue
        high, low = (((1 + sign * widths[pull]) * counts).tolist() for sign in (1, -1))
        modifiers.append({"name": pull, "type": "histosys", "data": {"hi_data": high, "lo_data": low}})
    return {"name": name, "data": counts.tolist(), "modifiers": modifiers}


def about(run: Run, workspace: Workspace, widths: dict[str, float]) -> dict[str, Any]:
    """Return what a reader of a workspace has to know: units, parameters, and what is left out."""
    return {
        "run": run.limits["hash"],
        "model": run.limits["model"],
        "title": run.limits["title"],
        "data": "observed counts" if run.limits["observed"] else "Asimov data: the SM expectation, not rounded",
        "coupling": workspace.coupling,
        "unit": workspace.unit,
        "mu2": {"meaning": f"({workspace.coupling}/scale)²", "scale": workspace.scale},
        "pulls": {
            pull: {
                "one_sigma": width,
                "parameter": "lumi" if pull == "flux_norm" else pull,
                "meaning": "lumi = 1 + pull" if pull == "flux_norm" else "parameter = pull/one_sigma",
            }
            for pull, width in widths.items()
            if width > 0
        },
        "left_out": None if workspace.product is None else asdict(workspace.product),
        "versions": run.information["versions"],
    }


def write_workspace(run: Run, experiment: Experiment, coupling: str, folder: Path, force: bool = False) -> Workspace:
    """Write ``workspace.json`` and ``about.json`` into a folder; return the workspace.

    Raises
    ------
    UsageError
        If the coupling or the card is not exportable.
    RunError
        If the folder holds something else, or cannot be written.
    """
    workspace = make_workspace(experiment, coupling)
    widths = dict(zip(experiment.model.pulls, experiment.model.widths.tolist(), strict=True))
    contents = (workspace.specification, about(run, workspace, widths))
    texts = {
        name: json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        for name, content in zip(FILES, contents, strict=True)
    }
    write_folder(folder, texts, force, lambda name: name in FILES)
    return workspace
