"""Cards of nuclear recoils with a flux from files: the counts of the known sources return; each check fires."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import uproot

from bayesnu.errors import BayesnuError, CardError
from bayesnu.experiment.own import new_experiment
from bayesnu.experiment.predict import predict
from bayesnu.experiment.recoil import RecoilExperiment
from bayesnu.experiment.recoil_templates import reactor_density
from bayesnu.experiment.setup import load_experiment
from bayesnu.flux.stopped_pion import END_POINT_MEV, PROMPT_ENERGY_MEV, arrived, fluence, michel_nue, michel_numubar
from bayesnu.physics.couplings import CHANNELS
from bayesnu.resources import find_card
from bayesnu.results.check import check_experiment

DAYS, PROTONS = 1095.75, 1.76e23
PER_SECOND = f'file = "flux.csv"\nunit = "per GeV per cm^2 per s"\ndays = {DAYS}\n'
PER_PROTON = f'file = "flux.csv"\nunit = "per GeV per cm^2 per POT"\nprotons_on_target = {PROTONS}\n'
HEADER = "mode,position_m,e_lo_gev,e_hi_gev,numu,numubar,nue,nuebar\n"
NODES, WEIGHTS = np.polynomial.legendre.leggauss(8)
Density = Callable[[np.ndarray], np.ndarray]


def bin_means(density: Density, edges: np.ndarray) -> np.ndarray:
    """Mean of a function over bins, by Gauss points."""
    low, high = edges[:-1, None], edges[1:, None]
    return np.asarray(density(low + (high - low) * (NODES + 1) / 2) @ WEIGHTS / 2)


def write_csv(path: Path, edges_mev: np.ndarray, mode: str = "neutrino", **per_mev: np.ndarray) -> None:
    """A flux file of one spectrum from edges in MeV and fluxes per MeV."""
    columns = [per_mev.get(channel, np.zeros(edges_mev.size - 1)) * 1e3 for channel in CHANNELS]
    rows = np.column_stack([edges_mev[:-1] * 1e-3, edges_mev[1:] * 1e-3, *columns]).tolist()
    path.write_text(HEADER + "".join(f"{mode},0,{','.join(map(repr, row))}\n" for row in rows))


def card_with(folder: Path, like: str, source: str, flux: str) -> Path:
    """A known card with the table [flux] in the place of its source."""
    known = find_card(like).read_text(encoding="utf-8")
    text = re.sub(rf"\[{source}\].*?(?=\[detector\])", f"[flux]\n{flux}\n", known, flags=re.DOTALL)
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def load(path: Path, *overrides: str) -> RecoilExperiment:
    experiment = load_experiment(str(path), overrides)
    assert isinstance(experiment, RecoilExperiment)
    return experiment


@pytest.fixture(scope="module")
def reactor() -> RecoilExperiment:
    experiment = load_experiment("nucleus-10kg")
    assert isinstance(experiment, RecoilExperiment)
    return experiment


def reactor_flux(experiment: RecoilExperiment) -> Density:
    """ν̄_e per cm², s and MeV of the card's reactor."""
    assert experiment.card.reactor is not None
    density = reactor_density(experiment.card.reactor)
    return lambda energy: density(energy) / (DAYS * 86400)


@pytest.fixture
def reactor_card(tmp_path: Path, reactor: RecoilExperiment) -> Path:
    """The reactor of 10 kg by a file of 100 bins."""
    edges = np.linspace(0.0, 8.0, 101)
    write_csv(tmp_path / "flux.csv", edges, nuebar=bin_means(reactor_flux(reactor), edges))
    return card_with(tmp_path, "nucleus-10kg", "reactor", PER_SECOND)


