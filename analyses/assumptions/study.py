"""How much limits move when an assumption does for which no number was available.

Run from a checkout: ``python analyses/assumptions/study.py``. Every row is a card with overrides, and the 90% set of
one coupling at Δχ² = 2.71 with the pulls profiled, Asimov or observed data as in the card. Two kinds of file are made
for it and not kept: the shipped background table with its counts scaled or reshaped, and the shipped flux off axis
scaled or tilted.
"""

from __future__ import annotations

import csv
import io
import math
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bayesnu.experiment.backgrounds import WINDOW_MEV
from bayesnu.experiment.setup import load_experiment
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.report.study import Tables, union
from bayesnu.resources import data_folder
from bayesnu.results.intervals import IntervalSet
from bayesnu.results.limits import limit

FOLDER = Path(__file__).parent
CL = 0.90
Row = dict[str, str]
Make = Callable[[Path], list[str]]
"""Writes what a variation needs into a folder and returns its overrides."""


@dataclass(frozen=True)
class Variation:
    """One assumption in another way: what it says in the table, and its overrides."""

    label: str
    overrides: Make


@dataclass(frozen=True)
class Table:
    """A card, the couplings whose limits are shown, and the assumptions that are varied from a baseline."""

    name: str
    card: str
    couplings: tuple[str, ...]
    method: str
    variations: tuple[Variation, ...]
    baseline: tuple[str, ...] = ()


def given(*overrides: str) -> Make:
    """Overrides that need no file."""
    return lambda folder: list(overrides)


def rewritten(source: Path, target: Path, change: Callable[[Row], None]) -> None:
    """Copy a CSV file with each of its rows changed, and the TOML file beside it."""
    rows = list(csv.DictReader(io.StringIO(source.read_text(encoding="utf-8"))))
    for row in rows:
        change(row)
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    beside = source.with_suffix(".toml")
    if beside.exists():
        shutil.copy(beside, target.with_suffix(".toml"))


def backgrounds(change: Callable[[Row], None]) -> Make:
    """The shipped background table, changed."""

    def make(folder: Path) -> list[str]:
        rewritten(data_folder() / "backgrounds" / "dune_ccqe_pi0.csv", folder / "backgrounds.csv", change)
        return [f'backgrounds.file="{folder / "backgrounds.csv"}"']

    return make


def scale(names: Sequence[str], factor: float, row: Row) -> None:
    """Multiply columns of a row."""
    for name in names:
        row[name] = repr(float(row[name]) * factor)


def reshape_pi0(slope_mev: float, row: Row) -> None:
    """Give the π⁰ of a row the shape exp(-E_e θ²/slope) in place of exp(-E_e θ²/(6 m_e)), with the same integral."""
    low, high = float(row["e_theta2_lo_mev"]), float(row["e_theta2_hi_mev"])

    def density(slope: float) -> float:
        norm = slope * (1 - math.exp(-WINDOW_MEV / slope))
        return math.exp(-(low + high) / 2 / slope) / norm

    scale(["pi0"], density(slope_mev) / density(WINDOW_MEV), row)


def off_axis(factor: float, power: float) -> Make:
    """The shipped flux with its off-axis spectra times factor × (E/2.5 GeV)^power."""

    def change(row: Row) -> None:
        if float(row["position_m"]) > 0:
            energy = (float(row["e_lo_gev"]) + float(row["e_hi_gev"])) / 2
            scale(("numu", "numubar", "nue", "nuebar"), factor * (energy / 2.5) ** power, row)

    def make(folder: Path) -> list[str]:
        rewritten(data_folder() / "flux" / "dune_nd.csv", folder / "flux.csv", change)
        return [f'flux.file="{folder / "flux.csv"}"']

    return make


