"""The tables of a run for HEPData: limits, spectra, response matrix, densities, profiles and contours.

What an interval is (confidence level, sidedness, method, prior) stands in the qualifiers of its column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesnu.detector.response import ResponseMatrix
from bayesnu.detector.store import find_response
from bayesnu.errors import silent
from bayesnu.experiment.base import Experiment
from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.experiment.electron_card import BinAxis
from bayesnu.experiment.response import response_settings
from bayesnu.export.hepdata_format import Column, Table, plain, rounded
from bayesnu.inference.laplace import Cells
from bayesnu.inference.profile import delta_chi2_level
from bayesnu.physics.couplings import COUPLINGS, UNIT_SYMBOLS
from bayesnu.results.fits import CREDIBILITY, posterior_path
from bayesnu.results.intervals import percent
from bayesnu.results.joint_region import stored_region
from bayesnu.results.posterior import load_posterior
from bayesnu.results.runs import Run
from bayesnu.results.verdict import INTERVALS, warning, withhold

Array = NDArray[np.float64]
MISSING = "-"
"""Of a value that a row does not have."""
MOST_NUMBERS = 120_000
"""Of one table of the response, which is divided by reconstructed bins."""
SYMBOLS = {"e_theta2": r"$E_e\theta^2$", "energy": "$E_e$", "angle": r"$\theta$"}
"""How tables write the reconstructed variables."""
DENSITY_ROWS = 400
"""Of a table of a density, about: every so many points of a finer grid."""
MARGINALISED, PROFILED = "marginalised", "profiled"
METHODS = {
    "credible": ("NUTS", MARGINALISED),
    "laplace": ("Laplace grid", MARGINALISED),
    "chi2": ("chi2", PROFILED),
    "chi2_background": ("chi2", PROFILED),
    "poisson": ("Poisson deviance", PROFILED),
}
"""How the interval sets of limits.json are named, and what is done with the pulls."""
VARIANCES = {
    "sm": "N_SM",
    "sm+background": "N_SM + B",
    "measured": "measured errors",
    "none": "none (Poisson deviance)",
}
KINDS = {"upper": "upper limit", "hdi": "highest density", "eti": "equal-tailed", "delta_chi2": "Delta chi2"}


def symbol(coupling: str) -> str:
    """Return the LaTeX symbol of a coupling, in dollars."""
    return f"${COUPLINGS[coupling].symbol}$"


def unit(coupling: str) -> str:
    """Return the LaTeX unit of a coupling, in dollars."""
    return f"${UNIT_SYMBOLS[COUPLINGS[coupling].unit]}$"


def sidedness(interval: dict[str, Any]) -> str:
    """Return whether an interval set of limits.json bounds a coupling on one side or on both."""
    low, high = interval["intervals"][0][0], interval["intervals"][-1][1]
    whole = COUPLINGS[interval["coupling"]].squared_only and low == 0
    below = low is None or interval["kind"] == "upper" or whole
    if below and high is None:
        return "none"
    return "one-sided, upper" if below else "one-sided, lower" if high is None else "two-sided"


def limit_column(
    interval: dict[str, Any], method: tuple[str, str], prior: str, free: Sequence[str], rows: int, verdict: str
) -> Column:
    """Return one interval set of limits.json as a column: lower and upper bound of each piece, then missing values."""
    name, pulls = method
    if interval.get("variance") == "none":
        name = METHODS["poisson"][0]
    bayesian, sides = pulls == MARGINALISED, sidedness(interval)
    qualifiers: list[tuple[str, str | float, str]] = [
        ("CL", rounded(100 * interval["cl"]), "%"),
        ("SIDEDNESS", sides, ""),
        ("METHOD", name, ""),
        ("INTERVAL", KINDS[interval["kind"]], ""),
        ("PRIOR", plain(prior) if bayesian else "none", ""),
        ("PULLS", pulls, ""),
        ("FREE COUPLINGS", " ".join(free), ""),
    ]
    if name == METHODS["credible"][0]:
        # The other methods have no draws to judge.
        qualifiers.append(("SAMPLER VERDICT", verdict, ""))
    if "variance" in interval:
        qualifiers.append(("VARIANCE", VARIANCES[interval["variance"]], ""))
    if "m_N" in interval and "m_N" not in free:
        qualifiers.append(("M_N", interval["m_N"], "MeV"))
    values: list[Any] = []
    for piece, (bounds, errors) in enumerate(zip(interval["intervals"], interval["mc_error"], strict=True)):
        for side, (bound, error) in enumerate(zip(bounds, errors, strict=True)):
            # The end that an upper limit does not bound is the prior's or that of the coupling, and no limit.
            unbounded = bound is None or (piece == 0 and side == 0 and not sides.endswith(("lower", "two-sided")))
            values.append(MISSING if unbounded else (bound, error, "Monte Carlo") if error else bound)
    values += [MISSING] * (rows - len(values))
    label = "credible" if bayesian else "C.L."
    title = f"{symbol(interval['coupling'])}, {percent(interval['cl'])} {label}, {name}"
    return Column(title, unit(interval["coupling"]), values, tuple(qualifiers))


def _bounds(rows: int) -> tuple[Column, ...]:
    pieces = [k // 2 + 1 for k in range(rows)]
    return Column("Piece of the set", "", pieces), Column("Bound", "", ["lower", "upper"] * (rows // 2))


def limit_tables(limits: dict[str, Any]) -> Iterator[Table]:
    """Return a table of the limits on each coupling by all methods, and of each joint fit.

    Parameters
    ----------
    limits : dict
        The content of limits.json as `bayesnu.results.verdict.withhold` leaves it.
    """
    for entry in limits["limits"]:
        coupling, verdict = entry["coupling"], entry["diagnostics"]["verdict"]
        sets = {key: entry[key] for key in INTERVALS if entry[key] is not None and entry[key]["intervals"]}
        if not sets:
            continue
        rows = 2 * max(len(interval["intervals"]) for interval in sets.values())
        columns = [
            limit_column(interval, METHODS[key], entry["prior"], [coupling], rows, verdict)
            for key, interval in sets.items()
        ]
        yield Table(
            f"Limits on {coupling}",
            f"Limits on {symbol(coupling)} by each method, the other couplings 0. A bound that an interval does not "
            "have is missing.",
            ("LIMIT",),
            _bounds(rows),
            tuple(columns),
        )
    for entry in limits["joint"]:
        for parameter in entry["parameters"]:
            credible = parameter["credible"]
            if not credible["intervals"]:
                continue
            rows = 2 * len(credible["intervals"])
            arguments = (METHODS["credible"], parameter["prior"], entry["couplings"], rows, entry["verdict"])
            yield Table(
                f"Limit on {parameter['coupling']}, fit of {entry['name']}",
                f"Marginal limit on {symbol(parameter['coupling'])}, {' and '.join(entry['couplings'])} free together.",
                ("LIMIT",),
                _bounds(rows),
                (limit_column(credible, *arguments),),
            )


def spectrum_tables(experiment: Experiment) -> Iterator[Table]:
    """Return data, SM signal and background in the bins of each exposure, pulls at 0."""
    coordinates = experiment.observation_coordinates()
    exposures = np.asarray(coordinates["exposure"][1])
    # Bins of two dimensions are slices of one variable, binned in the other.
    variables = [name for name in ("slice", "bin") if f"{name}_lo" in coordinates]
    columns = {
        "Observed" if experiment.observed else "Asimov data": experiment.data,
        "Standard Model signal": experiment.signal_sm,
        "Background": experiment.background,
        "Expected": experiment.signal_sm + experiment.background,
    }
    for name in dict.fromkeys(exposures.tolist()):
        inside = np.flatnonzero(exposures == name)
        dependent = []
        for title, counts in columns.items():
            values: list[Any] = counts[inside].tolist()
            if counts is experiment.data and experiment.errors is not None:
                values = [(v, e, "measured") for v, e in zip(values, experiment.errors[inside].tolist(), strict=True)]
            dependent.append(Column(title, "counts", values, (("EXPOSURE", str(name), ""), ("PULLS", "at 0", ""))))
        bins = []
        for variable in variables:
            (_, low, attributes), high = coordinates[f"{variable}_lo"], coordinates[f"{variable}_hi"][1]
            edges = [(float(low[k]), float(high[k])) for k in inside]
            bins.append(Column(plain(attributes["long_name"]), attributes["units"], edges))
        yield Table(
            f"Spectrum, {name}"[:64],
            f"Counts of {name}: data, Standard Model signal and background, couplings and pulls at 0."
            + ("" if experiment.observed else " Asimov data are the Standard Model expectation, not rounded."),
            ("N",),
            tuple(bins),
            tuple(dependent),
        )


def _bin_of(axes: Sequence[BinAxis], k: int) -> Iterator[tuple[str, str, str]]:
    """Return the qualifiers that name a reconstructed bin."""
    for axis in axes:
        yield f"RECONSTRUCTED {SYMBOLS[axis.name]}", f"{axis.low[k]:.6g} - {axis.high[k]:.6g}", axis.units


def response_tables(
    response: ResponseMatrix, axes: Sequence[BinAxis], curve: Sequence[Sequence[float]] | None = None
) -> Iterator[Table]:
    """Return the response matrix: a row for each true cell from which something is reconstructed in a bin.

    And the efficiency, pairs of true kinetic energy in MeV and efficiency, if there is one.
    """
    settings = response.settings
    efficiency = ", which is in the table Efficiency" if curve is not None else ", which is 1"
    if curve is not None:
        yield Table(
            "Efficiency",
            "Efficiency at a true kinetic energy of the electron, linear between the points.",
            ("EFF",),
            (Column("True kinetic energy", "MeV", [float(energy) for energy, _ in curve]),),
            (Column("Efficiency", "", [float(value) for _, value in curve]),),
        )
    energy, angle = settings.energy_edges_gev, settings.angle_edges_gev * 1e3
    variables = " and ".join(SYMBOLS[axis.name] for axis in axes)
    first, second = np.nonzero(response.values.any(axis=2))
    cells = (
        Column("True electron energy", "GeV", [(rounded(energy[k]), rounded(energy[k + 1])) for k in first]),
        Column(r"True $E_e\theta^2$", "MeV", [(rounded(angle[k]), rounded(angle[k + 1])) for k in second]),
    )
    number = response.values.shape[2]
    step = max(1, MOST_NUMBERS // max(1, first.size))
    for start in range(0, number, step):
        own = range(start, min(start + step, number))
        part = "" if step >= number else f", bins {own[0] + 1} to {own[-1] + 1}"
        yield Table(
            f"Response matrix{part}",
            f"Probability that an electron of a true cell is reconstructed in each bin of {variables}, before the "
            f"efficiency{efficiency}. True cells of which no electron is are left out.",
            ("RESPONSE",),
            cells,
            tuple(
                Column(
                    "Probability",
                    "",
                    [float(f"{v:.5g}") for v in response.values[first, second, k].tolist()],
                    (
                        *_bin_of(axes, k),
                        ("METHOD", settings.method, ""),
                        ("SAMPLES", settings.samples, ""),
                        ("LARGEST STATISTICAL ERROR", rounded(float(response.error[:, :, k].max())), ""),
                    ),
                )
                for k in own
            ),
        )


def density_tables(run: Run, limits: dict[str, Any]) -> Iterator[Table]:
    """Return the posterior density and the profile of each coupling whose limit is shown."""
    for entry in limits["limits"]:
        coupling = entry["coupling"]
        if coupling in limits["withheld"]:
            continue
        tree = load_posterior(posterior_path(run.folder, coupling), ("laplace_grid", "profile_curve"))
        grid, curve = tree["laplace_grid"].to_dataset(), tree["profile_curve"]
        grid = grid.isel({coupling: slice(None, None, max(1, grid.sizes[coupling] // DENSITY_ROWS))})
        per_unit = f"$1/{UNIT_SYMBOLS[COUPLINGS[coupling].unit]}$"
        mass = [("M_N", entry["credible"]["m_N"], "MeV")] if "m_N" in entry["credible"] else []
        prior = ("PRIOR", plain(entry["prior"]), "")
        density = (("METHOD", "Laplace grid", ""), prior, ("PULLS", MARGINALISED, ""), *mass)
        yield Table(
            f"Posterior density of {coupling}",
            f"Posterior and prior density of {symbol(coupling)}, the other couplings 0.",
            ("POSTERIOR DENSITY",),
            (Column(symbol(coupling), unit(coupling), grid[coupling].values.tolist()),),
            (
                Column("Posterior density", per_unit, grid["density"].values.tolist(), density),
                Column("Prior density", per_unit, grid["prior_density"].values.tolist(), (prior,)),
            ),
        )
        variance = ("VARIANCE", VARIANCES[entry["chi2"]["variance"]], "")
        method = METHODS["poisson" if entry["chi2"]["variance"] == "none" else "chi2"][0]
        profile = (("METHOD", method, ""), variance, ("PULLS", PROFILED, ""), *mass)
        yield Table(
            f"Profile of {coupling}",
            rf"$\Delta\chi^2$ of {symbol(coupling)} from the best fit, the other couplings 0.",
            ("PROFILE",),
            (Column(symbol(coupling), unit(coupling), curve[coupling].values.tolist()),),
            (Column(r"$\Delta\chi^2$", "", curve["delta_chi2"].values.tolist(), profile),),
        )


def contour_lines(x: Cells, y: Cells, values: Array, level: float) -> list[Array]:
    """Return the lines on which values of a grid, shape (x, y), are at a level: each of shape (points, 2)."""
    from contourpy import contour_generator

    to = [np.log(axis.centres) if axis.logarithmic else axis.centres for axis in (x, y)]
    # Couplings are as small as 1e-33, whose squares are lost: lines are drawn in units of the largest value.
    scales = [1.0 if axis.logarithmic else float(np.abs(axis.centres).max()) for axis in (x, y)]
    lines = contour_generator(x=to[0] / scales[0], y=to[1] / scales[1], z=values.T).lines(level)
    found = []
    for line in lines:
        points = np.asarray(line) * scales
        for k, axis in enumerate((x, y)):
            if axis.logarithmic:
                points[:, k] = np.exp(points[:, k])
        found.append(points)
    return found


def contour_tables(run: Run, limits: dict[str, Any]) -> Iterator[Table]:
    """Return the boundaries of the two-coupling regions of each joint fit that is shown."""
    for entry in limits["joint"]:
        names = entry["couplings"]
        if entry["name"] in limits["withheld"] or len(names) != 2:
            continue
        tree = load_posterior(posterior_path(run.folder, entry["name"]), ("region",))
        grid = stored_region(tree, names)
        delta = tree["region"]["delta_chi2"].transpose(*names).values
        level = delta_chi2_level(CREDIBILITY, 2)
        priors = "; ".join(f"{p['coupling']}: {plain(p['prior'])}" for p in entry["parameters"])
        shares: tuple[tuple[str, str, Array, float, tuple[tuple[str, str | float, str], ...]], ...] = (
            (
                "Highest-density region",
                "highest posterior density, per unit of the logarithm where the prior is log-uniform",
                grid.density,
                grid.level(CREDIBILITY),
                (("METHOD", "Laplace grid", ""), ("PRIOR", priors, ""), ("PULLS", MARGINALISED, "")),
            ),
            (
                "Contour",
                rf"$\Delta(-2\ln L)$ = {level:.4g} from the best fit",
                delta,
                level,
                (("METHOD", "-2 ln L", ""), ("PRIOR", "none", ""), ("PULLS", PROFILED, "")),
            ),
        )
        for title, meaning, values, height, qualifiers in shares:
            lines = contour_lines(grid.x, grid.y, values, height)
            if not lines:
                continue
            points = np.concatenate(lines)
            pieces = [k + 1 for k, line in enumerate(lines) for _ in range(len(line))]
            common = (("CL", rounded(100 * CREDIBILITY), "%"), ("SIDEDNESS", "two couplings", ""))
            yield Table(
                f"{title}, {entry['name']}",
                f"Boundary of the {percent(CREDIBILITY)} region of {' and '.join(map(symbol, names))}: {meaning}. "
                "A line that is not closed ends where the grid or the prior does.",
                ("CONTOUR",),
                (Column("Line", "", pieces), Column(symbol(names[0]), unit(names[0]), points[:, 0].tolist())),
                (Column(symbol(names[1]), unit(names[1]), points[:, 1].tolist(), (*common, *qualifiers)),),
            )


def tables_of(
    run: Run,
    experiment: Experiment,
    *,
    allow_unconverged: bool = False,
    notice: Callable[[str], None] = silent,
) -> list[Table]:
    """Return every table of a run's submission; fits whose verdict is "fail" have none of limits and densities.

    Parameters
    ----------
    run : Run
    experiment : Experiment
        The run's, `bayesnu.export.source.experiment_of`.
    allow_unconverged : bool
        Show those too; each of their tables then says so first.
    notice : callable
        Receives a line if the response has to be built again.
    """
    limits = withhold(run.limits, allow_unconverged)
    found = [*limit_tables(limits), *density_tables(run, limits), *contour_tables(run, limits)]
    if allow_unconverged and (line := warning(run.limits)):
        found = [replace(table, description=f"{plain(line)}. {table.description}") for table in found]
    found += spectrum_tables(experiment)
    if isinstance(experiment, ElectronExperiment):
        card = experiment.card
        settings = response_settings(card, experiment.flux)
        matrix = find_response(settings, notice, card.response.mc_stat != "none")
        found += response_tables(matrix, card.detector.axes, card.detector.efficiency)
    return found