def test_a_reactor_from_a_file(tmp_path: Path, reactor: RecoilExperiment) -> None:
    """Counts of every term in every compound converge as the square of the width of the bins; the rest is the same."""
    deviations = []
    for bins in (100, 200, 400):
        edges = np.linspace(0.0, 8.0, bins + 1)
        write_csv(tmp_path / "flux.csv", edges, nuebar=bin_means(reactor_flux(reactor), edges))
        own = load(card_with(tmp_path, "nucleus-10kg", "reactor", PER_SECOND))
        ratio = own.templates.sum(axis=-1) / reactor.templates.sum(axis=-1)
        deviations.append(np.abs(ratio - 1).max())
    np.testing.assert_allclose(own.background, reactor.background, rtol=1e-12)
    assert own.model.pulls == reactor.model.pulls
    assert deviations[-1] < 3e-5
    assert deviations[0] / deviations[1] == pytest.approx(4, rel=0.1)
    assert deviations[1] / deviations[2] == pytest.approx(4, rel=0.1)


def write_pions(path: Path, bins: int, width_mev: float) -> None:
    """The fluxes of pions at rest per proton at 19.3 m; ν_μ in one narrow bin."""
    low, high = PROMPT_ENERGY_MEV - width_mev / 2, PROMPT_ENERGY_MEV + width_mev / 2
    edges = np.linspace(0, END_POINT_MEV, bins + 1)
    edges = np.unique(np.concatenate([edges[(edges < low) | (edges > high)], [low, high]]))
    total = fluence(1.0, 0.08, 19.3)
    line = np.where(edges[:-1] == low, total * arrived("numu", 6.0) / width_mev, 0.0)
    delayed = total * arrived("nue", 6.0)
    numubar, nue = (delayed * bin_means(shape, edges) for shape in (michel_numubar, michel_nue))
    write_csv(path, edges, numu=line, numubar=numubar, nue=nue)


def test_pions_at_rest_from_a_file(tmp_path: Path) -> None:
    """All channels and terms, at every quenching of the morph; the counts in time and out of it are read as before."""
    known = load_experiment("coherent-csi-2017")
    assert isinstance(known, RecoilExperiment)
    card = card_with(tmp_path, "coherent-csi-2017", "stopped_pion", PER_PROTON)
    order = ["numu", "numubar", "nue"]
    expected = {s.channel: known.templates[:, :, c].sum(axis=-1) for c, s in enumerate(known.spectra)}
    deviations = []
    for bins, width in ((100, 1e-2), (200, 1e-3)):
        write_pions(tmp_path / "flux.csv", bins, width)
        own = load(card)
        found = {s.channel: own.templates[:, :, c].sum(axis=-1) for c, s in enumerate(own.spectra)}
        assert list(found) == order
        deviations.append([np.abs(found[channel] / expected[channel] - 1).max() for channel in order])
    assert deviations[1][0] < 1e-8
    assert max(deviations[1]) < 1e-4
    for michel in (1, 2):
        assert deviations[0][michel] / deviations[1][michel] == pytest.approx(4, rel=0.15)
    np.testing.assert_array_equal(own.data, known.data)
    assert own.model.pulls == known.model.pulls


def entry(path: Path, form: str, unit: str, more: str = "") -> str:
    return (
        f'days = {DAYS}\n[[flux.spectra]]\nmode = "antineutrino"\nposition_m = 0.0\nfile = "{path.name}"\n'
        f'format = "{form}"\nunit = "{unit}"\n{more}'
    )