DUNE = ("mu_nue", "mu_numu", "q_nue", "q_numu", "r2_nue", "r2_numu")
BOTH = ("ccqe", "pi0")
ABSOLUTE = ("flux.normalisation=absolute", "backgrounds.model=ccqe")
DUNE_VARIATIONS = (
    Variation("no π⁰", backgrounds(partial(scale, ("pi0",), 0.0))),
    Variation("π⁰ as many as CCQE, not half", backgrounds(partial(scale, ("pi0",), 2.0))),
    Variation("π⁰ falling as exp(-E_e θ²/(2 m_e))", backgrounds(partial(reshape_pi0, WINDOW_MEV / 3))),
    Variation("π⁰ flat in E_e θ²", backgrounds(partial(reshape_pi0, 1e6))),
    Variation("no background", backgrounds(partial(scale, BOTH, 0.0))),
    Variation("backgrounds × 0.5", backgrounds(partial(scale, BOTH, 0.5))),
    Variation("backgrounds × 2", backgrounds(partial(scale, BOTH, 2.0))),
    Variation("π⁰ known exactly", given("pulls.pi0=0")),
    Variation("both backgrounds known exactly", given("pulls.pi0=0", "pulls.ccqe=0")),
    Variation("both backgrounds known to 20%", given("pulls.pi0=0.2", "pulls.ccqe=0.2")),
    Variation("both backgrounds known to 50%", given("pulls.pi0=0.5", "pulls.ccqe=0.5")),
    Variation("pulls of each polarity its own", given("pulls.shared=false")),
    Variation("absolute flux, not Table 1", given(*ABSOLUTE)),
)
PRISM_VARIATIONS = (
    Variation("flux norm of the positions correlated to 0.5", given("pulls.flux_correlation=0.5")),
    Variation("flux norm of each position its own", given("pulls.flux_correlation=0")),
)
NUCLEUS = ("mu_nue", "q_nue", "r2_nue", "d_nue")
TABLES = (
    Table("dune-on-axis", "dune-on-axis", DUNE, "poisson", DUNE_VARIATIONS),
    Table("dune-prism", "dune-prism", DUNE, "poisson", (*DUNE_VARIATIONS, *PRISM_VARIATIONS)),
    Table(
        "dune-prism-flux",
        "dune-prism",
        DUNE,
        "poisson",
        (
            Variation("off-axis flux × 0.9", off_axis(0.9, 0.0)),
            Variation("off-axis flux × 1.1", off_axis(1.1, 0.0)),
            Variation("off-axis flux × (E/2.5 GeV)^0.2", off_axis(1.0, 0.2)),
            Variation("off-axis flux × (E/2.5 GeV)^-0.2", off_axis(1.0, -0.2)),
        ),
        ABSOLUTE,
    ),
    Table(
        "nucleus-10g",
        "nucleus-10g",
        NUCLEUS,
        "poisson",
        (
            Variation("reactors on 80% of the time", given("reactor.days=876.6")),
            Variation("resolution 2 eV", given("detector.resolution_ev=2")),
            Variation("resolution 4.9 eV", given("detector.resolution_ev=4.9")),
            Variation("flat background 10", given("backgrounds.flat_per_kev_kg_day=10")),
            Variation("flat background 1000", given("backgrounds.flat_per_kev_kg_day=1000")),
            Variation("background known to 50%", given("pulls.background=0.5")),
            Variation("flux known to 2%", given("pulls.flux_norm=0.02")),
            Variation("flux known to 10%", given("pulls.flux_norm=0.1")),
            Variation(
                "fresh fuel (U235 0.8)",
                given("reactor.fission_fractions={U235=0.80, U238=0.07, Pu239=0.12, Pu241=0.01}"),
            ),
            Variation("ν̄ after neutron capture added", given("reactor.capture=true")),
            Variation("spectra extrapolated to 10 MeV", given("reactor.energy_max_mev=10")),
        ),
    ),
    Table(
        "nucleus-10g-radiative",
        "nucleus-10g-radiative",
        ("d_nue",),
        "poisson",
        (
            Variation("decay path 0.1 m", given("photon_detector.distance_m=0.1")),
            Variation("decay path 1 m", given("photon_detector.distance_m=1.0")),
            Variation("photon efficiency 0.5", given("photon_detector.efficiency=0.5")),
            Variation("Dirac N", given('decay.nature="dirac"')),
            Variation("1 coincidence per keV kg day", given("backgrounds.flat_per_kev_kg_day=1")),
            Variation("reactors on 80% of the time", given("reactor.days=876.6")),
        ),
    ),
    Table(
        "coherent-csi-2017",
        "coherent-csi-2017",
        ("mu_nue", "mu_numu", "q_nue", "q_numu", "r2_nue", "r2_numu", "d_nue", "d_numu"),
        "poisson",
        (
            Variation(
                "no morph, 25% in the normalisation", given("detector.quenching_error=0", "pulls.flux_norm=0.28")
            ),
            Variation("quenching known exactly", given("detector.quenching_error=0")),
            Variation("quenching error × 2", given("detector.quenching_error=0.0332")),
            Variation("flux known to 5%", given("pulls.flux_norm=0.05")),
            Variation("flux known to 20%", given("pulls.flux_norm=0.2")),
            Variation("neutrons known exactly", given("pulls.neutrons=0")),
            Variation("neutrons known to 100%", given("pulls.neutrons=1")),
            Variation("no neutrons", given("backgrounds.neutrons=0")),
        ),
    ),
    Table(
        "lsnd-nue",
        "lsnd-nue",
        ("mu_nue", "mu_numu"),
        "chi2",
        (
            Variation("flux known exactly", given("pulls.flux_norm=0")),
            Variation("flux known to 20%", given("pulls.flux_norm=0.2")),
        ),
    ),
)


