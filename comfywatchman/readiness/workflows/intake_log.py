"""The intake log: which workflow files are new, updated, renamed or removed, one line each, append-only."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from comfywatchman.base.append_log import append_lines
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import open_regular
from comfywatchman.base.json_values import decode_json
from comfywatchman.base.state.ranges import HexText

IntakeKind = Literal["new", "updated", "renamed", "removed"]


class Acknowledgement(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the intake log.

    Attributes:
        at: When it was acknowledged, UTC.
        kind: `new`, `updated`, `renamed` or `removed`.
        path: The file; bytes that are not UTF-8 and control characters are escaped.
        source: Intake source: the label of the configured root, `cli` or `api`.
        sha256: SHA-256 of the file; of the last known content when removed.
        cycle: Id of the cycle that acknowledged it.
        raw_path: The path's bytes in hexadecimal, when `path` had to be escaped.
        previous_path: The old path of a renamed file.
        comfyui: Id of the ComfyUI whose cycle acknowledged it; null in lines of older versions.
    """

    at: str
    kind: IntakeKind
    path: str
    source: str
    sha256: str
    cycle: str
    raw_path: HexText | None = None
    previous_path: str | None = None
    comfyui: str | None = None


def read_log(log: Path, *, from_byte: int = 0) -> Iterator[Acknowledgement]:
    """Yield the log's entries from a byte offset on, oldest first; unreadable lines are skipped.

    Raises:
        Failure: `file-unreadable` or `file-not-regular`: the log exists and cannot be read.
    """
    try:
        with open_regular(log) as descriptor, open(descriptor, "rb", closefd=False) as stream:
            stream.seek(from_byte)
            for line in stream:
                try:
                    yield decode_json(line, Acknowledgement)
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    continue
    except Failure as failure:
        if not isinstance(failure.__cause__, FileNotFoundError):
            raise


def read_last_entries(log: Path, count: int, *, comfyui: str | None = None) -> list[Acknowledgement]:
    """Return the newest entries, newest first, reading the log from its end.

    Args:
        log: The intake log.
        count: The number of entries.
        comfyui: Id of the ComfyUI whose entries are returned; None for those of all.
    """
    size = get_size(log)
    block_bytes = 1 << 16
    while True:
        start = max(0, size - block_bytes)
        entries = [entry for entry in read_log(log, from_byte=start) if comfyui in {None, entry.comfyui}]
        # The first entry of a block that starts within a line may be wrong, so the block must contain one entry more.
        if start == 0 or len(entries) > count + 1:
            entries.reverse()
            return entries[:count]
        block_bytes *= 4


def append_entries(log: Path, entries: Iterable[Acknowledgement]) -> None:
    """Append entries durably, with one flush for all.

    Raises:
        Failure: `state-unwritable`; entries that reached the disk count as acknowledged.
    """
    append_lines(log, [msgspec.json.encode(entry) for entry in entries])


def decode_path(shown: str, raw_path: str | None) -> str:
    """Return the real path of a file, from its shown form and its bytes in hexadecimal."""
    if raw_path:
        return os.fsdecode(bytes.fromhex(raw_path))
    return shown


def get_size(path: Path) -> int:
    """Return the size of a file in bytes; 0 when there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
