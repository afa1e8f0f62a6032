"""Folded nuclear recoils against quadrature, their convergence, their signs, and the likelihood built from them."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad

from bayesnu.errors import UsageError
from bayesnu.experiment import recoil_templates
from bayesnu.experiment.recoil import RecoilExperiment, bin_edges, responses
from bayesnu.experiment.recoil_templates import (
    Grid,
    card_spectra,
    fold_dipole,
    fold_electromagnetic,
    morph,
    morph_shifts,
    reactor_spectra,
    stopped_pion_spectra,
)
from bayesnu.experiment.setup import load_experiment, with_parameters
from bayesnu.flux.reactor import Core, reactor_flux
from bayesnu.inference.likelihood import Problem, make_problem, minimise_pulls
from bayesnu.physics import electron, nucleus
from bayesnu.physics.materials import ELEMENTS

# Written out here, so that the expected values share no code with the package: physics page, sections 2, 5, 9 and 12.
FERMI, ALPHA, ELECTRON = 1.1663787e-5, 1 / 137.035999, 0.51099895e-3
W_BOSON = 80.377
HBARC2 = 0.3893793721e-27
SIN2 = 0.23857
AMU, AVOGADRO, HBARC_FM = 0.93149410, 6.02214076e23, 0.1973269804
TERMS = ("1", "mu^2", "q", "q^2", "r2", "r2^2", "q*r2", "d^2")
"""Of the templates, in this order."""
ATOMS = {
    "CaWO4": {(20, 40.078): 1, (74, 183.84): 1, (8, 15.999): 4},
    "Al2O3": {(13, 26.982): 2, (8, 15.999): 3},
    "CsI": {(55, 132.905): 1, (53, 126.904): 1},
}
HIGHEST_REACTOR, HIGHEST_BEAM = 8.0, 105.6583755 / 2
REACTOR_MASSES, BEAM_MASSES = (0.0, 0.1, 3.0, 7.5), (1.0, 10.0, 25.0, 50.0)


def load(model: str, *overrides: str) -> RecoilExperiment:
    experiment = load_experiment(model, overrides)
    assert isinstance(experiment, RecoilExperiment)
    return experiment


@pytest.fixture(scope="module")
def nuclei() -> RecoilExperiment:
    return load("nucleus-10g")


@pytest.fixture(scope="module")
def beam() -> RecoilExperiment:
    return load("coherent-csi-2017")


@pytest.fixture(params=["nuclei", "beam"])
def either(request: pytest.FixtureRequest) -> RecoilExperiment:
    experiment = request.getfixturevalue(request.param)
    assert isinstance(experiment, RecoilExperiment)
    return experiment


# Totals of the templates, by nested quadrature: recoils inside, over the exact window of each neutrino energy


def form2(T: float, A: float) -> float:
    q = math.sqrt(2 * A * AMU * T) / HBARC_FM
    radius2 = (1.23 * A ** (1 / 3) - 0.6) ** 2 + 7 / 3 * math.pi**2 * 0.52**2 - 5 * 0.81
    x = q * math.sqrt(radius2)
    j = 1 - x**2 / 10 + x**4 / 280 if x < 0.05 else 3 * (math.sin(x) - x * math.cos(x)) / x**3
    return (j * math.exp(-(q**2) * 0.81 / 2)) ** 2


def standard(E: float, T: float, Z: int, A: float) -> float:
    M, charge = A * AMU, (A - Z) - (1 - 4 * SIN2) * Z
    return FERMI**2 * M / (4 * math.pi) * charge**2 * (1 - T / E - M * T / (2 * E**2)) * form2(T, A) * HBARC2


def magnetic(E: float, T: float, Z: int, A: float) -> float:
    return math.pi * (ALPHA * Z / ELECTRON) ** 2 * (1 / T - 1 / E) * form2(T, A) * HBARC2


def millicharge(E: float, T: float, Z: int, A: float) -> float:
    """The part linear in q: 2 Q_W (-2Z δg), δg = +√2πα/(G M T)."""
    M, charge = A * AMU, (A - Z) - (1 - 4 * SIN2) * Z
    shift = -2 * Z * math.sqrt(2) * math.pi * ALPHA / (FERMI * M * T)
    return 2 * standard(E, T, Z, A) * shift / charge


def dipole(m: float) -> Callable[[float, float, int, float], float]:
    def cross_section(E: float, T: float, Z: int, A: float) -> float:
        M = A * AMU
        bracket = 1 / T - 1 / E - m**2 / (2 * E * T * M) * (1 - T / (2 * E) + M / (2 * E))
        bracket += m**4 * (T - M) / (8 * E**2 * T**2 * M**2)
        bohr2 = math.pi * ALPHA / ELECTRON**2  # (e/2mₑ)² with e² = 4πα
        return 4 * ALPHA * bohr2 * Z**2 * form2(T, A) * bracket * HBARC2

    return cross_section


def window(E: float, m: float, M: float) -> tuple[float, float]:
    """Where the Mandelstam variable is allowed, by momentum conservation in the centre-of-mass frame; 0 if nowhere."""
    s = M**2 + 2 * M * E
    if math.sqrt(s) < M + m:
        return 0.0, 0.0
    before = (s - M**2) / (2 * math.sqrt(s))
    energy = (s + M**2 - m**2) / (2 * math.sqrt(s))  # of the nucleus, afterwards
    after = math.sqrt(max(energy**2 - M**2, 0.0))
    # t = 2M² - 2(E₁E₂ ± p₁p₂) = -2MT; the lower end by the product of both, which keeps its digits.
    high = (math.sqrt(before**2 + M**2) * energy + before * after - M**2) / M
    return m**4 / (4 * M * (M + 2 * E)) / high, high


def total(
    cross_section: Callable[[float, float, int, float], float],
    seen: Callable[[float], float],
    density: Callable[[float], float] | float,
    kinks: tuple[float, ...],
    pieces: tuple[float, ...],
    m: float,
    atoms: dict[tuple[int, float], int],
    kg: float,
) -> float:
    """Counts of a target in all bins; ``density`` per MeV, or the fluence of the line.

    Energies (MeV) are integrated between ``kinks``, recoils (GeV, in ln T) from the first of ``pieces`` up.
    """
    molar = sum(A * n for (_, A), n in atoms.items())
    counts = 0.0
    for (Z, A), n in atoms.items():
        M = A * AMU

        def inner(E_mev: float, Z: int = Z, A: float = A, M: float = M) -> float:
            E = E_mev * 1e-3
            low, high = window(E, m * 1e-3, M)
            low = max(low, pieces[0])
            if high <= low:
                return 0.0
            cuts = [low, *(c for c in pieces if low < c < high), high]
            return math.fsum(
                quad(
                    lambda x: math.exp(x) * cross_section(E, math.exp(x), Z, A) * seen(math.exp(x) * 1e9),
                    math.log(a),
                    math.log(b),
                    epsabs=0,
                    epsrel=1e-8,
                )[0]
                for a, b in pairwise(cuts)
            )

        if callable(density):
            start = m + 0.5 * m**2 / (M * 1e3)
            edges = [max(start, kinks[0]), *(k for k in kinks[1:-1] if k > start), kinks[-1]]
            rate = 0.0
            for a, b in reversed(list(pairwise(edges))):
                # Low energies, of which hardly any are seen, need not be precise relative to themselves.
                rate += quad(lambda E: density(E) * inner(E), a, b, epsabs=1e-6 * abs(rate), epsrel=1e-5)[0]
        else:
            rate = density * inner(LINE_EXACT)
        counts += 1000 * AVOGADRO * n / molar * kg * rate
    return counts


LINE_EXACT = (139.57039**2 - 105.6583755**2) / (2 * 139.57039)
REACTOR_KINKS = (0.1, 0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0, 8.0)
"""MeV; the spectrum of Vogel and Engel is linear in between. Below 0.1 MeV no recoil exceeds 1.4 eV."""


REACTOR_PIECES = (0.3e-9, 8e-9, 20e-9, 40e-9, 5e-6, 1e-5)
"""GeV: a recoil of 0.3 eV is seen once in a million; the threshold is at 20 eV, the last edge at 10 keV."""
BEAM_PIECES = (1e-7, 3e-6, 1e-5, 3e-5)
"""0.1 keV has 0.12 photoelectrons on average: it is seen once in 10⁹."""


def phonons_seen(T_ev: float) -> float:
    """20 eV to 10 keV, σ = 4 eV: the sum over all bins."""
    # The complement keeps its digits far below the threshold.
    return (math.erfc((20 - T_ev) / (math.sqrt(2) * 4)) - math.erfc((1e4 - T_ev) / (math.sqrt(2) * 4))) / 2


ACCEPTED = [0.6655 / (1 + math.exp(-0.4942 * (pe - 10.8507))) for pe in range(6, 30)]


def light_seen(T_ev: float) -> float:
    """6 ≤ PE < 30 of a Poisson number about 13.348 × 0.0878 per keV, times the acceptance."""
    mean = 13.348 * 0.0878 * T_ev * 1e-3
    poisson = math.exp(6 * math.log(mean) - mean) / math.factorial(6)
    seen = 0.0
    for pe, accepted in enumerate(ACCEPTED, start=6):
        seen += accepted * poisson
        poisson *= mean / (pe + 1)
    return seen


def reactor_density(E_mev: float) -> float:
    cores = (Core(4.25, 72.0), Core(4.25, 102.0))
    fractions = {"U235": 0.561, "U238": 0.076, "Pu239": 0.307, "Pu241": 0.056}
    return float(reactor_flux(E_mev, cores, fractions)) * 1095.75 * 86400


def template_total(experiment: RecoilExperiment, term: str, target: int, channel: int) -> float:
    middle = experiment.templates.shape[0] // 2
    return float(experiment.templates[middle, target, channel, TERMS.index(term)].sum())


@pytest.mark.parametrize(("term", "cross_section"), [("1", standard), ("mu^2", magnetic), ("q", millicharge)])
def test_reactor_totals(
    nuclei: RecoilExperiment, term: str, cross_section: Callable[[float, float, int, float], float]
) -> None:
    """To 1e-5, ten times better than needed; below, the precision of the quadrature would show."""
    for k, (compound, kg) in enumerate({"CaWO4": 0.006, "Al2O3": 0.004}.items()):
        exact = total(
            cross_section, phonons_seen, reactor_density, REACTOR_KINKS, REACTOR_PIECES, 0.0, ATOMS[compound], kg
        )
        assert template_total(nuclei, term, k, 0) == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("m_N", [1.0, 4.0, 7.0])
def test_reactor_dipole_totals(nuclei: RecoilExperiment, m_N: float) -> None:
    found = nuclei.at(m_N)
    for k, (compound, kg) in enumerate({"CaWO4": 0.006, "Al2O3": 0.004}.items()):
        exact = total(
            dipole(m_N * 1e-3), phonons_seen, reactor_density, REACTOR_KINKS, REACTOR_PIECES, m_N, ATOMS[compound], kg
        )
        assert template_total(found, "d^2", k, 0) == pytest.approx(exact, rel=1e-5)


def beam_density(channel: str) -> Callable[[float], float] | float:
    """Neutrinos per cm² (and MeV) at 19.3 m, of which 0.9148 of the delayed ones come within 6 μs."""
    fluence = 1.76e23 * 0.08 / (4 * math.pi * 1930.0**2)
    delayed = fluence * math.fsum(
        (0.0014, 0.1192, 0.1796, 0.1435, 0.1144, 0.0911, 0.0726, 0.0578, 0.0461, 0.0366, 0.0292, 0.0233)
    )
    top = HIGHEST_BEAM
    return {
        "numu": fluence,
        "numubar": lambda E: delayed * 2 / top * (E / top) ** 2 * (3 - 2 * E / top),
        "nue": lambda E: delayed * 12 / top * (E / top) ** 2 * (1 - E / top),
    }[channel]


@pytest.mark.parametrize("m_N", [None, 1.0, 40.0])
def test_beam_totals(beam: RecoilExperiment, m_N: float | None) -> None:
    """The SM, and upscattering, of each species; ν_μ of 29.8 MeV cannot make 40 MeV."""
    found = beam if m_N is None else beam.at(m_N)
    for c, spectrum in enumerate(found.spectra):
        cross_section, m = (standard, 0.0) if m_N is None else (dipole(m_N * 1e-3), m_N)
        density = beam_density(spectrum.channel)
        kinks = (2.0, 20.0, 35.0, 45.0, HIGHEST_BEAM)
        exact = total(cross_section, light_seen, density, kinks, BEAM_PIECES, m, ATOMS["CsI"], 14.57)
        assert template_total(found, "1" if m_N is None else "d^2", 0, c) == pytest.approx(exact, rel=1e-5)
        assert (exact == 0) == (spectrum.channel == "numu" and m_N == 40.0)


# Convergence


def folded(experiment: RecoilExperiment, grid: Grid, cells: int, m_N: float) -> np.ndarray:
    """Every term of every channel and target, (targets × channels × terms, bins)."""
    card = experiment.card
    if card.reactor is not None:
        spectra = reactor_spectra(card.reactor, cells)
    else:
        assert card.stopped_pion is not None
        spectra = stopped_pion_spectra(card.stopped_pion, cells)
    response = responses(card)[len(responses(card)) // 2]
    electromagnetic = fold_electromagnetic(card, spectra, response, grid)
    upscattered = fold_dipole(card, spectra, response, bin_edges(card).size - 1, m_N, grid)
    rows = []
    for target in card.targets:
        for spectrum in spectra:
            rows += [*electromagnetic[target][spectrum.channel].values(), upscattered[target][spectrum.channel]]
    return np.array(rows)


def largest_change(first: np.ndarray, second: np.ndarray) -> float:
    """Of bins that hold more than 1% of the counts of their spectrum."""
    counts = np.abs(second)
    counted = counts > 0.01 * counts.sum(axis=1, keepdims=True)
    return float(np.abs(first[counted] / second[counted] - 1).max())


@pytest.mark.parametrize(("name", "m_N"), [("nuclei", m) for m in REACTOR_MASSES] + [("beam", m) for m in BEAM_MASSES])
def test_twice_as_fine_changes_no_bin(name: str, m_N: float, request: pytest.FixtureRequest) -> None:
    """By more than 1e-3 in bins with over 1% of the counts: the nodes, the panels, and the cells of the spectra."""
    experiment = request.getfixturevalue(name)
    usual = folded(experiment, Grid(), 1500, m_N)
    for grid, cells in ((Grid(nodes=12), 1500), (Grid(panels_per_decade=48), 1500), (Grid(), 3000)):
        assert largest_change(usual, folded(experiment, grid, cells, m_N)) < 1e-3


def test_cards_are_folded_on_the_usual_grid(nuclei: RecoilExperiment) -> None:
    rows = folded(nuclei, Grid(recoil_templates.NODES_PER_PANEL, recoil_templates.PANELS_PER_DECADE), 1500, 1.0)
    np.testing.assert_array_equal(nuclei.templates[0].reshape(rows.shape), rows)


def test_finer_bins_add_up(nuclei: RecoilExperiment) -> None:
    """Counts in 40 bins are those in 80, two by two."""
    fine = load("nucleus-10g", "detector.bins=80")
    summed = fine.templates.reshape(*fine.templates.shape[:-1], 40, 2).sum(axis=-1)
    np.testing.assert_allclose(summed, nuclei.templates, rtol=1e-4, atol=1e-9 * np.abs(nuclei.templates).max())
    first = nuclei.templates[0, :, 0, 0]
    np.testing.assert_allclose(summed[0, :, 0, 0], first, rtol=1e-5, atol=1e-6 * first.max())


# The mass of N


@pytest.mark.parametrize(
    ("name", "coupling", "below", "above"),
    [("nuclei", "d_nue", 7.99, 8.0), ("beam", "d_nue", 52.7, 52.9), ("beam", "d_numu", 52.7, 52.9)],
)
def test_no_counts_of_an_n_that_is_too_heavy(
    name: str, coupling: str, below: float, above: float, request: pytest.FixtureRequest
) -> None:
    """8 MeV is the end of the reactor's spectrum, m_μ/2 = 52.83 MeV that of muons at rest; exactly zero above."""
    experiment = request.getfixturevalue(name)
    light, heavy = experiment.at(below), experiment.at(above)
    assert light.responds(coupling)
    assert not heavy.responds(coupling)
    assert (heavy.templates[:, :, :, TERMS.index("d^2")] == 0).all()
    np.testing.assert_array_equal(heavy.model.expected({coupling: 1.0}), experiment.model.expected())


