"""Results as rich tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from bayesnu.experiment.covariance import covariance_json
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.results.comparison import FOOTNOTE
from bayesnu.results.intervals import IntervalSet, percent
from bayesnu.results.verdict import WITHHELD

if TYPE_CHECKING:
    from bayesnu.experiment.prediction import Prediction
    from bayesnu.experiment.recoil_prediction import RecoilPrediction
    from bayesnu.resources import DataFile
    from bayesnu.results.discrimination import Discrimination

VARIANCE_LABELS = {"sm": "N_SM", "sm+background": "N_SM + B", "measured": "σ² as measured"}
"""How the variance of (3.1) is named."""
TWO_SIDED = ("hdi", "eti")
"""Kinds of interval that show both bounds even of a coupling that enters squared only."""


PUBLISHED = ("published", "published, true units", "ratio χ²/published")
"""Columns of the table of limits for the published ones, of a card that has any to compare with."""


def scaled_unit(exponent: int, unit: str) -> str:
    """Return a unit with its power of ten, as in 10^-10 mu_B; the unit alone where that is 1."""
    return f"10^{exponent} {unit}" if exponent else unit


def power_of_ten(values: Sequence[float]) -> int:
    """Return the exponent in which the largest of some values is written."""
    largest = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    return math.floor(math.log10(largest)) if largest > 0 else 0


def write_bounds(low: float | None, high: float | None, exponent: int, one_sided: bool) -> str:
    """Return bounds as "< b", "> a" or "[a, b]" in units of 10^exponent."""
    digits = 2
    a, b = _decimal(low, exponent, digits), _decimal(high, exponent, digits)
    while a is not None and a == b and low != high and digits < 12:
        digits += 1
        a, b = _decimal(low, exponent, digits), _decimal(high, exponent, digits)
    if a is None and b is None:
        return "–"
    if b is None and one_sided and low == 0:
        return "none"
    if a is None or (one_sided and not (low or 0.0) > 0):
        return f"< {b}"
    return f"> {a}" if b is None else f"[{a}, {b}]"


def _decimal(value: float | None, exponent: int, digits: int) -> str | None:
    """Return a finite bound in units of 10^exponent; with significant digits where decimals would show nearly 0."""
    if value is None or not math.isfinite(value):
        return None
    scaled = value / 10.0**exponent
    plain = scaled == 0 or abs(scaled) >= 5 * 10.0**-digits
    return f"{scaled:.{digits}f}" if plain else f"{scaled:.{digits}g}"


def write_set(intervals: Sequence[Sequence[float | None]], exponent: int, one_sided: bool) -> str:
    """Return a union of intervals in units of 10^exponent."""
    return " ∪ ".join(write_bounds(low, high, exponent, one_sided) for low, high in intervals)


def write_credible(credible: dict[str, Any], exponent: int) -> str:
    """Return a credible set of limits.json in units of 10^exponent, with its kind unless it is an upper limit."""
    if not credible["intervals"]:
        return WITHHELD
    if credible["kind"] == "upper":
        return write_set([[None, high] for _, high in credible["intervals"]], exponent, True)
    return write_set(credible["intervals"], exponent, False) + f" {credible['kind'].upper()}"


def mass_note(m_N: float | None) -> str:
    """Return ", m_N = 1 MeV", or nothing where no coupling has to do with N."""
    return "" if m_N is None else f", m_N = {m_N:g} MeV"


def flat(intervals: Sequence[Sequence[float | None]]) -> list[float]:
    """Return all finite bounds."""
    return [v for pair in intervals for v in pair if v is not None]


def limits_rows(limits: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the comparison of a run with its own published row.

    Parameters
    ----------
    limits : dict
        The content of limits.json as `bayesnu.results.verdict.withhold` leaves it; so for all tables of a run.
    """
    level = f"{percent(limits['limits'][0]['credible']['cl'])}"
    header = [
        "coupling",
        f"{level} credible (NUTS)",
        "MC error",
        "Laplace grid",
        f"{level} C.L. χ²",
        *(PUBLISHED if limits["scenario"] is not None else ()),
        "diagnostics",
    ]
    rows = []
    for entry in limits["limits"]:
        one_sided = COUPLINGS[entry["coupling"]].squared_only
        credible, chi2 = entry["credible"], entry["chi2"]
        own = next((c for c in entry["comparisons"] if c["scenario"] == limits["scenario"]), None)
        shown = flat(credible["intervals"]) + flat(chi2["intervals"])
        exponent = power_of_ten(shown or flat([own["published_true_units"]] if own else []))
        errors = [v / 10.0**exponent for v in flat(credible["mc_error"])]
        published, true, ratio = "–", "–", "–"
        if own is not None:
            published = write_set([own["published"]], exponent, one_sided)
            true = write_set([own["published_true_units"]], exponent, one_sided) + ("*" if own["converted"] else "")
            ratio = ", ".join(f"{r:.2f}" for r in own["ratio"] if r is not None) or "–"
        rows.append(
            [
                f"{entry['coupling']} [{scaled_unit(exponent, entry['unit'])}]",
                write_credible(credible, exponent),
                ", ".join(f"±{e:.2g}" for e in errors) or "–",
                write_credible(entry["laplace"], exponent).removesuffix(" HDI"),
                write_set(chi2["intervals"], exponent, one_sided) or WITHHELD,
                *((published, true, ratio) if limits["scenario"] is not None else ()),
                entry["diagnostics"]["verdict"],
            ]
        )
    return header, rows


