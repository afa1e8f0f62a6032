"""Bad cards of ν-e scattering: every wrong key, type or value gives one line that names file, key and value."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bayesnu.errors import CardError
from bayesnu.experiment.load import load_card

TWELVE = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]"
# override, then fragments that the message must contain
BAD_VALUES = [
    ("target.mass_tons=50", ("target.mass_tons", "unknown key", "did you mean 'mass_tonnes'")),
    ("tarjet.mass_tonnes=50", ("tarjet", "unknown key", "did you mean 'target'")),
    ("detector.treshold_mev=30", ("detector.treshold_mev", "did you mean 'threshold_mev'")),
    ("exposures.0.year=1", ("exposures.0.year", "did you mean 'years'")),
    ("couplings.mu_numu.priors={}", ("couplings.mu_numu.priors", "did you mean 'prior'")),
    ("couplings.mu_nu={}", ("couplings.mu_nu", "unknown coupling", "did you mean 'mu_nu")),
    ('couplings.mu_nu.prior={kind="uniform", low=0, high=1}', ("couplings.mu_nu:", "unknown coupling", "did you mean")),
    ("couplings={}", ("couplings", "at least one", "mu_numu")),
    ("target=3", ("target = 3",)),
    ("target.mass_tonnes=fifty", ("target.mass_tonnes = 'fifty'", "number")),
    ('target.mass_tonnes="50"', ("target.mass_tonnes = '50'", "number")),
    ("target.mass_tonnes=true", ("target.mass_tonnes = True", "number")),
    ("target.mass_tonnes=0", ("target.mass_tonnes = 0", "greater than 0")),
    ("target.mass_tonnes=-5", ("target.mass_tonnes = -5", "greater than 0")),
    ("target.mass_tonnes=nan", ("target.mass_tonnes = nan", "finite")),
    ("target.mass_tonnes=inf", ("target.mass_tonnes = inf", "finite")),
    ("target.material=argonn", ("target.material = 'argonn'", "did you mean 'argon'")),
    ("detector.threshold_mev=0", ("detector.threshold_mev = 0", "greater than 0")),
    ("detector.threshold_mev=-30", ("detector.threshold_mev = -30", "greater than 0")),
    ("detector.angular_resolution_deg=0", ("detector.angular_resolution_deg = 0", "greater than 0")),
    ("detector.angular_resolution_deg=-1", ("detector.angular_resolution_deg = -1", "greater than or equal to 0")),
    ("detector.energy_resolution=0.0", ("detector.energy_resolution = 0.0", "greater than 0")),
    ("detector.bin_edges_mev=[0, 1, 1]", ("detector.bin_edges_mev", "increase", "1 follows 1")),
    ("detector.bin_edges_mev=[0, 2, 1.5]", ("detector.bin_edges_mev", "1.5 follows 2")),
    ("detector.bin_edges_mev=[-1, 1]", ("detector.bin_edges_mev", "first edge", "at least 0")),
    ("detector.bin_edges_mev=[0]", ("detector.bin_edges_mev", "at least 2")),
    ("detector.bin_edges_mev=[0, nan]", ("detector.bin_edges_mev.1 = nan", "finite")),
    ('detector.bin_edges_mev=[0, "a"]', ("detector.bin_edges_mev.1 = 'a'", "number")),
    ("exposures=[]", ("exposures", "at least 1")),
    ("exposures.0.years=0", ("exposures.0.years = 0", "greater than 0")),
    ("exposures.1.years=-3.5", ("exposures.1.years = -3.5", "greater than 0")),
    ("exposures.0.mode=neutrinos", ("exposures.0.mode = 'neutrinos'", "'neutrino' or 'antineutrino'")),
    ("exposures.0.position_m=-3", ("exposures.0.position_m = -3", "greater than or equal to 0")),
    ("exposures.1.mode=neutrino", ("exposures.1", "mode 'neutrino' at position_m = 0 stands twice")),
    ("flux.normalisation=tabel", ("flux.normalisation = 'tabel'", "'table' or 'absolute'")),
    ("flux.pot_per_year=-1", ("flux.pot_per_year = -1", "greater than 0")),
    ("backgrounds.model=cqe", ("backgrounds.model = 'cqe'", "'ccqe'")),
    ("backgrounds={}", ("backgrounds", "exactly one of file and model")),
    ('backgrounds={file="a.csv", model="ccqe"}', ("backgrounds", "exactly one of file and model")),
    ("pulls.flux_norm=-0.1", ("pulls.flux_norm = -0.1", "greater than or equal to 0")),
    ("pulls.ccqe=10", ("pulls.ccqe = 10", "less than or equal to 1")),
    ("pulls.flux_correlation=-0.1", ("pulls.flux_correlation = -0.1", "greater than or equal to 0")),
    ("pulls.flux_correlation=1.5", ("pulls.flux_correlation = 1.5", "less than or equal to 1")),
    ("pulls.shared=1", ("pulls.shared = 1", "boolean")),
    ("pulls.flux=0.1", ("pulls.flux", "did you mean 'flux_norm'")),
    ("physics.millicharge=printed", ("physics.millicharge = 'printed'", "'derived' or 'as-printed'")),
    ("physics.sin2_theta_w=1.5", ("physics.sin2_theta_w = 1.5", "less than 1")),
    ("response.samples=0", ("response.samples = 0", "greater than 0")),
    ("response.samples=1.5", ("response.samples = 1.5", "integer")),
    ("response.method=exact", ("response.method = 'exact'", "'quadrature'")),
    ('name="two words"', ("name = 'two words'",)),
    ('couplings.mu_numu.prior={kind="uniform", low=2e-9, high=1e-9}', ("mu_numu.prior", "2e-09", "below high = 1e-09")),
    ('couplings.q_nue.prior={kind="uniform", low=1, high=1}', ("q_nue.prior", "low = 1", "below high = 1")),
    ('couplings.mu_nue.prior={kind="uniform", low=-1e-9, high=1e-9}', ("mu_nue.prior.low", "-1e-09", "at least 0")),
    ('couplings.q_nue.prior={kind="uniform-squared", high=1}', ("q_nue.prior.kind", "squared only", "moments")),
    ('couplings.r2_numu.prior={kind="uniform-squared", high=1}', ("r2_numu.prior.kind", "squared only")),
    ('couplings.mu_nue.prior={kind="uniform", low=0, high=inf}', ("mu_nue.prior.high = inf", "finite")),
    ('couplings.mu_nue.prior={kind="uniform", low=0}', ("mu_nue.prior.high", "required")),
    ('couplings.q_nue.prior={kind="uniform", low=-1.7e308, high=1.7e308}', ("q_nue.prior", "high - low", "finite")),
    ('couplings.mu_nue.prior={kind="uniform-squared"}', ("mu_nue.prior.high", "required")),
    ('couplings.mu_nue.prior={kind="uniform-squared", high=0}', ("mu_nue.prior.high = 0", "greater than 0")),
    ('couplings.mu_nue.prior={kind="log-uniform", low=0, high=1}', ("mu_nue.prior.low = 0", "greater than 0")),
    ('couplings.mu_nue.prior={kind="log-uniform", low=3, high=1}', ("mu_nue.prior", "low = 3", "below high = 1")),
    ('couplings.q_nue.prior={kind="normal", sigma=0}', ("q_nue.prior.sigma = 0", "greater than 0")),
    ('couplings.q_nue.prior={kind="half-normal", sigma=-1}', ("q_nue.prior.sigma = -1", "greater than 0")),
    ('couplings.q_nue.prior={kind="normal", sigma=1, low=0}', ("q_nue.prior.low", "unknown key", "sigma")),
    ('couplings.q_nue.prior={kind="unifrom", low=0, high=1}', ("q_nue.prior", "unifrom", "'uniform'")),
    ("couplings.q_nue.prior={low=0, high=1}", ("q_nue.prior.kind: missing", "half-normal", "uniform-squared")),
    ("couplings.q_nue.prior=uniform", ("q_nue.prior = 'uniform': must be a table",)),
    ("couplings.q_nue=3", ("couplings.q_nue = 3: must be a table",)),
]


def refused(model: str | Path, *overrides: str) -> str:
    """Load a card that must be refused; return the message, which must be one line that names the card."""
    with pytest.raises(CardError) as caught:
        load_card(str(model), overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert Path(model).stem in message
    return message


@pytest.mark.parametrize(("override", "fragments"), BAD_VALUES)
def test_bad_value(override: str, fragments: tuple[str, ...]) -> None:
    message = refused("dune-on-axis", override)
    assert [fragment for fragment in fragments if fragment not in message] == []


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("mass_tonnes = 50.0", "target.mass_tonnes"),
        ("pot_per_year = 1.1e21", "flux.pot_per_year"),
        ("threshold_mev = 30.0", "detector.threshold_mev"),
        ("ccqe = 0.10", "pulls.ccqe"),
        ('title = "DUNE near detector, on axis"', "title"),
        ('scenario = "on-axis"', "comparison.scenario"),
    ],
)
def test_missing_key(edited_card: Callable[..., Path], line: str, key: str) -> None:
    message = refused(edited_card((line, "")))
    assert f"{key}: field required" in message


def test_missing_table(edited_card: Callable[..., Path]) -> None:
    message = refused(edited_card(('[target]\nmaterial = "argon"\nmass_tonnes = 50.0', "")))
    assert "target: field required" in message


def test_table_normalisation_needs_an_event_table(edited_card: Callable[..., Path]) -> None:
    card = edited_card(('event_table = "events/dune_table1.csv"', ""))
    assert "event_table" in refused(card)
    assert load_card(str(card), ["flux.normalisation=absolute"]).card.flux.event_table is None


@pytest.mark.parametrize(
    ("first", "second", "fragments"),
    [
        (TWELVE, None, ("exposures.1.observed_counts", "missing", "all exposures or for none")),
        (TWELVE, "[1, 2]", ("exposures.1.observed_counts", "has 2 values", "12 bins")),
        (TWELVE, TWELVE.replace("12", "-12"), ("exposures.1.observed_counts.11 = -12", "greater than or equal to 0")),
        (TWELVE, TWELVE.replace("12", "nan"), ("exposures.1.observed_counts.11 = nan", "finite")),
        (TWELVE, TWELVE.replace("12", '"x"'), ("exposures.1.observed_counts.11 = 'x'", "number")),
        (TWELVE, TWELVE.replace("12", "1e16"), ("exposures.1.observed_counts.11 = 1e+16", "less than or equal to")),
        ("[]", "[]", ("exposures.0.observed_counts", "has 0 values")),
        ("5", TWELVE, ("exposures.0.observed_counts = 5", "list")),
    ],
)
def test_observed_counts(first: str, second: str | None, fragments: tuple[str, ...]) -> None:
    overrides = [f"exposures.0.observed_counts={first}"]
    if second is not None:
        overrides.append(f"exposures.1.observed_counts={second}")
    message = refused("dune-on-axis", *overrides)
    assert [fragment for fragment in fragments if fragment not in message] == []


def test_both_shipped_cards_are_as_the_paper_describes() -> None:
    on_axis, prism = load_card("dune-on-axis").card, load_card("dune-prism").card
    years = {(e.mode, e.position_m): e.years for e in prism.exposures}
    assert {(e.mode, e.position_m, e.years) for e in on_axis.exposures} == {
        ("neutrino", 0, 3.5),
        ("antineutrino", 0, 3.5),
    }
    assert years == {
        (m, p): y for m in ("neutrino", "antineutrino") for p, y in ((0.0, 1.75), (18.0, 0.875), (30.0, 0.875))
    }
    assert on_axis.model_copy(update={"exposures": prism.exposures, "name": "", "title": "", "comparison": None}) == (
        prism.model_copy(update={"name": "", "title": "", "comparison": None})
    )
    assert list(on_axis.couplings) == ["mu_nue", "mu_numu", "q_nue", "q_numu", "r2_nue", "r2_numu"]
    pulls = on_axis.pulls
    assert (pulls.flux_norm, pulls.wrong_sign, pulls.electron_flavour, pulls.ccqe, pulls.pi0) == (
        0.1,
        0.01,
        0.01,
        0.1,
        0.1,
    )
