"""Bad cards of nuclear recoils: every wrong key or value gives one line that names file, key and value."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from bayesnu.errors import BayesnuError, CardError, DataError
from bayesnu.experiment.load import load_card
from bayesnu.experiment.recoil import RecoilExperiment
from bayesnu.experiment.recoil_card import RecoilCard
from bayesnu.experiment.setup import load_experiment
from bayesnu.resources import data_folder

REACTOR, BEAM = "nucleus-10g", "coherent-csi-2017"
PHONONS = 'detector={kind="phonons", threshold_ev=20.0, resolution_ev=4.0, highest_ev=1e4, bins=40}'
PHOTOELECTRONS = (
    'detector={kind="photoelectrons", light_yield_pe_per_kev=13.3, quenching=0.08, quenching_error=0.0, '
    "acceptance=[1.0, 1.0, 1.0], bin_edges_pe=[6, 8]}"
)
PIONS = "stopped_pion={protons_on_target=1e23, neutrinos_per_proton=0.08, distance_m=19.3}"
CORE = "{cores=[{power_gw=4.25, distance_m=72.0}], fission_fractions={U235=1.0}, days=100.0}"
TWO_BINS = "detector.bins=2"

# card, overrides, then fragments that the message must contain
BAD = [
    # targets
    (REACTOR, ["targets.CaW04={mass_kg=1.0}"], ("targets.CaW04: is no chemical formula", "did you mean 'CaWO4'")),
    (REACTOR, ["targets.Al2Q3={mass_kg=1.0}"], ("targets.Al2Q3: unknown element 'Q'", "did you mean 'Al2O3'")),
    (REACTOR, ["targets={}"], ("targets", "at least 1")),
    (REACTOR, ["targets=3"], ("targets = 3: must be a table",)),
    (REACTOR, ["targets.CaWO4.mass_kg=0"], ("targets.CaWO4.mass_kg = 0", "greater than 0")),
    (REACTOR, ["targets.Al2O3.mass_kg=-0.004"], ("targets.Al2O3.mass_kg = -0.004", "greater than 0")),
    (REACTOR, ["targets.CaWO4.mass_kg=inf"], ("targets.CaWO4.mass_kg = inf", "finite")),
    (REACTOR, ["targets.CaWO4.mass_g=6.0"], ("targets.CaWO4.mass_g", "unknown key", "did you mean 'mass_kg'")),
    # the source
    (REACTOR, ["reactor.cores.0.distance_m=0"], ("reactor.cores.0.distance_m = 0", "greater than 0")),
    (REACTOR, ["reactor.cores.1.distance_m=-102"], ("reactor.cores.1.distance_m = -102", "greater than 0")),
    (REACTOR, ["reactor.cores.1.power_gw=0"], ("reactor.cores.1.power_gw = 0", "greater than 0")),
    (REACTOR, ["reactor.cores=[]"], ("reactor.cores", "at least 1")),
    (REACTOR, ["reactor.cores.2.power_gw=1"], ("reactor.cores", "0 to 1", "'2'")),
    (REACTOR, ["reactor.days=0"], ("reactor.days = 0", "greater than 0")),
    (REACTOR, ["reactor.capture=1"], ("reactor.capture = 1", "boolean")),
    (REACTOR, [PIONS], ("exactly one", "reactor", "stopped_pion")),
    (BEAM, [f"reactor={CORE}"], ("exactly one", "reactor", "stopped_pion")),
    (BEAM, ["stopped_pion.distance_m=0"], ("stopped_pion.distance_m = 0", "greater than 0")),
    (BEAM, ["stopped_pion.distance_m=-19.3"], ("stopped_pion.distance_m = -19.3", "greater than 0")),
    (BEAM, ["stopped_pion.protons_on_target=0"], ("stopped_pion.protons_on_target = 0", "greater than 0")),
    (BEAM, ["stopped_pion.neutrinos_per_proton=-1"], ("neutrinos_per_proton = -1", "greater than 0")),
    (BEAM, ["stopped_pion.distance=19.3"], ("stopped_pion.distance", "did you mean 'distance_m'")),
    (BEAM, ["stopped_pion.window_us=5.9"], ("stopped_pion.window_us = 5.9", "multiple of 0.5 up to 6")),
    (BEAM, ["stopped_pion.window_us=0"], ("stopped_pion.window_us = 0", "multiple of 0.5 up to 6")),
    (BEAM, ["stopped_pion.window_us=-0.5"], ("stopped_pion.window_us = -0.5", "multiple of 0.5 up to 6")),
    (BEAM, ["stopped_pion.window_us=6.5"], ("stopped_pion.window_us = 6.5", "multiple of 0.5 up to 6")),
    (BEAM, ["stopped_pion.window_us=nan"], ("stopped_pion.window_us = nan", "finite")),
    # fission fractions
    (REACTOR, ["reactor.fission_fractions.U235=0.6"], ("reactor.fission_fractions", "add up to 1.039")),
    (REACTOR, ["reactor.fission_fractions={}"], ("reactor.fission_fractions", "add up to 0")),
    (REACTOR, ["reactor.fission_fractions.U236=0.0"], ("reactor.fission_fractions", "'U236'", "did you mean 'U23")),
    (
        REACTOR,
        ["reactor.fission_fractions={U235=1.5, U238=-0.5}"],
        ("reactor.fission_fractions", "U238 = -0.5", "at least 0"),
    ),
    # the detector
    (REACTOR, ["detector.kind=photons"], ("detector.kind = 'photons'", "'photoelectrons'", "did you mean")),
    (REACTOR, [PHONONS.replace('kind="phonons", ', "")], ("detector.kind: missing", "phonons", "photoelectrons")),
    (REACTOR, [PHOTOELECTRONS], ("detector.kind", "'photoelectrons' goes with stopped_pion")),
    (BEAM, [PHONONS], ("detector.kind", "'phonons' goes with a reactor")),
    (REACTOR, ["detector.kind=photoelectrons"], ("detector.threshold_ev: unknown key", "bin_edges_pe")),
    (BEAM, ["detector.kind=phonons"], ("detector.light_yield_pe_per_kev: unknown key", "threshold_ev")),
    (REACTOR, ["detector=3"], ("detector = 3: must be a table",)),
    (REACTOR, ["detector.highest_ev=20"], ("detector.highest_ev: 20", "above threshold_ev = 20")),
    (REACTOR, ["detector.highest_ev=5"], ("detector.highest_ev: 5", "above threshold_ev = 20")),
    (REACTOR, ["detector.threshold_ev=2e4"], ("detector.highest_ev: 10000", "above threshold_ev = 20000")),
    (REACTOR, ["detector.threshold_ev=0"], ("detector.threshold_ev = 0", "greater than 0")),
    (REACTOR, ["detector.resolution_ev=0"], ("detector.resolution_ev = 0", "greater than 0")),
    (REACTOR, ["detector.bins=0"], ("detector.bins = 0", "greater than 0")),
    (REACTOR, ["detector.bins=1.5"], ("detector.bins = 1.5", "integer")),
    (BEAM, ["detector.quenching=0"], ("detector.quenching = 0", "greater than 0")),
    (BEAM, ["detector.quenching=1.1"], ("detector.quenching = 1.1", "less than or equal to 1")),
    (BEAM, ["detector.quenching_error=-0.1"], ("detector.quenching_error = -0.1", "greater than or equal to 0")),
    (BEAM, ["detector.quenching_error=0.0878"], ("detector.quenching_error: 0.0878", "below quenching = 0.0878")),
    (BEAM, ["detector.acceptance=[0.6655, 0.4942]"], ("detector.acceptance", "at least 3")),
    (BEAM, ["detector.bin_edges_pe=[6, 8, 8]"], ("detector.bin_edges_pe", "increase", "8 follows 8")),
    (BEAM, ["detector.bin_edges_pe=[-1, 8]"], ("detector.bin_edges_pe", "first edge", "at least 0")),
    (BEAM, ["detector.bin_edges_pe=[6]"], ("detector.bin_edges_pe", "at least 2")),
    (BEAM, ["detector.bin_edges_pe=[6.0, 8.0]"], ("detector.bin_edges_pe.0 = 6.0", "integer")),
    (BEAM, ["targets.Ar={mass_kg=1.0}"], ("detector.kind", "one compound")),
    # N, backgrounds, pulls
    (REACTOR, ["sterile.m_N=-1"], ("sterile.m_N = -1", "greater than or equal to 0")),
    (REACTOR, ["sterile.m_N=nan"], ("sterile.m_N = nan", "finite")),
    (REACTOR, ["sterile.m_n=1"], ("sterile.m_n", "unknown key", "did you mean 'm_N'")),
    (REACTOR, ["backgrounds.flat_per_kev_kg_day=-1"], ("flat_per_kev_kg_day = -1", "greater than or equal to 0")),
    (REACTOR, ["backgrounds.neutrons=1"], ("backgrounds.neutrons", "flat_per_kev_kg_day")),
    (BEAM, ["backgrounds.flat_per_kev_kg_day=1"], ("backgrounds.flat_per_kev_kg_day", "pulsed beam")),
    (BEAM, ["backgrounds.neutrons=-5.4"], ("backgrounds.neutrons = -5.4", "greater than or equal to 0")),
    (REACTOR, ["pulls.flux_norm=2"], ("pulls.flux_norm = 2", "less than or equal to 1")),
    (REACTOR, ["pulls.flux=0.05"], ("pulls.flux", "did you mean 'flux_norm'")),
    # counts
    (BEAM, ["counts.file=nope.csv"], ("counts.file = 'nope.csv'", "no such file")),
    (BEAM, ["counts.asimov=1"], ("counts.asimov = 1", "boolean")),
    (
        BEAM,
        ["detector.bin_edges_pe=[6, 18, 30]"],
        ("counts.file", "12 bins from 6 to 30", "detector.bin_edges_pe has 2"),
    ),
    (REACTOR, ["observed_counts={CaWO4=[1.0], Al2O3=[1.0]}"], ("observed_counts.CaWO4", "has 1 values", "40 bins")),
    (
        REACTOR,
        [TWO_BINS, "observed_counts={CaWO4=[1.0, 2.0], Al2O3=[1.0, 2.0, 3.0]}"],
        ("observed_counts.Al2O3", "has 3 values", "2 bins"),
    ),
    (REACTOR, [TWO_BINS, "observed_counts={CaWO4=[1.0, 2.0]}"], ("observed_counts", "CaWO4, Al2O3")),
    (
        REACTOR,
        [TWO_BINS, "observed_counts={CaWO4=[1.0, 2.0], Al2O3=[1.0, 2.0], CsI=[1.0, 2.0]}"],
        ("observed_counts", "must name the compounds CaWO4, Al2O3"),
    ),
    (
        REACTOR,
        [TWO_BINS, "observed_counts={CaWO4=[1.0, 2.0], Al2O3=[1.0, -2.0]}"],
        ("observed_counts.Al2O3.1 = -2.0", "greater than or equal to 0"),
    ),
    (
        REACTOR,
        [TWO_BINS, "observed_counts={CaWO4=[1.0, 2.0], Al2O3=[nan, 2.0]}"],
        ("observed_counts.Al2O3.0 = nan", "finite"),
    ),
    (BEAM, ["observed_counts={CsI=[1.0]}"], ("observed_counts", "counts.file")),
    # couplings and priors
    (REACTOR, ["couplings.d_nu={}"], ("couplings.d_nu", "unknown coupling", "did you mean 'd_nu")),
    (REACTOR, ["couplings.d_numu={}"], ("couplings.d_numu", "no numu", "only nue")),
    (REACTOR, ["couplings.r2_numu={}"], ("couplings.r2_numu", "no numu", "only nue")),
    (REACTOR, ["couplings={}"], ("couplings", "at least one")),
    (
        REACTOR,
        ['couplings.d_nue.prior={kind="uniform", low=-1e-10, high=1e-9}'],
        ("couplings.d_nue.prior.low", "-1e-10", "at least 0"),
    ),
    (
        BEAM,
        ['couplings.d_numu.prior={kind="uniform", low=-1e-10, high=1e-9}'],
        ("couplings.d_numu.prior.low", "-1e-10", "at least 0"),
    ),
    (
        BEAM,
        ['couplings.q_numu.prior={kind="uniform-squared", high=1e-6}'],
        ("couplings.q_numu.prior.kind", "squared only"),
    ),
    # the kind of scattering
    (REACTOR, ["scattering=nuclear"], ("scattering = 'nuclear'", "allowed are electron, ", "did you mean 'nucleus'")),
    (REACTOR, ["scattering=3"], ("scattering = 3", "allowed are electron, ", "nucleus")),
    (REACTOR, ["scattering=electron"], ("targets: unknown key", "did you mean 'target'")),
    ("dune-on-axis", ["scattering=nucleus"], ("unknown key", "allowed are")),
]


def refused(model: str | Path, *overrides: str, error: type[BayesnuError] = CardError) -> str:
    """Load a card that must be refused; return the message, which must be one line."""
    with pytest.raises(error) as caught:
        load_experiment(str(model), overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("model", "overrides", "fragments"), BAD)
def test_bad_value(model: str, overrides: list[str], fragments: tuple[str, ...]) -> None:
    message = refused(model, *overrides)
    assert [fragment for fragment in fragments if fragment not in message] == []
    # An override that cannot be applied is named instead of the card.
    assert model in message or f"-o {overrides[0]}" in message


def missing(edited_card: Callable[..., Path], model: str, *lines: str) -> str:
    return refused(edited_card(*((line, "") for line in lines), model=model))


@pytest.mark.parametrize(
    ("model", "line", "key"),
    [
        (REACTOR, "mass_kg = 0.006", "targets.CaWO4.mass_kg"),
        (REACTOR, "threshold_ev = 20.0", "detector.threshold_ev"),
        (REACTOR, "resolution_ev = 4.0", "detector.resolution_ev"),
        (REACTOR, "days = 1095.75", "reactor.days"),
        (REACTOR, "flux_norm = 0.05", "pulls.flux_norm"),
        (BEAM, "protons_on_target = 1.76e23", "stopped_pion.protons_on_target"),
        (BEAM, "quenching = 0.0878", "detector.quenching"),
        (BEAM, 'file = "counts/coherent_csi_2017.csv"', "counts.file"),
    ],
)
def test_missing_key(edited_card: Callable[..., Path], model: str, line: str, key: str) -> None:
    assert f"{key}: field required" in missing(edited_card, model, line)


def test_missing_kind_of_detector(edited_card: Callable[..., Path]) -> None:
    message = missing(edited_card, REACTOR, 'kind = "phonons"')
    assert "card.toml: detector.kind: missing; allowed are phonons, photoelectrons" in message


def test_neither_source(edited_card: Callable[..., Path]) -> None:
    text = load_card(REACTOR).path.read_text(encoding="utf-8")
    table = text[text.index("[reactor]") : text.index("[detector]")]
    message = missing(edited_card, REACTOR, table)
    assert all(fragment in message for fragment in ("card.toml", "exactly one", "reactor", "stopped_pion"))


def test_a_beam_needs_its_counts(edited_card: Callable[..., Path]) -> None:
    text = load_card(BEAM).path.read_text(encoding="utf-8")
    table = text[text.index("[counts]") : text.index("[backgrounds]")]
    message = missing(edited_card, BEAM, table)
    assert "detector.kind: 'photoelectrons' goes with stopped_pion or flux, counts.file" in message


def test_scenario_must_be_published() -> None:
    message = refused(REACTOR, 'comparison={published="published/limits.csv", scenario="on-axs"}')
    assert "comparison.scenario = 'on-axs'" in message
    assert "did you mean 'on-axis'" in message


# The file of counts

Rows = list[dict[str, str]]


@pytest.fixture
def edited_counts(tmp_path: Path) -> Callable[[Callable[[Rows], Rows]], str]:
    """Write a changed copy of COHERENT's counts; return the override that names it."""

    def write(change: Callable[[Rows], Rows]) -> str:
        with (data_folder() / "counts" / "coherent_csi_2017.csv").open(encoding="utf-8") as file:
            rows = change(list(csv.DictReader(file)))
        path = tmp_path / "own.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return f'counts.file="{path}"'

    return write