def describe_chi2(variance: str) -> str:
    """Return what stands under χ² in a run."""
    if variance == "none":
        return "the Poisson deviance, since some bins expect nothing"
    return f"(3.1), variance {VARIANCE_LABELS[variance]}"


def describe_response_share(entry: dict[str, Any]) -> str:
    """Return how much of a coupling's intervals is the response's Monte Carlo error; empty where it is not in them."""
    if "mc_stat" not in entry:
        return ""
    found = entry["mc_stat"]["share"]
    # Adding 0 takes the sign off a share that rounds to 0.
    laplace, chi2 = ("–" if found[k] is None else f"{round(found[k], 3) + 0.0:.1%}" for k in ("laplace", "chi2"))
    return f"{laplace} of the squared width of the Laplace grid's interval, {chi2} of that of χ²"


def limits_notes(limits: dict[str, Any]) -> list[str]:
    """Return what stands below the comparison table of a run: conversions, kinds of interval, what is left out."""
    notes = [f"* {FOOTNOTE}"] if any(c["converted"] for e in limits["limits"] for c in e["comparisons"]) else []
    chi2 = describe_chi2(limits["limits"][0]["chi2"]["variance"])
    notes.append(f"Credible: one-sided upper limit for moments, highest-density set otherwise. χ²: {chi2}.")
    if limits["withheld"]:
        notes.append(f"{WITHHELD}: the sampler's verdict is fail, so that no limit is shown.")
    shares = [f"{entry['coupling']} {text}" for entry in limits["limits"] if (text := describe_response_share(entry))]
    if shares:
        notes.append(f"Monte Carlo error of the response: {'; '.join(shares)}.")
    if limits["without_limit"]:
        notes.append(f"No count depends on {', '.join(limits['without_limit'])}: no limit.")
    return notes


def limits_table(limits: dict[str, Any]) -> Table:
    """Return the comparison table of a run."""
    header, rows = limits_rows(limits)
    title = f"{limits['title']}: limits{mass_note(limits['m_N'])}"
    return text_table(title, header, rows, " ".join(limits_notes(limits)))


