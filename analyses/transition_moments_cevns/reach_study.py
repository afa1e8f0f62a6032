"""Upper limits on the transition moment d against the mass of N: NUCLEUS, COHERENT and DUNE."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import ConvergenceError
from bayesnu.experiment.base import Experiment
from bayesnu.experiment.setup import load_experiment, with_parameters
from bayesnu.report.study import Tables
from bayesnu.results.comparison import read_published
from bayesnu.results.limits import limit

Array = NDArray[np.float64]
PROBABILITY = 0.90
PATH_M = 0.2
"""l₀ of the cards; the proceedings give none."""
STERILE_MOMENT = 1e-6
"""d_NNp in μ_B of the N′ channel, with a massless N′; the proceedings give none."""
MASSES = np.geomspace(0.1, 7.5, 24)
"""m_N in MeV."""
COHERENT_MASSES = np.array([0.1, 1, 2, 3, 4.5, 6, 7.5, 10, 14, 18, 22, 26, 29, 31, 35, 40, 44, 47, 49, 50.5, 52])
DUNE_MASSES = np.geomspace(0.1, 52, 20)
FEW = (0.1, 0.5, 1.0, 2.0, 3.0, 5.0, 7.0)
"""m_N in MeV of the smaller tables."""
TARGETS = {"10 g": 0.01, "1 kg": 1.0, "10 kg": 10.0}
"""Mass in kg of each stage, always 6 parts of CaWO4 to 4 of Al2O3."""
PRIMAKOFF = {"10 g": "nucleus-10g", "1 kg": "nucleus-1kg", "10 kg": "nucleus-10kg"}
PRIORS = {
    "flat in d": None,
    "flat in d²": "{kind='uniform-squared', high=1e-4}",
    "log-uniform from 1e-12": "{kind='log-uniform', low=1e-12, high=1e-4}",
    "log-uniform from 1e-14": "{kind='log-uniform', low=1e-14, high=1e-4}",
}
"""Priors on d in μ_B; the first is flat over the range that the program finds (Δ(-2 ln L) = 30)."""
ONE_BIN = "detector.bins=1"
"""Without background only the sum over the recoils counts, and one bin is as good as forty and faster."""


def upper(experiment: Experiment, coupling: str = "d_nue", method: str = "poisson") -> float:
    """Return the 90% upper limit in the coupling's unit; infinite where the data give none."""
    try:
        return limit(experiment, coupling, method=method, cl=PROBABILITY).intervals[-1][1]
    except ConvergenceError as error:
        print(f"no limit: {error}")
        return math.inf


def at(experiment: Experiment, mass_mev: float) -> Experiment:
    """Return the experiment with N of another mass."""
    return with_parameters(experiment, {"m_N": mass_mev})


def radiative(target: str, overrides: Sequence[str] = (), *, bins: Sequence[str] = (ONE_BIN,)) -> Experiment:
    """Return NUCLEUS with a photon detector; the 1 kg is the 10 g card with other masses."""
    if target == "10 kg":
        return load_experiment("nucleus-10kg-radiative", [*bins, *overrides])
    masses = [f"targets.CaWO4.mass_kg={0.6 * TARGETS[target]}", f"targets.Al2O3.mass_kg={0.4 * TARGETS[target]}"]
    return load_experiment("nucleus-10g-radiative", [*masses, *bins, *overrides])


def with_sterile_daughter(moment: float = STERILE_MOMENT) -> list[str]:
    """Return the overrides that add N → N′ γ with a massless N′."""
    return [f"decay.d_NNp={moment:g}", "decay.m_Np=0.0"]


@dataclass(frozen=True)
class Reach:
    """90% upper limits on d in μ_B against m_N: Δ(-2 ln L) = 2.706, and credible with a flat prior.

    Attributes
    ----------
    primakoff, credible, active, active_credible, sterile : dict
        Target to limits at `MASSES`: upscattering by profile likelihood and flat prior, N → ν γ by both, and with
        N → N′ γ added.
    coherent : dict
        Coupling to limits at `COHERENT_MASSES`.
    dune : ndarray
        At `DUNE_MASSES`.
    """

    primakoff: dict[str, Array]
    credible: dict[str, Array]
    active: dict[str, Array]
    active_credible: dict[str, Array]
    sterile: dict[str, Array]
    coherent: dict[str, Array]
    dune: Array

    def coherent_at(self, mass_mev: Array | float, coupling: str = "d_nue") -> Array:
        """Return COHERENT's limit at other masses, interpolated in the logarithms."""
        from scipy.interpolate import PchipInterpolator

        curve = PchipInterpolator(np.log(COHERENT_MASSES), np.log(self.coherent[coupling]))
        return np.asarray(np.exp(curve(np.log(mass_mev))))

    def equal_path(self, target: str, *, dirac: bool = False) -> Array:
        """Return the l₀ in m at which the limit of N → ν γ is COHERENT's, at `MASSES`; counts go as l₀ d⁴."""
        own = self.active[target] * (2**0.25 if dirac else 1.0)
        return np.asarray(PATH_M * (own / self.coherent_at(MASSES)) ** 4)


