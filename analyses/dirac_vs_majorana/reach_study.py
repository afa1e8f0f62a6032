"""The reality check: which moment gives the photons that are needed, and which moments are excluded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from emissions import MODEL, QUICK_NODES, Array, folded, load_recoils, reconstructed
from events_study import Need, lookup, needed

from bayesnu.experiment.photons import PhotonTemplates
from bayesnu.experiment.recoil import RecoilExperiment
from bayesnu.inference.discrimination import relative_entropy
from bayesnu.inference.profile import delta_chi2_level
from bayesnu.physics.sterile_decay import decay_length, decay_width
from bayesnu.report.study import Tables
from bayesnu.results.limits import limit

RADIATIVE = {"10 g": MODEL, "10 kg": "nucleus-10kg-radiative"}
PRIMAKOFF = {"10 g": "nucleus-10g", "10 kg": "nucleus-10kg"}
COHERENT = "coherent-csi-2017"
D_NNP = 1e-6
"""Moment of N → N′ γ in μ_B."""
PATHS_M = (0.05, 0.2, 1.0)
DENSE = tuple(float(m) for m in np.arange(0.5, 7.51, 0.5))
"""Masses of the figure, in MeV; those of the tables are among them."""


def upper(experiment: RecoilExperiment, coupling: str = "d_nue") -> float:
    """Return the 90% upper limit, Δ(-2 ln L) = 2.706."""
    return limit(experiment, coupling, method="poisson").intervals[-1][1]


def upper_without_background(experiment: RecoilExperiment, cl: float = 0.90) -> float:
    """Return the 90% upper limit of a radiative card, whose data are zero counts: what `upper` finds, in closed form.

    Profiled over the flux, whose pull has the width σ, -2 ln L of zero counts is 2s - (σs)²; it is 2.706 at
    s = (1 - √(1 - 2.706 σ²))/σ² expected photons.
    """
    variance = experiment.card.pulls.flux_norm**2
    return moment_for(experiment, (1 - math.sqrt(1 - delta_chi2_level(cl, 1) * variance)) / variance)


def with_sterile(model: str, nature: str = "majorana", path_m: float = 0.2) -> RecoilExperiment:
    """Return a radiative card whose N also decays to N′."""
    return load_recoils(
        model, [f"decay.d_NNp={D_NNP}", f"decay.nature={nature}", f"photon_detector.distance_m={path_m}"]
    )


def photons_expected(experiment: RecoilExperiment, d_nue: float) -> float:
    """Return the expected coincidences of a recoil and a photon."""
    return float(experiment.model.expected({"d_nue": d_nue}).sum())


def moment_for(experiment: RecoilExperiment, events: float) -> float:
    """Return the d_nue that gives a number of photons: a d² + b d⁴ = n, a from N′ and b from active neutrinos."""
    a, b = float(experiment.massive.dipole.sum()), float(experiment.massive.decays.sum())
    return math.sqrt(2 * events / (a + math.sqrt(a**2 + 4 * b * events)))


@dataclass(frozen=True)
class Reach:
    """Moments d_nue against the mass of N, in μ_B: limits, and what the photons needed ask for.

    Attributes
    ----------
    masses : ndarray
        In MeV.
    limits : dict of str to ndarray
        "COHERENT", "Primakoff 10 g", "Primakoff 10 kg", "radiative 10 g", …, "N′ 10 g", ….
    asked : dict of (str, str) to ndarray
        By exposure ("10 g", "10 kg", "N′ 10 g", "N′ 10 kg") and quantile ("median", "90%"), if N is Majorana.
    photons : dict of (str, str) to ndarray
        Photons expected by exposure at the limit of COHERENT or Primakoff of the same exposure.
    """

    masses: Array
    limits: dict[str, Array]
    asked: dict[tuple[str, str], Array]
    photons: dict[tuple[str, str], Array]


def reach(masses: Sequence[float], needs: Sequence[Need]) -> Reach:
    """Return all moments at some masses; photons needed for a Poisson number with E_γ and cos θ, N Majorana."""
    own = np.array(masses)
    counts = {q: np.interp(own, *lookup(needs, "majorana", "poisson", "E_γ and cos θ", q)) for q in ("median", "90%")}
    cards = {size: load_recoils(model) for size, model in RADIATIVE.items()}
    cards |= {f"N′ {size}": with_sterile(model) for size, model in RADIATIVE.items()}
    others = {"COHERENT": load_recoils(COHERENT)}
    others |= {f"Primakoff {size}": load_recoils(model) for size, model in PRIMAKOFF.items()}
    limits: dict[str, list[float]] = {}
    asked: dict[tuple[str, str], list[float]] = {}
    photons: dict[tuple[str, str], list[float]] = {}
    for k, mass in enumerate(masses):
        for name, experiment in others.items():
            limits.setdefault(name, []).append(upper(experiment.at(mass)))
        for name, card in cards.items():
            at = card.at(mass)
            kind = name if name.startswith("N′") else f"radiative {name}"
            limits.setdefault(kind, []).append(upper_without_background(at))
            for quantile, number in counts.items():
                asked.setdefault((name, quantile), []).append(moment_for(at, float(number[k])))
            for other in ("COHERENT", f"Primakoff {name.removeprefix('N′ ')}"):
                photons.setdefault((name, other.split()[0]), []).append(photons_expected(at, limits[other][-1]))
    return Reach(
        own,
        {name: np.array(values) for name, values in limits.items()},
        {key: np.array(values) for key, values in asked.items()},
        {key: np.array(values) for key, values in photons.items()},
    )


def write_reach(found: Reach, masses: Sequence[float], tables: Tables) -> None:
    """Write the tables of the reality check at some of the masses."""
    chosen = [(k, mass) for k, mass in enumerate(found.masses.tolist()) if mass in masses]
    sizes = tuple(RADIATIVE)
    limits, asked = found.limits, found.asked
    rows: list[list[object]] = []
    for k, mass in chosen:
        row: list[object] = [mass, float(limits["COHERENT"][k])]
        for size in sizes:
            median = float(asked[size, "median"][k])
            row += [float(limits[f"Primakoff {size}"][k]), median, float(asked[size, "90%"][k])]
            row += [median / float(limits["COHERENT"][k]), median / float(limits[f"Primakoff {size}"][k])]
        rows.append(row)
    header = ["m_N [MeV]", "COHERENT"]
    for size in sizes:
        header += [f"Primakoff {size}", f"needed {size}, median", f"needed {size}, 90%"]
        header += [f"needed/COHERENT, {size}", f"needed/Primakoff, {size}"]
    title = "Decay to ν_e alone: 90% upper limits on d_nue and the d_nue needed for B > 10 (Majorana), in μ_B"
    tables.write("reality", title, header, rows)
    rows = []
    for k, mass in chosen:
        row = [mass]
        for size in sizes:
            name = f"N′ {size}"
            median = float(asked[name, "median"][k])
            row += [median, float(asked[name, "90%"][k]), median / float(limits["COHERENT"][k])]
            row += [median / float(limits[f"Primakoff {size}"][k])]
        rows.append(row)
    header = ["m_N [MeV]"]
    for size in sizes:
        header += [f"needed {size}, median", f"needed {size}, 90%", f"needed/COHERENT, {size}"]
        header += [f"needed/Primakoff, {size}"]
    title = "The same with N → N′ γ, d_NNp = 1e-6 μ_B, massless N′, chirality 1"
    tables.write("reality_sterile", title, header, rows)
    rows = []
    for k, mass in chosen:
        names = [name for size in sizes for name in (size, f"N′ {size}")]
        rows.append([mass, *(float(found.photons[n, kind][k]) for n in names for kind in ("COHERENT", "Primakoff"))])
    header = ["m_N [MeV]", *(f"{n}, d at {kind}" for n in names for kind in ("COHERENT", "Primakoff"))]
    title = (
        "Photons expected (Majorana, l₀ = 0.2 m) with d_nue at COHERENT's limit, or at that of Primakoff of the card"
    )
    tables.write("photons_expected", title, header, rows)


def write_paths(masses: Sequence[float], tables: Tables) -> list[list[object]]:
    """Write the radiative reach over COHERENT's limit against l₀, with and without N′ (S4, S6)."""
    coherent = load_recoils(COHERENT)
    limits = {mass: upper(coherent.at(mass)) for mass in masses}
    found: dict[tuple[float, float], list[object]] = {(mass, path): [] for mass in masses for path in PATHS_M}
    for path in PATHS_M:
        for model in RADIATIVE.values():
            plain = load_recoils(model, [f"photon_detector.distance_m={path}"])
            sterile = with_sterile(model, path_m=path)
            for mass in masses:
                own, other = (upper_without_background(e.at(mass)) for e in (plain, sterile))
                found[mass, path] += [own, own / limits[mass], other, other / limits[mass], own / other]
    rows: list[list[object]] = [[*key, *values] for key, values in found.items()]
    header = ["m_N [MeV]", "l₀ [m]"]
    for size in RADIATIVE:
        header += [f"{size}: ν_e", "/COHERENT", f"{size}: N′", "/COHERENT", "gain by N′"]
    tables.write("reach", "S4 and S6: 90% upper limits on d_nue of the radiative mode, in μ_B (Majorana)", header, rows)
    return rows


