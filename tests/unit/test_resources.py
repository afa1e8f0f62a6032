"""Shipped files are verified when read; files are written aside and renamed."""

import hashlib
import shutil
import time
from pathlib import Path

import pytest

from bayesnu import resources
from bayesnu.errors import DataError, ResponseError, UsageError
from bayesnu.experiment.setup import load_experiment
from bayesnu.resources import (
    cache_folder,
    data_folder,
    find_card,
    find_data,
    manifest_lines,
    read_data,
    read_manifest,
    read_table,
    shipped_data,
    shipped_models,
    write_atomically,
    write_text,
)

READ_FILES = [
    "flux/dune_nd.csv",
    "events/dune_table1.csv",
    "events/dune_table1.toml",
    "backgrounds/dune_ccqe_pi0.csv",
    "backgrounds/dune_ccqe_pi0.toml",
]


def test_manifest_lists_every_shipped_file_and_all_are_intact() -> None:
    manifest = read_manifest(data_folder())
    on_disk = {
        path.relative_to(data_folder()).as_posix()
        for path in data_folder().rglob("*")
        if path.is_file() and path.name not in ("MANIFEST.sha256", "SOURCE.md")
    }
    assert set(manifest) == on_disk
    assert [file.name for file in shipped_data() if not file.intact] == []
    assert {file.name for file in shipped_data()} == on_disk
    assert all(file.size == (data_folder() / file.name).stat().st_size for file in shipped_data())


def test_each_data_folder_says_where_it_is_from() -> None:
    folders = [path for path in data_folder().iterdir() if path.is_dir()]
    assert len(folders) >= 5
    assert [folder.name for folder in folders if not (folder / "SOURCE.md").is_file()] == []


@pytest.mark.parametrize("name", READ_FILES)
def test_tampered_shipped_file_is_refused(share_copy: Path, name: str) -> None:
    path = share_copy / "data" / name
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(DataError, match=rf"{Path(name).name}: changed or damaged: its checksum .* is not"):
        load_experiment("dune-on-axis")
    assert [file.name for file in shipped_data() if not file.intact] == [name]


def test_deleted_shipped_file_is_not_intact(share_copy: Path) -> None:
    (share_copy / "data" / "published" / "limits.csv").unlink()
    assert [(file.name, file.size) for file in shipped_data() if not file.intact] == [("published/limits.csv", 0)]


def test_file_that_the_manifest_does_not_list_is_refused(share_copy: Path) -> None:
    path = share_copy / "data" / "flux" / "mine.csv"
    path.write_text("mode\n")
    with pytest.raises(DataError, match=r"mine\.csv: not listed"):
        read_data(path)


def test_own_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(b"mode\n")
    assert read_data(path) == b"mode\n"


def test_missing_or_bad_manifest(share_copy: Path) -> None:
    manifest = share_copy / "data" / "MANIFEST.sha256"
    lines = manifest.read_text()
    manifest.write_text(lines + "abc  flux\n")
    with pytest.raises(DataError, match=r"MANIFEST\.sha256: line \d+ is not"):
        read_data(share_copy / "data" / "flux" / "dune_nd.csv")
    manifest.unlink()
    with pytest.raises(DataError, match="manifest cannot be read"):
        read_data(share_copy / "data" / "flux" / "dune_nd.csv")


