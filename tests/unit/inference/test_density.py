"""The hand-written density that NUTS calls against the PyMC model, for every kind of model that a card can make."""

import math
import tempfile
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from bayesnu.errors import UsageError
from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.experiment.setup import load_experiment
from bayesnu.inference.density import callbacks, density_inputs, log_density
from bayesnu.inference.frame import pull_frame
from bayesnu.inference.likelihood import Problem, make_problem
from bayesnu.inference.model import build_pymc_model
from bayesnu.inference.priors import SampledVariable, jeffreys_prior, mass_prior, one_coupling, sampled_variable
from bayesnu.physics.couplings import CHANNELS

with warnings.catch_warnings():
    # Deprecations inside PyMC and PyTensor are theirs.
    warnings.simplefilter("ignore")
    from pytensor.compile.mode import Mode

# Interpreted, so that a test need not wait for a compiler.
PLAIN = Mode(linker="py", optimizer="fast_compile")


@dataclass(frozen=True)
class Setting:
    """A card with overrides, the couplings that are free, and the largest independent error of a bin's mean, if any."""

    card: str
    couplings: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    jeffreys: tuple[float, float] | None = None
    spread: float | None = None
    covariance: bool = False


def with_prior(coupling: str, prior: str, card: str = "dune-on-axis") -> Setting:
    return Setting(card, (coupling,), (f"couplings.{coupling}.prior={{{prior}}}",))


SAMPLED = ("response.energy_cells=24", "response.angle_cells=16", "response.samples=30720")
COVARIANCE = (*SAMPLED, "response.mc_stat=covariance")
BOUNDED = ("couplings.d_nue.prior={kind='uniform',low=0,high=1e-8}",)
SETTINGS = {
    "folded": Setting("dune-on-axis", ("mu_numu",)),
    "folded, half-normal": with_prior("mu_nue", "kind='half-normal',sigma=2e-9"),
    "away from 0": with_prior("mu_numu", "kind='uniform',low=1e-10,high=1e-9"),
    "signed": Setting("dune-on-axis", ("q_numu",)),
    "six exposures": Setting("dune-prism", ("q_nue",)),
    "log-uniform": with_prior("mu_numu", "kind='log-uniform',low=1e-11,high=1e-9"),
    "uniform in the square": with_prior("mu_numu", "kind='uniform-squared',high=1e-9"),
    "normal": with_prior("r2_numu", "kind='normal',sigma=2e-33"),
    "half-normal": Setting(
        "dune-on-axis", ("r2_nue",), ("couplings.r2_nue.prior={kind='half-normal',sigma=3e-31}",)
    ),
    "Jeffreys, in the square": Setting("dune-on-axis", ("mu_numu",), (), (0.0, 1e-9)),
    "Jeffreys, signed": Setting("dune-on-axis", ("q_nue",), (), (-4e-8, 6e-8)),
    "two couplings": Setting("dune-on-axis", ("q_nue", "r2_nue")),
    "three couplings": Setting("dune-on-axis", ("mu_numu", "q_nue", "r2_nue")),
    "free pulls and a morph": Setting("coherent-csi-2017", ("mu_numu",)),
    "no background": Setting("nucleus-10g-radiative", ("d_nue",)),
    "measured errors": Setting("lsnd-nue", ("mu_nue",)),
    "gamma-distributed means": Setting("dune-on-axis", ("mu_nue",), spread=0.05),
    "covariance of the response": Setting("dune-on-axis", ("q_nue",), COVARIANCE),
    "covariance of the flux": Setting("dune-on-axis", ("mu_nue",), covariance=True),
    "partly correlated positions": Setting("dune-prism", ("q_nue",), ("pulls.flux_correlation=0.4",)),
    "mass of N": Setting(
        "nucleus-10g", ("d_nue", "m_N"), (*BOUNDED, "sterile.m_N_prior={kind='uniform',low=0,high=7}")
    ),
    "logarithm of the mass": Setting(
        "nucleus-10g",
        ("d_nue", "m_N"),
        (
            "couplings.d_nue.prior={kind='log-uniform',low=1e-12,high=1e-8}",
            "sterile.m_N_prior={kind='log-uniform',low=0.01,high=7}",
        ),
    ),
    "mass of N without background": Setting(
        "nucleus-10g-radiative", ("d_nue", "m_N"), (*BOUNDED, "sterile.m_N_prior={kind='uniform',low=0.2,high=5}")
    ),
}


def flux_covariance(folder: Path) -> str:
    """An override with a covariance of the on-axis flux, 16 bins and correlations, in a file."""
    labels = [f"{m},0,{c},{e}" for m in ("neutrino", "antineutrino") for c in CHANNELS for e in ("0,3", "3,20")]
    spread = 0.05 + 0.1 * np.arange(len(labels)) / len(labels)
    matrix = spread[:, None] * spread * (0.5 + 0.5 * np.eye(len(labels)))
    header = ",".join(["mode,position_m,channel,e_lo_gev,e_hi_gev", *(str(k + 1) for k in range(len(labels)))])
    rows = [",".join([label, *map(repr, own)]) for label, own in zip(labels, matrix.tolist(), strict=True)]
    path = folder / "flux_covariance.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return f'covariances=[{{name="beam", of="flux", file="{path}", keep=0.8}}]'


