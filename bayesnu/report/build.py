"""Write the figures and the self-contained HTML report of a finished run."""

from __future__ import annotations

import base64
import gc
import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesnu.errors import RunError
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.report.explorer import explorer
from bayesnu.report.figures import (
    KINDS,
    figure_names,
    fit_figures,
    forest_figure,
    import_plotting,
    jobs_of,
    posterior_figure,
    remove_figure,
)
from bayesnu.report.priors import describe_power_scaling, mode_rows, prior_rows
from bayesnu.report.tables import (
    PUBLISHED,
    correlation_rows,
    covariance_rows,
    describe_chi2,
    describe_region,
    describe_response_share,
    joint_rows,
    limits_rows,
    mass_note,
)
from bayesnu.resources import write_text
from bayesnu.results.comparison import FOOTNOTE
from bayesnu.results.intervals import percent
from bayesnu.results.joint import pairs_of
from bayesnu.results.runs import Run
from bayesnu.results.verdict import WITHHELD, warning, withhold
from bayesnu.workers.processes import prepare_worker, start_method

if TYPE_CHECKING:
    import jinja2

CAPTIONS = {
    "predictive": "Data over the posterior predictive counts of each exposure",
    "trace": "Densities and traces",
    "ranks": "Rank plots: difference from uniform ranks, by chain",
    "energy": "Energy: marginal and transition, and E-BFMI by chain",
    "pairs": "The (first) coupling against what it is correlated with most",
    "region": "Highest-density region of both couplings (pulls marginalised) and profile contour",
    **{
        f"region_{family}": f"Highest-density region of {what} (other couplings and pulls marginalised) and profile "
        "contour (profiled)"
        for family, what in (
            ("mu", "the magnetic moments"),
            ("q", "the millicharges"),
            ("r2", "the charge radii"),
            ("d", "the transition moments"),
        )
    },
}


def report_page(run: Run) -> Path:
    """Return where the page of a run is."""
    return run.folder / "report.html"


class Drawing:
    """Draws the figures of fits in other processes, while the caller goes on fitting."""

    def __init__(self, pool: Executor, workers: int = 2) -> None:
        self._pool, self._workers = pool, workers
        self._prepared = False
        self._jobs: dict[tuple[Path, str, str], Future[None]] = {}

    def prepare(self) -> None:
        """Start the processes, so that they import what draws before there is something to draw."""
        if self._prepared:
            return
        self._prepared = True

        def submit() -> None:
            # The caller may have ended before, as it does on an error, and the pool with it.
            with suppress(RuntimeError):
                for _ in range(self._workers):
                    self._pool.submit(import_plotting)

        # In a thread: the first worker starts only when its server has imported, and the caller need not wait.
        threading.Thread(target=submit, daemon=True).start()

    def start(self, folder: Path, fit: str, observed: bool) -> None:
        """Start to draw the figures of one stored fit, in parts so that the last ones are shared."""
        for kinds in jobs_of(fit):
            if (folder, fit, kinds[0]) not in self._jobs:
                self._jobs[folder, fit, kinds[0]] = self._pool.submit(fit_figures, folder, fit, observed, kinds)

    def start_limits(self, folder: Path, limits: dict[str, Any]) -> None:
        """Start to draw what shows all fits of a finished run, the densities and the forest plot."""
        for name, draw in (("posteriors", posterior_figure), ("limits", forest_figure)):
            self._jobs[folder, name, ""] = self._pool.submit(draw, folder, limits)

    def finish(self) -> None:
        """Wait for all that was started; raises what went wrong."""
        for job in self._jobs.values():
            job.result()


def _prepare() -> None:
    """Prepare a process that draws; what it shares with its server stays shared if the collector leaves it alone."""
    prepare_worker()
    gc.freeze()


