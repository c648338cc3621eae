"""Delete the outputs of old jobs from the finished tree, and nothing that the agent did not write there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular
from comfywatchman.base.json_values import as_mapping
from comfywatchman.jobs.files.names import SUFFIX, parse_config_name

RESULT_FILE: Final = "result.json"
ATTEMPTS_FOLDER: Final = ".attempts"
_DELETED_SUFFIX: Final = ".deleted"
_MAX_RESULT_BYTES: Final = 64 << 20
_MAX_DEPTH: Final = 16
_DAY_SECONDS: Final = 86400.0


@dataclass(frozen=True, slots=True)
class DeletedOutputs:
    """What a pass over the finished tree deleted.

    Attributes:
        folders: Number of jobs whose outputs were deleted, and of attempts that were never published.
        failed: Number of folders that could not be deleted.
    """

    folders: int = 0
    failed: int = 0


def delete_old_outputs(finished: Path, *, keep_days: float, now: float, job_types: tuple[str, ...]) -> DeletedOutputs:
    """Delete the outputs of jobs that ended longer ago, with their job files.

    A folder is deleted only when it holds a `result.json` of the job that its name begins with. Links are not
    followed. Folders that become empty stay.

    Args:
        finished: The finished tree.
        keep_days: How long outputs stay; 0 for ever.
        now: The wall clock, in seconds since the epoch.
        job_types: The known job types.
    """
    if keep_days <= 0:
        return DeletedOutputs()
    oldest = now - keep_days * _DAY_SECONDS
    deleted = failed = 0
    for folder in list(_find_candidates(str(finished))):
        if _read_time(folder) >= oldest:
            continue
        name = _read_job_name(folder, job_types)
        if name is None and folder.parent.name != ATTEMPTS_FOLDER and not _is_half_deleted(folder.name, job_types):
            continue
        if _delete(folder):
            deleted += 1
            if name is not None:
                _delete_job_file(finished, name, oldest)
        else:
            failed += 1
    return DeletedOutputs(deleted, failed)


def _find_candidates(start: str) -> Iterator[Path]:
    """Yield the folders that hold a result.json, and those of attempts."""
    waiting = [(start, 0)]
    while waiting:
        current, depth = waiting.pop()
        folders = []
        has_result = False
        with suppress(OSError), os.scandir(current) as entries:
            for entry in entries:
                has_result = has_result or entry.name == RESULT_FILE
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
        is_attempt = os.path.basename(os.path.dirname(current)) == ATTEMPTS_FOLDER
        if depth and (has_result or is_attempt or current.endswith(_DELETED_SUFFIX)):
            yield Path(current)
        elif depth < _MAX_DEPTH:
            waiting.extend((folder, depth + 1) for folder in folders)


def _read_time(folder: Path) -> float:
    """Return when a folder or its result.json last changed; the future when that cannot be read."""
    times = []
    for path in (folder, folder / RESULT_FILE):
        try:
            times.append(os.lstat(path).st_mtime)
        except FileNotFoundError:
            continue
        except OSError:
            return float("inf")
    return max(times, default=float("inf"))


def _read_job_name(folder: Path, job_types: tuple[str, ...]) -> str | None:
    """Return the job whose result a folder holds; None when it is not the folder of a job."""
    try:
        content = orjson.loads(read_regular(folder / RESULT_FILE, max_bytes=_MAX_RESULT_BYTES))
        name = str(as_mapping(content).get("config_name"))
        parse_config_name(name, job_types)
    except (Failure, ValueError):
        return None
    return name if folder.name.startswith(name.removesuffix(SUFFIX)) else None


def _is_half_deleted(name: str, job_types: tuple[str, ...]) -> bool:
    """Return whether a folder is what a killed pass left of the outputs of a job."""
    if not name.startswith(".") or not name.endswith(_DELETED_SUFFIX):
        return False
    try:
        parse_config_name(name.removeprefix(".").removesuffix(_DELETED_SUFFIX) + SUFFIX, job_types)
    except ValueError:
        return False
    return True


def _delete(folder: Path) -> bool:
    # Renamed first: a pass that is killed leaves nothing that looks like whole outputs.
    hidden = folder
    if not folder.name.endswith(_DELETED_SUFFIX):
        hidden = folder.with_name(f".{folder.name}{_DELETED_SUFFIX}")
    try:
        os.rename(folder, hidden)
        shutil.rmtree(hidden)
    except OSError:
        return False
    return True


def _delete_job_file(finished: Path, name: str, oldest: float) -> None:
    for media in finished.iterdir():
        path = media / name
        with suppress(OSError):
            if not path.is_symlink() and path.stat().st_ctime < oldest:
                path.unlink()
