"""Where response matrices are kept: shipped ones in data/responses, others in the user's cache, by content hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bayesnu.detector.response import ResponseMatrix, build_response, build_subsampled, load_response
from bayesnu.detector.settings import SUBSAMPLES, ResponseSettings
from bayesnu.errors import DataError, ResponseError, silent
from bayesnu.resources import cache_folder, data_folder, read_data


def response_name(settings: ResponseSettings, subsampled: bool = False) -> str:
    """Return the file name of a response; one that is the mean of stored sub-samples stands beside the plain one."""
    return f"response-{settings.key}{f'-of-{SUBSAMPLES}' if subsampled else ''}.nc"


def locate_response(settings: ResponseSettings, subsampled: bool = False) -> Path:
    """Return where the response of these settings is kept: with the shipped data, else in the cache."""
    name = response_name(settings, subsampled)
    shipped = data_folder() / "responses" / name
    return shipped if shipped.exists() else cache_folder() / name


@dataclass(frozen=True)
class StoredResponse:
    """A response that is read when it is needed, and then once."""

    settings: ResponseSettings
    subsampled: bool = False

    @property
    def digest(self) -> str | None:
        """SHA-256 of the file that would be read; None if there is none, or it is a shipped one and not whole."""
        try:
            return hashlib.sha256(read_data(locate_response(self.settings, self.subsampled))).hexdigest()
        except DataError:
            return None

    @cached_property
    def matrix(self) -> ResponseMatrix:
        """The response; built again if its file has gone."""
        return find_response(self.settings, silent, self.subsampled)


def find_response(
    settings: ResponseSettings, notice: Callable[[str], None], subsampled: bool = False
) -> ResponseMatrix:
    """Return the response for these settings: shipped, cached, or built now and cached.

    A damaged or stale file is reported through ``notice`` and rebuilt; so is a
    cache that cannot be written (the response is then used without being kept).

    Parameters
    ----------
    settings : ResponseSettings
        What the response depends on.
    notice : callable
        Receives each one-line notice.
    subsampled : bool
        Whether the response has to be the mean of stored sub-samples.
    """
    name = response_name(settings, subsampled)
    shipped, cached = data_folder() / "responses" / name, cache_folder() / name
    for path in (shipped, cached):
        if not path.exists():
            continue
        try:
            if path == shipped:
                read_data(path)
            response = load_response(path)
            if response.settings != settings:
                raise ResponseError(f"{path}: made for other settings")
            if (response.deviations is not None) != subsampled:
                raise ResponseError(f"{path}: must {'' if subsampled else 'not '}hold sub-samples")
            return response
        except (ResponseError, DataError) as problem:
            notice(f"{problem}; building the response again")
    if settings.samples >= (settings.least_subsampled if subsampled else settings.least_samples):
        parts = f" in {SUBSAMPLES} sub-samples" if subsampled else ""
        notice(f"building the detector response {settings.key} ({settings.method}, {settings.samples} samples{parts})")
    return build_and_keep(settings, cached, notice, subsampled)


def build_and_keep(
    settings: ResponseSettings, path: Path, notice: Callable[[str], None], subsampled: bool = False
) -> ResponseMatrix:
    """Build a response and save it to ``path``; a folder that cannot be written is reported, not fatal."""
    response = build_subsampled(settings) if subsampled else build_response(settings)
    try:
        response.save(path)
    except ResponseError as problem:
        notice(f"{problem}; the response is used without being kept")
    return response
