"""What must hold whatever the numbers."""

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bayesnu.detector.response import ResponseMatrix
from bayesnu.detector.settings import ResponseSettings
from bayesnu.experiment.setup import Experiment
from bayesnu.experiment.templates import build_templates, true_kernel
from bayesnu.flux.table import FluxTable, Spectrum
from bayesnu.physics.couplings import CHANNELS, COUPLINGS, ELECTROMAGNETIC
from bayesnu.physics.electron import differential_cross_section
from bayesnu.physics.kinematics import (
    electron_angle,
    neutrino_energy_from_angle,
    neutrino_energy_min,
    recoil_max,
)

few = settings(max_examples=25, deadline=None)
many = settings(max_examples=100, deadline=None)
unit = st.floats(0, 1)
SIZES = {"mu": 1e-8, "q": 1e-7, "r2": 1e-30}


@st.composite
def couplings(draw: st.DrawFn) -> dict[str, float]:
    low = {"mu": 0.0, "q": -1.0, "r2": -1.0}
    return {
        name: draw(st.floats(low[coupling.family], 1.0)) * SIZES[coupling.family]
        for name, coupling in COUPLINGS.items()
        if name in ELECTROMAGNETIC
    }


@many
@given(
    rows=arrays(float, (2, 3, 5), elements=unit), counts=arrays(float, (4, 2, 3), elements=st.floats(0, 1e6)), lost=unit
)
def test_folding_conserves_counts(rows: np.ndarray, counts: np.ndarray, lost: float) -> None:
    """Rows that sum to 1 - lost keep that share of the counts, in whatever bins."""
    values = (rows + 1e-3) / (rows + 1e-3).sum(axis=2, keepdims=True) * (1 - lost)
    edges = ResponseSettings(1, 0.1, (0.0, 1, 2, 3, 4, 5), 0.5, 2, energy_cells=2, angle_cells=3)
    folded = ResponseMatrix(edges, values, np.zeros_like(values)).fold(counts)
    np.testing.assert_allclose(folded.sum(axis=1), (1 - lost) * counts.sum(axis=(1, 2)), rtol=1e-9, atol=1e-9)
    assert (folded >= 0).all()


@many
@given(
    edges=st.lists(st.floats(0, 20), min_size=2, max_size=8, unique=True).map(sorted),
    cuts=st.lists(st.floats(1e-6, 1.0e-3), max_size=6, unique=True).map(sorted),
    recoil=st.floats(0.005, 15),
)
def test_true_cells_divide_the_flux_without_loss(edges: list[float], cuts: list[float], recoil: float) -> None:
    """However the bins and cells are cut, they add up to the energies that can give the recoil."""
    angles = np.array([0.0, *cuts, 1.1e-3])
    kernel = true_kernel(np.array(edges), np.array([recoil]), angles).dense
    low = max(float(neutrino_energy_min(recoil)), edges[0])
    high = max(low, edges[-1])
    assert (kernel >= 0).all()
    np.testing.assert_allclose(kernel[:, 0].sum(), high - low, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(kernel[:, 1].sum(), np.log(high / low), rtol=1e-9, atol=1e-12)


@settings(max_examples=10, deadline=None)
@given(factors=arrays(float, (2, 4), elements=st.floats(0, 100)))
def test_templates_are_linear_in_the_flux(absolute_prism: Experiment, factors: np.ndarray) -> None:
    """A flux of a·Φ + b·Φ' gives a times and b times the counts; Φ' is Φ of another position."""
    card = absolute_prism.card.model_copy(update={"exposures": absolute_prism.card.exposures[:1]})
    spectra = absolute_prism.flux.spectra
    here, there = spectra["neutrino", 0.0], spectra["neutrino", 30.0]
    mixed = here.values * factors[0][:, None] + there.values * factors[1][:, None]
    table = FluxTable(Path("mixed"), {**spectra, ("neutrino", 0.0): Spectrum(here.edges_gev, mixed)})
    made = build_templates(card, table, None, lambda _: None)
    base = absolute_prism.templates.values
    expected = base[0] * factors[0][:, None, None] + 2 * base[4] * factors[1][:, None, None]
    np.testing.assert_allclose(made.values[0], expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@many
@given(values=couplings(), larger=st.floats(1.001, 10), name=st.sampled_from(["mu_nue", "mu_numu"]))
def test_counts_grow_with_the_square_of_a_magnetic_moment(
    prism: Experiment, values: dict[str, float], larger: float, name: str
) -> None:
    """λ(k μ) - λ(0) = k² (λ(μ) - λ(0)), whatever the other couplings, and positive in every bin."""
    base = prism.model.expected({**values, name: 0.0})
    moment = 1e-9
    once = prism.model.expected({**values, name: moment}) - base
    more = prism.model.expected({**values, name: larger * moment}) - base
    np.testing.assert_allclose(more, larger**2 * once, rtol=1e-6, atol=1e-6 * base.max())
    assert (once > 0).all()
    assert (more > once).all()


@many
@given(values=couplings(), pulls=arrays(float, 5, elements=st.floats(-0.999, 5)))
def test_expected_counts_are_never_negative(prism: Experiment, values: dict[str, float], pulls: np.ndarray) -> None:
    """However interference cancels, |amplitude|² ≥ 0 survives the split into terms."""
    counts = prism.model.expected(values, dict(zip(prism.model.pulls, pulls, strict=True)))
    assert (counts >= 0).all()
    assert np.isfinite(counts).all()


@many
@given(
    values=couplings(), channel=st.sampled_from(list(CHANNELS)), recoil=st.floats(1e-4, 19), energy=st.floats(1e-3, 20)
)
def test_cross_sections_are_never_negative(
    values: dict[str, float], channel: str, recoil: float, energy: float
) -> None:
    sigma = float(differential_cross_section(recoil, energy, channel, values))
    scale = float(differential_cross_section(1e-4, 20.0, channel, values))
    assert sigma >= -1e-12 * scale
    assert sigma == 0 or recoil <= recoil_max(energy)


@many
@given(recoil=st.floats(0.001, 20), share=st.floats(0.01, 0.98))
def test_kinematics_round_trip(recoil: float, share: float) -> None:
    energy = recoil / share
    theta = float(electron_angle(recoil, energy))
    found = neutrino_energy_from_angle(recoil, (recoil + 0.51099895e-3) * theta**2)
    np.testing.assert_allclose(found, energy, rtol=1e-5)
    np.testing.assert_allclose(neutrino_energy_min(recoil_max(energy)), energy, rtol=1e-12)
