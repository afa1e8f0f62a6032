"""Templates that were folded before, from the user's cache."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bayesnu.detector.store import StoredResponse
from bayesnu.experiment.electron_card import Card
from bayesnu.experiment.kept import kept_array
from bayesnu.experiment.response import response_settings
from bayesnu.experiment.templates import Templates, build_templates
from bayesnu.flux.table import FluxTable
from bayesnu.physics.couplings import CHANNELS
from bayesnu.physics.electron import FOLDED

Array = NDArray[np.float64]
WITHOUT = {"name", "title", "source", "couplings", "comparison", "counts", "pulls"}
"""Keys of a card that templates do not depend on."""


def find_templates(card: Card, flux: FluxTable, events: Array | None, notice: Callable[[str], None]) -> Templates:
    """Return the templates of a card: folded before and kept, or folded now by `build_templates` and kept.

    Kept under a hash of the card, the values of its flux and events, the file of its response and the program; with a
    response that is not there yet, or in sub-samples, which are large, they are folded and not kept.

    Parameters
    ----------
    card, flux, events, notice
        See `build_templates`.
    """
    response = StoredResponse(response_settings(card, flux), card.response.mc_stat != "none")
    digest = response.digest
    if response.subsampled or digest is None:
        return build_templates(card, flux, events, notice)
    content = {
        "card": card.model_dump(mode="json", exclude=WITHOUT),
        "flux": flux.digest,
        "events": None if events is None else events.tolist(),
        "response": digest,
    }
    bins, shape = card.detector.bins, (len(card.exposures), len(CHANNELS), len(FOLDED))

    def folded() -> Array:
        made = build_templates(card, flux, events, notice)
        ratio = np.broadcast_to(made.ratio[:, :, None, None], (*shape, 1))
        return np.concatenate([made.values, made.error, made.per_year[..., None], ratio], axis=3)

    kept = kept_array("templates", content, (*shape, 2 * bins + 2), folded, notice)
    values, error, per_year, ratio = kept[..., :bins], kept[..., bins:-2], kept[..., -2], kept[:, :, 0, -1]
    values, per_year, error, ratio = (np.ascontiguousarray(part) for part in (values, per_year, error, ratio))
    return Templates(card, values, per_year, error, response, ratio, np.zeros((*shape, bins, 0)))
