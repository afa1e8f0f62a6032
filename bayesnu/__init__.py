"""Bayesian inference on the electromagnetic properties of neutrinos.

Every command is one call: ``bayesnu.limit(bayesnu.load_experiment("dune-on-axis"), "mu_numu")``. Nothing is imported
before it is asked for.
"""

import importlib

__version__ = "0.1.0"

PUBLIC = {
    "load_experiment": ("bayesnu.experiment.setup", "load_experiment"),
    "load_combination": ("bayesnu.experiment.setup", "load_combination"),
    "with_parameters": ("bayesnu.experiment.setup", "with_parameters"),
    "predict": ("bayesnu.experiment.predict", "predict"),
    "limit": ("bayesnu.results.limits", "limit"),
    "scan": ("bayesnu.results.limits", "scan"),
    "draw": ("bayesnu.results.weighted", "draw"),
    "priors": ("bayesnu.results.prior_study", "card_study"),
    "contour": ("bayesnu.results.contour", "contour"),
    "combined_limits": ("bayesnu.results.combination", "combined_limits"),
    "optimise": ("bayesnu.results.optimise", "optimise"),
    "sensitivity": ("bayesnu.results.sensitivity", "sensitivity"),
    "toys": ("bayesnu.results.toys", "make_toys"),
    "region": ("bayesnu.results.region", "region"),
    "coverage": ("bayesnu.results.coverage", "coverage"),
    "calibrate": ("bayesnu.results.calibration", "calibrate"),
    "discriminate": ("bayesnu.results.discrimination", "discriminate"),
    "run": ("bayesnu.report.analysis", "run"),
    "load_run": ("bayesnu.results.runs", "load_run"),
    "compare": ("bayesnu.results.runs", "compare"),
    "write_report": ("bayesnu.report.build", "write_report"),
    "export_run": ("bayesnu.export.run", "export_run"),
    "check": ("bayesnu.results.check", "check_card"),
    "new": ("bayesnu.experiment.own", "new_experiment"),
    "schema": ("bayesnu.experiment.load", "card_schema"),
    "describe_response": ("bayesnu.results.response", "describe_response"),
    "cite": ("bayesnu.results.cite", "cite"),
    "models": ("bayesnu.resources", "shipped_models"),
    "data": ("bayesnu.resources", "shipped_data"),
    "ToyRunner": ("bayesnu.results.toy_limits", "ToyRunner"),
    "open_workers": ("bayesnu.workers", "open_workers"),
}
"""Every public name, with the module and the name there; ``__init__.pyi`` has the same for type checkers."""
# One list of names: ruff wants them written out again.
__all__ = ("__version__", *PUBLIC)  # noqa: PLE0604


def __getattr__(name: str) -> object:
    if name not in PUBLIC:
        raise AttributeError(f"module 'bayesnu' has no attribute '{name}'")
    module, own = PUBLIC[name]
    return getattr(importlib.import_module(module), own)


def __dir__() -> list[str]:
    return sorted(__all__)
