"""Detectors that a card alone describes: resolutions, efficiency, bins of E_e by θ, materials."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bayesnu.errors import CardError, DataError
from bayesnu.experiment import backgrounds
from bayesnu.experiment.backgrounds import PI0_FRACTION, background_table, ccqe_kernel, computed_backgrounds
from bayesnu.experiment.electron import ElectronExperiment, electron_layout
from bayesnu.experiment.electron_card import Card, Detector
from bayesnu.experiment.load import load_card
from bayesnu.experiment.observed import observed_text
from bayesnu.experiment.overview import card_keys
from bayesnu.experiment.prediction import predict, prediction_json
from bayesnu.experiment.response import response_settings
from bayesnu.experiment.setup import load_experiment
from bayesnu.flux.table import Spectrum, read_flux
from bayesnu.report.tables import prediction_tables
from bayesnu.resources import data_folder

TINY = (
    "response.energy_cells=12",
    "response.angle_cells=8",
    "response.samples=7680",
    "response.recoil_nodes=2",
    "backgrounds.model=ccqe",
    "flux.normalisation=absolute",
)
ENERGIES, ANGLES = [0.0, 1.0, 3.0, 20.0], [0.0, 1.0, 4.0]
TWO = (f"detector.energy_bin_edges_gev={ENERGIES}", f"detector.angle_bin_edges_deg={ANGLES}")
HALF = "detector.efficiency=[[30, 0.5], [20000, 0.5]]"


def load(*overrides: str) -> ElectronExperiment:
    found = load_experiment("dune-on-axis", [*TINY, *overrides])
    assert isinstance(found, ElectronExperiment)
    return found


@pytest.fixture(scope="module", autouse=True)
def few_points() -> object:
    """Few points for the background, of which nothing here needs the last digit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backgrounds, "POINTS", 256)
        yield


@pytest.fixture(scope="module")
def plain() -> ElectronExperiment:
    return load()


@pytest.fixture(scope="module")
def two() -> ElectronExperiment:
    return load(*TWO)


BAD = [
    ("detector.energy_resolution_noise_gev=-1", ("detector.energy_resolution_noise_gev = -1", "greater than or equal")),
    ("detector.energy_resolution_constant=-1", ("detector.energy_resolution_constant = -1", "greater than or equal")),
    ("detector.angular_resolution_falling_deg=-1", ("detector.angular_resolution_falling_deg = -1", "greater than")),
    ("detector.energy_resolution=0", ("energy_resolution = 0", "0 beside energy_resolution_noise_gev or")),
    ("detector.angular_resolution_deg=0", ("angular_resolution_deg = 0", "0 beside angular_resolution_falling_deg")),
    ("detector.efficiency=[[30, 1.0]]", ("detector.efficiency", "at least 2 points")),
    ("detector.efficiency=[[30, 1.0], [30, 0.5]]", ("detector.efficiency", "must increase; 30 follows 30")),
    ("detector.efficiency=[[30, 1.0], [40, 1.5]]", ("detector.efficiency", "between 0 and 1, not 1.5, as at 40")),
    ("detector.efficiency=[[30, 1.0], [40, -0.5]]", ("detector.efficiency.1.1 = -0.5", "greater than or equal to 0")),
    ("detector.efficiency=[[30, 1.0], [40]]", ("detector.efficiency.1", "at least 2")),
    (f"{TWO[0]}", ("detector.angle_bin_edges_deg", "missing; bins in two dimensions need energy_bin_edges_gev and")),
    (f"{TWO[1]}", ("detector.energy_bin_edges_gev", "missing; bins in two dimensions need")),
    (f"{TWO[0]} -o detector.angle_bin_edges_deg=[0, 181]", ("angle_bin_edges_deg", "at most 180, not 181")),
    (f"{TWO[0]} -o detector.angle_bin_edges_deg=[0, 2, 1]", ("angle_bin_edges_deg", "must increase; 1 follows 2")),
    (f"{TWO[0]} -o detector.angle_bin_edges_deg=[-1, 2]", ("angle_bin_edges_deg", "first edge must be at least 0")),
    ("detector.energy_bin_edges_gev=[1]", ("energy_bin_edges_gev", "at least 2")),
    ("target.material=Ar2Q", ("target.material = 'Ar2Q'", "unknown element 'Q'")),
    ("target.material=liquid", ("target.material = 'liquid'", "no chemical formula", "argon")),
]