def make(setting: Setting) -> tuple[Problem, list[SampledVariable]]:
    overrides = list(setting.overrides)
    if setting.covariance:
        with tempfile.TemporaryDirectory() as folder:
            card = load_experiment(setting.card, [*overrides, flux_covariance(Path(folder))])
        assert card.covariances[0].shares.size > 3
    else:
        card = load_experiment(setting.card, overrides)
    experiment = card.with_free_mass(mass_prior(card).high, 8) if "m_N" in setting.couplings else card
    if setting.spread is not None:
        assert isinstance(experiment, ElectronExperiment)
        experiment = replace(experiment, bin_errors=np.linspace(0.01, setting.spread, experiment.data.size) ** 2)
    problem = make_problem(experiment, setting.couplings)
    if setting.jeffreys is not None:
        priors = [jeffreys_prior(problem, *setting.jeffreys)]
    else:
        priors = [mass_prior(card) if n == "m_N" else one_coupling(card, n)[1] for n in setting.couplings]
    return problem, [sampled_variable(prior, problem) for prior in priors]


# Between them they go through most of what is computed.
BY_DEFAULT = (
    "Jeffreys, in the square",
    "two couplings",
    "free pulls and a morph",
    "gamma-distributed means",
    "mass of N",
)


@pytest.mark.parametrize(
    "setting",
    [
        pytest.param(setting, id=name, marks=() if name in BY_DEFAULT else pytest.mark.slow)
        for name, setting in SETTINGS.items()
    ],
)
def test_density_and_gradient_are_pymcs(setting: Setting) -> None:
    problem, variables = make(setting)
    frame = pull_frame(problem, variables)
    inputs = density_inputs(problem, variables, frame)
    # The place of the moment, where its range bends with the mass.
    assert (inputs[8] >= 0) == ("m_N" in setting.couplings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = build_pymc_model(problem, variables)
        reference, slopes = model.compile_logp(mode=PLAIN), model.compile_dlogp(mode=PLAIN)
    names = [value.name for value in model.value_vars]
    n, k = len(problem.model.pulls), len(variables)
    rng = np.random.default_rng(5)
    spread = [v.sigma if v.kind == "normal" else 1.0 for v in variables]
    compared = 0
    for _ in range(8):
        u = np.concatenate([rng.normal(0, spread), rng.normal(0, 1, n)])
        point = {name: u[j] if j < k else u[k:] for j, name in enumerate(names)}
        gradient = np.empty(u.size)
        found = log_density(u, inputs, gradient)
        expected = float(reference(point))
        if not math.isfinite(expected):
            assert found == expected
            continue
        assert found == pytest.approx(expected, rel=1e-10, abs=1e-10)
        own = np.asarray(slopes(point))
        np.testing.assert_allclose(gradient, own, rtol=1e-8, atol=1e-10 * np.abs(own).max())
        compared += 1
    assert compared >= 3


def test_inputs_of_another_layout_have_no_density() -> None:
    problem, variables = make(SETTINGS["signed"])
    inputs = density_inputs(problem, variables, pull_frame(problem, variables))
    u = np.zeros(1 + len(problem.model.pulls))
    assert math.isfinite(log_density(u, inputs, np.empty(u.size)))
    for other in (inputs[:-1], np.append(inputs, 0.0)):
        assert math.isnan(log_density(u, other, np.empty(u.size)))


def test_jeffreys_prior_beside_another_coupling_is_refused() -> None:
    problem, variables = make(SETTINGS["two couplings"])
    (table,) = make(SETTINGS["Jeffreys, signed"])[1]
    frame = pull_frame(problem, variables)
    with pytest.raises(UsageError, match="a Jeffreys prior is that of one coupling alone"):
        density_inputs(problem, [variables[0], table], frame)


def test_impossible_counts_have_no_density() -> None:
    """Far below -1, a fluctuation of a pull makes counts negative: -inf, and the callback says so."""
    problem, variables = make(SETTINGS["signed"])
    inputs = density_inputs(problem, variables, pull_frame(problem, variables))
    u = np.zeros(1 + len(problem.model.pulls))
    u[1:] = -1e4
    gradient, value = np.zeros(u.size), np.zeros(1)
    assert log_density(u, inputs, gradient) == -math.inf
    density, _ = callbacks()

    def called(at: np.ndarray) -> int:
        pointers = (array.ctypes.data_as(density.ctypes.argtypes[1]) for array in (at, gradient, value, inputs))
        return int(density.ctypes(at.size, *pointers))

    assert called(u) != 0
    assert called(np.zeros(u.size)) == 0
    assert math.isfinite(value[0])