def test_the_line_makes_no_n_heavier_than_itself(beam: RecoilExperiment) -> None:
    channels = [spectrum.channel for spectrum in beam.spectra]
    term = TERMS.index("d^2")
    for m_N, made in ((29.7, True), (29.9, False)):
        counts = beam.at(m_N).templates[:, 0, channels.index("numu"), term]
        assert (counts > 0).any() == made


def test_other_couplings_respond_at_any_mass(either: RecoilExperiment) -> None:
    heavy = either.at(1000.0)
    for name in heavy.model.couplings:
        assert heavy.responds(name) == (not name.startswith("d_"))


@pytest.mark.parametrize(("model", "m_N"), [("nucleus-10g", 3.3), ("nucleus-10g", 0.0), ("coherent-csi-2017", 20.0)])
def test_another_mass_is_a_fresh_card(model: str, m_N: float) -> None:
    moved, fresh = load(model).at(m_N), load(model, f"sterile.m_N={m_N}")
    np.testing.assert_array_equal(moved.templates, fresh.templates)
    np.testing.assert_array_equal(moved.model.arrays, fresh.model.arrays)
    np.testing.assert_array_equal(moved.data, fresh.data)
    assert moved.card == fresh.card
    assert moved.digest == fresh.digest


def test_the_mass_changes_nothing_but_the_upscattering(nuclei: RecoilExperiment) -> None:
    other = nuclei.at(5.0)
    kept = [t for t, name in enumerate(TERMS) if name != "d^2"]
    np.testing.assert_array_equal(other.templates[:, :, :, kept], nuclei.templates[:, :, :, kept])
    assert nuclei.card.sterile.m_N == 1.0
    assert other.digest != nuclei.digest


