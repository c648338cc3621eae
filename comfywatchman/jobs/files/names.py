"""Names of job files: `TYPE_YYYYMMDDHHMMSS_X_jobname.yaml`."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Final, TypedDict

from comfywatchman.base.files import printable_path, to_nfc
from comfywatchman.jobs.files.problems import JobFileError, JobFileProblem
from comfywatchman.jobs.records import MEDIA_OF_TYPE

SUFFIX: Final = ".yaml"
EXAMPLE: Final = "T2I_20260131093000_1_red-fox.yaml"
MAX_NAME_BYTES: Final = 180
"""Longest name: names of attempts and of temporary files, which add to it, must stay below the 255 bytes of a name."""

_PARTS: Final = re.compile(r"([^_]+)_([^_]+)_([^_]+)_(.+)\.yaml", re.DOTALL)
_TIMESTAMP: Final = re.compile(r"[0-9]{14}")
_INDEX: Final = re.compile(r"[0-9]{1,9}")
_REFUSED_CHARS: Final = frozenset('/\\:*?"<>|%')
"""Separators of paths, characters that other systems do not allow in names, and `%`, which ComfyUI replaces."""


class ConfigName(TypedDict):
    """The parts of a job file's name."""

    job_type: str
    timestamp: str
    index: int
    jobname: str


def parse_config_name(filename: str, job_types: Collection[str] = tuple(MEDIA_OF_TYPE)) -> ConfigName:
    """Split the name of a job file into its parts.

    Args:
        filename: The name, or a path that ends with it.
        job_types: The known job types.

    Raises:
        JobFileError: The name has another form; its single problem says which part.
    """
    name = os.path.basename(filename)
    match = _PARTS.fullmatch(name)
    if match is None:
        raise _invalid_name(name, f"it does not have the form {EXAMPLE}")
    job_type, timestamp, index, jobname = match.groups()
    reason = (
        _find_type_fault(job_type, job_types)
        or _find_timestamp_fault(timestamp)
        or _find_index_fault(index)
        or _find_jobname_fault(name, jobname)
    )
    if reason:
        raise _invalid_name(name, reason)
    return ConfigName(job_type=job_type, timestamp=timestamp, index=int(index), jobname=jobname)


def complete_config_name(name: str) -> str:
    """Return a job's name as the database holds it, from a name or path with or without `.yaml`."""
    base = to_nfc(os.path.basename(name))
    return base if base.endswith(SUFFIX) else base + SUFFIX


def build_config_name(job_type: str, moment: datetime, index: int, jobname: str) -> str:
    """Return the name of a new job file.

    Raises:
        JobFileError: The parts do not make a valid name.
    """
    name = f"{job_type}_{moment:%Y%m%d%H%M%S}_{index}_{jobname}{SUFFIX}"
    parse_config_name(name, (job_type,))
    return name


def _find_type_fault(job_type: str, job_types: Collection[str]) -> str:
    if job_type in job_types:
        return ""
    return f"{job_type!r:.40} is not a job type ({', '.join(job_types)})"


def _find_timestamp_fault(timestamp: str) -> str:
    if not _TIMESTAMP.fullmatch(timestamp):
        return f"{timestamp!r:.40} is not a time of 14 digits (YYYYMMDDHHMMSS)"
    try:
        datetime.strptime(timestamp, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return f"there is no such time as {timestamp} (YYYYMMDDHHMMSS)"
    return ""


def _find_index_fault(index: str) -> str:
    if _INDEX.fullmatch(index):
        return ""
    return f"{index!r:.40} is not a number of up to 9 digits"


def _find_jobname_fault(name: str, jobname: str) -> str:
    refused = sorted({char for char in jobname if char in _REFUSED_CHARS or not char.isprintable()})
    if refused:
        return f"its job name contains {', '.join(ascii(char) for char in refused)}"
    if jobname != jobname.strip(". "):
        return "its job name begins or ends with a dot or a space"
    if len(name.encode("utf-8")) > MAX_NAME_BYTES:
        return f"it is longer than {MAX_NAME_BYTES} bytes"
    return ""


def _invalid_name(name: str, reason: str) -> JobFileError:
    return JobFileError([JobFileProblem(f"The name {printable_path(name)[:MAX_NAME_BYTES]} is no job's: {reason}.")])
