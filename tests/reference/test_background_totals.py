"""The background totals of the physics page."""

import numpy as np
import pytest

from bayesnu.experiment.setup import Experiment

TOTALS = {
    ("neutrino", 0.0): 702, ("neutrino", 18.0): 143, ("neutrino", 30.0): 46.2,
    ("antineutrino", 0.0): 624, ("antineutrino", 18.0): 121.5, ("antineutrino", 30.0): 40.6,
}  # fmt: skip


@pytest.mark.parametrize(("place", "total"), list(TOTALS.items()), ids=str)
def test_ccqe_per_year_below_six_electron_masses(prism: Experiment, place: tuple[str, float], total: float) -> None:
    k = [(e.mode, e.position_m) for e in prism.card.exposures].index(place)
    assert prism.backgrounds[k, 0].sum() == pytest.approx(total, rel=0.01)
    assert prism.backgrounds[k, 1].sum() == pytest.approx(total / 2, rel=0.01)


def test_first_and_last_bin(on_axis: Experiment) -> None:
    first, last = on_axis.backgrounds[0, 0, [0, -1]]
    assert first == pytest.approx(46.6, rel=0.01)
    assert last == pytest.approx(64.2, rel=0.01)


def test_ccqe_rises_and_pi0_falls(on_axis: Experiment) -> None:
    assert (np.diff(on_axis.backgrounds[0, 0]) > 0).all()
    assert (np.diff(on_axis.backgrounds[:, 1], axis=1) < 0).all()
