"""Templates: labels, scaling, folding, and what the event table refuses."""

from collections.abc import Callable
from pathlib import Path
from shutil import copy

import numpy as np
import pytest

from bayesnu.detector.response import ResponseMatrix
from bayesnu.errors import CardError, DataError
from bayesnu.experiment import templates as templates_module
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.experiment.templates import Templates, recoil_nodes, response_settings, true_kernel
from bayesnu.flux.table import FluxTable, Spectrum, read_flux
from bayesnu.physics.couplings import CHANNELS
from bayesnu.physics.electron import FOLDED
from bayesnu.physics.kinematics import neutrino_energy_from_angle, neutrino_energy_min
from bayesnu.resources import data_folder, find_card


def test_labels(prism: Experiment) -> None:
    array = prism.templates.labelled()
    assert array.dims == ("exposure", "channel", "term", "bin")
    assert array.shape == (6, 4, 8, 12)
    assert list(array.channel.values) == list(CHANNELS)
    assert list(array.term.values) == list(FOLDED)
    np.testing.assert_allclose(array.e_theta2_hi[-1], 6 * 0.51099895)
    assert array.e_theta2_lo.attrs["units"] == "MeV"
    assert "mu_B" in array.attrs["units"]
    assert list(array.years.values) == [1.75, 1.75, 0.875, 0.875, 0.875, 0.875]
    np.testing.assert_array_equal(array.values, prism.templates.values)


@pytest.mark.parametrize("normalisation", ["table", "absolute"])
@pytest.mark.parametrize(
    ("overrides", "factor"),
    [
        (("target.mass_tonnes=10",), 0.2),
        (("flux.pot_per_year=2.2e21",), 2.0),
        (("exposures.0.years=7", "exposures.1.years=7"), 2.0),
        (("target.mass_tonnes=100", "flux.pot_per_year=0.55e21", "exposures.0.years=7", "exposures.1.years=7"), 2.0),
    ],
)
def test_counts_scale_with_mass_pot_and_years(normalisation: str, overrides: tuple[str, ...], factor: float) -> None:
    plain = load_experiment("dune-on-axis", [f"flux.normalisation={normalisation}"])
    scaled = load_experiment("dune-on-axis", [f"flux.normalisation={normalisation}", *overrides])
    np.testing.assert_allclose(scaled.templates.values, factor * plain.templates.values, rtol=1e-12)
    np.testing.assert_allclose(scaled.templates.error, factor * plain.templates.error, rtol=1e-12)
    np.testing.assert_allclose(scaled.background, factor * plain.background, rtol=1e-12)
    per_year = factor / (2.0 if "exposures.0.years=7" in overrides else 1.0)
    np.testing.assert_allclose(scaled.templates.per_year, per_year * plain.templates.per_year, rtol=1e-12)


def test_table_normalisation_scales_all_terms_of_a_channel_alike(prism: Experiment, absolute_prism: Experiment) -> None:
    ratio = prism.templates.values / absolute_prism.templates.values
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :, :1, :1], ratio.shape), rtol=1e-12)
    np.testing.assert_allclose(
        prism.templates.per_year / absolute_prism.templates.per_year,
        np.broadcast_to(ratio[:, :, :1, 0], (6, 4, 8)),
        rtol=1e-12,
    )


def test_a_bin_never_gets_more_than_was_made(prism: Experiment) -> None:
    years = np.array([e.years for e in prism.card.exposures])[:, None, None]
    sums, made = prism.templates.values.sum(axis=3), prism.templates.per_year * years
    assert (np.abs(sums) <= np.abs(made)).all()
    assert (np.abs(sums) > 0.7 * np.abs(made)).all()


