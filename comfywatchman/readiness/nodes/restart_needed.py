"""Whether a running ComfyUI must be restarted, because its source or that of its packs has changed since. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from comfywatchman.base.text import shorten_list
from comfywatchman.comfyui.packs.scan import PackListing

_IMPORT_SECONDS: Final = 120.0
"""Packs may write files of their own while ComfyUI imports them."""

_MAX_NAMED: Final = 5


def find_restart_reason(
    started_at: float | None,
    listings: Iterable[PackListing],
    *,
    running_version: str | None,
    source_version: str | None,
) -> str | None:
    """Return why a running ComfyUI must be restarted, as a sentence; None when nothing is known to have changed.

    Args:
        started_at: When it was started, as a POSIX time; None when that is not known.
        listings: The packs on disk.
        running_version: The version that the server states.
        source_version: The version of its source.
    """
    if running_version and source_version and running_version != source_version:
        return f"Restart ComfyUI: {running_version} is running, and its source is {source_version}."
    if started_at is None:
        return None
    changed = [
        listing.folder
        for listing in listings
        if listing.enabled and listing.newest_ns / 1e9 > started_at + _IMPORT_SECONDS
    ]
    if not changed:
        return None
    names = shorten_list(changed, most=_MAX_NAMED, conjunction="and")
    return f"Restart ComfyUI: it still runs the earlier source of {names}, which changed after its start."