@pytest.mark.parametrize(("overrides", "fragments"), BAD)
def test_bad_value(overrides: str, fragments: tuple[str, ...]) -> None:
    with pytest.raises(CardError) as caught:
        load_card("dune-on-axis", overrides.split(" -o "))
    message = str(caught.value)
    assert "\n" not in message
    assert [fragment for fragment in fragments if fragment not in message] == []


BINS = "bin_edges_mev = [0.0, 0.255499475, 0.51099895, 0.766498425, 1.0219979, 1.277497375, 1.53299685, 1.788496325, "
BINS += "2.0439958, 2.299495275, 2.55499475, 2.810494225, 3.0659937]"


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ("", "detector.bin_edges_mev: field required, or energy_bin_edges_gev and angle_bin_edges_deg in its place"),
        (f"{BINS}\nangle_bin_edges_deg = [0.0, 1.0]", "detector.bin_edges_mev: give it or energy_bin_edges_gev and"),
        (f'{BINS}\nefficiency = [[0.0, 1.0], [9.0, 1.0]]\nefficiency_file = "x.csv"', "efficiency: give it or effici"),
    ],
)
def test_what_a_card_cannot_have(edited_card: Callable[..., Path], new: str, message: str) -> None:
    with pytest.raises(CardError, match=message):
        load_card(str(edited_card((BINS, new))))


def test_overrides_replace_what_they_stand_in_the_place_of() -> None:
    detector = load_card("dune-on-axis", list(TWO)).card.detector
    assert (detector.bin_edges_mev, detector.bins) == (None, 6)
    detector = load_card("dune-on-axis", [*TWO, "detector.bin_edges_mev=[0, 1, 2]"]).card.detector
    assert (detector.energy_bin_edges_gev, detector.angle_bin_edges_deg, detector.bins) == (None, None, 2)
    detector = load_card("dune-on-axis", ["detector.efficiency_file=x.csv", HALF]).card.detector
    assert detector.efficiency_file is None


def test_a_zero_term_beside_another_is_allowed() -> None:
    overrides = ["detector.energy_resolution=0", "detector.angular_resolution_deg=0"]
    overrides = ["detector.energy_resolution_constant=0.03", "detector.angular_resolution_falling_deg=1", *overrides]
    card = load_card("dune-on-axis", overrides).card
    assert isinstance(card, Card)
    smearing = response_settings(card, read_flux(data_folder() / card.flux.file)).smearing
    assert (smearing.stochastic, smearing.constant, smearing.tilt) == (0.0, 0.03, 0.0)


# Efficiency


def test_efficiency_one_is_none(plain: ElectronExperiment) -> None:
    whole = load("detector.efficiency=[[30, 1], [20000, 1]]")
    np.testing.assert_array_equal(whole.templates.values, plain.templates.values)
    np.testing.assert_array_equal(whole.backgrounds, plain.backgrounds)


def test_half_the_efficiency_halves_signal_and_backgrounds(plain: ElectronExperiment) -> None:
    """The terms of N too; what stands before the efficiency stays."""
    half = load(HALF)
    np.testing.assert_allclose(half.templates.values, plain.templates.values / 2, rtol=1e-12)
    np.testing.assert_allclose(half.templates.error, plain.templates.error / 2, rtol=1e-12)
    np.testing.assert_array_equal(half.templates.per_year, plain.templates.per_year)
    np.testing.assert_allclose(half.backgrounds, plain.backgrounds / 2, rtol=1e-12)


def test_an_event_table_is_before_efficiency() -> None:
    """Its SM total is that of all events above threshold, whatever is seen of them."""
    plain, half = (load("flux.normalisation=table", *more) for more in ((), (HALF,)))
    np.testing.assert_array_equal(half.templates.ratio, plain.templates.ratio)
    np.testing.assert_allclose(half.templates.values, plain.templates.values / 2, rtol=1e-12)


def test_efficiency_is_that_of_the_true_energy(plain: ElectronExperiment) -> None:
    """Nothing seen up to 3 GeV but a step: the counts are those of a threshold there."""
    step = load("detector.efficiency=[[30, 0], [2999.999, 0], [3000.001, 1], [20000, 1]]", *TWO)
    cut = load("detector.threshold_mev=3000", "response.energy_cells=4", "response.samples=2560", *TWO)
    seen, wanted = (e.templates.values[:, :, 0].sum(axis=1) for e in (step, cut))
    # One cell of energy holds the step, at two Gauss points of which the efficiency is taken.
    np.testing.assert_allclose(seen.sum(axis=1), wanted.sum(axis=1), rtol=0.1)
    assert step.templates.values[:, :, 0, 0].sum() < 1e-3 * step.templates.values[:, :, 0].sum()