def width(interval: IntervalSet) -> float:
    """Return the length of a set, of all its pieces."""
    return sum(high - max(low, 0.0 if COUPLINGS[interval.coupling].squared_only else low)
               for low, high in interval.intervals)  # fmt: skip


def power_of(interval: IntervalSet) -> int:
    """Return the power of ten in which the bounds of a set are shown."""
    return math.floor(math.log10(max(abs(end) for pair in interval.intervals for end in pair if math.isfinite(end))))


def limits(table: Table, variation: Variation, folder: Path) -> dict[str, IntervalSet]:
    """Return the limits of a table's couplings under one variation of its card."""
    folder.mkdir()
    experiment = load_experiment(table.card, [*table.baseline, *variation.overrides(folder)])
    return {name: limit(experiment, name, method=table.method, cl=CL) for name in table.couplings}


def write(table: Table, tables: Tables, scratch: Path) -> None:
    """Find and write one table: the baseline's limits, then each variation's and the ratio of the widths."""
    base = limits(table, Variation("", given()), scratch / table.name)
    powers = {name: power_of(interval) for name, interval in base.items()}

    def cells(found: dict[str, IntervalSet], baseline: bool) -> list[str]:
        shown = []
        for name, interval in found.items():
            upper = COUPLINGS[name].squared_only
            text = union(interval.intervals, 10.0 ** powers[name], upper=upper)
            shown.append(text if baseline else f"{text} ({width(interval) / width(base[name]):.2f})")
        return shown

    label = "as shipped" if not table.baseline else "absolute flux, computed backgrounds"
    rows = [[label, *cells(base, True)]]
    for k, variation in enumerate(table.variations):
        rows.append([variation.label, *cells(limits(table, variation, scratch / f"{table.name}-{k}"), False)])
    header = ["assumption", *(f"{name} [10^{powers[name]} {COUPLINGS[name].unit}]" for name in table.couplings)]
    title = f"{table.card}, {CL:.0%} Δχ² sets, pulls profiled; in brackets the width relative to the first row"
    tables.write(table.name, title, header, rows)
    print(tables.written[table.name], flush=True)


def main() -> None:
    """Write every table."""
    tables = Tables(FOLDER / "tables")
    with tempfile.TemporaryDirectory() as scratch:
        for table in TABLES:
            write(table, tables, Path(scratch))


if __name__ == "__main__":
    main()