def test_parameters_are_checked(nuclei: RecoilExperiment) -> None:
    assert with_parameters(nuclei, {}) is nuclei
    found = with_parameters(nuclei, {"m_N": 2.5})
    assert isinstance(found, RecoilExperiment)
    assert found.card.sterile.m_N == 2.5
    for parameters, fragment in (({"m_n": 1.0}, "did you mean 'm_N'"), ({"m_N": -1.0}, "at least 0")):
        with pytest.raises(UsageError, match=fragment):
            with_parameters(nuclei, parameters)
    for value in (math.nan, math.inf):
        with pytest.raises(UsageError, match="finite"):
            with_parameters(nuclei, {"m_N": value})


def test_a_massless_n_is_the_magnetic_moment(either: RecoilExperiment) -> None:
    """μ = 2d: 4αd² = αμ², so that counts per d² are four times those per μ² at m_N = 0 (physics page, section 1)."""
    massless = either.at(0.0).templates
    # The page's textbook form has 1/T - 1/E; the Primakoff one the same at m = 0.
    np.testing.assert_allclose(
        massless[:, :, :, TERMS.index("d^2")], 4 * massless[:, :, :, TERMS.index("mu^2")], rtol=1e-9, atol=0
    )


# Signs


def test_millicharge_lowers_the_nuclear_rate(either: RecoilExperiment) -> None:
    """q > 0 shifts the charge of protons by +, of electrons by -: nuclei lose rate, as Q_W → Q_W - 2Z δg."""
    calcium = ELEMENTS["Ca"]
    assert float(nucleus.millicharge_shift(1e-7, calcium)) > 0 > float(electron.millicharge_shift(1e-3))
    assert nucleus.charge_radius_shift() < 0 < electron.charge_radius_shift(SIN2)
    none = either.signal_sm
    counted = none > 0.01 * none.sum()
    change = {
        name: either.model.expected({name: value})[counted] - either.model.expected()[counted]
        for name, value in (("q_nue", 1e-12), ("r2_nue", 1e-33))
    }
    assert (change["q_nue"] < 0).all()
    assert (change["r2_nue"] > 0).all()
    opposite = either.model.expected({"q_nue": -1e-12})[counted] - either.model.expected()[counted]
    assert (opposite > 0).all()