def test_efficiency_file(tmp_path: Path) -> None:
    path = tmp_path / "efficiency.csv"
    path.write_text("kinetic_energy_mev,efficiency\n30,0.5\n20000,0.5\n")
    named = load(f'detector.efficiency_file="{path}"')
    assert named.files["detector.efficiency_file"] == path
    assert named.card.detector.efficiency == named.loaded.card.detector.efficiency == [[30, 0.5], [20000, 0.5]]
    np.testing.assert_array_equal(named.templates.values, load(HALF).templates.values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kinetic_energy_mev,eff\n30,1\n", "column 'efficiency' is missing"),
        ("kinetic_energy_mev,efficiency\n30,1\n20,1\n", "efficiency.csv: energies must increase; 20 follows 30"),
        ("kinetic_energy_mev,efficiency\n30,1\n40,2\n", "efficiency.csv: an efficiency is between 0 and 1, not 2"),
        ("kinetic_energy_mev,efficiency\n30,1\n40,-2\n", "line 3, efficiency = -2: must be at least 0"),
        ("kinetic_energy_mev,efficiency\n30,1\n", "efficiency.csv: an efficiency curve needs at least 2 points"),
    ],
)
def test_damaged_efficiency_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "efficiency.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        load(f'detector.efficiency_file="{path}"')


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("detector.efficiency_file=none.csv", r"detector\.efficiency_file = 'none\.csv': "),
        ("detector.efficiency=[[31, 1], [20000, 1]]", r"detector\.efficiency: is given from 31 to 20000 MeV, and nee"),
        ("detector.efficiency=[[30, 1], [19999, 1]]", r"from 30 to 19999 MeV, and needed from 30 to 20000 MeV"),
    ],
)
def test_efficiency_must_be_known_where_it_is_needed(override: str, message: str) -> None:
    with pytest.raises(CardError, match=message):
        load(override)


# Bins of E_e by θ


def test_coordinates_of_bins_in_two_dimensions(two: ElectronExperiment) -> None:
    coordinates = two.observation_coordinates()
    assert coordinates["bin"][1] == [0, 1, 2, 3, 4, 5] * 2
    assert coordinates["bin_lo"][1] == [0.0, 1.0] * 6
    assert coordinates["bin_hi"][1] == [1.0, 4.0] * 6
    assert coordinates["slice_lo"][1] == [0.0, 0.0, 1.0, 1.0, 3.0, 3.0] * 2
    assert coordinates["slice_hi"][1] == [1.0, 1.0, 3.0, 3.0, 20.0, 20.0] * 2
    assert coordinates["bin_lo"][2]["units"] == "deg"
    assert coordinates["slice_lo"][2]["units"] == "GeV"
    array = two.templates.labelled()
    assert array.energy_hi.values.tolist() == [1, 1, 3, 3, 20, 20]
    assert array.angle_lo.values.tolist() == [0, 1, 0, 1, 0, 1]


def test_wide_bins_hold_all_events(plain: ElectronExperiment) -> None:
    """Every event above threshold is in bins of all energies and angles, where E_e < 0 is next to never measured."""
    edges = ("detector.energy_bin_edges_gev=[0, 5, 100]", "detector.angle_bin_edges_deg=[0, 2, 180]")
    wide = load("detector.energy_resolution=0.03", *edges)
    np.testing.assert_allclose(wide.templates.values.sum(axis=3), 3.5 * wide.templates.per_year, rtol=1e-3)
    np.testing.assert_allclose(wide.templates.per_year, plain.templates.per_year, rtol=1e-12)


def test_only_the_variance_with_background_is_offered(plain: ElectronExperiment, two: ElectronExperiment) -> None:
    assert plain.variances == ("sm", "sm+background")
    assert two.variances == ("sm+background",)


def test_a_bin_without_counts_is_named() -> None:
    with pytest.raises(CardError, match=r"detector\.energy_bin_edges_gev and angle_bin_edges_deg: bin 2 expects no"):
        load("detector.energy_bin_edges_gev=[0, 1, 1e4, 2e4]", "detector.angle_bin_edges_deg=[0, 2]")


def test_observed_counts_in_two_dimensions() -> None:
    counts = [f"exposures.{k}.observed_counts={[float(b + 6 * k) for b in range(6)]}" for k in range(2)]
    assert load(*TWO, *counts).data.tolist() == list(range(12))
    with pytest.raises(CardError, match=r"exposures\.0\.observed_counts: has 5 values, the detector has 6 bins"):
        load_card("dune-on-axis", [*TWO, *(c.replace("0.0, 1.0, ", "1.0, ") for c in counts)])


