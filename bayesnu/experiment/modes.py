"""Shifts of the expected counts that are linear in a unit-normal pull: the modes of a covariance.

    λ(z) = λ + Σ_k z_k D_k(θ, f),   z_k ~ N(0, 1)

The factors of pulls are 1 + σ z; a mode is therefore a component D_k/σ with the factor 1 + σ z_k, taken from the one
that it belongs to, whose other factors it keeps. Modes of several covariances add up; their products, of second order,
are left out.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bayesnu.experiment.expectation import CountModel

Array = NDArray[np.float64]
MODE_WIDTH = 0.01
"""σ of the modes: 1 + σ z stays above 0 to 100 standard deviations, and D/σ cancels to 1e-13 of the counts."""


def add_modes(model: CountModel, shifts: Array, name: str) -> CountModel:
    """Return the model with a pull ``name[k]`` for each mode, k from 1.

    Parameters
    ----------
    model : CountModel
    shifts : ndarray, shape (modes, components, monomials, obs)
        D_k, of the model's first components; those that earlier modes have added have none.
    name : str
    """
    parts = shifts / MODE_WIDTH
    numbers = range(1, len(parts) + 1)
    components, labels = list(model.components), list(model.component_names)
    shifted = parts.shape[1]
    arrays = [*(model.arrays[:shifted] - parts.sum(axis=0)), *model.arrays[shifted:]]
    for k, part in zip(numbers, parts, strict=True):
        for c in np.flatnonzero(part.any(axis=(1, 2))).tolist():
            components.append((*model.components[c], len(model.pulls) + k - 1))
            labels.append(f"{model.component_names[c]}, {name}[{k}]")
            arrays.append(part[c])
    return replace(
        model,
        components=tuple(components),
        component_names=tuple(labels),
        pulls=(*model.pulls, *(f"{name}[{k}]" for k in numbers)),
        widths=np.append(model.widths, np.full(len(parts), MODE_WIDTH)),
        arrays=np.array(arrays),
        signed=True,
    )