def test_folding_with_a_perfect_response_conserves_counts(on_axis: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every true cell in one bin, the bins hold all counts above threshold."""

    def perfect(settings: templates_module.ResponseSettings, *_: object) -> ResponseMatrix:
        values = np.zeros((settings.energy_cells, settings.angle_cells, 12))
        values[:, np.arange(settings.angle_cells), np.arange(settings.angle_cells) % 12] = 1
        return ResponseMatrix(settings, values, np.zeros_like(values))

    monkeypatch.setattr(templates_module, "find_response", perfect)
    card = on_axis.card.model_copy(update={"flux": on_axis.card.flux.model_copy(update={"normalisation": "absolute"})})
    made = templates_module.build_templates(card, on_axis.flux, None, lambda _: None)
    np.testing.assert_allclose(made.values.sum(axis=3), 3.5 * made.per_year, rtol=1e-12)


def build(flux: FluxTable, card: object) -> Templates:
    return templates_module.build_templates(card, flux, None, lambda _: None)


def test_linear_in_the_flux_of_each_channel(absolute_prism: Experiment) -> None:
    key = ("neutrino", 18.0)
    base = absolute_prism.flux.spectra[key]
    factors = np.array([2.0, 3.0, 0.5, 0.0])
    spectra = {**absolute_prism.flux.spectra, key: Spectrum(base.edges_gev, base.values * factors[:, None])}
    made = build(FluxTable(Path("x"), spectra), absolute_prism.card)
    k = [(e.mode, e.position_m) for e in absolute_prism.card.exposures].index(key)
    np.testing.assert_allclose(made.values[k], absolute_prism.templates.values[k] * factors[:, None, None], rtol=1e-12)
    others = [i for i in range(6) if i != k]
    np.testing.assert_array_equal(made.values[others], absolute_prism.templates.values[others])


def test_splitting_flux_bins_changes_nothing(absolute_prism: Experiment) -> None:
    """The energy integral is exact inside a bin, so finer bins of the same flux give the same counts."""
    spectra = {}
    for key, s in absolute_prism.flux.spectra.items():
        edges = np.sort(np.concatenate([s.edges_gev, (s.edges_gev[1:] + s.edges_gev[:-1]) / 2]))
        spectra[key] = Spectrum(edges, np.repeat(s.values, 2, axis=1))
    made = build(FluxTable(Path("x"), spectra), absolute_prism.card)
    np.testing.assert_allclose(made.values, absolute_prism.templates.values, rtol=1e-9)


def test_true_kernel_against_summation() -> None:
    """∫dE E⁻ⁿ over flux bin and cell of E_e θ², at fixed recoil, by a fine midpoint sum."""
    edges, angles, recoil = np.array([0.0, 0.5, 1.0, 3.0]), np.linspace(0, 1.03e-3, 4), np.array([0.03, 0.4, 0.9])
    kernel = true_kernel(edges, recoil, angles).dense
    energy = (np.arange(600_000) + 0.5) * 5e-6
    for r, T in enumerate(recoil):
        share = T / energy
        cosine = 1 - 0.51099895e-3 * (1 - share) / (T + 0.51099895e-3)
        x = (T + 0.51099895e-3) * np.arccos(np.clip(cosine, -1, 1)) ** 2
        allowed = energy > neutrino_energy_min(T)
        for n in range(3):
            found = np.histogram2d(x[allowed], energy[allowed], (angles, edges), weights=5e-6 / energy[allowed] ** n)[0]
            np.testing.assert_allclose(kernel[r, n], found, atol=2e-5 / T**n)
    # The sum over cells is the closed form over the whole window.
    np.testing.assert_allclose(kernel[:, 0].sum(axis=(1, 2)), 3 - neutrino_energy_min(recoil), rtol=1e-12)
    assert np.isinf(neutrino_energy_from_angle(0.03, 1.03e-3))


def test_recoil_nodes_integrate_from_threshold_to_the_top(on_axis: Experiment) -> None:
    settings = response_settings(on_axis.card, on_axis.flux)
    recoil, weight, cell = recoil_nodes(settings, 3)
    assert recoil.min() > 0.03
    assert np.bincount(cell).tolist() == [3] * settings.energy_cells
    assert weight.sum() == pytest.approx(20 - 0.03, rel=1e-9)
    assert (weight / recoil**2).sum() == pytest.approx(1 / 0.03 - 1 / 20, rel=1e-6)


@pytest.mark.parametrize(
    ("overrides", "fragments"),
    [
        (("detector.threshold_mev=25",), ("detector.threshold_mev = 25", "dune_table1.csv", "30", "absolute")),
        (("exposures.0.position_m=12",), ("exposures.0.position_m = 12", "18")),
    ],
)
def test_event_table_of_another_set_up(
    coarse: tuple[str, ...], overrides: tuple[str, ...], fragments: tuple[str, ...]
) -> None:
    with pytest.raises(CardError) as caught:
        load_experiment("dune-on-axis", [*coarse, *overrides])
    message = str(caught.value)
    assert "\n" not in message
    assert [fragment for fragment in fragments if fragment not in message] == []


@pytest.fixture
def own_files(tmp_path: Path) -> Callable[..., Path]:
    """Copy a shipped table and its sidecar to a folder of the user's, with replacements; return the table."""

    def make(
        name: str, *replacements: tuple[str, str], drop: str | None = None, sidecar: tuple[str, str] | None = None
    ) -> Path:
        source = data_folder() / name
        target = tmp_path / source.name
        text = source.read_text()
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        if drop is not None:
            text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith(drop))
        target.write_text(text)
        if source.with_suffix(".toml").exists():
            beside = target.with_suffix(".toml")
            copy(source.with_suffix(".toml"), beside)
            if sidecar is not None:
                assert sidecar[0] in beside.read_text()
                beside.write_text(beside.read_text().replace(*sidecar))
        return target

    return make