def test_file_of_counts_in_two_dimensions(two: ElectronExperiment, tmp_path: Path) -> None:
    counts = np.arange(two.data.size, dtype=float)[:, None]
    path = tmp_path / "counts.csv"
    path.write_text(observed_text(electron_layout(two.card), counts))
    assert "energy_lo_gev,energy_hi_gev,angle_lo_deg,angle_hi_deg,observed" in path.read_text()
    np.testing.assert_array_equal(load(*TWO, f"counts.file={path}").data, counts[:, 0])


def test_prediction_in_two_dimensions(two: ElectronExperiment) -> None:
    prediction = predict(two, {}, {})
    exposure = json.loads(json.dumps(prediction_json(prediction)))["exposures"][0]
    assert (exposure["energy_bin_edges_gev"], exposure["angle_bin_edges_deg"]) == (ENERGIES, ANGLES)
    assert "bin_edges_mev" not in exposure
    np.testing.assert_allclose(exposure["total"], two.data[:6], rtol=1e-12)
    table = prediction_tables(prediction)[0]
    assert [str(column.header) for column in table.columns][:3] == ["E_e [GeV]", "θ [deg]", "numu"]
    assert list(map(str, table.columns[0].cells))[2:4] == ["1.000–3.000", "1.000–3.000"]
    assert list(map(str, table.columns[1].cells))[2:4] == ["0.000–1.000", "1.000–4.000"]


# Backgrounds in two dimensions


def test_ccqe_in_fine_bins_adds_up_to_bins_of_e_theta2(plain: ElectronExperiment) -> None:
    spectrum = Spectrum(np.array([1.0, 2.0]), np.ones((4, 1)))
    smearing = response_settings(plain.card, plain.flux).smearing
    energies, angles = np.linspace(0.3, 3.5, 131), np.linspace(0, 0.1, 120)
    fine = smearing._replace(edges=energies, angle2_edges=angles**2)
    middle = np.outer(energies[1:] + energies[:-1], (angles[1:] + angles[:-1]) ** 2) / 8
    kernels = zip(
        *(ccqe_kernel(spectrum, plain.card, detector, points=2**14) for detector in (fine, smearing)), strict=True
    )
    for found, line in kernels:
        summed = np.histogram(middle.ravel(), bins=smearing.edges, weights=found[0])[0]
        np.testing.assert_allclose(summed.sum(), line.sum(), rtol=0.01)
        np.testing.assert_allclose(summed, line[0], rtol=0.06)


def test_pi0_is_half_the_ccqe_below_six_electron_masses(plain: ElectronExperiment) -> None:
    """In all bins together 1/(1 - 1/e) of that, since the exponential goes on; in wide energy bins it falls with θ²."""
    wide = load("detector.energy_bin_edges_gev=[0, 2, 100]", "detector.angle_bin_edges_deg=[0, 1, 2, 180]")
    total = PI0_FRACTION * plain.backgrounds[:, 0].sum(axis=1)
    np.testing.assert_allclose(wide.backgrounds[:, 1].sum(axis=1), total / (1 - np.exp(-1)), rtol=0.02)


def test_pi0_have_the_exponential_at_every_energy() -> None:
    """In a narrow bin of energy the counts beyond θ are exp(-E θ²/6 m_e) of all."""
    narrow = load("detector.energy_bin_edges_gev=[2.0, 2.001]", "detector.angle_bin_edges_deg=[0, 1, 2, 180]")
    counts = narrow.backgrounds[0, 1]
    beyond = np.exp(-2.0005e3 * np.deg2rad([0.0, 1.0, 2.0, 180.0]) ** 2 / (6 * 0.51099895))
    np.testing.assert_allclose(counts / counts.sum(), -np.diff(beyond), rtol=1e-6)


def test_pi0_energies_do_not_depend_on_the_other_bins(two: ElectronExperiment) -> None:
    some = load("detector.energy_bin_edges_gev=[1, 3]", f"detector.angle_bin_edges_deg={ANGLES}")
    np.testing.assert_allclose(some.backgrounds[:, 1], two.backgrounds[:, 1, 2:4], rtol=1e-3)


@pytest.fixture
def own_file(two: ElectronExperiment, tmp_path: Path) -> Path:
    table = tmp_path / "own.csv"
    table.write_text(background_table(two.card, computed_backgrounds(two.card, two.flux)))
    table.with_suffix(".toml").write_text(
        f'description = "x"\nflux_sha256 = "{two.flux.digest}"\npot_per_year = 1.1e21\nmass_tonnes = 50.0\n'
        'material = "Ar"\nangular_resolution_deg = 1.0\nenergy_resolution = 0.1\n'
    )
    return table


