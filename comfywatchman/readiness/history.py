"""The metrics of each cycle, one JSON line each, bounded."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.append_log import append_line, keep_last_lines
from comfywatchman.base.errors import Failure
from comfywatchman.base.failpoints import failpoint
from comfywatchman.base.files import read_regular

_SLACK: Final = 2
_MAX_BYTES: Final = 256 << 20


class CycleRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One cycle.

    Attributes:
        id: Id of the cycle (UTC start and process id).
        trigger: `manual`, `schedule`, `cron` or `first`.
        started_at: UTC.
        duration_seconds: Wall time.
        success: Whether a full cycle ended; False for a skipped or failed one.
        skipped_reason: Code of the gate that kept it from running.
        message: The gate's or the failure's text.
        phases: Wall seconds of each phase.
        workflows: Workflows scanned.
        read: Workflow files that were read, because new or changed.
        ready: Workflows that run.
        missing: Workflows that lack something.
        uncertain: Workflows for which it is not known.
        invalid: Files that hold no readable workflow.
        missing_models: Distinct missing models.
        missing_nodes: Distinct missing node classes.
        resolved: Workflows whose set of missing things became empty in this cycle.
        hashed: Model files hashed in this cycle.
        errors: Problems met on the way.
    """

    id: str
    trigger: str
    started_at: str
    duration_seconds: float
    success: bool
    skipped_reason: str | None = None
    message: str | None = None
    phases: dict[str, float] = {}
    workflows: int = 0
    read: int = 0
    ready: int = 0
    missing: int = 0
    uncertain: int = 0
    invalid: int = 0
    missing_models: int = 0
    missing_nodes: int = 0
    resolved: int = 0
    hashed: int = 0
    errors: int = 0


def add_record(path: Path, record: CycleRecord, *, keep: int) -> None:
    """Append a record; when twice as many as wanted have gathered, the oldest are dropped.

    Raises:
        Failure: `state-unwritable`.
    """
    append_line(path, msgspec.json.encode(record))
    failpoint("cycle.after_history")
    keep_last_lines(path, keep, above=keep * _SLACK)


def read_records(path: Path, *, limit: int) -> list[CycleRecord]:
    """Return the newest records, newest first; lines that cannot be read are passed over.

    Raises:
        Failure: `file-unreadable`, `file-not-regular` or `file-too-large`.
    """
    try:
        lines = read_regular(path, max_bytes=_MAX_BYTES).splitlines()
    except Failure as failure:
        if isinstance(failure.__cause__, FileNotFoundError):
            return []
        raise
    records: list[CycleRecord] = []
    for line in reversed(lines):
        if len(records) == limit:
            break
        try:
            records.append(msgspec.json.decode(line, type=CycleRecord))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
    return records
