"""The paper's statements, one by one, with the numbers that this code finds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from limits_study import Limits, delta_chi2_at, events

from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.physics.constants import GAUSSIAN_CHARGE
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.physics.electron import standard_model_charge_radius
from bayesnu.report.study import Tables
from bayesnu.results.comparison import PublishedLimit, read_published
from bayesnu.results.intervals import IntervalSet

Sets = dict[tuple[str, str], IntervalSet]


def write_statements(
    experiments: dict[str, ElectronExperiment],
    limits: Sequence[Limits],
    terms: Sequence[Sequence[object]],
    longer: ElectronExperiment,
    longer_limits: Sets,
    printed: Sets,
    tables: Tables,
) -> None:
    """Tabulate every quantitative statement of the paper beside what is found here."""
    found = {(row.scenario, row.coupling): row for row in limits}
    published = read_published(experiments["prism"].files["comparison.published"])
    other = {(row.scenario, row.coupling): row for row in published}

    def reach(scenario: str, coupling: str) -> tuple[float, float]:
        intervals = found[scenario, coupling].chi2.intervals
        return intervals[0][0], intervals[-1][1]

    rows: list[list[str]] = []
    rows += event_rows(experiments, longer)
    rows += moment_rows(found, other)
    on, prism = reach("on-axis", "q_numu"), reach("prism", "q_numu")
    coherent = other["COHERENT", "q_numu"].printed[1]
    rows.append(
        [
            "q_numu almost two orders beyond COHERENT (1e-8 e)",
            "10⁻⁸/9.3×10⁻¹¹ = 108",
            f"factor {coherent / on[1]:.1f} on axis, {coherent / prism[1]:.1f} PRISM in units of e: one order; "
            f"{coherent / (on[1] * GAUSSIAN_CHARGE):.0f} only if the Gaussian number is read as a fraction of e; "
            f"{coherent / max(map(abs, printed['on-axis', 'q_numu'].intervals[0])):.0f} with (4.8), (4.9) as printed",
        ]
    )
    rows.append(["the interference dominates the millicharge", "no number", interference_text(terms)])
    rows += radius_rows(experiments, found, other)
    rows.append(["PRISM better for ν_e, worse for ν_μ: PRISM / on-axis widths", *prism_text(found)])
    reading = reading_text(longer_limits, found)
    rows.append(["PRISM's exposure (2.6×10⁴ events)", "1.75 or 0.875 years per polarity and position?", reading])
    tables.write("statements", "The paper's statements", ["statement", "paper", "this code (χ², sm, 90%)"], rows)


def event_rows(experiments: dict[str, ElectronExperiment], longer: ElectronExperiment) -> list[list[str]]:
    """Return the rows on numbers of events."""
    on, prism, more = (events(e) for e in (experiments["on-axis"], experiments["prism"], longer))
    per_year = experiments["prism"].templates.per_year[:, :, 0]
    share = [
        f"{e.position_m:g} m {row[2:].sum() / row[:2].sum():.3f}"
        for e, row in zip(experiments["prism"].card.exposures, per_year, strict=True)
        if e.mode == "neutrino"
    ]
    found = f"{prism:,.0f} with 0.875 years per polarity at each of 18 and 30 m; {more:,.0f} with 1.75"
    return [
        ["events on axis, 7 years", "4.5×10⁴", f"{on:,.0f}"],
        ["events with PRISM", "2.6×10⁴", found],
        ["ν_e share grows off axis", "no number", "(ν_e+ν̄_e)/(ν_μ+ν̄_μ) events in ν mode: " + ", ".join(share)],
    ]


def moment_rows(found: dict[tuple[str, str], Limits], other: dict[tuple[str, str], PublishedLimit]) -> list[list[str]]:
    """Return the rows on magnetic moments."""

    def ratio(experiment: str, coupling: str) -> str:
        bound = other[experiment, coupling].printed[1]
        parts = []
        for scenario, label in (("on-axis", "on axis"), ("prism", "PRISM")):
            row = found[scenario, coupling]
            ratios = [bound / interval.intervals[0][1] for interval in (row.chi2, row.nuts)]
            parts.append(f"{ratios[0]:.3g} {label} (NUTS {ratios[1]:.3g})")
        return ", ".join(parts)

    return [
        ["mu_numu a factor two beyond LSND (6.8e-10)", "6.8/3.2 = 2.1, 6.8/3.4 = 2.0", ratio("LSND", "mu_numu")],
        ["mu_numu an order weaker than Borexino (5.8e-11)", "0.58/3.2 = 0.18", ratio("Borexino", "mu_numu")],
        ["mu_nue at least two orders weaker than GEMMA (3.2e-11)", "0.032/3.3 = 0.0097", ratio("GEMMA", "mu_nue")],
    ]


def interference_text(terms: Sequence[Sequence[object]]) -> str:
    """Return the ratio of interference to quadratic counts at the bounds, per coupling and bound."""
    parts = []
    for coupling in ("q_numu", "q_nue"):
        for side in ("lower", "upper"):
            values = [float(str(t[7])) for t in terms if t[1] == coupling and t[2] == side]
            parts.append(f"{coupling} at its {side} bound: {min(values):.2f} to {max(values):.2f}")
    return "size of interference / quadratic counts over modes and scenarios, " + "; ".join(parts)


def radius_rows(
    experiments: dict[str, ElectronExperiment],
    found: dict[tuple[str, str], Limits],
    other: dict[tuple[str, str], PublishedLimit],
) -> list[list[str]]:
    """Return the rows on charge radii."""
    low, high = other["CCFR + CHARM-II", "r2_numu"].printed
    widths = []
    for scenario, label in (("on-axis", "on axis"), ("prism", "PRISM")):
        ours = found[scenario, "r2_numu"].chi2.intervals[0]
        ratio = (high - low) / (ours[1] - ours[0])
        widths.append(f"{ratio:.2f} in width {label} (ends {low / ours[0]:.2f}, {high / ours[1]:.2f})")
    sm = standard_model_charge_radius("mu")
    reach = []
    for scenario, label in (("on-axis", "on axis"), ("prism", "PRISM")):
        e = experiments[scenario]
        values = [
            delta_chi2_at(e, "r2_numu", sm),
            delta_chi2_at(e, "r2_numu", sm, variance="sm+background"),
            delta_chi2_at(e, "r2_numu", sm, "poisson"),
        ]
        reach.append(f"{label} {values[0]:.2f} (sm), {values[1]:.2f} (sm+background), {values[2]:.2f} (Poisson)")
    sm_e = standard_model_charge_radius("e")
    bound = found["on-axis", "r2_nue"].chi2.intervals[-1][1]
    best = found["prism", "r2_nue"].chi2.intervals[-1][1]
    published_e = other["nu_e-e global fit", "r2_nue"].printed
    inside = "inside" if published_e[0] < sm_e < published_e[1] else "outside"
    bounds = {"on axis": bound, "PRISM": best}
    against = [f"{value:.2g} {label} (factor {value / sm_e:.0f})" for label, value in bounds.items()]
    return [
        [
            "r2_numu twice as good as CCFR + CHARM-II (-5.2, 6.8e-33)",
            "12.0/4.5 = 2.7 on axis, 12.0/6.2 = 1.9 PRISM",
            ", ".join(widths),
        ],
        [
            "the SM r2_numu (2.4e-33 cm²) is within reach on axis",
            "2.4 > 2.2",
            f"Δχ² of r2_numu = {sm:.3g} against 0 (90%: 2.71): " + "; ".join(reach),
        ],
        ["the SM r2_nue is vastly too small", "no number", f"{sm_e:.2g} against " + ", ".join(against)],
        [
            "the bound (4.17) on r2_nue is in tension with the SM",
            "-2.6e-33 < r² < 6.6e-32",
            f"the SM's {sm_e:.2g} lies {inside} (4.17) as printed",
        ],
    ]


def prism_text(found: dict[tuple[str, str], Limits]) -> tuple[str, str]:
    """Return the ratios of PRISM's to on-axis interval widths, published and ours."""

    def ratio(name: str, published: bool) -> str:
        widths = []
        for scenario in ("on-axis", "prism"):
            row = found[scenario, name]
            intervals = [row.published.printed] if published else row.chi2.intervals
            widths.append(sum(high - (0.0 if COUPLINGS[name].squared_only else low) for low, high in intervals))
        return f"{name} {widths[1] / widths[0]:.2f}"

    names = ("mu_nue", "q_nue", "r2_nue", "mu_numu", "q_numu", "r2_numu")
    return ", ".join(ratio(name, True) for name in names), ", ".join(ratio(name, False) for name in names)


def reading_text(longer: Sets, found: dict[tuple[str, str], Limits]) -> str:
    """Return the root mean square of ln(ours/published) over PRISM's bounds, for both readings of the exposure."""

    def deviation(sets: dict[str, tuple[float, float]], names: Sequence[str]) -> float:
        logs = []
        for name in names:
            published = found["prism", name].published.true_units
            pairs = list(zip(sets[name], published, strict=True))[1 if COUPLINGS[name].squared_only else 0 :]
            logs += [math.log(a / b) for a, b in pairs]
        return float(np.sqrt(np.mean(np.square(logs))))

    readings = {
        "0.875": {n: (r.chi2.intervals[0][0], r.chi2.intervals[-1][1]) for (s, n), r in found.items() if s == "prism"},
        "1.75": {n: (r.intervals[0][0], r.intervals[-1][1]) for (_, n), r in longer.items()},
    }
    names = ["mu_numu", "q_numu", "r2_numu"]
    return "rms of ln(ours/published) over the ν_μ bounds: " + ", ".join(
        f"{deviation(sets, names):.3f} with {years} years" for years, sets in readings.items()
    )
