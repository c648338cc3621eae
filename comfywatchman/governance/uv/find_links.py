"""Places with wheels (`find_links`) as options and variables of uv and pip."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote


def list_link_options(places: Sequence[str]) -> list[str]:
    """Return uv's options for folders with wheels; none when one place is an address (`build_link_variables`)."""
    if _has_address(places):
        return []
    return [argument for place in places for argument in ("--find-links", place)]


def build_link_variables(places: Sequence[str]) -> dict[str, str]:
    """Return uv's variable for places with wheels; empty when none of them is an address.

    Arguments are visible to every user of the machine, and an address may hold a password. uv ignores the variable
    when there is the option, so all places go the same way.
    """
    if not _has_address(places):
        return {}
    return {"UV_FIND_LINKS": join_links(places, ",")}


def join_links(places: Sequence[str], separator: str) -> str:
    """Return places with wheels as the value of a variable: folders as addresses, with the separator escaped."""
    return separator.join(_to_address(place).replace(separator, quote(separator)) for place in places)


def _to_address(place: str) -> str:
    if "://" in place:
        return place
    return Path(os.path.abspath(place)).as_uri()


def _has_address(places: Sequence[str]) -> bool:
    return any("://" in place for place in places)


def list_torch_options(torch_backend: str | None, overrides: Path | None) -> list[str]:
    """Return the options of uv for builds of torch and for a file of overrides."""
    argv = []
    if torch_backend is not None:
        argv += ["--torch-backend", torch_backend]
    if overrides is not None:
        argv += ["--overrides", str(overrides)]
    return argv
