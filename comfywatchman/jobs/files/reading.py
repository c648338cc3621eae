"""Read a file of the job folders, and decide whether its writer has finished."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import open_regular, printable_path, read_to_end
from comfywatchman.base.text import format_size
from comfywatchman.jobs.files.problems import JobFileError, JobFileProblem
from comfywatchman.jobs.files.yaml_text import YamlDocument, parse_yaml

MAX_BYTES: Final = 1 << 20
"""Largest job file: about 10,000 prompts."""

MAX_WORKFLOWS_BYTES: Final = 8 << 20
_INCOMPLETE_PATIENCE: Final = 10
"""How many poll intervals a file that ends too early counts as being written."""

_NANOSECONDS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What changes when a file is written or replaced."""

    mtime_ns: int
    size: int
    inode: int
    ctime_ns: int

    @classmethod
    def from_stat(cls, status: os.stat_result) -> FileStamp:
        """Return the stamp of a file's status."""
        return cls(status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class JobText:
    """The content of a job file.

    Attributes:
        content: Its bytes.
        sha256: Their hash.
        stamp: The file's stamp before and after reading; None when the file changed in between.
    """

    content: bytes
    sha256: str
    stamp: FileStamp | None


def is_settled(stamp: FileStamp, previous: FileStamp | None, *, now_ns: int, poll_seconds: float) -> bool:
    """Return whether a file's writer seems to have finished. Pure.

    Args:
        stamp: The file now.
        previous: The file at the last scan; None when it was not there or there was no scan.
        now_ns: The wall clock in nanoseconds.
        poll_seconds: Time between two scans.
    """
    if stamp == previous:
        return True
    # A copied file may keep its old time; the time of its last change in place (ctime) cannot be set.
    age_ns = now_ns - max(stamp.mtime_ns, stamp.ctime_ns)
    return age_ns >= poll_seconds * _NANOSECONDS


def may_grow(stamp: FileStamp, *, now_ns: int, poll_seconds: float) -> bool:
    """Return whether a file that ends too early may still be being written. Pure."""
    age_ns = now_ns - max(stamp.mtime_ns, stamp.ctime_ns)
    return age_ns < _INCOMPLETE_PATIENCE * poll_seconds * _NANOSECONDS


def read_job_text(path: Path) -> JobText:
    """Read a job file; links are refused, since the file they lead to may change unseen.

    Raises:
        JobFileError: It is no regular file of up to 1 MiB, or cannot be read.
    """
    if path.is_symlink():
        raise JobFileError([JobFileProblem("It is a link. Put the file itself here.")])
    try:
        with open_regular(path) as descriptor:
            before = FileStamp.from_stat(os.fstat(descriptor))
            content = read_to_end(descriptor, MAX_BYTES)
            after = FileStamp.from_stat(os.fstat(descriptor))
    except Failure as failure:
        raise JobFileError([JobFileProblem(failure.message)]) from failure
    if len(content) > MAX_BYTES:
        raise JobFileError([JobFileProblem(f"It is larger than {format_size(MAX_BYTES)}.")])
    return JobText(content, hashlib.sha256(content).hexdigest(), before if before == after else None)


def read_yaml_file(path: Path) -> YamlDocument:
    """Read workflows.yaml or global_config.yaml.

    Raises:
        JobFileError: It cannot be read, or is not YAML.
    """
    source = printable_path(path)
    try:
        with open_regular(path) as descriptor:
            content = read_to_end(descriptor, MAX_WORKFLOWS_BYTES)
    except Failure as failure:
        raise JobFileError([JobFileProblem(failure.message)], source=source) from failure
    if len(content) > MAX_WORKFLOWS_BYTES:
        raise JobFileError([JobFileProblem(f"It is larger than {format_size(MAX_WORKFLOWS_BYTES)}.")], source=source)
    try:
        return parse_yaml(content)
    except JobFileError as error:
        raise JobFileError(error.problems, source=source) from error


def find_base_folder(path: Path) -> Path:
    """Return the folder that relative paths in a configuration file start from: the one that holds config/."""
    folder = path.absolute().parent
    return folder.parent if folder.name == "config" else folder