def changed(row: int, column: str, value: str) -> Callable[[Rows], Rows]:
    def change(rows: Rows) -> Rows:
        rows[row][column] = value
        return rows

    return change


def test_an_own_file_of_counts_is_the_data(edited_counts: Callable[[Callable[[Rows], Rows]], str]) -> None:
    experiment = load_experiment(BEAM, [edited_counts(changed(3, "coincidence", "99"))])
    assert isinstance(experiment, RecoilExperiment)
    assert experiment.observed
    assert experiment.data[:5].tolist() == [35, 62, 91, 99, 60]
    assert experiment.data[12:15].tolist() == [26, 51, 67]
    assert experiment.files["counts.file"].name == "own.csv"


@pytest.mark.parametrize(
    ("change", "error", "fragments"),
    [
        (lambda rows: rows[:-1], CardError, ("counts.file = 'own.csv'", "has 11 bins from 6 to 28", "12 from 6 to 30")),
        (lambda rows: rows[:3] + rows[4:], CardError, ("has 11 bins", "bin 3 is 14 to 16, not 12 to 14")),
        (changed(0, "pe_low", "5"), CardError, ("counts.file = 'own.csv'", "from 5 to 30")),
        (changed(4, "pe_high", "17"), CardError, ("counts.file = 'own.csv'", "detector.bin_edges_pe")),
        (lambda rows: rows[::-1], CardError, ("counts.file = 'own.csv'", "from 28 to 8")),
        (changed(5, "anticoincidence", "0"), CardError, ("counts.file = 'own.csv'", "bin 5", "merge bins")),
        (changed(2, "coincidence", "-1"), DataError, ("own.csv", "coincidence", "-1")),
        (changed(7, "anticoincidence", "-3"), DataError, ("own.csv", "anticoincidence", "-3")),
        (changed(7, "coincidence", "many"), DataError, ("own.csv", "coincidence", "many")),
        (changed(7, "coincidence", "nan"), DataError, ("own.csv", "coincidence", "nan")),
        (
            lambda rows: [{k: v for k, v in row.items() if k != "anticoincidence"} for row in rows],
            DataError,
            ("own.csv", "anticoincidence"),
        ),
    ],
    ids=[
        "short",
        "gap",
        "first edge",
        "inner edge",
        "order",
        "zero",
        "negative",
        "negative out",
        "text",
        "nan",
        "column",
    ],
)
def test_bad_counts(
    edited_counts: Callable[[Callable[[Rows], Rows]], str],
    change: Callable[[Rows], Rows],
    error: type[BayesnuError],
    fragments: tuple[str, ...],
) -> None:
    message = refused(BEAM, edited_counts(change), error=error)
    assert [fragment for fragment in fragments if fragment not in message] == []