def test_charge_radius_scales_a_pure_element() -> None:
    """With one element the charge radius is a constant factor: (1 + ρ r²)², ρ = (4/3) Z m_W² s²/(Q_W ħ²c²)."""
    argon = load("nucleus-10g", "targets={Ar={mass_kg=1.0}}")
    charge = (39.948 - 18) - (1 - 4 * SIN2) * 18
    rho = 4 / 3 * 18 * W_BOSON**2 * SIN2 / (charge * HBARC2)
    sm = argon.signal_sm
    for r2 in (1e-32, -1e-32, -1 / rho):
        found = argon.model.expected({"r2_nue": r2}) - argon.background
        # m_W of the PDG has moved by 1e-4 in the last years.
        np.testing.assert_allclose(found, sm * (1 + rho * r2) ** 2, rtol=1e-3, atol=1e-6 * sm.max())


def test_a_moment_enters_squared(either: RecoilExperiment) -> None:
    for name in either.model.couplings:
        if name.startswith(("d_", "mu_")):
            plus, minus, twice = (either.model.expected({name: v}) for v in (1e-9, -1e-9, 2e-9))
            np.testing.assert_array_equal(plus, minus)
            none = either.model.expected()
            np.testing.assert_allclose(twice - none, 4 * (plus - none), rtol=1e-9, atol=1e-10 * none.max())


