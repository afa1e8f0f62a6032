"""The wheel holds the package with its data and nothing else, and works from an empty folder."""

import json
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from wheels import ROOT, build, command

SOURCES = ("pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def tracked(folder: str) -> set[str]:
    """Files of a folder that belong in a wheel: no caches, no left-overs."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in (".part", ".pyc")
    }


def test_wheel_holds_the_package_and_its_data_once(names: list[str]) -> None:
    assert len(names) == len(set(names))
    package = {name for name in names if ".dist-info/" not in name}
    shared = {f"bayesnu/_share/{name}" for folder in ("models", "data") for name in tracked(folder)}
    assert package == tracked("bayesnu") | shared
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"bayesnu"}


def test_nothing_stale_or_foreign_is_inside(names: list[str]) -> None:
    for word in ("tests/", "analyses/", "benchmarks/", "runs/", "__pycache__", ".pyc", "conftest"):
        assert [name for name in names if word in name] == []
    assert "bayesnu/py.typed" in names
    assert "bayesnu/report/template.html" in names
    assert "bayesnu/_share/data/MANIFEST.sha256" in names
    assert "bayesnu/_share/models/dune-on-axis.toml" in names


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel alone, over the packages of the test environment; returns its bin."""
    folder = tmp_path_factory.mktemp("venv") / "environment"
    venv.create(folder, with_pip=False, symlinks=True)
    scripts = folder / "bin"
    own = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    command(
        sys.executable, "-m", "pip", "--python", scripts / "python", "install", "--quiet", "--no-deps", "--no-index",
        "--disable-pip-version-check", wheel, cwd=folder,
    )  # fmt: skip
    # Searched after the environment's own packages; .pth files in it, such as the editable one, are not read.
    (Path(own) / "test-environment.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return scripts


def check(scripts: Path, empty: Path) -> None:
    where = command(
        scripts / "python", "-c", "import bayesnu, bayesnu.resources as r; print(bayesnu.__file__, r.share_root())",
        cwd=empty,
    ).stdout.split()  # fmt: skip
    assert all(Path(line).resolve().is_relative_to(scripts.parent.resolve()) for line in where)
    assert Path(where[1]).name == "_share"
    listed = command(scripts / "bayesnu", "models", cwd=empty).stdout
    assert "dune-on-axis" in listed
    assert "dune-prism" in listed
    intact = command(scripts / "bayesnu", "data", cwd=empty).stdout
    assert "CHANGED" not in intact
    found = command(scripts / "bayesnu", "predict", "dune-on-axis", "--format", "json", cwd=empty)
    assert found.stderr == ""
    prediction = json.loads(found.stdout)
    assert sum(prediction["exposures"][0]["total"]) > 1e4
    assert list(empty.iterdir()) == []


def test_wheel_works_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    check(installed, tmp_path)


@pytest.mark.slow
def test_wheel_with_its_dependencies(wheel: Path, tmp_path: Path) -> None:
    """In a clean environment with nothing but what the wheel asks for."""
    folder, empty = tmp_path / "environment", tmp_path / "empty"
    empty.mkdir()
    venv.create(folder, with_pip=True, symlinks=True)
    command(
        folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel, cwd=empty
    )
    check(folder / "bin", empty)
    result = command(
        folder / "bin" / "bayesnu", "run", "dune-on-axis", "--coupling", "q_numu", "--draws", "1000", "--chains", "2",
        "--out", empty / "run", cwd=empty,
    )  # fmt: skip
    assert "q_numu" in result.stdout
    assert (empty / "run" / "report.html").stat().st_size > 100_000


@pytest.mark.slow
def test_sdist_builds_the_same_wheel(names: list[str], tmp_path: Path) -> None:
    source = build("sdist", ROOT, tmp_path / "sdist")
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert all((unpacked / name).is_file() for name in (*SOURCES, "tests/conftest.py", "Makefile"))
    rebuilt = build("wheel", unpacked, tmp_path / "again")
    with zipfile.ZipFile(rebuilt) as archive:
        assert sorted(archive.namelist()) == sorted(names)
