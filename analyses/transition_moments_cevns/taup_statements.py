"""The statements of the TAUP proceedings, one by one, with the numbers that this code finds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from joint_study import Joint, grid_quantiles
from numpy.typing import NDArray
from reach_study import FEW, MASSES, PATH_M, STERILE_MOMENT, TARGETS, Reach, massless_published, radiative, span

from bayesnu.experiment.recoil_photons import experiment_photons
from bayesnu.physics.materials import ELEMENTS
from bayesnu.physics.nucleus import recoil_max
from bayesnu.report.study import Tables

Array = NDArray[np.float64]
CANNOT = "cannot be checked here"


@dataclass(frozen=True)
class Findings:
    """What the statements are checked against."""

    reach: Reach
    exponents: dict[str, Array]
    shares: dict[tuple[float, float], float]
    sterile: dict[tuple[str, float, float], float]
    coincidence: dict[tuple[str, float], float]
    crossings: dict[str, float]
    joints: list[Joint]


def ranges(inside: NDArray[np.bool_]) -> str:
    """Return where on the grid of masses something holds."""
    if not inside.any():
        return "at no mass"
    if inside.all():
        return f"at every mass ({MASSES[0]:g} to {MASSES[-1]:g} MeV)"
    held = MASSES[inside]
    return f"at the {held.size} of {MASSES.size} masses from {held[0]:.2f} to {held[-1]:.2f} MeV"


def forward_shares() -> dict[float, tuple[float, float]]:
    """Return the share of photons in the forward half, for Dirac and Majorana N, by mass."""
    experiment = radiative("10 g")
    shares = {}
    for mass in (0.5, 1.0, 3.0, 5.0, 7.0):
        shapes = experiment_photons(experiment, mass)
        forward = shapes.cosine_edges[:-1] >= -1e-12
        shares[mass] = float(shapes.dirac[:, forward].sum()), float(shapes.majorana[:, forward].sum())
    return shares


def write_forward(tables: Tables) -> dict[float, tuple[float, float]]:
    """Tabulate the share of photons that a detector downstream of the target may see."""
    shares = forward_shares()
    rows = [[mass, *pair] for mass, pair in shares.items()]
    title = "Share of the photons that leave within 90° of the beam (recoil above 20 eV; half if isotropic)"
    tables.write("forward", title, ["m_N [MeV]", "Dirac", "Majorana"], rows)
    return shares


def radiative_text(reach: Reach, target: str) -> tuple[str, str]:
    """Return numbers and verdict of the radiative reach of one target against COHERENT."""
    path, ratio = reach.equal_path(target), reach.active[target] / reach.coherent_at(MASSES)
    least = int(path.argmin())
    numbers = (
        f"at l₀ = {PATH_M:g} m the limit is {ratio.min():.2f} to {ratio.max():.2f} times COHERENT's; equal at "
        f"l₀ = {path.min():.3g} m (m_N = {MASSES[least]:.2g} MeV, Majorana; {2 * path.min():.3g} m Dirac) or more"
    )
    beyond = ranges(ratio < 1)
    if (ratio > 1).all():
        return numbers, f"holds, at every mass for l₀ < {path.min():.3g} m"
    return (
        numbers,
        f"does not hold at l₀ = {PATH_M:g} m: beyond COHERENT {beyond}; holds everywhere for l₀ < {path.min():.2g} m",
    )


def joint_text(joints: list[Joint]) -> str:
    """Return what the joint fits of an injected signal find."""
    parts = []
    for j in joints:
        if j.data == "injected":
            m, d = (grid_quantiles(j, axis, [0.05, 0.95]) for axis in (0, 1))
            parts.append(f"{j.prior}: m_N {m[0]:.2f} to {m[1]:.2f} MeV, d {d[0]:.2e} to {d[1]:.2e} μ_B")
    return "injected m_N = 2 MeV, d = 3 × its limit; 90% equal-tailed credible from recoils alone, " + "; ".join(parts)


def write_statements(f: Findings, tables: Tables) -> None:
    """Tabulate every statement of the proceedings."""
    reach = f.reach
    coherent = reach.coherent_at(MASSES)
    forward = write_forward(tables)
    rows: list[list[str]] = []

    def add(where: str, statement: str, found: str, verdict: str) -> None:
        rows.append([where, statement, found, verdict])

    tops = {s: 1e6 * float(recoil_max(8e-3, ELEMENTS[s].mass_gev)) for s in ("W", "Ca", "Al", "O")}
    end = 1e6 * float(recoil_max(52.83e-3, ELEMENTS["Cs"].mass_gev))
    text = ", ".join(f"{s} {v:.2f}" for s, v in tops.items())
    add(
        "1",
        "recoil energies are in the keV range",
        f"end points in keV at 8 MeV: {text}; Cs at 52.8 MeV: {end:.0f}",
        "holds",
    )
    add("1", "NUCLEUS aims at recoils of O(10) eV", "input: threshold 20 eV, σ = 4 eV (assumed)", CANNOT + ": an aim")
    gain = reach.primakoff["10 g"] / reach.primakoff["10 kg"]
    add(
        "1",
        "a transition moment enhances the CEνNS signal",
        f"counts go as d^({span(f.exponents['Primakoff'])}) with a positive coefficient: no interference",
        "holds (model)",
    )
    add("1", "dimension-5 operators, UV completions; radiative Majorana mass", "–", CANNOT)
    p = {name: f"{v.min():.3f} to {v.max():.3f}" for name, v in f.exponents.items()}
    add(
        "2",
        "N decays by the same vertex to ν and a photon",
        f"counts with a photon go as d^({p['νγ']}), without as d^({p['Primakoff']})",
        "holds (model)",
    )
    add(
        "2",
        "the photon allows background rejection",
        "m_N = 2 MeV, limit by flat background of coincidences, 0 / 1 / 100 per keV kg d: "
        + "; ".join(f"{t} {' / '.join(f'{f.coincidence[t, r]:.2e}' for r in (0.0, 1.0, 100.0))}" for t in TARGETS),
        "the limit gains what the rejection gives; the rejection itself " + CANNOT,
    )
    paths = (0.2, 1.0, 5.0)
    share = "; ".join(f"m_N = {m:g}: {', '.join(f'{f.shares[m, q]:.1e}' for q in paths)}" for m in (1.0, 3.0, 7.0))
    add(
        "2",
        "Γ_N ∝ 1/l₀: a longer l₀, a larger proportion of N gives a signal",
        f"share at l₀ = 0.2, 1, 5 m and COHERENT's d: {share}; limits go as l₀^(-1/4)",
        "holds: linear in l₀, since decay lengths are ≫ l₀; through N′ it saturates once λ < l₀",
    )
    text = ", ".join(f"{m:g} MeV {d:.2f}/{j:.2f}" for m, (d, j) in forward.items())
    add(
        "2",
        "the photon detector stands downstream of the target",
        f"photons within 90° of the beam, Dirac/Majorana: {text}",
        "a choice of geometry: N is not emitted forward, so that a third to a half of the photons go upstream; "
        "the limits count all",
    )
    add(
        "2",
        "recoil and photon are coincident: a clear signature",
        "counts here are coincidences; no background rate is given",
        CANNOT,
    )
    d = reach.coherent
    muon = d["d_numu"] / d["d_nue"]
    add(
        "3",
        "with neutrinos from pion decays the μ flavour is constrained most",
        f"COHERENT at m_N = 1 MeV: d_nue < {d['d_nue'][1]:.2e}, d_numu < {d['d_numu'][1]:.2e} μ_B; "
        f"d_numu / d_nue {muon.min():.2f} to {muon.max():.2f} at the masses tried",
        "holds, 0.1 to 52 MeV",
    )
    add(
        "3",
        "a reactor constrains the electron flavour",
        "ν̄_e only: d_numu, d_nutau enter through the decay alone",
        "holds",
    )
    add("3", "astrophysics constrains flavour-universally, most at low m_N", "no astrophysics in the package", CANNOT)
    for target, statement in (
        ("10 g", "reach of 10 g with an active final state is inside COHERENT's exclusion"),
        ("1 kg", "the 1 kg upgrade (text) too"),
        ("10 kg", "and the 10 kg upgrade (caption of Fig. 2)"),
    ):
        add("3", statement, *radiative_text(reach, target))
    growth = {t: reach.active["10 g"] / reach.active[t] for t in ("1 kg", "10 kg")}
    add(
        "3",
        "the upgrade reaches much further than the 10 g",
        "limit on d better by "
        + ", ".join(f"{v.min():.2f} to {v.max():.2f} (νγ, {t})" for t, v in growth.items())
        + f"; Primakoff, 10 kg: {gain.min():.2f} to {gain.max():.2f}",
        "holds in rate (100 and 1000 times); in d only as (mass)^(1/4)",
    )
    add(
        "3",
        "COHERENT's line has one instance of the moment, the radiative line two",
        f"powers of d: COHERENT {p['COHERENT d_nue']}, νγ {p['νγ']}, N′γ {p['N′γ']}",
        "holds: d² and d⁴ (with N′ dominant d² d_NN′²)",
    )
    ratio = {t: coherent / reach.primakoff[t] for t in TARGETS}
    where = ", ".join(f"{t} at {v:.2f} MeV" for t, v in f.crossings.items())
    light = MASSES <= 2.1
    add(
        "3",
        "the Primakoff reach of NUCLEUS, near and far future, is well within new regions",
        "COHERENT's limit over NUCLEUS's for m_N ≤ 2 MeV: "
        + ", ".join(f"{t} {v[light].min():.0f} to {v[light].max():.0f}" for t, v in ratio.items())
        + f"; equal for {where}",
        "holds against COHERENT up to there; against SN1987A, BBN, LEP " + CANNOT,
    )
    massless = massless_published()
    best = reach.primakoff["10 g"][0]
    add(
        "3",
        "– the same against published moments (massless N, d = μ/2)",
        "10 g at 0.1 MeV " + f"{best:.2e} against " + ", ".join(f"{k} {v:.2e}" for k, v in massless.items()) + " μ_B",
        "10 g beyond LSND, not beyond GEMMA or Borexino where these hold (N far below 1 MeV); "
        f"10 kg ({reach.primakoff['10 kg'][0]:.2e}) beyond them",
    )
    enhanced = {t: [f.sterile[t, m, 0.0] / f.sterile[t, m, STERILE_MOMENT] for m in FEW] for t in ("10 g", "10 kg")}
    weak = [f.sterile["10 g", m, 0.0] / f.sterile["10 g", m, 1e-8] for m in FEW]
    add(
        "3",
        "other final states N′ may enhance the reach",
        "limit better by "
        + ", ".join(f"{min(v):.0f} to {max(v):.0f} ({t})" for t, v in enhanced.items())
        + f" with d_NN′ = {STERILE_MOMENT:g} μ_B; with 1e-8 μ_B {min(weak):.2f} to {max(weak):.2f} (10 g)",
        "holds for d_NN′ above the d to be probed; beyond COHERENT "
        + "; ".join(f"{t} {ranges(reach.sterile[t] < coherent)}" for t in TARGETS),
    )
    add(
        "abstract, 3",
        "details of a signal (properties of N) can be found",
        joint_text(f.joints),
        "holds for m_N and d at this strength",
    )
    add(
        "4",
        "MeV-scale masses in so far unconstrained regions",
        f"see above; N up to {f.crossings['10 g']:.2f} MeV (10 g)",
        "holds against COHERENT",
    )
    add("4", "the photon helps to identify the process (Dirac or Majorana)", "–", "see the analysis dirac_vs_majorana")
    add("Fig. 2", "90% C.L., three years", "90%, Δ(-2 ln L) = 2.706, 1095.75 days at duty factor 1", "as stated")
    header = ["section", "the proceedings", "this code (90% limits, Δ(-2 ln L) = 2.706)", "verdict"]
    tables.write("statements", "Statements of the TAUP proceedings", header, rows)