@pytest.mark.parametrize("form", ["globes", "snowglobes", "root", "csv"])
def test_every_format(tmp_path: Path, reactor: RecoilExperiment, form: str) -> None:
    """The flux of 40 bins of 0.2 MeV gives the same counts in each format."""
    edges = np.linspace(0.0, 8.0, 41)
    mean = bin_means(reactor_flux(reactor), edges)
    write_csv(tmp_path / "flux.csv", edges, "antineutrino", nuebar=mean)
    wanted = load(card_with(tmp_path, "nucleus-10kg", "reactor", PER_SECOND)).templates
    path, more = tmp_path / f"flux.{form}", ""
    unit = {"globes": "per GeV per m^2 per s", "snowglobes": "per 0.2 MeV per cm^2 per s"}.get(
        form, "per GeV per cm^2 per s"
    )
    if form in ("globes", "snowglobes"):
        values = mean * (1e7 if form == "globes" else 0.2)
        centres = (edges[1:] + edges[:-1]) / 2e3
        path.write_text("".join(f"{e:.7g} 0 0 0 {v!r} 0 0\n" for e, v in zip(centres, values.tolist(), strict=True)))
    elif form == "root":
        with uproot.recreate(path) as file:
            for channel in CHANNELS:
                file[channel] = (mean * 1e3 * (channel == "nuebar"), edges * 1e-3)
        more = "histograms = {" + ", ".join(f'{c} = "{c}"' for c in CHANNELS) + "}\n"
    own = load(card_with(tmp_path, "nucleus-10kg", "reactor", entry(path, form, unit, more)))
    np.testing.assert_allclose(own.templates, wanted, rtol=1e-12)
    assert own.files["flux.spectra.0.file"] == path


def test_which_spectrum(tmp_path: Path, reactor_card: Path) -> None:
    """Of several spectra the card must say which; one alone needs no choice."""
    alone = load(reactor_card).signal_sm.sum()
    rows = (tmp_path / "flux.csv").read_text().splitlines()
    doubled = [
        ",".join(["neutrino", "5", *row.split(",")[2:7], repr(2 * float(row.split(",")[7]))]) for row in rows[1:]
    ]
    (tmp_path / "flux.csv").write_text("\n".join([*rows, *doubled]) + "\n")
    with pytest.raises(CardError, match=r"flux.file = 'flux.csv': has several spectra; choose .* neutrino 0 m, neut"):
        load(reactor_card)
    with pytest.raises(CardError, match=r"has nothing of mode = antineutrino; it has neutrino 0 m, neutrino 5 m"):
        load(reactor_card, "flux.mode=antineutrino")
    assert load(reactor_card, "flux.position_m=5.0").signal_sm.sum() == pytest.approx(2 * alone)
    assert load(reactor_card, "flux.position_m=0.0").signal_sm.sum() == pytest.approx(alone)


BAD: tuple[tuple[Sequence[str], str], ...] = (
    (['flux={file="flux.csv", days=1.0}'], r"flux.unit: missing; a file does not say"),
    (["flux.unit=per GeV per cm^2 per POT"], r"neither a TOML value nor a bare word"),
    (["flux.unit='per GeV per m^2 per s'"], r"flux.unit = 'per GeV per m\^2 per s': input should be 'per GeV per cm"),
    (["flux.unit='per GeV per cm^2 per POT'"], r"flux.protons_on_target: missing; a flux per POT needs"),
    (["flux.protons_on_target=1e20"], r"flux.protons_on_target: is for a flux per POT; this one is per s"),
    (
        ['flux={file="flux.csv", unit="per GeV per cm^2 per POT", protons_on_target=1e20}'],
        r"flux.days: missing; backgrounds.flat_per_kev_kg_day is a rate",
    ),
    (['flux={file="flux.csv", unit="per GeV per cm^2 per s"}'], r"flux.days: missing; a flux per s needs the time"),
    (["flux.days=0"], r"flux.days = 0: input should be greater than 0"),
    (["flux.position_m=-1"], r"flux.position_m = -1: input should be greater than or equal to 0"),
    (["flux.mode=both"], r"flux.mode = 'both': .*'neutrino'"),
    (["flux.pot_per_year=1e20"], r"flux.pot_per_year.*unknown key; allowed are file, spectra, unit, mode"),
    (["flux.file=fluxes.csv"], r"flux.file = 'fluxes.csv': "),
    (["couplings.mu_numu={}"], r"couplings.mu_numu: the source has no numu, only nue"),
    (["photon_detector.distance_m=0.1"], r"photon_detector: goes with a reactor"),
    (
        ["stopped_pion={protons_on_target=1e23, neutrinos_per_proton=0.08, distance_m=19.3}"],
        r"give exactly one of the tables reactor, stopped_pion and flux",
    ),
    (
        ['flux={days=1.0, spectra=[{mode="neutrino", position_m=0.0, file="a", format="csv", unit="per m^2"}]}'],
        r"flux.spectra.0.unit: 'per m\^2': allowed with format 'csv': 'per GeV per cm\^2 per POT', 'per GeV",
    ),
)