def test_upscattering_does_not_interfere(beam: RecoilExperiment) -> None:
    """Chirality flips: d with q, r² or μ adds, and flavours add."""
    one, two = {"d_nue": 3e-9, "d_numu": 1e-9}, {"q_nue": 1e-7, "r2_numu": -2e-32, "mu_nue": 1e-9}
    none = beam.model.expected()
    both = beam.model.expected({**one, **two}) - none
    np.testing.assert_allclose(both, beam.model.expected(one) + beam.model.expected(two) - 2 * none, rtol=1e-9)


def test_millicharge_and_radius_interfere(beam: RecoilExperiment) -> None:
    none, q, r2 = beam.model.expected(), {"q_nue": 1e-7}, {"r2_nue": 2e-32}
    together = beam.model.expected({**q, **r2}) - none
    apart = beam.model.expected(q) + beam.model.expected(r2) - 2 * none
    # Both shift the same charge, in opposite directions: the product 2 q r² δδ' is negative.
    assert (together < apart)[:12].all()


@pytest.mark.parametrize("name", ["nuclei", "beam"])
def test_counts_of_moments_are_never_negative_nor_nan(name: str, request: pytest.FixtureRequest) -> None:
    """At masses down to 1 eV and up to the edge of what can be produced."""
    experiment = request.getfixturevalue(name)
    top = HIGHEST_REACTOR if name == "nuclei" else HIGHEST_BEAM
    term = TERMS.index("d^2")
    edges = [top * (1 - 10.0**-k) for k in range(1, 13)] + [LINE_EXACT * (1 + s * 1e-9) for s in (-1, 0, 1)]
    for m_N in [0.0, 1e-12, *np.geomspace(1e-6, top, 12), *edges]:
        counts = experiment.at(float(m_N)).templates[:, :, :, term]
        assert np.isfinite(counts).all()
        assert (counts >= 0).all()
    moments = experiment.templates[:, :, :, TERMS.index("mu^2")]
    assert (moments >= 0).all()
    assert (experiment.templates[:, :, :, TERMS.index("1")] >= 0).all()
    assert np.isfinite(experiment.templates).all()


