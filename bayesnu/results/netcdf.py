"""Trees of labelled arrays as netCDF-4 files, written and read variable by variable through h5py.

A posterior has some hundred variables, nearly all of them short labels, and a general netCDF library takes longer
over these than over the draws. What is written is plain netCDF-4 (groups, dimension scales, `coordinates` attributes of
the CF conventions), which xarray and the netCDF library read as they read any file; what is read is what was written
here, or by xarray for earlier versions. Numbers, truth values and text, no times, no missing values but NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import h5py
    import xarray as xr

PACKED: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
"""How data of more than one dimension are kept."""
WITHOUT_LABELS = b"This is a netCDF dimension but not a netCDF variable."
STORAGE = ("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_FillValue", "coordinates", "dtype")
OF_THE_FORMAT = frozenset((*STORAGE, "_NCProperties", "_Netcdf4Coordinates", "_Netcdf4Dimid"))
"""Attributes that say how a variable is stored; no part of what it is."""


def write_tree(tree: xr.DataTree, path: Path) -> None:
    """Write a tree, its attributes and one level of groups.

    Parameters
    ----------
    tree : DataTree
    path : Path

    Raises
    ------
    OSError
        If the file cannot be written.
    TypeError
        For a variable that holds neither numbers, nor truth values, nor text.
    """
    import h5py

    # The order of creation is what makes a file one that the netCDF library can also change.
    with h5py.File(path, "w", track_order=True, libver=("earliest", "v110")) as file:
        file.attrs["_NCProperties"] = np.bytes_(f"version=2,hdf5={h5py.version.hdf5_version},h5py={h5py.__version__}")
        _set_attributes(file, tree.attrs)
        dimensions = 0
        for name, node in tree.children.items():
            dimensions = _write_group(file.create_group(name, track_order=True), node.to_dataset(), dimensions)


def _write_group(group: h5py.Group, dataset: xr.Dataset, first: int) -> int:
    """Write a dataset whose dimensions are numbered from ``first``; return the number of the next."""
    _set_attributes(group, dataset.attrs)
    numbers = {str(name): first + k for k, name in enumerate(dataset.sizes)}
    scales = {}
    for name, size in dataset.sizes.items():
        scale = _create(group, str(name), dataset[name].variable if name in dataset.coords else None, int(size))
        scale.make_scale(str(name) if name in dataset.coords else WITHOUT_LABELS + b"%10d" % size)
        scale.attrs["_Netcdf4Dimid"] = np.int32(numbers[str(name)])
        scales[str(name)] = scale
    unnamed = {str(name) for name in dataset.coords if name not in dataset.sizes}
    for name, variable in dataset.variables.items():
        if name in dataset.sizes:
            continue
        stored = _create(group, str(name), variable, 0)
        for k, dimension in enumerate(variable.dims):
            stored.dims[k].attach_scale(scales[str(dimension)])
        if variable.ndim > 1:
            stored.attrs["_Netcdf4Coordinates"] = np.array([numbers[str(d)] for d in variable.dims], np.int32)
        if name in dataset.data_vars:
            labels = {str(label) for label in dataset[name].coords if label not in dataset.sizes}
            unnamed -= labels
            if labels:
                stored.attrs["coordinates"] = " ".join(sorted(labels))
    if unnamed:
        group.attrs["coordinates"] = " ".join(sorted(unnamed))
    return first + len(numbers)


def _create(group: h5py.Group, name: str, variable: xr.Variable | None, size: int) -> h5py.Dataset:
    """Write the values and attributes of a variable, or of a dimension of some ``size`` without labels."""
    import h5py

    if variable is None:
        return group.create_dataset(name, shape=(size,), dtype=">f4")
    values = np.asarray(variable.values)
    attributes = dict(variable.attrs)
    packing = {}
    if variable.ndim > 1 and values.size:
        packing = PACKED | {"chunks": (1, *values.shape[1:])}
    if values.dtype == bool:
        values, attributes["dtype"] = values.astype(np.int8), "bool"
    if values.dtype.kind in "UO":
        if not all(isinstance(value, str) for value in values.ravel().tolist()):
            raise TypeError(f"{group.name}/{name}: holds objects that are no text")
        stored = group.create_dataset(name, data=values.astype(object), dtype=h5py.string_dtype())
    elif values.dtype.kind in "iuf":
        stored = group.create_dataset(name, data=values, **packing)
    else:
        raise TypeError(f"{group.name}/{name}: is of {values.dtype}, neither numbers nor text")
    _set_attributes(stored, attributes)
    return stored


def _set_attributes(place: h5py.Group | h5py.Dataset, attributes: Any) -> None:
    """Write attributes: text, and numbers as netCDF has them, arrays of one."""
    for key, value in attributes.items():
        place.attrs[str(key)] = value if isinstance(value, str) else np.atleast_1d(value)


def read_attributes(file: h5py.Group | h5py.Dataset) -> dict[str, Any]:
    """Return the attributes of an open file, group or variable, but those that say how it is stored."""
    found = {}
    for key in file.attrs:
        if key not in OF_THE_FORMAT:
            value = file.attrs[key]
            found[key] = value[0] if isinstance(value, np.ndarray) and value.size == 1 else value
    return found


def read_group(group: h5py.Group) -> xr.Dataset:
    """Read one group of an open file into memory.

    Parameters
    ----------
    group : h5py.Group
        Of a file of `write_tree`.

    Raises
    ------
    OSError, KeyError, ValueError, RuntimeError
        If the file is damaged.
    """
    import xarray as xr

    variables, labels = {}, set(str(group.attrs.get("coordinates", "")).split())
    for name, stored in group.items():
        scale = stored.is_scale
        if scale and stored.attrs["NAME"].startswith(WITHOUT_LABELS):
            continue
        labels.update(str(stored.attrs.get("coordinates", "")).split())
        dimensions = (name,) if scale else _dimensions(stored)
        if scale:
            labels.add(name)
        variables[name] = xr.Variable(dimensions, _values(stored), read_attributes(stored))
    found = xr.Dataset(variables, attrs=read_attributes(group))
    return found.set_coords(sorted(labels & set(variables)))


def _dimensions(stored: h5py.Dataset) -> Sequence[str]:
    return [stored.dims[k][0].name.rpartition("/")[2] for k in range(stored.ndim)]


def _values(stored: h5py.Dataset) -> NDArray[Any]:
    """Return the values of a variable: text as Python strings, truth values as such."""
    if stored.dtype.kind == "O":
        return np.asarray(stored.asstr()[()], dtype=str)
    values = np.asarray(stored[()])
    return values.astype(bool) if stored.attrs.get("dtype") == "bool" else values
