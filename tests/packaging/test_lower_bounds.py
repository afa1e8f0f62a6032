"""The lowest versions that pyproject.toml allows of what bayesnu depends on: they install together and work."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from wheels import ROOT, build, command

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TOOLS = ("pytest", "pytest-xdist", "hypothesis", "iminuit", "hepdata-validator", "pyhf")
"""Of the extra dev: what the tests that run here need, at its lowest version too."""
TESTS = ("export", "flux", "results/test_posterior.py", "inference/test_density.py", "plotting", "test_workers.py")
# Newer versions of what matplotlib depends on warn of the names that its lowest one uses.
OLD_NAMES = ("-W", "ignore::DeprecationWarning")


def lower_bounds(requirements: list[str]) -> dict[str, str]:
    """Return the lowest version of each; every requirement must have one."""
    found = {}
    for requirement in requirements:
        match = re.fullmatch(r"([\w-]+)>=([\d.]+)(,<[\d.]+)?", requirement)
        assert match is not None, f"{requirement}: no lower bound"
        found[match[1]] = match[2]
    return found


def lowest_python() -> str:
    """Return the lowest Python that is supported, from the path or pyenv, or this one where it is missing."""
    match = re.fullmatch(r">=(3\.\d+)", PROJECT["requires-python"])
    assert match is not None
    own = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for candidate in (shutil.which(f"python{match[1]}"), *own.glob(f"{match[1]}.*/bin/python")):
        # What is on the path may be a launcher that has nothing to launch.
        if candidate and subprocess.run([candidate, "-V"], capture_output=True, check=False).returncode == 0:
            return str(candidate)
    return sys.executable


def test_every_dependency_has_a_lower_bound() -> None:
    extras = PROJECT["optional-dependencies"]
    own = [r for extra in extras.values() for r in extra if not r.startswith("bayesnu[")]
    assert len(lower_bounds(PROJECT["dependencies"])) == len(PROJECT["dependencies"])
    assert set(TOOLS) < set(lower_bounds(own))


@pytest.mark.slow
def test_lowest_versions_work(tmp_path: Path) -> None:
    """From the installation to an export, and a part of the tests."""
    folder, empty = tmp_path / "environment", tmp_path / "empty"
    empty.mkdir()
    command(lowest_python(), "-m", "venv", folder, cwd=tmp_path)
    python, scripts = folder / "bin" / "python", folder / "bin"
    extras = PROJECT["optional-dependencies"]
    tools = {name: version for name, version in lower_bounds(extras["dev"][1:]).items() if name in TOOLS}
    optional = extras["root"] + extras["distributed"]
    bounds = lower_bounds(PROJECT["dependencies"]) | lower_bounds(optional) | tools
    constraints = tmp_path / "lowest.txt"
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in bounds.items()), encoding="utf-8")
    wheel = build("wheel", ROOT, tmp_path / "wheel")
    command(
        python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:",
        "--constraint", constraints, f"bayesnu[root,distributed] @ {wheel.as_uri()}", *tools, cwd=empty,
    )  # fmt: skip
    code = f"import importlib.metadata as m; print(*(m.version(name) for name in {list(bounds)}))"
    installed = command(python, "-c", code, cwd=empty).stdout.split()
    assert [canonical(version) for version in installed] == [canonical(version) for version in bounds.values()]

    def bayesnu(*arguments: str | Path) -> str:
        return command(scripts / "bayesnu", *arguments, cwd=empty).stdout

    assert "Example" in bayesnu("--help")
    assert "flux_norm" in bayesnu("check", "dune-on-axis")
    assert "mu_numu" in bayesnu("predict", "dune-on-axis", "--set", "mu_numu=1e-9", "--format", "json")
    assert "< 2.94 × 10^-10 mu_B" in bayesnu("limit", "dune-on-axis", "--coupling", "mu_numu", "--method", "chi2")
    draws = ("--draws", "1000", "--chains", "2", "--out", "run")
    assert "withheld" not in bayesnu("run", "dune-on-axis", "--coupling", "mu_numu", *draws)
    assert "csv" in bayesnu("export", "run", "--to", "csv", "--out", "csv")
    assert (empty / "run" / "report.html").stat().st_size > 100_000
    paths = [ROOT / "tests" / "unit" / name for name in TESTS]
    command(
        scripts / "pytest", "-m", "not slow", "-p", "no:cacheprovider", "--rootdir", ROOT,
        "-c", ROOT / "pyproject.toml", *OLD_NAMES, *paths, cwd=empty,
    )  # fmt: skip


def canonical(version: str) -> str:
    """Return a version without trailing zeros: 1.18.0 is 1.18."""
    return re.sub(r"(\.0)+$", "", version)
