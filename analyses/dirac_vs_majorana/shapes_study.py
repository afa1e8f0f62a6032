"""The photon's shapes in numbers: means, asymmetries, S1 to S3 of the proceedings, and fine histograms for figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from emissions import DIRAC, MAJORANA, QUICK_NODES, Array, Sample, at_energy, folded, photon_energies, photons

from bayesnu.experiment.photons import PhotonTemplates
from bayesnu.experiment.recoil import RecoilExperiment
from bayesnu.flux.reactor import ENERGY_MAX_MEV
from bayesnu.inference.discrimination import relative_entropy
from bayesnu.report.study import Tables

FORWARD = 0.8
"""Photons with cos θ above it are at small angles."""
TOP_SHARES = (0.25, 0.10, 0.03)
"""Hardest shares of the Majorana spectrum in which Dirac and Majorana are compared."""
FIXED_ENERGY = {1.0: 4.0, 3.0: 4.0, 5.0: 6.0}
"""m_N to the neutrino energy of the figures and tables at one energy, in MeV."""


@dataclass(frozen=True)
class Shape:
    """Numbers of the photon distribution of N of one mass; pairs are (Dirac, Majorana).

    Attributes
    ----------
    mass_mev : float
    centre_mev : float
        <E_N>/2.
    mean_mev : pair of float
        <E_γ>.
    boosted : pair of float
        Fraction with 2E_γ > E_N, each photon against its own N.
    above : pair of float
        Fraction above <E_N>/2.
    skewness : pair of float
    forward_hard : pair of float
        Fraction with E_γ > <E_N>/2 and cos θ > 0.8.
    top_ratio : tuple of float
        Dirac/Majorana at cos θ > 0.8 in the hardest `TOP_SHARES` of the Majorana spectrum.
    polarisation : float
        Mean of P_∥.
    """

    mass_mev: float
    centre_mev: float
    mean_mev: tuple[float, float]
    boosted: tuple[float, float]
    above: tuple[float, float]
    skewness: tuple[float, float]
    forward_hard: tuple[float, float]
    top_ratio: tuple[float, ...]
    polarisation: float


def above(edges: Array, probability: Array, cut: float) -> float:
    """Return the probability above a cut, linear inside a bin."""
    cumulative = np.concatenate([[0.0], np.cumsum(probability)])
    return float(cumulative[-1] - np.interp(cut, edges, cumulative))


def shape_numbers(sample: Sample, coarse: Sample | None = None) -> Shape:
    """Return the numbers of a sample; those with the angle from a coarser one, if given, which takes less time."""
    fine = np.linspace(0.0, ENERGY_MAX_MEV, 1601)
    middle = (fine[1:] + fine[:-1]) / 2
    centre = 1e3 * sample.mean(sample.emitted.energy_gev) / 2
    polarisation = sample.mean(sample.emitted.longitudinal)
    spectra = [photon_energies(sample, fine, s) for s in (DIRAC, MAJORANA)]
    means, skews = [], []
    for spectrum in spectra:
        mean = float(middle @ spectrum)
        variance = float((middle - mean) ** 2 @ spectrum)
        means.append(mean)
        skews.append(float((middle - mean) ** 3 @ spectrum) / variance**1.5)
    edges = np.linspace(0.0, ENERGY_MAX_MEV, 161)
    forward = [photons(coarse or sample, edges, [-1.0, FORWARD, 1.0], s)[:, 1] for s in (DIRAC, MAJORANA)]
    cumulative = np.concatenate([[0.0], np.cumsum(spectra[1])])
    cuts = [float(np.interp(1 - share, cumulative, fine)) for share in TOP_SHARES]
    return Shape(
        sample.mass_mev,
        centre,
        (means[0], means[1]),
        (0.5 - polarisation / 4, 0.5),
        (above(fine, spectra[0], centre), above(fine, spectra[1], centre)),
        (skews[0], skews[1]),
        (above(edges, forward[0], centre), above(edges, forward[1], centre)),
        tuple(above(edges, forward[0], cut) / above(edges, forward[1], cut) for cut in cuts),
        polarisation,
    )


def energy_only(templates: PhotonTemplates) -> PhotonTemplates:
    """Return templates that do not see the angle."""
    dirac, majorana = (shape.sum(axis=1, keepdims=True) for shape in (templates.dirac, templates.majorana))
    return PhotonTemplates(templates.mass_mev, templates.energy_edges_mev, np.array([-1.0, 1.0]), dirac, majorana)


def write_shapes(
    experiment: RecoilExperiment, masses: Sequence[float], templates: dict[float, PhotonTemplates], tables: Tables
) -> tuple[list[Shape], list[Shape]]:
    """Write the tables of shapes, flux-folded and at one neutrino energy, and of divergences; return the shapes."""
    own = [shape_numbers(folded(experiment, mass), folded(experiment, mass, nodes=QUICK_NODES)) for mass in masses]
    fixed = [shape_numbers(at_energy(experiment, mass, energy)) for mass, energy in FIXED_ENERGY.items()]
    header = ["m_N [MeV]", "⟨P∥⟩", "⟨E_γ⟩ M [MeV]", "⟨E_γ⟩ D [MeV]", "2E_γ > E_N, M", "2E_γ > E_N, D"]
    header += ["E_γ > ⟨E_N⟩/2, M", "E_γ > ⟨E_N⟩/2, D", "skewness M", "skewness D"]

    def numbers(s: Shape) -> list[object]:
        pairs = (s.mean_mev, s.boosted, s.above, s.skewness)
        return [s.polarisation, *(value for dirac, majorana in pairs for value in (majorana, dirac))]

    title = "S1 and S2: photon energies, folded with the flux of the reactor (true energies)"
    tables.write("shapes", title, header, [[s.mass_mev, *numbers(s)] for s in own], digits=4)
    title = "S1 and S2 at one neutrino energy"
    rows = [[s.mass_mev, FIXED_ENERGY[s.mass_mev], *numbers(s)] for s in fixed]
    tables.write("shapes_fixed_energy", title, [header[0], "E_ν [MeV]", *header[1:]], rows, digits=4)
    header = ["m_N [MeV]", "E_ν [MeV]", "E_γ > ⟨E_N⟩/2 and cos > 0.8: M", "D"]
    header += [f"D/M at cos > 0.8, hardest {share:.0%}" for share in TOP_SHARES] + ["the same, in rate at equal d, 25%"]
    rows = []
    for s, energy in [(s, "reactor") for s in own] + [(s, f"{FIXED_ENERGY[s.mass_mev]:g}") for s in fixed]:
        dirac, majorana = s.forward_hard
        rows.append([s.mass_mev, energy, majorana, dirac, *s.top_ratio, s.top_ratio[0] / 2])
    tables.write("hard_forward", "S3: hard photons at small angles", header, rows)
    rows = []
    for mass in masses:
        both, one = templates[mass], energy_only(templates[mass])
        rows.append([mass, *(relative_entropy(t, truth) for truth in ("majorana", "dirac") for t in (one, both))])
    header = ["m_N [MeV]", "M‖D, E_γ", "M‖D, E_γ and cos", "D‖M, E_γ", "D‖M, E_γ and cos"]
    tables.write("divergences", "Kullback-Leibler divergence: mean ln B per event for the truth", header, rows)
    return own, fixed


@dataclass(frozen=True)
class Histogram:
    """True photon energies and angles of N of one mass, in fine bins: densities.

    Attributes
    ----------
    title : str
    centre_mev : float
        <E_N>/2.
    energy_edges_mev, cosine_edges : ndarray
    spectrum : dict of str to ndarray
        dN/dE_γ of "Dirac" and "Majorana", in `fine_mev` bins.
    fine_mev : ndarray
    density : dict of str to ndarray
        d²N/dE_γ dcos θ, shape (energies, cosines).
    """

    title: str
    centre_mev: float
    energy_edges_mev: Array
    cosine_edges: Array
    fine_mev: Array
    spectrum: dict[str, Array]
    density: dict[str, Array]


def histogram(sample: Sample, title: str, coarse: Sample | None = None, bins: tuple[int, int] = (64, 40)) -> Histogram:
    """Return fine histograms of a sample; those with the angle from a coarser one, if given, which takes less time."""
    top = 1.02e3 * float((sample.emitted.energy_gev + sample.emitted.momentum_gev).max()) / 2
    edges, cosines = np.linspace(0.0, top, bins[0] + 1), np.linspace(-1.0, 1.0, bins[1] + 1)
    fine = np.linspace(0.0, top, 401)
    cells = np.outer(np.diff(edges), np.diff(cosines))
    spectrum, density = {}, {}
    for name, s in (("Dirac", DIRAC), ("Majorana", MAJORANA)):
        spectrum[name] = photon_energies(sample, fine, s) / np.diff(fine)
        density[name] = np.maximum(photons(coarse or sample, edges, cosines, s), 0.0) / cells
    centre = 1e3 * sample.mean(sample.emitted.energy_gev) / 2
    return Histogram(title, centre, edges, cosines, fine, spectrum, density)


def histograms(experiment: RecoilExperiment) -> tuple[list[Histogram], list[Histogram]]:
    """Return the histograms of the figures, folded with the flux and at one neutrino energy.

    Those of the first mass are fine enough for the map of energy and angle.
    """
    own, fixed = [], []
    for k, (mass, energy) in enumerate(FIXED_ENERGY.items()):
        title = f"$m_N$ = {mass:g} MeV"
        coarse = folded(experiment, mass, nodes=(64, 64) if k == 0 else QUICK_NODES)
        own.append(histogram(folded(experiment, mass, nodes=(400, 24)), f"{title}, reactor flux", coarse))
        fixed.append(histogram(at_energy(experiment, mass, energy), rf"{title}, $E_\nu$ = {energy:g} MeV"))
    return own, fixed