def test_another_flux_needs_another_event_table(own_files: Callable[..., Path]) -> None:
    flux = own_files("flux/dune_nd.csv", ("3.505e-08", "3.506e-08"))
    with pytest.raises(
        CardError, match=r"flux\.file.*dune_table1\.csv was made for another flux .*fafd08216063.*absolute"
    ):
        load_experiment("dune-on-axis", [f'flux.file="{flux}"'])
    fluxed = load_experiment(
        "dune-on-axis", [f'flux.file="{flux}"', "flux.normalisation=absolute", "backgrounds.model=ccqe"]
    )
    plain = load_experiment("dune-on-axis", ["flux.normalisation=absolute"])
    change = fluxed.templates.per_year[0, 0, 0] / plain.templates.per_year[0, 0, 0] - 1
    assert 1e-6 < change < 1e-3


def test_the_same_flux_in_another_format_is_accepted(own_files: Callable[..., Path], on_axis: Experiment) -> None:
    flux = own_files("flux/dune_nd.csv", ("3.505e-08", "0.3505e-07"), ("neutrino,0,0,", "neutrino,0.0,0.00,"))
    loaded = load_experiment("dune-on-axis", [f'flux.file="{flux}"'])
    assert loaded.files["flux.file"] == flux
    np.testing.assert_array_equal(loaded.model.arrays, on_axis.model.arrays)


def test_event_table_without_a_position(own_files: Callable[..., Path]) -> None:
    table = own_files("events/dune_table1.csv", drop="neutrino,18")
    with pytest.raises(CardError, match=r"exposures\.2\.position_m = 18.*no row for mode 'neutrino'"):
        load_experiment("dune-prism", [f'flux.event_table="{table}"'])


