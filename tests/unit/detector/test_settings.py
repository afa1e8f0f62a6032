import hashlib
import json
from dataclasses import fields, replace

import numpy as np
import pytest

from bayesnu.detector import settings as settings_module
from bayesnu.detector.settings import FORMAT_VERSION, LEFT_OUT, ResponseSettings
from bayesnu.physics.kinematics import e_theta2_max

CHANGES = {
    "angular_resolution_deg": 1.1,
    "energy_resolution": 0.11,
    "bin_edges_mev": (0.0, 1.0),
    "electron_energy_min_gev": 0.7,
    "electron_energy_max_gev": 3.0,
    "energy_cells": 9,
    "angle_cells": 17,
    "method": "quadrature",
    "samples": 10**5,
    "seed": 8,
    "energy_resolution_noise_gev": 0.01,
    "energy_resolution_constant": 0.02,
    "angular_resolution_falling_deg": 0.5,
    "energy_bin_edges_gev": (0.0, 1.0),
    "angle_bin_edges_deg": (0.0, 1.0),
}


@pytest.mark.parametrize("field", [field.name for field in fields(ResponseSettings)])
def test_key_depends_on_every_field(small: ResponseSettings, field: str) -> None:
    assert replace(small, **{field: CHANGES[field]}).key != small.key
    assert replace(small).key == small.key


def test_key_depends_on_the_format_version(small: ResponseSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    before = small.key
    monkeypatch.setattr(settings_module, "FORMAT_VERSION", settings_module.FORMAT_VERSION + 1)
    assert small.key != before


def test_edges(small: ResponseSettings) -> None:
    energy, angle = small.energy_edges_gev, small.angle_edges_gev
    assert (energy[0], energy[-1], energy.size) == (pytest.approx(0.8), pytest.approx(2.4), 9)
    np.testing.assert_allclose(np.diff(np.log(energy)), np.log(3) / 8)
    np.testing.assert_allclose(np.diff(angle), angle[-1] / 16)
    assert angle[-1] == e_theta2_max(0.8 - 0.51099895e-3)
    np.testing.assert_allclose(small.smearing.edges * 1e3, small.bin_edges_mev)
    assert small.smearing.tilt == pytest.approx(np.pi / 180)
    assert (small.bins, small.smearing.angle2_edges.size) == (12, 0)


def test_later_settings_at_their_default_leave_the_key_of_older_files(small: ResponseSettings) -> None:
    """The shipped files are named by hashes of the settings that there were when they were made."""
    older = {name: getattr(small, name) for name in list(CHANGES)[:10]}
    text = json.dumps({"version": FORMAT_VERSION, **older}, sort_keys=True)
    assert small.key == hashlib.sha256(text.encode()).hexdigest()[:16]
    assert set(CHANGES) - set(older) == set(LEFT_OUT)


def test_bins_in_two_dimensions(small: ResponseSettings) -> None:
    settings = replace(
        small, bin_edges_mev=(), energy_bin_edges_gev=(0.0, 1.0, 3.0, 9.0), angle_bin_edges_deg=(0.0, 1.0, 90.0)
    )
    assert settings.bins == 6
    np.testing.assert_allclose(settings.smearing.edges, [0, 1, 3, 9])
    np.testing.assert_allclose(np.sqrt(settings.smearing.angle2_edges), [0, np.pi / 180, np.pi / 2])