@contextmanager
def drawing(workers: int = 2) -> Iterator[Drawing]:
    """Draw in some processes; a script that uses this needs the usual ``if __name__ == "__main__"`` guard."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # Where there is a forkserver, it imports for all workers; xarray asks for dask's arrays where dask is installed.
    context = multiprocessing.get_context(start_method())
    context.set_forkserver_preload(["bayesnu.report.figures", "arviz", "matplotlib.pyplot", "dask.array"])
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare)
    try:
        yield Drawing(pool, workers)
    finally:
        pool.shutdown(cancel_futures=True)


def write_report(run: Run, background: Drawing | None = None, *, allow_unconverged: bool = False) -> Path:
    """Draw every figure of a finished run and write ``report.html``; returns its path.

    Parameters
    ----------
    run : Run
    background : Drawing, optional
        Draws the figures of the fits that it has not drawn yet; without it they are drawn here.
    allow_unconverged : bool
        Show limits of fits whose verdict is "fail"; the page's first line then says so.

    Raises
    ------
    RunError
        If a posterior is missing or truncated, or the folder cannot be written.
    """
    folder, observed = run.folder, bool(run.limits["observed"])
    limits = withhold(run.limits, allow_unconverged)
    fits = [*(entry["coupling"] for entry in limits["limits"]), *(entry["name"] for entry in limits["joint"])]
    if background is None:
        for fit in fits:
            fit_figures(folder, fit, observed)
        posterior_figure(folder, limits)
        forest_figure(folder, limits)
    else:
        for fit in fits:
            background.start(folder, fit, observed)
        background.start_limits(folder, limits)
        background.finish()
    for entry in limits["joint"]:
        if entry["name"] in limits["withheld"]:
            for group in pairs_of(entry["couplings"]):
                remove_figure(folder, f"{entry['name']}-{group}")
    page = report_page(run)
    shown = replace(run, limits=limits)
    write_text(page, render(shown, warning(run.limits) if allow_unconverged else ""), RunError)
    return page


def render(run: Run, unconverged: str) -> str:
    """Return the HTML of a run whose figures exist, its limits as `withhold` leaves them.

    ``unconverged`` stands first.
    """
    header, rows = limits_rows(run.limits)
    information = run.information
    entries = [entry_page(run.folder, entry, run.limits["m_N"]) for entry in run.limits["limits"]]
    joint = [joint_page(run.folder, entry) for entry in run.limits["joint"]]
    forest = image(run.folder, "limits") if any(e["credible"]["intervals"] for e in run.limits["limits"]) else ""
    page = templates().get_template("template.html")
    return page.render(
        explorer=explorer(run),
        contents=contents(bool(forest), entries, joint),
        title=run.limits["title"],
        mass=mass_note(run.limits["m_N"]),
        without_limit=run.limits["without_limit"],
        model=run.limits["model"],
        verdict=run.limits["verdict"],
        unconverged=unconverged,
        approximate=run.limits.get("approximate", ()),
        withheld=run.limits["withheld"],
        chi2=describe_chi2(run.limits["limits"][0]["chi2"]["variance"]),
        data_kind="observed counts" if run.limits["observed"] else "Asimov data (the SM expectation, not rounded)",
        header=header,
        published=PUBLISHED[0] in header,
        rows=rows,
        footnote=FOOTNOTE if any(c["converted"] for e in run.limits["limits"] for c in e["comparisons"]) else "",
        forest=forest,
        posteriors=image(run.folder, "posteriors"),
        entries=entries,
        joint=joint,
        information=information,
        systematics=covariance_rows(found) if (found := information.get("covariances")) else None,
        paper=information["card"]["source"]["paper"],
        card=json.dumps(information["card"], indent=1, ensure_ascii=False),
    )


def templates() -> jinja2.Environment:
    """Return the HTML files of this room; ``file`` puts a style sheet or a script into a page as it is."""
    import jinja2
    from markupsafe import Markup

    def read(name: str) -> str:
        return (resources.files("bayesnu.report") / name).read_text(encoding="utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(read), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.globals["file"] = lambda name: Markup(read(name))
    return environment


def contents(forest: bool, entries: Sequence[dict[str, Any]], joint: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the sections of the page, each with its figures."""

    def section(name: str, title: str, figures: Sequence[dict[str, str]] = ()) -> dict[str, Any]:
        return {"id": name, "title": title, "figures": figures}

    limits = {"id": "figure-limits", "name": "forest plot", "caption": "Intervals of all couplings"}
    posteriors = {"id": "figure-posteriors", "name": "densities", "caption": "Posterior densities over priors"}
    return [
        section("limits", "Limits", [limits] if forest else []),
        section("explore", "Explorer"),
        section("posteriors", "Posteriors", [posteriors]),
        *(section(entry["name"], entry["name"], entry["figures"]) for entry in entries),
        *(section(fit["name"], f"{fit['title']}, free together", fit["figures"]) for fit in joint),
        section("provenance", "Provenance"),
    ]


