"""Trees on disk, variable by variable: xarray and this reader find the same, in files of either."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from bayesnu.results.netcdf import read_attributes, read_group, write_tree


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    rng = np.random.default_rng(3)
    fit = xr.Dataset(
        {
            "theta": (("chain", "draw"), rng.normal(size=(2, 5)), {"units": "µ_B", "power": -10}),
            "good": (("chain", "draw"), rng.normal(size=(2, 5)) > 0),
            "steps": (("chain", "draw"), np.arange(10, dtype=np.uint64).reshape(2, 5)),
            "level": ((), 2.5),
            "bare": (("unlabelled",), np.array([1.0, np.nan, -np.inf])),
            "none": (("empty",), np.zeros(0)),
        },
        coords={
            "chain": [0, 1],
            "pull": ["flux_norm", "π⁰"],
            "exposure": ("chain", ["on axis", "30 m"], {"long_name": "exposure"}),
            "place": ("pull", [0.5, 1.5]),
        },
        attrs={"kind": "a fit"},
    )
    counts = xr.Dataset({"n": ("obs", [3.0, 4.0])}, coords={"obs": [0, 1], "bin": ("obs", [7, 8])})
    found = xr.DataTree.from_dict({"posterior": fit, "observed_data": counts})
    found.attrs = {"format_version": 1, "title": "ν-e", "seed": 2**40, "accept": 0.95}
    return found


@pytest.mark.parametrize("own", [True, False], ids=["written here", "written by xarray"])
@pytest.mark.parametrize("read_here", [True, False], ids=["read here", "read by xarray"])
def test_what_is_written_is_read(tree: xr.DataTree, tmp_path: Path, own: bool, read_here: bool) -> None:
    path = tmp_path / "x.nc"
    if own:
        write_tree(tree, path)
    else:
        tree.to_netcdf(path, engine="h5netcdf")
    if read_here:
        with h5py.File(path) as file:
            found = {name: read_group(group) for name, group in file.items()}
            attributes = read_attributes(file)
    else:
        with xr.open_datatree(path, engine="h5netcdf") as stored:
            found = {name: node.to_dataset().load() for name, node in stored.children.items()}
            attributes = dict(stored.attrs)
    assert attributes == tree.attrs
    assert set(found) == set(tree.children)
    for name, node in tree.children.items():
        xr.testing.assert_identical(found[name], node.to_dataset())
        assert set(found[name].coords) == set(node.coords)
        assert found[name]["exposure" if name == "posterior" else "bin"].dtype.kind in "UOi"
    assert found["posterior"]["good"].dtype == bool
    assert found["posterior"]["steps"].dtype == np.uint64


@pytest.mark.parametrize("values", [np.array([object(), 1]), np.array(["2020-01-01"], "datetime64[ns]")])
def test_what_has_no_place_in_such_a_file(tmp_path: Path, values: np.ndarray) -> None:
    tree = xr.DataTree.from_dict({"posterior": xr.Dataset({"x": ("draw", values)})})
    with pytest.raises(TypeError, match="/posterior/x: "):
        write_tree(tree, tmp_path / "x.nc")


def test_draws_are_packed(tmp_path: Path) -> None:
    counts = np.random.default_rng(1).poisson(100.0, (4, 6000, 6)).astype(float)
    write_tree(xr.DataTree.from_dict({"g": xr.Dataset({"n": (("chain", "draw", "obs"), counts)})}), tmp_path / "x.nc")
    assert (tmp_path / "x.nc").stat().st_size < counts.nbytes / 3
