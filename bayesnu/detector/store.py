"""Where response matrices are kept: shipped ones in data/responses, others in the user's cache, by content hash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bayesnu.detector.response import ResponseMatrix, build_response, load_response
from bayesnu.detector.settings import ResponseSettings
from bayesnu.errors import DataError, ResponseError
from bayesnu.resources import cache_folder, data_folder, read_data


def response_name(settings: ResponseSettings) -> str:
    """Return the file name of a response."""
    return f"response-{settings.key}.nc"


def locate_response(settings: ResponseSettings) -> Path:
    """Return where the response of these settings is kept: with the shipped data, else in the cache."""
    shipped = data_folder() / "responses" / response_name(settings)
    return shipped if shipped.exists() else cache_folder() / response_name(settings)


def find_response(settings: ResponseSettings, notice: Callable[[str], None]) -> ResponseMatrix:
    """Return the response for these settings: shipped, cached, or built now and cached.

    A damaged or stale file is reported through ``notice`` and rebuilt; so is a
    cache that cannot be written (the response is then used without being kept).

    Parameters
    ----------
    settings : ResponseSettings
        What the response depends on.
    notice : callable
        Receives each one-line notice.
    """
    name = response_name(settings)
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
            return response
        except (ResponseError, DataError) as problem:
            notice(f"{problem}; building the response again")
    if settings.samples >= settings.least_samples:
        notice(f"building the detector response {settings.key} ({settings.method}, {settings.samples} samples)")
    return build_and_keep(settings, cached, notice)


def build_and_keep(settings: ResponseSettings, path: Path, notice: Callable[[str], None]) -> ResponseMatrix:
    """Build a response and save it to ``path``; a folder that cannot be written is reported, not fatal."""
    response = build_response(settings)
    try:
        response.save(path)
    except ResponseError as problem:
        notice(f"{problem}; the response is used without being kept")
    return response