def scan(experiment: Experiment, masses: Array, coupling: str = "d_nue", method: str = "poisson") -> Array:
    """Return the limits at several masses of N."""
    return np.array([upper(at(experiment, mass), coupling, method) for mass in masses.tolist()])


def reach(step: Callable[[str], None]) -> Reach:
    """Compute every limit against the mass."""
    primakoff: dict[str, Array] = {}
    credible: dict[str, Array] = {}
    active: dict[str, Array] = {}
    active_credible: dict[str, Array] = {}
    sterile: dict[str, Array] = {}
    for target, model in PRIMAKOFF.items():
        experiment = load_experiment(model)
        primakoff[target] = scan(experiment, MASSES)
        credible[target] = scan(experiment, MASSES, method="laplace")
        step(f"  {target}, upscattering")
        experiment = radiative(target)
        active[target] = scan(experiment, MASSES)
        active_credible[target] = scan(experiment, MASSES, method="laplace")
        sterile[target] = scan(radiative(target, with_sterile_daughter()), MASSES)
        step(f"  {target}, with a photon")
    experiment = load_experiment("coherent-csi-2017")
    coherent = {name: scan(experiment, COHERENT_MASSES, name) for name in ("d_nue", "d_numu")}
    step("  COHERENT")
    dune = scan(load_experiment("dune-on-axis-dipole"), DUNE_MASSES)
    step("  DUNE")
    return Reach(primakoff, credible, active, active_credible, sterile, coherent, dune)


def write_reach(found: Reach, tables: Tables) -> None:
    """Tabulate the limits against the mass."""
    coherent = found.coherent_at(MASSES)
    columns = {f"Primakoff {target}": found.primakoff[target] for target in TARGETS}
    columns |= {f"νγ {target}": found.active[target] for target in TARGETS}
    columns |= {f"N′γ {target}": found.sterile[target] for target in TARGETS}
    columns |= {"COHERENT": coherent}
    rows = [[float(m), *(float(values[k]) for values in columns.values())] for k, m in enumerate(MASSES)]
    title = (
        "90% CL upper limits on d_nue in μ_B, Δ(-2 ln L) = 2.706; Asimov data but for COHERENT; l₀ = 0.2 m; "
        f"d_NN′ = {STERILE_MOMENT:g} μ_B"
    )
    tables.write("reach", title, ["m_N [MeV]", *columns], rows)
    columns = {f"Primakoff {target}": found.credible[target] for target in TARGETS}
    columns |= {f"νγ {target}": found.active_credible[target] for target in TARGETS}
    rows = [[float(m), *(float(values[k]) for values in columns.values())] for k, m in enumerate(MASSES)]
    title = "90% credible upper limits on d_nue in μ_B, prior flat in d (Laplace grid); Asimov data, l₀ = 0.2 m"
    tables.write("reach_credible", title, ["m_N [MeV]", *columns], rows)
    rows = [
        [float(m), *(float(found.coherent[name][k]) for name in ("d_nue", "d_numu"))]
        for k, m in enumerate(COHERENT_MASSES)
    ]
    title = "COHERENT 2017, observed counts: 90% CL upper limits on d in μ_B, Δ(-2 ln L) = 2.706"
    tables.write("reach_coherent", title, ["m_N [MeV]", "d_nue", "d_numu"], rows)
    rows = [[float(m), float(d)] for m, d in zip(DUNE_MASSES, found.dune, strict=True)]
    title = "DUNE on axis, ν e → N e, Asimov data: 90% CL upper limits on d_nue in μ_B, Δ(-2 ln L) = 2.706"
    tables.write("reach_dune", title, ["m_N [MeV]", "d_nue"], rows)


def write_priors(tables: Tables) -> dict[tuple[str, float, str], float]:
    """Tabulate credible limits under several priors beside the profile likelihood's; return them."""
    loaders: dict[str, Callable[[list[str]], Experiment]] = {
        **{f"Primakoff {t}": partial(load_experiment, PRIMAKOFF[t]) for t in ("10 g", "10 kg")},
        **{f"νγ {t}": partial(radiative, t) for t in ("10 g", "10 kg")},
    }
    values: dict[tuple[str, float, str], float] = {}
    rows: list[list[object]] = []
    for name, load in loaders.items():
        plain = load([])
        priors = {
            label: load([] if prior is None else [f"couplings.d_nue.prior={prior}"]) for label, prior in PRIORS.items()
        }
        for mass in (0.1, 1.0, 3.0, 5.0, 7.0):
            profile = upper(at(plain, mass))
            own = {label: upper(at(e, mass), method="laplace") for label, e in priors.items()}
            values |= {(name, mass, label): value for label, value in {"profile": profile, **own}.items()}
            rows.append([name, mass, profile, *own.values(), *(value / profile for value in own.values())])
    header = ["experiment", "m_N [MeV]", "Δ(-2 ln L) = 2.706", *PRIORS, *(f"ratio, {label}" for label in PRIORS)]
    title = "90% upper limits on d_nue in μ_B: profile likelihood, and credible (Laplace grid) under four priors"
    tables.write("priors", title, header, rows)
    return values