def test_heavier_n_are_rarer(nuclei: RecoilExperiment) -> None:
    totals = [template_total(nuclei.at(m), "d^2", 0, 0) for m in (0.0, 0.5, 1.0, 2.0, 4.0, 6.0, 7.5, 7.9)]
    assert all(later < earlier for earlier, later in pairwise(totals))


# Backgrounds and exposure


def test_flat_background_of_a_reactor(nuclei: RecoilExperiment) -> None:
    """100 per keV, kg and day in bins of keV: 0.006 kg × 1095.75 d × 9.98 keV × 100 in CaWO₄."""
    width = np.diff(np.geomspace(20, 1e4, 41)) * 1e-3
    expected = [100 * kg * 1095.75 * width for kg in (0.006, 0.004)]
    np.testing.assert_allclose(nuclei.background, np.concatenate(expected), rtol=1e-6, atol=1e-9)


def test_backgrounds_of_a_beam(beam: RecoilExperiment) -> None:
    """5.4 neutrons, flat, and the counts out of time in both blocks; the latter hold no signal."""
    out_of_time = np.array([26, 51, 67, 49, 39, 32, 30, 23, 21, 21, 29, 17], dtype=float)
    np.testing.assert_allclose(beam.background, [*(out_of_time + 5.4 / 12), *out_of_time], rtol=1e-9)
    assert (beam.signal_sm[12:] == 0).all()
    np.testing.assert_array_equal(beam.data[12:], out_of_time)
    np.testing.assert_array_equal(beam.data[:12], [35, 62, 91, 74, 60, 49, 35, 33, 27, 21, 34, 26])


def test_counts_are_proportional_to_the_exposure(nuclei: RecoilExperiment) -> None:
    doubled = load("nucleus-10g", "reactor.days=2191.5", "targets.CaWO4.mass_kg=0.018")
    factors = np.repeat([6.0, 2.0], 40)
    np.testing.assert_allclose(doubled.signal_sm, factors * nuclei.signal_sm, rtol=1e-12)
    np.testing.assert_allclose(
        doubled.model.expected({"d_nue": 1e-10}), factors * nuclei.model.expected({"d_nue": 1e-10}), rtol=1e-12
    )


def test_labels_of_the_observations(nuclei: RecoilExperiment, beam: RecoilExperiment) -> None:
    array = nuclei.expected_labelled({"d_nue": 1e-10}, {})
    assert array.exposure.values.tolist() == ["CaWO4"] * 40 + ["Al2O3"] * 40
    assert array.bin_lo.attrs["units"] == "eV"
    assert (float(array.bin_lo[40]), float(array.bin_hi[-1])) == (pytest.approx(20.0), pytest.approx(1e4))
    light = beam.expected_labelled({}, {})
    assert light.exposure.values.tolist() == ["coincidence"] * 12 + ["anticoincidence"] * 12
    assert light.bin_lo.values[:12].tolist() == list(range(6, 30, 2))
    assert nuclei.unit == "ev"
    assert beam.unit == "pe"