# What the shipped cards say


def test_shipped_cards_of_nucleus() -> None:
    """6 g CaWO₄ and 4 g Al₂O₃, two 4.25 GW cores at 72 and 102 m, 20 eV (arXiv:1905.10258)."""
    card = load_card(REACTOR).card
    assert isinstance(card, RecoilCard)
    assert {name: target.mass_kg for name, target in card.targets.items()} == {"CaWO4": 0.006, "Al2O3": 0.004}
    assert card.reactor is not None
    assert [(core.power_gw, core.distance_m) for core in card.reactor.cores] == [(4.25, 72.0), (4.25, 102.0)]
    assert card.detector.kind == "phonons"
    assert card.detector.threshold_ev == 20.0
    for name, factor in (("nucleus-1kg", 100), ("nucleus-10kg", 1000)):
        other = load_card(name).card
        assert isinstance(other, RecoilCard)
        for compound, target in card.targets.items():
            assert other.targets[compound].mass_kg == pytest.approx(factor * target.mass_kg, rel=1e-12)
        same = {"name": "", "title": "", "targets": card.targets}
        assert other.model_copy(update=same) == card.model_copy(update=same)


def test_shipped_card_of_coherent() -> None:
    """14.57 kg at 19.3 m, 1.76e23 protons (arXiv:1708.01294); light and acceptance (arXiv:1804.09459)."""
    card = load_card(BEAM).card
    assert isinstance(card, RecoilCard)
    assert card.stopped_pion is not None
    source = card.stopped_pion
    assert (source.protons_on_target, source.neutrinos_per_proton, source.distance_m) == (1.76e23, 0.08, 19.3)
    assert card.detector.kind == "photoelectrons"
    assert (card.detector.light_yield_pe_per_kev, card.detector.quenching) == (13.348, 0.0878)
    assert card.detector.acceptance == [0.6655, 0.4942, 10.8507]
    assert card.detector.bin_edges_pe == list(range(6, 31, 2))
    assert card.targets["CsI"].mass_kg == 14.57