def joint_rows(entry: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the marginal posteriors of a joint fit; with the correlation, if it is of two."""
    pair = entry["couplings"] if len(entry["couplings"]) == 2 else ()
    first = entry["parameters"][0]["credible"]
    header = ["parameter", "prior", f"{percent(first['cl'])} credible (NUTS)", "MC error", "R-hat", "ESS bulk, tail"]
    header += ["divergences", *(f"correlation with {name}" for name in pair), "diagnostics"]
    rows = []
    for k, parameter in enumerate(entry["parameters"]):
        credible, found = parameter["credible"], parameter["diagnostics"]
        bounds = flat(credible["intervals"])
        exponent = power_of_ten(bounds)
        label = f"{parameter['coupling']} [{scaled_unit(exponent, parameter['unit'])}]"
        text = write_credible(credible, exponent)
        if COUPLINGS[parameter["coupling"]].family == "s2" and bounds:
            # Far from 0 and known to a fraction of it: the digits that matter are those of the width.
            pieces = (f"[{low:.5f}, {high:.5f}]" for low, high in credible["intervals"])
            label, exponent = parameter["coupling"], 0
            text = f"{' ∪ '.join(pieces)} {credible['kind'].upper()}"
        rows.append(
            [
                label,
                parameter["prior"],
                text,
                ", ".join(f"±{v / 10.0**exponent:.2g}" for v in flat(credible["mc_error"])) or "–",
                f"{found['rhat']:.4f}",
                f"{found['ess_bulk']:.0f}, {found['ess_tail']:.0f}",
                str(found["divergences"]),
                *(f"{value:.2f}" for value in entry["correlation"][k][: len(pair)]),
                found["verdict"],
            ]
        )
    return header, rows


def correlation_rows(entry: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the correlations of the draws of a fit of more than two couplings; none of two."""
    names = entry["couplings"]
    if len(names) == 2:
        return [], []
    rows = [[name, *(f"{value:.2f}" for value in row)] for name, row in zip(names, entry["correlation"], strict=True)]
    return ["correlation of", *names], rows


def describe_region(entry: dict[str, Any]) -> str:
    """Return how the draws of a fit of two couplings lie in the region of the grid; empty for more couplings."""
    region = entry["region"]
    if region is None:
        return ""
    return (
        f"The {percent(region['probability'])} highest-density region of the Laplace grid holds "
        f"{region['fraction']:.2%} ± {region['error']:.2%} of the draws of NUTS."
    )


def joint_tables(limits: dict[str, Any]) -> list[Table]:
    """Return a table of each joint fit of a run."""
    tables = []
    for entry in limits["joint"]:
        header, rows = joint_rows(entry)
        title = f"{limits['title']}: {' and '.join(entry['couplings'])}, free together"
        tables.append(text_table(title, header, rows, "; ".join([*entry["reasons"], describe_region(entry)])))
        header, rows = correlation_rows(entry)
        if rows:
            tables.append(text_table("Correlations of the draws", header, rows))
    return tables


def runs_table(runs: Sequence[tuple[str, dict[str, Any]]]) -> Table:
    """Return one table of several runs: a row per coupling, a column per run and method."""
    header = ["coupling"]
    header += [f"{name}{mass_note(limits['m_N'])}: {kind}" for name, limits in runs for kind in ("credible", "χ²")]
    names = list(dict.fromkeys(entry["coupling"] for _, limits in runs for entry in limits["limits"]))
    rows = []
    for name in names:
        entries = [next((e for e in limits["limits"] if e["coupling"] == name), None) for _, limits in runs]
        sets = [_without_prior(e[key]) if e else [] for e in entries for key in ("credible", "chi2")]
        one_sided = COUPLINGS[name].squared_only
        own = [power_of_ten(flat(intervals)) for intervals in sets if any(flat(intervals))]
        exponent = max(own, default=0)
        if own and exponent - min(own) > 1:
            # Runs that differ by orders of magnitude have no power of ten in common.
            label, cells = f"{name} [{COUPLINGS[name].unit}]", [_written_out(item, one_sided) for item in sets]
        else:
            label = f"{name} [{scaled_unit(exponent, COUPLINGS[name].unit)}]"
            cells = [write_set(intervals, exponent, one_sided) for intervals in sets]
        shown = [name not in limits["withheld"] for _, limits in runs for _ in ("credible", "chi2")]
        rows.append([label, *((cell or "–") if keep else WITHHELD for cell, keep in zip(cells, shown, strict=True))])
    caption = "Probability and kind of each interval: limits.json of the run."
    return text_table("Runs side by side", header, rows, caption)


def prediction_tables(prediction: Prediction) -> list[Table]:
    """Return a table of counts per bin for each exposure."""
    tables = []
    for e in prediction.exposures:
        columns = {**e.signal, **e.background, "total": e.total}
        rows = [
            [*(f"{a.low[b]:.3f}–{a.high[b]:.3f}" for a in e.axes), *(f"{c[b]:.2f}" for c in columns.values())]
            for b in range(e.total.size)
        ]
        rows.append(["sum", *[""] * (len(e.axes) - 1), *(f"{c.sum():.1f}" for c in columns.values())])
        totals = ", ".join(f"{channel} {value:.1f}" for channel, value in e.signal_total_per_year.items())
        title = f"{prediction.model}: {e.mode} mode, {e.position_m:g} m, {e.years:g} years"
        caption = f"Signal per year above threshold, before efficiency and binning: {totals}"
        names = {"e_theta2": "E_e θ² [MeV]", "energy": "E_e [GeV]", "angle": "θ [deg]"}
        tables.append(text_table(title, [*(names[a.name] for a in e.axes), *columns], rows, caption))
    if prediction.covariances:
        header, rows, caption = covariance_rows([covariance_json(modes) for modes in prediction.covariances])
        tables.append(text_table("Correlated systematics: the leading pulls", header, rows, caption))
    return tables


def covariance_rows(covariances: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]], str]:
    """Return header and rows of the leading pulls of each covariance, and how many there are of each.

    Parameters
    ----------
    covariances : sequence of dict
        `bayesnu.experiment.covariance.covariance_json` of each.
    """
    header = ["pull", "share of the variance", "shifts most", "by, at one standard deviation"]
    rows = [
        [item["pull"], f"{item['share']:.1%}", item["largest"], f"{item['shift']:+.2%}"]
        for covariance in covariances
        for item in covariance["leading"]
    ]
    caption = "; ".join(
        f"{c['name']}: {c['pulls']} pulls for {c['rows']} bins of the {c['of']}, {c['left_out']:.2%} of the variance "
        "left out"
        for c in covariances
    )
    return header, rows, f"{caption}."


