"""The figure of the photon templates: a row of three panels per mass."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bayesnu.experiment.photons import PhotonTemplates
from bayesnu.plotting.photons import plot_photons


def made(mass: float) -> PhotonTemplates:
    rng = np.random.default_rng(3)
    dirac, majorana = rng.uniform(0.1, 1, (2, 8, 5))
    dirac[-1, 0] = majorana[-1, 0] = 0
    return PhotonTemplates(
        mass, np.linspace(0, 9, 9), np.linspace(-1, 1, 6), dirac / dirac.sum(), majorana / majorana.sum()
    )


@pytest.mark.parametrize("masses", [pytest.param([1.0], marks=pytest.mark.slow), [1.0, 3.0]])
def test_panels(masses: list[float]) -> None:
    templates = [made(mass) for mass in masses]
    figure = plot_photons(templates)
    assert isinstance(figure, Figure)
    FigureCanvasAgg(figure).draw()
    bars = [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]
    panels = [axes for axes in figure.axes if axes not in bars]
    assert len(bars) == len(masses)
    assert len(panels) == 3 * len(masses)
    assert {bar.get_ylabel() for bar in bars} == {"Majorana / Dirac"}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Dirac", "Majorana"]
    for item, energy, cosine, ratio in zip(templates, panels[::3], panels[1::3], panels[2::3], strict=True):
        assert energy.get_title() == f"$m_N$ = {item.mass_mev:g} MeV"
        assert (energy.get_xlabel(), cosine.get_xlabel()) == (r"$E_\gamma$ [MeV]", r"$\cos\theta_\gamma$")
        assert ratio.get_ylabel() == r"$\cos\theta_\gamma$"
        # Densities: each curve has unit area.
        for axes in (energy, cosine):
            assert len(axes.patches) == 2
            for patch in axes.patches:
                values, edges, _ = patch.get_data()
                assert values @ np.diff(edges) == pytest.approx(1)
        values = ratio.collections[0].get_array()
        assert values.mask.sum() == 1
        expected = np.clip(item.majorana[0] / item.dirac[0], 0.1, 10)
        assert np.asarray(values).reshape(5, 8)[:, 0] == pytest.approx(expected)
