"""A downloaded copy of ComfyUI-Manager's class map, for hosts without a Manager."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from comfywatchman.base.clock import format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import to_json, write_atomic
from comfywatchman.readiness.context import CycleContext
from comfywatchman.sources.class_map import MAP_NAME, MAX_MAP_BYTES

_DAY_SECONDS: Final = 86400.0
_RETRY_SECONDS: Final = _DAY_SECONDS
_SKEW_SECONDS: Final = 60.0
"""How far in the future a file may be dated: file systems and the clock need not agree to the second."""
_LAST_TRY_NAME: Final = "last-try"


def refresh_class_map(cycle: CycleContext) -> tuple[Path | None, str]:
    """Return the folder of the copy and its name for people; download the map when it is old or absent.

    There is at most one attempt a day; a failed one leaves the earlier copy in use. A dry run downloads nothing.
    """
    section = cycle.request.settings.nodes
    folder = cycle.request.layout.class_map_folder
    now = cycle.request.clock.now().timestamp()
    may_download = cycle.request.may_write and section.class_map_url != ""
    is_old = _is_older(folder / MAP_NAME, section.class_map_days * _DAY_SECONDS, now)
    if may_download and is_old and _is_older(folder / _LAST_TRY_NAME, _RETRY_SECONDS, now):
        _download_class_map(cycle, section.class_map_url, folder)
    if not os.path.isfile(folder / MAP_NAME):
        return None, ""
    fetched_at = datetime.fromtimestamp((folder / MAP_NAME).stat().st_mtime, UTC)
    return folder, f"ComfyUI-Manager's map, fetched {format_utc(fetched_at)}"


def _download_class_map(cycle: CycleContext, url: str, folder: Path) -> None:
    from comfywatchman.base.http import get_json

    timeout_seconds = cycle.request.settings.comfyui.timeout_seconds
    try:
        # The attempt is recorded first, so that one that kills the process is not repeated in each cycle.
        write_atomic(folder / _LAST_TRY_NAME, cycle.now().encode())
        content = get_json(url, timeout_seconds=timeout_seconds, max_bytes=MAX_MAP_BYTES)
        if isinstance(content, dict):
            write_atomic(folder / MAP_NAME, to_json(content))
        else:
            cycle.add_problem(f"{url} is not a map of node classes; the next attempt is in a day.")
    except Failure as failure:
        cycle.add_problem(
            f"The map of node classes could not be downloaded ({failure.message}); the next attempt is in a day."
        )


def _is_older(path: Path, seconds: float, now: float) -> bool:
    """Return whether a file is older than some seconds; one that is absent, or dated in the future, counts as older."""
    try:
        age = now - path.stat().st_mtime
    except OSError:
        return True
    return not -_SKEW_SECONDS <= age <= seconds