def write_saturation(plain_templates: dict[float, PhotonTemplates], needs: Sequence[Need], tables: Tables) -> None:
    """Write what changes where N decays to N′ within l₀ so often that its weight is no longer m/p."""
    experiment = load_recoils(MODEL)
    path = 0.2
    known = dict(zip(*lookup(needs, "majorana", "fixed", "E_γ and cos θ", "median"), strict=True))
    rows: list[list[object]] = []
    natures = {nature: with_sterile(MODEL, nature) for nature in ("majorana", "dirac")}
    for mass, known_templates in plain_templates.items():
        widths = [decay_width(1e-3 * mass, [D_NNP], majorana=majorana) for majorana in (False, True)]
        samples = [folded(experiment, mass, path_m=path, width_gev=width, nodes=QUICK_NODES) for width in widths]
        plain = folded(experiment, mass, nodes=QUICK_NODES)
        templates = reconstructed(samples[0], samples[1])
        momentum = plain.mean(plain.emitted.momentum_gev)
        lengths = [float(decay_length(momentum, 1e-3 * mass, width)) for width in widths]
        produced = [card.at(mass).massive.dipole.sum() for card in natures.values()]
        row: list[object] = [mass, lengths[1], float(produced[0] / produced[1])]
        row += [s.mean(s.emitted.longitudinal) for s in (plain, samples[1])]
        row += [relative_entropy(t, "majorana") for t in (known_templates, templates)]
        rows.append([*row, int(known[mass]), needed(templates, "majorana", 0.5).events])
    header = ["m_N [MeV]", "decay length at ⟨p⟩, M [m]", "photons M/D at equal moments", "⟨P∥⟩ long-lived"]
    header += ["⟨P∥⟩ with N′", "divergence long-lived", "with N′", "events (median) long-lived", "with N′"]
    title = "Decay to N′ with d_NNp = 1e-6 μ_B: weights with the probability of decay within 0.2 m, not m/p"
    tables.write("saturation", title, header, rows)
