"""Publishing the outputs of a job: written per attempt, then one rename, which never replaces what is published."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import orjson

from comfywatchman.base.clock import format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular, unwritable_failure, write_atomic
from comfywatchman.base.json_values import as_mapping
from comfywatchman.jobs.files.output_path import open_output_folder
from comfywatchman.jobs.records import Job

RESULT_FILE: Final = "result.json"
ATTEMPTS_FOLDER: Final = ".attempts"
_FILE_SUFFIX: Final = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}")
"""Of a path that names a file; `.2` belongs to a folder such as `v1.2`."""

_MAX_RESULT_BYTES: Final = 64 << 20
_MAX_NAMES: Final = 1000
_NAME_PARTS: Final = 4
_TAKEN: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR})


@dataclass(frozen=True, slots=True)
class OutputPlace:
    """Where the outputs of a job go.

    Attributes:
        finished: The finished tree.
        relative: The folder below it.
        name: The folder in that one which is published.
        base_name: The name of the files in it, without number and suffix.
    """

    finished: Path
    relative: str
    name: str
    base_name: str

    @property
    def parent(self) -> Path:
        """The folder that holds the published one."""
        return self.finished / self.relative

    @property
    def attempts(self) -> Path:
        """The folder of unpublished attempts, on the same disk."""
        return self.parent / ATTEMPTS_FOLDER


@dataclass(frozen=True, slots=True)
class Published:
    """The published outputs of a job.

    Attributes:
        folder: Where they are.
        result: The content of their `result.json`.
    """

    folder: Path
    result: Mapping[str, Any]


def find_place(job: Job, finished: Path) -> OutputPlace:
    """Return where the outputs of a job go.

    Args:
        job: The job; its output path was checked when its file was read, and is checked again when it is opened.
        finished: The finished tree.
    """
    path = PurePosixPath(job.spec.output_path or job.spec.media)
    stem = Path(job.config_name).stem
    # TYPE_YYYYMMDDHHMMSS_X_jobname
    base_name = stem.split("_", _NAME_PARTS - 1)[-1]
    if _FILE_SUFFIX.fullmatch(path.suffix):
        base_name, path = path.stem, path.parent
    relative = "" if str(path) == "." else str(path)
    return OutputPlace(finished, relative, stem, base_name)


def build_identity(job: Job) -> dict[str, Any]:
    """Return the fields of `result.json` by which a later attempt recognises the outputs of its job."""
    return {"config_name": job.config_name, "job_id": job.id, "created_at": format_utc(job.created_at)}


def create_attempt_folder(place: OutputPlace, attempt: int) -> Path:
    """Return a new, empty folder for the outputs of an attempt.

    Raises:
        Failure: `jobs-output-refused` for a place outside the finished tree, `state-unwritable`.
    """
    with open_output_folder(place.finished, place.relative):
        folder = place.attempts / f"{place.name}.{attempt}"
        try:
            place.attempts.mkdir(exist_ok=True)
            # Of this very attempt, when its worker was killed.
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        except OSError as error:
            raise unwritable_failure(folder, error, verb="created") from error
    return folder


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Write the `result.json` of an attempt.

    Raises:
        Failure: `state-unwritable`.
    """
    content = orjson.dumps(result, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE, default=str)
    write_atomic(folder / RESULT_FILE, content)


def publish(folder: Path, place: OutputPlace, job: Job) -> Published:
    """Publish the folder of an attempt by one rename, unless the job has published outputs already.

    Args:
        folder: The folder of the attempt, with its `result.json`.
        place: Where it goes.
        job: The job.

    Returns:
        The published outputs: those of this attempt, or of an earlier one, whose folder then stays.

    Raises:
        Failure: `jobs-output-refused` or `state-unwritable`.
    """
    result = _read_result(folder)
    with open_output_folder(place.finished, place.relative) as parent:
        for name in _list_names(place):
            target = place.parent / name
            try:
                # A folder with content is never replaced by a rename.
                os.rename(folder, name, dst_dir_fd=parent)
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise unwritable_failure(target, error, verb="published") from error
                earlier = _read_own(target, job)
                if earlier is not None:
                    return Published(target, earlier)
                continue
            os.fsync(parent)
            return Published(target, result)
    raise Failure("state-unwritable", f"{printable_path(place.parent / place.name)} is taken by other jobs.")


def find_published(place: OutputPlace, job: Job) -> Published | None:
    """Return the outputs that an earlier attempt of the job has published; None when there are none."""
    for name in _list_names(place):
        target = place.parent / name
        if not target.exists():
            return None
        result = _read_own(target, job)
        if result is not None:
            return Published(target, result)
    return None


def delete_earlier_attempts(place: OutputPlace, attempt: int) -> None:
    """Delete the folders that killed workers left of earlier attempts of a job; none of them is ever published."""
    for number in range(1, attempt):
        delete_attempt(place.attempts / f"{place.name}.{number}")


def delete_attempt(folder: Path) -> None:
    """Delete the folder of an attempt that will not be published."""
    shutil.rmtree(folder, ignore_errors=True)


def _list_names(place: OutputPlace) -> list[str]:
    """Return the names to try: an older job of the same name may have been deleted from the database."""
    return [place.name, *(f"{place.name}.{number}" for number in range(2, _MAX_NAMES + 1))]


def _read_own(folder: Path, job: Job) -> Mapping[str, Any] | None:
    """Return the `result.json` in a folder when it is one of this job."""
    result = _read_result(folder)
    identity = build_identity(job)
    return result if {name: result.get(name) for name in identity} == identity else None


def _read_result(folder: Path) -> Mapping[str, Any]:
    try:
        return as_mapping(orjson.loads(read_regular(folder / RESULT_FILE, max_bytes=_MAX_RESULT_BYTES)))
    except (Failure, ValueError):
        return {}