def test_background_file_in_two_dimensions(two: ElectronExperiment, own_file: Path) -> None:
    assert own_file.read_text().startswith("mode,position_m,energy_lo_gev,energy_hi_gev,angle_lo_deg,angle_hi_deg,ccqe")
    read = load(*TWO, f'backgrounds.file="{own_file}"')
    np.testing.assert_allclose(read.backgrounds, two.backgrounds, rtol=6e-6)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((TWO[0], "detector.angle_bin_edges_deg=[0, 1, 5]"), r"angle_bin_edges_deg = \[0, 1, 5\].*other bins, \[0, 1"),
        ((TWO[1], "detector.energy_bin_edges_gev=[0, 1]"), r"energy_bin_edges_gev = \[0, 1\].*other bins, \[0, 1, 3"),
        ((*TWO, "detector.energy_resolution_noise_gev=0.1"), r"noise_gev = 0.1: own\.csv was made for 0.0"),
        ((*TWO, "detector.energy_resolution_constant=0.1"), r"constant = 0.1: own\.csv was made for 0.0"),
        ((*TWO, "detector.angular_resolution_falling_deg=1"), r"falling_deg = 1.*: own\.csv was made for 0.0"),
        ((*TWO, HALF), r"detector\.efficiency: own\.csv was made with no efficiency, the card has one"),
        ((*TWO, "target.material=Xe"), r"target\.material = Xe: own\.csv was made for Ar"),
    ],
)
def test_background_file_of_another_detector(own_file: Path, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(CardError, match=message):
        load(*overrides, f'backgrounds.file="{own_file}"')


def test_background_file_of_bins_in_one_dimension(own_file: Path) -> None:
    with pytest.raises(DataError, match="column 'e_theta2_lo_mev' is missing"):
        load(f'backgrounds.file="{own_file}"')


def test_background_file_with_an_efficiency(own_file: Path) -> None:
    beside = own_file.with_suffix(".toml")
    beside.write_text(beside.read_text() + "efficiency = true\n")
    read = load(*TWO, HALF, f'backgrounds.file="{own_file}"')
    assert read.backgrounds.sum() > 0
    with pytest.raises(CardError, match="was made with an efficiency, the card has none"):
        load(*TWO, f'backgrounds.file="{own_file}"')


def test_event_table_with_an_efficiency(tmp_path: Path) -> None:
    for suffix, more in ((".csv", ""), (".toml", "efficiency = true\n")):
        text = (data_folder() / "events" / f"dune_table1{suffix}").read_text()
        (tmp_path / f"own{suffix}").write_text(text + more)
    with pytest.raises(CardError, match=r"flux\.event_table = 'own\.csv': its events include an efficiency"):
        load("flux.normalisation=table", f'flux.event_table="{tmp_path / "own.csv"}"')


# Materials


def test_counts_go_with_the_electrons_of_the_material(plain: ElectronExperiment) -> None:
    water = load("target.material=H2O")
    electrons = (10 / 18.015) / (18 / 39.948)
    np.testing.assert_allclose(water.templates.values, electrons * plain.templates.values, rtol=1e-12)
    np.testing.assert_array_equal(load("target.material=Ar").templates.values, plain.templates.values)


def test_ccqe_goes_with_the_neutrons_and_protons_of_the_material(plain: ElectronExperiment) -> None:
    """Hydrogen has no neutrons: in neutrino mode, where ν_e outnumber ν̄_e, next to no background is left."""
    hydrogen = load("target.material=H")
    per_mass = hydrogen.backgrounds[:, 0].sum(axis=1) / plain.backgrounds[:, 0].sum(axis=1)
    assert (per_mass < 39.948 / 1.008 / 18).all()
    assert per_mass[0] < per_mass[1]


def test_a_constant_stands_before_what_is_beside_it() -> None:
    """The order of the keys in the schema, and so in the table of `check`."""
    keys = list(Detector.model_fields)
    resolutions = [key for key in keys if "resolution" in key]
    assert resolutions == [
        "angular_resolution_deg",
        "angular_resolution_falling_deg",
        "energy_resolution",
        "energy_resolution_noise_gev",
        "energy_resolution_constant",
    ]
    shown = [key.name for key in card_keys(load_card("dune-on-axis").card) if key.name.startswith("detector.")]
    assert shown == [f"detector.{key}" for key in keys if f"detector.{key}" in shown]