def entry_page(folder: Path, entry: dict[str, Any], m_N: float | None) -> dict[str, Any]:
    """Return what the template shows of one coupling."""
    name = entry["coupling"]
    credible, diagnostics = entry["credible"], entry["diagnostics"]

    def number(value: float | None, digits: str) -> str:
        return "–" if value is None else format(value, digits)

    intervals = [
        (
            label,
            item["kind"],
            f"{percent(item['cl'])}",
            exponential(item["intervals"]) or WITHHELD,
            exponents(item["mc_error"]),
        )
        for label, item in (
            ("NUTS", credible),
            ("Laplace grid", entry["laplace"]),
            *(
                (f"χ²: {describe_chi2(row['variance'])}", row)
                for row in (entry["chi2"], entry["chi2_background"])
                if row is not None
            ),
            *([("Poisson deviance", entry["poisson"])] if entry["poisson"] is not None else []),
            *(
                (f"{label}, response taken for exact", entry["mc_stat"]["without"][key])
                for label, key in (("Laplace grid", "laplace"), ("χ²", "chi2"))
                if "mc_stat" in entry
            ),
        )
    ]
    comparisons = [
        (
            row["scenario"],
            row["source"],
            "–" if row["cl"] is None else f"{percent(row['cl'])}",
            exponential([row["published"]]),
            exponential([row["published_true_units"]]) + (" *" if row["converted"] else ""),
            ", ".join(f"{r:.3g}" for r in row["ratio"] if r is not None) or "–",
        )
        for row in entry["comparisons"]
    ]
    return {
        "name": name,
        "mass": mass_note(m_N if COUPLINGS[name].family in ("d", "dd") else None),
        "unit": entry["unit"],
        "prior": entry["prior"],
        "quoted": f"{percent(credible['cl'])} {KINDS[credible['kind']]}",
        "verdict": diagnostics["verdict"],
        "reasons": diagnostics["reasons"],
        "intervals": intervals,
        "response_share": describe_response_share(entry),
        "response_error": entry["mc_stat"]["description"] if "mc_stat" in entry else "",
        "comparisons": comparisons,
        "priors": prior_rows(entry["priors"]["limits"]),
        "left_out": entry["priors"]["left_out"],
        "advice": entry["priors"]["advice"],
        "power_scaling": describe_power_scaling(entry["power_scaling"]),
        "diagnostics": [
            ("R-hat (coupling, worst pull)", f"{diagnostics['rhat']:.4f}, {diagnostics['pull_rhat_max']:.4f}"),
            ("bulk ESS, tail ESS", f"{diagnostics['ess_bulk']:.0f}, {diagnostics['ess_tail']:.0f}"),
            ("ESS at the quantiles that are the bounds, the least", f"{diagnostics['ess_limit']:.0f}"),
            ("least ESS of a pull", f"{diagnostics['pull_ess_min']:.0f}"),
            ("divergences", str(diagnostics["divergences"])),
            ("least E-BFMI of a chain", f"{diagnostics['ebfmi_min']:.2f}"),
            ("largest Monte Carlo error of a bound, as a fraction of it", number(diagnostics["error_relative"], ".2%")),
            ("NUTS against the Laplace grid, in Monte Carlo errors", number(diagnostics["laplace_sigma"], ".1f")),
            *mode_rows(diagnostics),
        ],
        "figures": fit_images(folder, name),
    }


def joint_page(folder: Path, entry: dict[str, Any]) -> dict[str, Any]:
    """Return what the template shows of one joint fit."""
    header, rows = joint_rows(entry)
    shown = bool(entry["parameters"][0]["credible"]["intervals"])
    return {
        "name": entry["name"],
        "title": " and ".join(entry["couplings"]),
        "verdict": entry["verdict"],
        "reasons": entry["reasons"],
        "header": header,
        "rows": rows,
        "correlations": correlation_rows(entry),
        "region": describe_region(entry),
        "figures": fit_images(folder, entry["name"], without=() if shown else tuple(pairs_of(entry["couplings"]))),
    }


def fit_images(folder: Path, fit: str, without: Sequence[str] = ()) -> list[dict[str, str]]:
    """Return id, name, caption and data URI of the figures of a fit, its region first."""
    names = sorted((kind for kind in figure_names(fit) if kind not in without), key=lambda kind: "region" not in kind)
    return [
        {
            "id": f"figure-{fit}-{kind}",
            "name": kind,
            "caption": CAPTIONS[kind],
            "source": image(folder, f"{fit}-{kind}"),
        }
        for kind in names
    ]


def exponential(intervals: list[list[float | None]]) -> str:
    """Return a union of intervals with full exponents; "< b" or "> a" with one end open, a dash with both."""
    parts = []
    for low, high in intervals:
        if low is None and high is None:
            return "–"
        bounds = f"< {high:.4g}" if low is None else f"> {low:.4g}" if high is None else f"[{low:.4g}, {high:.4g}]"
        parts.append(bounds)
    return " ∪ ".join(parts)


def exponents(errors: list[list[float | None]]) -> str:
    """Return the Monte Carlo errors of bounds with full exponents; a dash where there is none."""
    if all(error is None for pair in errors for error in pair):
        return "–"
    return "; ".join(", ".join("–" if e is None else f"±{e:.2g}" for e in pair) for pair in errors)


def image(folder: Path, name: str) -> str:
    """Return a figure of the run as a data URI.

    Raises
    ------
    RunError
        If it cannot be read.
    """
    path = folder / "figures" / f"{name}.png"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