@pytest.mark.parametrize(
    ("sidecar", "error", "message"),
    [
        (('material = "argon"', 'material = "xenon"'), CardError, r"target\.material =\s+argon.*made for xenon"),
        (("threshold_mev = 30.0", "threshold_mev = 40.0"), CardError, r"threshold_mev =\s+30\.0.*made for 40\.0"),
        (("mass_tonnes = 50.0", ""), DataError, r"dune_table1\.toml: mass_tonnes: field required"),
        (("mass_tonnes", "mass_tons"), DataError, r"dune_table1\.toml: mass_tons: unknown key.*mass_tonnes"),
        (("mass_tonnes = 50.0", 'mass_tonnes = "50"'), DataError, r"dune_table1\.toml: mass_tonnes = '50'"),
        (("mass_tonnes = 50.0", "mass_tonnes = "), DataError, r"dune_table1\.toml: not TOML"),
    ],
)
def test_event_table_sidecar(
    own_files: Callable[..., Path], sidecar: tuple[str, str], error: type[Exception], message: str
) -> None:
    table = own_files("events/dune_table1.csv", sidecar=sidecar)
    with pytest.raises(error, match=message):
        load_experiment("dune-on-axis", [f'flux.event_table="{table}"'])


def test_event_table_without_sidecar(own_files: Callable[..., Path]) -> None:
    table = own_files("events/dune_table1.csv")
    table.with_suffix(".toml").unlink()
    with pytest.raises(DataError, match=r"dune_table1\.toml: cannot be read"):
        load_experiment("dune-on-axis", [f'flux.event_table="{table}"'])


@pytest.mark.parametrize(
    ("replacement", "message"),
    [
        (("neutrino,0,5915", "neutrino,0,-5915"), r"line 2, numu = -5915: must be at least 0"),
        (("neutrino,0,5915", "neutrino,0,many"), r"line 2, numu = 'many': must be a number"),
        (("numubar", "numu_bar"), r"column 'numubar' is missing"),
    ],
)
def test_event_table_values(own_files: Callable[..., Path], replacement: tuple[str, str], message: str) -> None:
    table = own_files("events/dune_table1.csv", replacement)
    with pytest.raises(DataError, match=message):
        load_experiment("dune-on-axis", [f'flux.event_table="{table}"'])


@pytest.mark.parametrize(("events", "accepted"), [(0, True), (5, False)])
def test_event_table_of_a_flux_without_one_channel(
    tmp_path: Path, coarse: tuple[str, ...], events: int, accepted: bool
) -> None:
    """No flux and no events is a channel of zeros; events from no flux cannot be."""
    flux, table = tmp_path / "flux.csv", tmp_path / "events.csv"
    rows = "".join(f"{mode},0,0,20,1e-9,1e-9,1e-9,0\n" for mode in ("neutrino", "antineutrino"))
    flux.write_text(f"mode,position_m,e_lo_gev,e_hi_gev,numu,numubar,nue,nuebar\n{rows}")
    rows = "".join(f"{mode},0,10,10,10,{events}\n" for mode in ("neutrino", "antineutrino"))
    table.write_text(f"mode,position_m,numu,numubar,nue,nuebar\n{rows}")
    table.with_suffix(".toml").write_text(
        f'description = "x"\nflux_sha256 = "{read_flux(flux).digest}"\npot_per_year = 1.1e21\nmass_tonnes = 50.0\n'
        'material = "argon"\nthreshold_mev = 30.0\n'
    )
    overrides = [*coarse, f'flux.file="{flux}"', f'flux.event_table="{table}"', "backgrounds.model=ccqe"]
    if accepted:
        loaded = load_experiment("dune-on-axis", overrides)
        np.testing.assert_allclose(loaded.templates.per_year[:, :, 0], [[10, 10, 10, 0]] * 2, rtol=1e-12)
    else:
        with pytest.raises(CardError, match=r"events\.csv.*nuebar"):
            load_experiment("dune-on-axis", overrides)


def test_shipped_cards_name_the_shipped_files() -> None:
    assert 'file = "flux/dune_nd.csv"' in find_card("dune-prism").read_text()
    assert load_experiment("dune-prism").files["flux.event_table"] == data_folder() / "events" / "dune_table1.csv"