def test_manifest_lines_are_checksums(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.csv").write_text("1")
    (tmp_path / "a" / "SOURCE.md").write_text("text")
    (tmp_path / "a" / ".x.part").write_text("left over")
    digest = hashlib.sha256(b"1").hexdigest()
    assert manifest_lines(tmp_path) == f"{digest}  a/x.csv\n"
    (tmp_path / "MANIFEST.sha256").write_text(manifest_lines(tmp_path))
    assert read_manifest(tmp_path) == {"a/x.csv": digest}


def test_incomplete_installation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bayesnu").mkdir()
    monkeypatch.setattr(resources, "__file__", str(tmp_path / "bayesnu" / "resources.py"))
    with pytest.raises(DataError, match="reinstall"):
        resources.share_root()


def test_installed_wheel_has_its_files_below_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for folder in ("models", "data"):
        (tmp_path / "bayesnu" / "_share" / folder).mkdir(parents=True)
    monkeypatch.setattr(resources, "__file__", str(tmp_path / "bayesnu" / "resources.py"))
    assert resources.share_root() == tmp_path / "bayesnu" / "_share"


def test_program_digest_knows_every_line_that_computes(tmp_path: Path) -> None:
    """Neither what only shows numbers nor where the package lies; read within a fraction of a second."""
    package = Path(resources.__file__).parent
    start = time.perf_counter()
    own = resources.program_digest.__wrapped__(package)
    assert time.perf_counter() - start < 1.0
    shutil.copytree(package, tmp_path / "bayesnu", ignore=shutil.ignore_patterns("__pycache__", "_share"))
    copied = resources.program_digest.__wrapped__(tmp_path / "bayesnu")
    assert copied == own == resources.program_digest()
    for name, changes in (("plotting/toys.py", False), ("inference/newton.py", True), ("physics/new.py", True)):
        with (tmp_path / "bayesnu" / name).open("a") as file:
            file.write("# changed")
        found = resources.program_digest.__wrapped__(tmp_path / "bayesnu")
        assert (found != copied) == changes
        copied = found


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BAYESNU_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("BAYESNU_CACHE")
    assert cache_folder().name == "bayesnu"


def test_shipped_models() -> None:
    models = shipped_models()
    assert {"dune-on-axis", "dune-prism"} <= set(models)
    assert find_card("dune-prism") == models["dune-prism"]
    with pytest.raises(UsageError, match="did you mean 'dune-prism'"):
        find_card("dune-prsm")


def test_find_data_takes_the_first_folder_that_has_it(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        folder.mkdir()
        (folder / "x.csv").write_text("x")
    assert find_data("x.csv", [first, second]) == first / "x.csv"
    (first / "x.csv").unlink()
    assert find_data("x.csv", [first, second]) == second / "x.csv"
    assert find_data(str(second / "x.csv"), [first]) == second / "x.csv"
    assert find_data("published/limits.csv", [first]) == data_folder() / "published" / "limits.csv"
    with pytest.raises(DataError, match=r"y\.csv: no such file"):
        find_data("y.csv", [first, second])


def test_write_atomically_replaces(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "x.txt"
    write_text(path, "one")
    write_text(path, "two")
    assert path.read_text() == "two"
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o400


def test_write_atomically_leaves_nothing_behind_when_the_writer_raises(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("before")

    def writer(temporary: Path) -> None:
        assert temporary.parent == tmp_path
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, writer)
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]
    assert path.read_text() == "before"


def test_write_to_a_place_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "x.txt", tmp_path / "file" / "deeper" / "x.txt"):
        with pytest.raises(ResponseError, match="cannot be written"):
            write_text(path, "x", ResponseError)


def test_full_disk_is_an_error_of_the_given_class(tmp_path: Path) -> None:
    def writer(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(ResponseError, match="No space left"):
        write_atomically(tmp_path / "x.nc", writer, ResponseError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty; expected a header a,b"),
        ("\n \n", "empty"),
        ("a,c\n1,2\n", "column 'b' is missing; found a, c"),
        ("a,b\n", "a header and no rows"),
        ("a,b\n1,2\n1\n", "line 3 has 1 fields, the header has 2"),
        ('a,b\n"1,2\n3,4\n', "line 2"),
        ('a,b\n1,"2\n3,4\n', "line 2"),
    ],
)
def test_read_table_refuses(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read_table(path, ("a", "b"))
    assert str(caught.value).startswith(f"{path}: ")


def test_read_table(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("b , a,more\n\n 1,2 ,x\n")
    assert read_table(path, ("a", "b")) == [{"b": "1", "a": "2", "more": "x", "line": "3"}]