def recoil_prediction_tables(prediction: RecoilPrediction) -> list[Table]:
    """Return a table of counts per bin for each compound."""
    label = {"ev": "recoil [eV]", "pe": "photoelectrons", "mev": "electron energy [MeV]"}[prediction.unit]
    tables = []
    for name, target in prediction.targets.items():
        columns = {"SM": target.sm, "couplings": target.signal, "background": target.background}
        columns["total"] = target.total
        edges = target.bin_edges
        rows = [
            [f"{edges[b]:.4g}–{edges[b + 1]:.4g}", *(f"{c[b]:.3g}" for c in columns.values())]
            for b in range(target.sm.size)
        ]
        rows.append(["sum", *(f"{c.sum():.4g}" for c in columns.values())])
        rate = target.sm_rate_per_kg_day
        caption = f"SM counts per kg and day above threshold: {rate:.4g}" if math.isfinite(rate) else None
        mass = prediction.couplings.get("m_N")
        title = f"{prediction.model}: {name}{mass_note(mass)}"
        tables.append(text_table(title, [label, *columns], rows, caption))
    return tables


def significant(interval: IntervalSet, one_sided: bool) -> str:
    """Return a union of intervals with three significant digits of every bound."""
    if interval.kind == "upper":
        return _written_out([(0.0, high) for _, high in interval.intervals], True)
    return _written_out(interval.intervals, one_sided)


def significant_set(item: dict[str, Any]) -> str:
    """Return an interval set of limits.json with three significant digits of every bound."""
    one_sided = COUPLINGS[item["coupling"]].squared_only and item["kind"] not in TWO_SIDED
    return _written_out(_without_prior(item), one_sided)


def _without_prior(item: dict[str, Any]) -> list[list[float | None]]:
    """Return the intervals of limits.json, the lower end of an upper limit, which is the prior's, as 0."""
    intervals: list[list[float | None]] = item["intervals"]
    return [[0.0, high] for _, high in intervals] if item["kind"] == "upper" else intervals


def _written_out(intervals: Sequence[Sequence[float | None]], one_sided: bool) -> str:
    """Return a union of intervals with full exponents and three significant digits of every bound."""
    parts = []
    for low, high in intervals:
        upper = math.inf if high is None else high
        if one_sided and math.isinf(upper):
            parts.append("none")
        elif one_sided and not (low or 0.0) > 0:
            parts.append(f"< {upper:.3g}")
        else:
            parts.append(f"[{-math.inf if low is None else low:.3g}, {upper:.3g}]")
    return " ∪ ".join(parts)


def models_table(models: Sequence[tuple[str, str, str]]) -> Table:
    """Return the shipped cards: name, title, paper."""
    return text_table("Models", ["name", "title", "paper"], [list(row) for row in models])


def data_table(files: Sequence[DataFile]) -> Table:
    """Return the shipped data files with their state."""
    rows = [[f.name, f"{f.size}", f.sha256[:12], "intact" if f.intact else "CHANGED"] for f in files]
    return text_table("Data", ["file", "bytes", "SHA-256", "state"], rows)


def discrimination_table(result: Discrimination) -> Table:
    """Return the Bayes factors for the true nature of N, and the events needed."""
    half, most = result.for_median_10, result.for_90_percent
    rows = [
        ["log10 B, median", f"{result.median:.2f}"],
        ["log10 B, 10% and 90% quantile", f"{result.q10:.2f}, {result.q90:.2f}"],
        ["events for B > 10 in half of the experiments", f"{half.events} ± {half.error:.1g}"],
        ["events for B > 10 in 90% of the experiments", f"{most.events} ± {most.error:.1g}"],
    ]
    other = {"majorana": "Dirac", "dirac": "Majorana"}[result.truth]
    title = f"{result.model}: {result.truth.capitalize()} over {other}, m_N = {result.m_N:g} MeV"
    number = {"fixed": "each", "poisson": "on average"}[result.counts]
    caption = (
        f"{result.experiments} simulated experiments with {result.events} photons {number}; in E_γ (10%) and cos θ_γ, "
        "m_N known, no background. ±: Monte Carlo error."
    )
    return text_table(title, ["quantity", "value"], rows, caption)


def text_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], caption: str | None = None) -> Table:
    """Return a table of plain text."""
    # Brackets are units and intervals here, never markup.
    table = Table(title=Text(title), caption=None if caption is None else Text(caption), caption_justify="left")
    for k, name in enumerate(header):
        table.add_column(Text(name), justify="left" if k == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