@pytest.mark.parametrize(("overrides", "message"), BAD, ids=range(len(BAD)))
def test_what_a_card_may_not_say(reactor_card: Path, overrides: Sequence[str], message: str) -> None:
    with pytest.raises(BayesnuError, match=message):
        load(reactor_card, *overrides)


def test_units_of_spectra(tmp_path: Path, reactor_card: Path) -> None:
    """Spectra have units of their own, all of one kind; cards of ν-e scattering take those per POT alone."""
    one = '{mode="neutrino", position_m=%d.0, file="flux.csv", format="csv", unit="per GeV per cm^2 per %s"}'
    mixed = f"flux={{days=1.0, spectra=[{one % (0, 's')}, {one % (1, 'POT')}]}}"
    with pytest.raises(CardError, match=r"flux.spectra: units are per s and per POT; give one of both"):
        load(reactor_card, mixed)
    both = f'flux={{days=1.0, unit="per GeV per cm^2 per s", spectra=[{one % (0, "s")}]}}'
    with pytest.raises(CardError, match=r"flux.unit: is of flux.file; each of flux.spectra has its own"):
        load(reactor_card, both)
    with pytest.raises(CardError, match=r"flux.spectra.0.unit: 'per GeV per cm\^2 per s': pot_per_year needs a unit"):
        load_experiment("dune-on-axis", [f"flux.spectra=[{one % (0, 's')}]", "flux.normalisation=absolute"])


def test_a_flux_of_zero(reactor_card: Path) -> None:
    write_csv(reactor_card.parent / "flux.csv", np.array([0.0, 1.0]))
    with pytest.raises(CardError, match=r"flux.file = 'flux.csv': the flux is 0 everywhere"):
        load(reactor_card)


def test_check_and_predict(reactor_card: Path, reactor: RecoilExperiment) -> None:
    """What was understood of the flux, and the rate per kg and day of the known card."""
    found = check_experiment(load(reactor_card))
    known = check_experiment(reactor)
    assert [(flux.where, flux.channel, flux.unit) for flux in found.fluxes] == [
        ("flux.csv", "nuebar", "per cm² in all days")
    ]
    # The known spectrum begins at 0.02 MeV.
    assert found.fluxes[0].integral == pytest.approx(known.fluxes[0].integral, rel=1e-3)
    assert found.fluxes[0].mean_energy_gev == pytest.approx(known.fluxes[0].mean_energy_gev, rel=1e-3)
    assert found.fluxes[0].energy_gev.size == found.fluxes[0].density.size + 1
    assert found.blocks[0].exposure == {"mass [kg]": 6.0, "days": DAYS, "mass × time [kg d]": 6.0 * DAYS}
    rates = [
        predict(experiment, {}, {}).targets["CaWO4"].sm_rate_per_kg_day  # type: ignore[union-attr]
        for experiment in (load(reactor_card), reactor)
    ]
    assert rates[0] == pytest.approx(rates[1], rel=1e-3)


def test_a_new_experiment_like_one_with_a_flux(tmp_path: Path, reactor_card: Path) -> None:
    """The files of the flux go with the card."""
    written = new_experiment(tmp_path / "again", str(reactor_card))
    assert sorted(path.name for path in written.files) == ["flux.csv", "observed_counts.csv"]
    own = load(written.card)
    assert own.files["flux.file"] == tmp_path / "again" / "flux.csv"
    np.testing.assert_array_equal(own.templates, load(reactor_card).templates)
