"""The background model, and files of counts made for a stated set-up."""

from pathlib import Path
from shutil import copy

import numpy as np
import pytest

from bayesnu.errors import CardError, DataError
from bayesnu.experiment import backgrounds
from bayesnu.experiment.backgrounds import (
    PI0_FRACTION,
    background_table,
    computed_backgrounds,
    read_backgrounds,
    read_made_for,
)
from bayesnu.experiment.response import response_settings
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.flux.table import FluxTable, Spectrum
from bayesnu.physics.quasielastic import ccqe_cross_section, proton_visible
from bayesnu.resources import data_folder

NAME = "dune_ccqe_pi0"


@pytest.fixture(scope="module")
def computed(prism: Experiment) -> np.ndarray:
    return computed_backgrounds(prism.card, prism.flux)


@pytest.fixture
def few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Integrate with few points, for what holds exactly at any number."""
    monkeypatch.setattr(backgrounds, "POINTS", 256)


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    for suffix in (".csv", ".toml"):
        copy(data_folder() / "backgrounds" / f"{NAME}{suffix}", tmp_path / f"{NAME}{suffix}")
    return tmp_path / f"{NAME}.csv"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_shipped_file_is_the_computed_model(prism: Experiment, computed: np.ndarray) -> None:
    """To the six digits that the file has."""
    np.testing.assert_allclose(prism.backgrounds, computed, rtol=6e-6)


def test_model_instead_of_file(on_axis: Experiment) -> None:
    loaded = load_experiment("dune-on-axis", ["backgrounds.model=ccqe"])
    assert "backgrounds.file" not in loaded.files
    np.testing.assert_allclose(loaded.backgrounds, on_axis.backgrounds, rtol=6e-6)


@pytest.mark.usefixtures("few_points")
def test_threshold_cuts_the_computed_background(on_axis: Experiment) -> None:
    """A higher threshold leaves less; what 30 MeV loses is next to nothing."""

    def ccqe(threshold_mev: float) -> np.ndarray:
        detector = on_axis.card.detector.model_copy(update={"threshold_mev": threshold_mev})
        return computed_backgrounds(on_axis.card.model_copy(update={"detector": detector}), on_axis.flux)[:, 0]

    np.testing.assert_allclose(ccqe(30.0), ccqe(0.0), rtol=1e-3)
    assert (ccqe(1e5) == 0).all()
    kept = [ccqe(threshold).sum() / ccqe(0.0).sum() for threshold in (30.0, 500.0, 2000.0, 5000.0)]
    assert (np.diff(kept) < 0).all()
    assert kept[-1] < 0.9


@pytest.mark.usefixtures("few_points")
@pytest.mark.parametrize("key", ["angular_resolution_deg", "energy_resolution"])
def test_model_for_another_detector(on_axis: Experiment, key: str) -> None:
    """Other resolutions move some per cent of the events between bins and into the window."""
    detector = on_axis.card.detector.model_copy(update={key: 2 * getattr(on_axis.card.detector, key)})
    other = computed_backgrounds(on_axis.card.model_copy(update={"detector": detector}), on_axis.flux)
    change = other[:, 0] / computed_backgrounds(on_axis.card, on_axis.flux)[:, 0] - 1
    assert np.abs(change).max() > 0.01
    assert np.abs(change).max() < 0.5


@pytest.mark.parametrize("energy_resolution", [pytest.param(0.1, marks=pytest.mark.slow), 0.5])
def test_kernel_agrees_with_simulated_events(on_axis: Experiment, energy_resolution: float) -> None:
    """Events with true angles over the sphere, tilted and smeared by random numbers, and counted."""
    detector = on_axis.card.detector.model_copy(update={"energy_resolution": energy_resolution})
    card = on_axis.card.model_copy(update={"detector": detector})
    edges = np.array(detector.bin_edges_mev)
    low, high = 0.5, 1.0
    smearing = response_settings(card, on_axis.flux).smearing
    neutron, proton = backgrounds.ccqe_kernel(Spectrum(np.array([low, high]), np.ones((4, 1))), card, smearing)

    rng, n = np.random.default_rng(3), 4_000_000
    energy = low + (high - low) * rng.random(n)
    u = rng.random(n)
    true = np.pi * u**2
    tilt = np.deg2rad(detector.angular_resolution_deg) * rng.normal(size=n)
    cosine = np.cos(true) * np.cos(tilt) - np.sin(true) * np.sin(tilt) * np.cos(2 * np.pi * rng.random(n))
    measured = energy + energy_resolution * np.sqrt(energy) * rng.normal(size=n)
    x = 1e3 * np.where(measured > 0, measured, np.inf) * np.arccos(np.minimum(cosine, 1.0)) ** 2
    q2 = (energy * true) ** 2
    weight = ccqe_cross_section(q2) * energy**2 * 2 * true * (2 * np.pi * u) * (high - low) / n
    for found, w in ((proton, weight), (neutron, np.where(proton_visible(q2), 0.0, weight))):
        counts = np.histogram(x, bins=edges, weights=w)[0]
        error = np.sqrt(np.histogram(x, bins=edges, weights=w**2)[0])
        assert (np.abs(found[0] - counts) < 5 * error + 1e-3 * counts).all()
        total, total_error = counts.sum(), np.sqrt((error**2).sum())
        assert abs(found[0].sum() - total) < 4 * total_error + 1e-3 * total
        assert total_error < 0.01 * total


def test_pi0_is_half_the_ccqe_with_an_exponential_shape(prism: Experiment, computed: np.ndarray) -> None:
    edges = np.array(prism.card.detector.bin_edges_mev)
    centres, window = (edges[1:] + edges[:-1]) / 2, 6 * 0.51099895
    np.testing.assert_allclose(
        computed[:, 1, 1:] / computed[:, 1, :-1],
        np.exp(-np.diff(centres) / window)[None, :].repeat(6, axis=0),
        rtol=1e-9,
    )
    np.testing.assert_allclose(computed[:, 1].sum(axis=1), PI0_FRACTION * computed[:, 0].sum(axis=1), rtol=1e-4)


def test_pi0_is_normalised_to_six_electron_masses_whatever_the_bins(prism: Experiment, computed: np.ndarray) -> None:
    """Half the window in half the bins gives the same counts there, and so does one wide bin."""
    edges = prism.card.detector.bin_edges_mev[:7]
    detector = prism.card.detector.model_copy(update={"bin_edges_mev": edges})
    half = computed_backgrounds(prism.card.model_copy(update={"detector": detector}), prism.flux)
    np.testing.assert_allclose(half[:, 1], computed[:, 1, :6], rtol=1e-9)
    np.testing.assert_allclose(half[:, 0], computed[:, 0, :6], rtol=5e-3)
    wide = prism.card.detector.model_copy(update={"bin_edges_mev": [edges[0], edges[-1]]})
    one = computed_backgrounds(prism.card.model_copy(update={"detector": wide}), prism.flux)
    np.testing.assert_allclose(one[:, 1, 0], computed[:, 1, :6].sum(axis=1), rtol=1e-9)


@pytest.mark.usefixtures("few_points")
def test_model_is_linear_in_nue_and_nuebar_and_blind_to_the_others(on_axis: Experiment) -> None:
    def scaled(*factors: float) -> np.ndarray:
        spectra = {
            key: Spectrum(s.edges_gev, s.values * np.array(factors)[:, None]) for key, s in on_axis.flux.spectra.items()
        }
        return computed_backgrounds(on_axis.card, FluxTable(Path("x"), spectra))

    neutrons, protons = scaled(9, 9, 2, 0), scaled(0, 0, 0, 3)
    np.testing.assert_allclose(neutrons / 2 + protons / 3, scaled(1, 1, 1, 1), rtol=1e-12)
    assert (neutrons[:, 0] > 0).all()
    assert (protons[:, 0] > 0).all()


@pytest.mark.usefixtures("few_points")
def test_model_scales_with_mass_and_pot(on_axis: Experiment) -> None:
    card = on_axis.card.model_copy(
        update={
            "target": on_axis.card.target.model_copy(update={"mass_tonnes": 100.0}),
            "flux": on_axis.card.flux.model_copy(update={"pot_per_year": 3.3e21}),
        }
    )
    plain = computed_backgrounds(on_axis.card, on_axis.flux)
    np.testing.assert_allclose(computed_backgrounds(card, on_axis.flux), 6 * plain, rtol=1e-12)


def test_table_round_trip(prism: Experiment, computed: np.ndarray, own_file: Path) -> None:
    own_file.write_text(background_table(prism.card, computed))
    np.testing.assert_allclose(read_backgrounds(own_file, prism.card, prism.flux), computed, rtol=6e-6)


def test_counts_of_the_expectation_are_years_times_the_file(on_axis: Experiment) -> None:
    place = [on_axis.model.component_names.index(name) for name in ("ccqe", "pi0")]
    found = on_axis.model.arrays[place, 0].reshape(2, 2, 12).swapaxes(0, 1)
    np.testing.assert_allclose(found, 3.5 * on_axis.backgrounds, rtol=1e-12)


@pytest.mark.parametrize(
    ("override", "fragments"),
    [
        ("detector.angular_resolution_deg=1.5", ("detector.angular_resolution_deg", "1.5", "made for 1.0")),
        (
            "detector.threshold_mev=100 -o flux.normalisation=absolute",
            ("detector.threshold_mev", "100", "made for 30.0"),
        ),
        ("detector.energy_resolution=0.2", ("detector.energy_resolution", "0.2", "made for 0.1")),
        ("detector.bin_edges_mev=[0, 1, 2, 3]", ("detector.bin_edges_mev", "other bins")),
        ("detector.bin_edges_mev.12=3.07", ("detector.bin_edges_mev", "other bins")),
    ],
)
def test_file_for_another_detector(coarse: tuple[str, ...], override: str, fragments: tuple[str, ...]) -> None:
    with pytest.raises(CardError) as caught:
        load_experiment("dune-on-axis", [*coarse, *override.split(" -o ")])
    message = str(caught.value)
    assert "\n" not in message
    wanted = (*fragments, f"(with -o {coarse[0]}", "dune_ccqe_pi0.csv", "backgrounds.model = 'ccqe'")
    missing = [f for f in wanted if f not in message]
    assert missing == []


def test_file_for_another_flux(tmp_path: Path) -> None:
    flux = tmp_path / "flux.csv"
    flux.write_text((data_folder() / "flux" / "dune_nd.csv").read_text().replace("3.505e-08", "3.506e-08"))
    with pytest.raises(CardError, match=r"flux\.file.*dune_ccqe_pi0\.csv was made for another flux .*fafd08216063"):
        load_experiment("dune-on-axis", [f'flux.file="{flux}"', "flux.normalisation=absolute"])


def test_file_without_an_exposure(own_file: Path) -> None:
    text = own_file.read_text().splitlines(keepends=True)
    own_file.write_text("".join(line for line in text if not line.startswith("antineutrino,30")))
    load_experiment("dune-on-axis", [f'backgrounds.file="{own_file}"'])
    with pytest.raises(CardError, match=r"exposures\.5: dune_ccqe_pi0\.csv has no rows for mode 'antineutrino' .* 30"):
        load_experiment("dune-prism", [f'backgrounds.file="{own_file}"'])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("CCQE", "nan", "line 2, ccqe = nan: must be finite"),
        ("CCQE", "-1.5", "line 2, ccqe = -1.5: must be at least 0"),
        ("PI0", "x", "line 2, pi0 = 'x': must be a number"),
        (",pi0", ",pi_0", "column 'pi0' is missing"),
        ("CCQE,", "", "line 2 has 5 fields"),
    ],
)
def test_damaged_file(own_file: Path, old: str, new: str, message: str) -> None:
    ccqe, pi0 = own_file.read_text().splitlines()[1].split(",")[-2:]
    edit(own_file, old.replace("CCQE", ccqe).replace("PI0", pi0), new)
    with pytest.raises(DataError, match=message):
        load_experiment("dune-on-axis", [f'backgrounds.file="{own_file}"'])


@pytest.mark.parametrize(("row", "problem"), [("first", "other bins"), ("last", "other bins")])
def test_file_with_a_bin_missing(own_file: Path, row: str, problem: str) -> None:
    lines = own_file.read_text().splitlines(keepends=True)
    del lines[1 if row == "first" else 12]
    own_file.write_text("".join(lines))
    with pytest.raises(CardError, match=problem):
        load_experiment("dune-on-axis", [f'backgrounds.file="{own_file}"'])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("pot_per_year = 1.1e+21\n", "", r"dune_ccqe_pi0\.toml: pot_per_year: field required"),
        ("mass_tonnes = 50.0", 'mass_tonnes = "x"', r"dune_ccqe_pi0\.toml: mass_tonnes = 'x'"),
        ("mass_tonnes", "mass_ton", r"dune_ccqe_pi0\.toml: mass_ton: unknown key.*mass_tonnes"),
        ("description = ", "description ", r"dune_ccqe_pi0\.toml: not TOML"),
    ],
)
def test_sidecar_errors(own_file: Path, old: str, new: str, message: str) -> None:
    edit(own_file.with_suffix(".toml"), old, new)
    with pytest.raises(DataError, match=message) as caught:
        read_made_for(own_file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("old", "new"), [("mass_tonnes = 50.0", "mass_tonnes = 0.0"), ("1.1e+21", "-1.1e+21")])
def test_sidecar_refuses_mass_and_pot_that_are_not_positive(own_file: Path, old: str, new: str) -> None:
    edit(own_file.with_suffix(".toml"), old, new)
    with pytest.raises(DataError, match="greater than 0"):
        read_made_for(own_file)


def test_sidecar_missing(own_file: Path) -> None:
    own_file.with_suffix(".toml").unlink()
    with pytest.raises(DataError, match=r"dune_ccqe_pi0\.toml: cannot be read"):
        read_made_for(own_file)


def test_sidecar_scales_the_counts(own_file: Path, on_axis: Experiment) -> None:
    edit(own_file.with_suffix(".toml"), "mass_tonnes = 50.0", "mass_tonnes = 25.0")
    edit(own_file.with_suffix(".toml"), "1.1e+21", "4.4e+21")
    found = read_backgrounds(own_file, on_axis.card, on_axis.flux)
    np.testing.assert_allclose(found, 0.5 * on_axis.backgrounds, rtol=1e-12)