def test_no_window_means_all_neutrinos() -> None:
    text = "stopped_pion={protons_on_target=1.76e23, neutrinos_per_proton=0.08, distance_m=19.3}"
    everything = {s.channel: float(s.above(0.0)[0]) for s in card_spectra(load("coherent-csi-2017", text).card)}
    # Those of the whole window: 3.008e14 per cm² and flavour (physics page, section 9).
    for channel in ("numu", "nue", "numubar"):
        assert everything[channel] == pytest.approx(3.008e14, rel=2e-4)


# The quenching's morph


def test_morph_goes_through_its_templates() -> None:
    rng = np.random.default_rng(3)
    shifts = morph_shifts(0.19)
    assert shifts.size == 9
    assert shifts[[0, 4, 8]] == pytest.approx([-0.76, 0, 0.76], abs=1e-15)
    counts = rng.uniform(1, 9, (9, 4, 5))
    parts = morph(counts, shifts)
    for f, exact in zip(shifts, counts, strict=True):
        np.testing.assert_allclose(sum(part * (1 + f) ** k for k, part in enumerate(parts)), exact, rtol=1e-8)
    parabola = (2 + shifts / 0.1) ** 2
    found = [sum(c * (1 + f) ** k for k, c in enumerate(morph(parabola, shifts))) for f in (-0.3, 0.05)]
    assert found == pytest.approx([1.0, 2.5**2], rel=1e-9)
    # A large error is not followed to a detector without light.
    assert morph_shifts(0.5)[0] == pytest.approx(-0.8)


@pytest.mark.parametrize("couplings", [{}, {"d_nue": 3e-9}, {"q_numu": 1e-7, "r2_nue": 1e-32, "mu_numu": 3e-9}])
def test_quenching_at_its_nodes_is_a_card_with_that_quenching(
    beam: RecoilExperiment, couplings: dict[str, float]
) -> None:
    """The pull runs exactly through the folds at its nodes."""
    for shift in morph_shifts(0.0166 / 0.0878)[2::2] * 0.0878 / 0.0166:
        value = 0.0878 + float(shift) * 0.0166
        other = load("coherent-csi-2017", f"detector.quenching={value!r}", "detector.quenching_error=0")
        pulled = beam.model.expected(couplings, {"quenching": shift * 0.0166 / 0.0878})
        np.testing.assert_allclose(pulled, other.model.expected(couplings), rtol=1e-7)


@pytest.mark.parametrize("shift", [-2.8, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 2.8])
def test_quenching_between_is_close_to_a_fold(beam: RecoilExperiment, shift: float) -> None:
    """All signal to 3e-4, each bin of it that holds 1% to 2.5%, none below 0; one deviation changes bins by half."""
    card = (f"detector.quenching={0.0878 + shift * 0.0166!r}", "detector.quenching_error=0")
    nothing = load("coherent-csi-2017", *card)
    exact = nothing.signal_sm[:12]
    pull = {"quenching": shift * 0.0166 / 0.0878}
    found = (beam.model.expected({}, pull) - beam.background)[:12]
    assert found.sum() == pytest.approx(exact.sum(), rel=3e-4)
    large = exact > 0.01 * exact.sum()
    np.testing.assert_allclose(found[large], exact[large], rtol=0.025)
    assert (found > 0).all()


def test_without_an_error_there_is_no_pull(beam: RecoilExperiment) -> None:
    plain = load("coherent-csi-2017", "detector.quenching_error=0")
    assert set(beam.model.pulls) - set(plain.model.pulls) == {"quenching"}
    np.testing.assert_allclose(plain.model.expected(), beam.model.expected(), rtol=1e-12)


# The likelihood


def free_backgrounds(beam: RecoilExperiment, problem: Problem, z: np.ndarray) -> np.ndarray:
    """Steady-state counts in each bin at some pulls."""
    pulls = dict(zip(beam.model.pulls, z * beam.model.widths, strict=True))
    out_of_time = np.array([26, 51, 67, 49, 39, 32, 30, 23, 21, 21, 29, 17])
    return np.array([n * (1 + pulls[f"steady_state[{b}]"]) for b, n in enumerate(out_of_time)])