def write_equal_path(found: Reach, tables: Tables) -> None:
    """Tabulate the l₀ above which the radiative mode reaches beyond COHERENT."""
    rows = [
        [
            float(m),
            float(found.coherent_at(m)),
            *(float(found.active[t][k] / found.coherent_at(m)) for t in TARGETS),
            *(float(found.equal_path(t)[k]) for t in TARGETS),
            *(float(found.equal_path(t, dirac=True)[k]) for t in TARGETS),
        ]
        for k, m in enumerate(MASSES)
    ]
    header = ["m_N [MeV]", "COHERENT d_nue [μ_B]"]
    header += [f"νγ {t} / COHERENT at 0.2 m" for t in TARGETS]
    header += [f"l₀ [m], {t}" for t in TARGETS] + [f"l₀ [m], {t}, Dirac" for t in TARGETS]
    title = (
        "Where the radiative mode passes COHERENT: ratio of the 90% limits at l₀ = 0.2 m (below 1: beyond COHERENT), "
        "and the l₀ at which they are equal (Majorana, unless stated)"
    )
    tables.write("radiative_coherent", title, header, rows)


def counts(experiment: Experiment, d: float) -> float:
    """Return the counts that a moment adds."""
    return float((experiment.model.expected({"d_nue": d}) - experiment.model.expected()).sum())


def write_scaling(tables: Tables) -> dict[str, Array]:
    """Tabulate how counts and limits grow with d, l₀ and the target's mass; return the exponents of d."""
    rows: list[list[object]] = []
    exponents: dict[str, Array] = {}
    cases = {"Primakoff": load_experiment("nucleus-10g"), "νγ": radiative("10 g")}
    cases["COHERENT d_nue"] = load_experiment("coherent-csi-2017")
    cases["N′γ"] = radiative("10 g", with_sterile_daughter())
    for name, experiment in cases.items():
        d = 1e-9
        own = [at(experiment, m) for m in FEW]
        powers = np.log2([counts(e, 2 * d) / counts(e, d) for e in own])
        exponents[name] = powers
        text = f"{powers.min():.4f} to {powers.max():.4f}"
        rows.append([f"power of d of the counts, {name}", f"m_N = {FEW[0]:g} to {FEW[-1]:g} MeV, d = 1e-9 μ_B", text])
    base = {m: upper(at(radiative("10 g"), m)) for m in (1.0, 3.0, 7.0)}
    for path in (0.02, 1.0, 10.0):
        experiment = radiative("10 g", [f"photon_detector.distance_m={path}"])
        powers = np.array([math.log(upper(at(experiment, m)) / d) / math.log(path / PATH_M) for m, d in base.items()])
        rows.append(["power of l₀ of the limit, νγ 10 g", f"0.2 m → {path:g} m, m_N = 1, 3, 7 MeV", span(powers)])
    binned = radiative("10 g", bins=())
    ratio = np.array([upper(at(binned, m)) / base[m] for m in (1.0, 3.0)])
    rows.append(
        ["limit with 40 bins over that with 1, νγ 10 g", "m_N = 1, 3 MeV", f"{ratio.min():.6f}, {ratio.max():.6f}"]
    )
    dirac = radiative("10 g", ["decay.nature=dirac"])
    ratio = np.array([upper(at(dirac, m)) / d for m, d in base.items()])
    rows.append(["limit of Dirac N over that of Majorana N, νγ 10 g", "m_N = 1, 3, 7 MeV", span(ratio)])
    wide = load_experiment("nucleus-10g", ["detector.threshold_ev=10", "detector.resolution_ev=2"])
    ratio = np.array([upper(at(wide, m)) for m in FEW]) / np.array([upper(at(cases["Primakoff"], m)) for m in FEW])
    rows.append(
        ["limit at a 10 eV threshold (σ = 2 eV) over that at 20 eV, Primakoff 10 g", "m_N = 0.1 to 7 MeV", span(ratio)]
    )
    norm = load_experiment("nucleus-10kg", ["pulls.flux_norm=0.01"])
    heavy = load_experiment("nucleus-10kg")
    ratio = np.array([upper(at(norm, m)) / upper(at(heavy, m)) for m in FEW])
    rows.append(["limit with a flux known to 1% over that with 5%, Primakoff 10 kg", "m_N = 0.1 to 7 MeV", span(ratio)])
    tables.write("scaling", "How counts and limits scale", ["quantity", "where", "found"], rows)
    return exponents


