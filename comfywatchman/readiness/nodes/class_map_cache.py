"""A fetched copy of ComfyUI-Manager's class map, for hosts without a Manager."""

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
_LAST_TRY_NAME: Final = "last-try"


def refresh_class_map(run: CycleContext) -> tuple[Path | None, str]:
    """Return the folder of the copy and what the evidence calls it, fetching it when it is old or absent.

    At most one try a day goes out; a try that fails leaves the copy of before in use, with its age. A look that leaves
    no trace fetches nothing.
    """
    section = run.request.settings.nodes
    folder = run.request.layout.class_map_folder
    is_due = _is_older(folder / MAP_NAME, section.class_map_days * _DAY_SECONDS, run)
    may_try = (
        run.request.may_write and section.class_map_url and _is_older(folder / _LAST_TRY_NAME, _RETRY_SECONDS, run)
    )
    if is_due and may_try:
        _fetch_class_map(run, section.class_map_url, folder)
    if not os.path.isfile(folder / MAP_NAME):
        return None, ""
    fetched_at = datetime.fromtimestamp((folder / MAP_NAME).stat().st_mtime, UTC)
    return folder, f"ComfyUI-Manager's map, fetched {format_utc(fetched_at)}"


def _fetch_class_map(run: CycleContext, url: str, folder: Path) -> None:
    from comfywatchman.base.http import get_json

    try:
        write_atomic(folder / _LAST_TRY_NAME, run.now().encode())
        content = get_json(url, timeout_seconds=run.request.settings.comfyui.timeout_seconds, max_bytes=MAX_MAP_BYTES)
        if isinstance(content, dict):
            write_atomic(folder / MAP_NAME, to_json(content))
        else:
            run.add_problem(f"{url} is no map of node classes; the next try is in a day.")
    except Failure as failure:
        run.add_problem(f"The map of node classes could not be fetched ({failure.message}); the next try is in a day.")


def _is_older(path: Path, seconds: float, run: CycleContext) -> bool:
    """Say whether a file is older than that; one that is not there, or dated in the future, counts as older."""
    try:
        age = run.request.clock.now().timestamp() - path.stat().st_mtime
    except OSError:
        return True
    return not -_SKEW_SECONDS <= age <= seconds