def closed_form(C: np.ndarray, AC: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The b > 0 at which the likelihood of C ~ Poisson(x + b) and AC ~ Poisson(b) is largest.

    1 - C/(x + b) + 1 - AC/b = 0, that is 2b² + (2x - C - AC) b - AC x = 0.
    """
    half = (2 * x - C - AC) / 4
    return -half + np.sqrt(half**2 + AC * x / 2)


@pytest.mark.parametrize("coupling", [0.0, 3e-9])
@pytest.mark.parametrize("fixed", [True, False], ids=["others fixed", "others free"])
def test_free_backgrounds_are_where_the_likelihood_is_largest(coupling: float, fixed: bool) -> None:
    """With all other pulls at zero width, and at wherever they are when they are profiled too."""
    overrides = ("pulls.flux_norm=0", "pulls.neutrons=0", "detector.quenching_error=0") if fixed else ()
    beam = load("coherent-csi-2017", *overrides)
    problem = make_problem(beam, ["d_nue"])
    fitted = minimise_pulls(problem, np.array([[coupling / problem.scales[0]]]))
    assert fitted.converged.all()
    pulls = dict(zip(beam.model.pulls, fitted.pulls[0] * beam.model.widths, strict=True))
    others = {name: f for name, f in pulls.items() if not name.startswith("steady_state")}
    nominal = beam.data[12:]
    x = beam.model.expected({"d_nue": coupling}, others)[:12] - nominal
    expected = closed_form(beam.data[:12], beam.data[12:], x)
    np.testing.assert_allclose(free_backgrounds(beam, problem, fitted.pulls[0]), expected, rtol=1e-7)
    if fixed:
        assert x.sum() == pytest.approx(template_sum(beam, coupling) + 5.4, rel=1e-9)


def template_sum(beam: RecoilExperiment, d_nue: float) -> float:
    nue = [s.channel for s in beam.spectra].index("nue")
    sm = beam.templates[0, 0, :, TERMS.index("1")].sum()
    return float(sm + d_nue**2 * beam.templates[0, 0, nue, TERMS.index("d^2")].sum())


def test_deviance_of_the_minimum_by_hand(beam: RecoilExperiment) -> None:
    """-2 ln L at the fitted pulls: both Poisson deviances, and z² of the pulls that are not free."""
    problem = make_problem(beam, ["d_numu"])
    fitted = minimise_pulls(problem, np.array([[0.0]]))
    pulls = dict(zip(beam.model.pulls, fitted.pulls[0] * beam.model.widths, strict=True))
    expected, n = beam.model.expected({}, pulls), beam.data
    deviance = 2 * (expected - n + n * np.log(n / expected)).sum()
    constraint = sum(
        (pulls[name] / width) ** 2
        for name, width in (("flux_norm", 0.12), ("neutrons", 0.25), ("quenching", 166 / 878))
    )
    assert fitted.value[0] == pytest.approx(deviance + constraint, rel=1e-10)


@pytest.mark.parametrize(("model", "overrides"), [("nucleus-10g", ()), ("coherent-csi-2017", ("counts.asimov=true",))])
@pytest.mark.parametrize("statistic", ["poisson", "chi2"])
def test_asimov_data_fit_the_sm_perfectly(model: str, overrides: tuple[str, ...], statistic: str) -> None:
    experiment = load(model, *overrides)
    assert not experiment.observed
    np.testing.assert_array_equal(experiment.data, experiment.model.expected())
    fitted = minimise_pulls(make_problem(experiment, ["d_nue"], statistic), np.array([[0.0]]))  # type: ignore[arg-type]
    assert fitted.value[0] == pytest.approx(0.0, abs=1e-12)
    assert np.abs(fitted.pulls).max() < 1e-9


def test_observed_and_asimov_share_one_model(beam: RecoilExperiment) -> None:
    """Observed counts that equal the expectation give the Asimov curve; only the data differ."""
    asimov = load("coherent-csi-2017", "counts.asimov=true")
    np.testing.assert_array_equal(asimov.model.arrays, beam.model.arrays)
    assert beam.observed
    as_observed = replace(beam, data=asimov.data)
    points = np.linspace(0, 5, 6)[None, :]
    curves = [minimise_pulls(make_problem(e, ["d_nue"]), points).value for e in (asimov, as_observed)]
    np.testing.assert_array_equal(*curves)
    assert curves[0][0] < 1e-12 < curves[0][-1]


def test_observed_counts_of_a_reactor_are_the_data(nuclei: RecoilExperiment) -> None:
    expected = nuclei.model.expected({"d_nue": 1e-10}).reshape(2, 40)
    texts = [f"observed_counts.{name}={row.tolist()!r}" for name, row in zip(("CaWO4", "Al2O3"), expected, strict=True)]
    observed = load("nucleus-10g", "expected_data=true", *texts)
    assert observed.observed
    np.testing.assert_allclose(observed.data, expected.ravel(), rtol=1e-15)
    problem = make_problem(observed, ["d_nue"])
    at = np.array([[0.0, 1e-10]]) / problem.scales[0]
    none, right = minimise_pulls(problem, at).value
    assert right == pytest.approx(0.0, abs=1e-9)
    assert none > 5.0