def span(values: Array) -> str:
    """Return the range of some numbers as text."""
    return f"{values.min():.4f} to {values.max():.4f}"


def write_proportion(found: Reach, tables: Tables) -> dict[tuple[float, float], float]:
    """Tabulate the share of upscattered N that decay within l₀ with a recoil above threshold."""
    prim = load_experiment("nucleus-10g")
    shares: dict[tuple[float, float], float] = {}
    paths = (0.05, 0.2, 1.0, 5.0)
    for path in paths:
        experiment = radiative("10 g", [f"photon_detector.distance_m={path}"])
        for mass in FEW:
            d = float(found.coherent_at(mass))
            shares[mass, path] = counts(at(experiment, mass), d) / counts(at(prim, mass), d)
    rows = [[mass, float(found.coherent_at(mass)), *(shares[mass, path] for path in paths)] for mass in FEW]
    header = ["m_N [MeV]", "d_nue [μ_B]", *(f"l₀ = {path:g} m" for path in paths)]
    title = "Share of the N (recoil above 20 eV) that decay within l₀, at COHERENT's limit on d_nue; Majorana"
    tables.write("proportion", title, header, rows)
    return shares


def write_sterile(found: Reach, tables: Tables) -> dict[tuple[str, float, float], float]:
    """Tabulate the limits with N → N′ γ for several moments d_NNp."""
    values: dict[tuple[str, float, float], float] = {}
    rows: list[list[object]] = []
    moments = (0.0, 1e-8, 1e-7, 1e-6, 1e-5)
    for target, model in (item for item in PRIMAKOFF.items() if item[0] != "1 kg"):
        own = {moment: radiative(target, with_sterile_daughter(moment)) for moment in moments}
        plain = load_experiment(model)
        for mass in FEW:
            values |= {(target, mass, moment): upper(at(e, mass)) for moment, e in own.items()}
            first, last = values[target, mass, 0.0], values[target, mass, STERILE_MOMENT]
            rest = [upper(at(plain, mass)), float(found.coherent_at(mass))]
            rows.append([target, mass, *(values[target, mass, moment] for moment in moments), first / last, *rest])
    header = ["target", "m_N [MeV]", "no N′", *(f"d_NN′ = {moment:g}" for moment in moments[1:])]
    header += ["gain at 1e-06", "Primakoff", "COHERENT"]
    title = (
        "90% CL upper limits on d_nue in μ_B from recoil and photon, l₀ = 0.2 m, by the moment (μ_B) to a massless N′"
    )
    tables.write("sterile_daughter", title, header, rows)
    return values


def write_coincidence(tables: Tables) -> dict[tuple[str, float], float]:
    """Tabulate the radiative limit under a background of coincidences."""
    values: dict[tuple[str, float], float] = {}
    rates = (0.0, 1e-4, 1e-2, 1.0, 100.0)
    mass = 2.0
    for target in TARGETS:
        for rate in rates:
            extra = [f"backgrounds.flat_per_kev_kg_day={rate}"]
            values[target, rate] = upper(at(radiative(target, extra, bins=()), mass))
    rows = [[target, *(values[target, rate] for rate in rates)] for target in TARGETS]
    header = ["target", *(f"{rate:g} /(keV kg d)" for rate in rates)]
    title = (
        f"90% CL upper limits on d_nue in μ_B, N → ν γ, m_N = {mass:g} MeV, l₀ = 0.2 m, by background of coincidences"
    )
    tables.write("coincidence_background", title, header, rows)
    return values


def crossing(found: Reach, target: str) -> float:
    """Return the m_N in MeV at which the Primakoff limit equals COHERENT's; NaN if below 7.95 MeV there is none."""
    from scipy.optimize import brentq

    experiment = load_experiment(PRIMAKOFF[target])

    def excess(mass: float) -> float:
        return math.log(min(upper(at(experiment, mass)), 1.0) / float(found.coherent_at(mass)))

    if excess(7.95) < 0:
        return math.nan
    return float(brentq(excess, 5.0, 7.95, xtol=1e-3))


def massless_published() -> dict[str, float]:
    """Return the published limits on mu_nue as limits on d = μ/2 in μ_B; they hold for a massless N."""
    experiment = load_experiment("coherent-csi-2017")
    rows = read_published(experiment.files["comparison.published"])
    return {
        r.scenario: r.printed[1] / 2
        for r in rows
        if r.coupling == "mu_nue" and r.scenario in ("LSND", "GEMMA", "Borexino")
    }
