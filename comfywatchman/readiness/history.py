"""Cycle history: one JSON line with metrics per cycle, bounded in length."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import msgspec

from comfywatchman.base.append_log import append_line, keep_last_lines
from comfywatchman.base.errors import Failure
from comfywatchman.base.failpoints import failpoint
from comfywatchman.base.files import read_regular
from comfywatchman.base.json_values import decode_json
from comfywatchman.base.state.ranges import check_times

_TRIM_FACTOR: Final = 2
"""The file grows to this many times `keep` before it is trimmed, so that most cycles only append."""

_MAX_BYTES: Final = 256 << 20

CycleResultKind = Literal["ran", "skipped", "failed", "killed", "missed"]


class CycleRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One cycle.

    Attributes:
        id: Id of the cycle (UTC start and process id).
        trigger: `manual`, `schedule`, `cron` or `first`.
        started_at: UTC.
        duration_seconds: Wall time.
        success: Whether the cycle completed; False for a skipped or failed one.
        skipped_reason: Code of the gate that skipped it.
        message: Text of the gate or the failure.
        phases: Wall seconds of each phase.
        workflows: Number of workflows scanned.
        read: Number of workflow files read because they are new or changed.
        ready: Number of READY workflows.
        missing: Number of MISSING workflows.
        uncertain: Number of UNCERTAIN workflows.
        invalid: Number of INVALID workflows.
        missing_models: Number of distinct missing models.
        missing_nodes: Number of distinct missing node classes.
        resolved: Number of workflows that became complete in this cycle, those included that were so at first sight.
        hashed: Number of model files hashed in this cycle.
        errors: Number of problems in this cycle, and of models whose search ended with an error.
        unknown_workflows: Number of workflows that could not be read; they are UNCERTAIN.
        comfyui: Id of the ComfyUI that was checked; null in records of older versions.
        comfyui_root: Its folder.
        outcome: `killed` (at its deadline, or by a signal), `missed` (no scheduler was running, or the machine slept),
            else `ran`, `skipped` or `failed`; null in records of older versions.
        count: Number of due times of a `missed` record.
        uncertain_models: Number of distinct missing models whose search result is UNCERTAIN.
        found_models: Number of distinct missing models whose search result is FOUND.
        uncertain_model_workflows: Number of workflows that lack a model whose search result is UNCERTAIN.
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
    unknown_workflows: int = 0
    comfyui: str | None = None
    comfyui_root: str | None = None
    outcome: CycleResultKind | None = None
    count: int = 1
    uncertain_models: int = 0
    found_models: int = 0
    uncertain_model_workflows: int = 0

    def __post_init__(self) -> None:
        """Check the times.

        Raises:
            ValueError: One is out of range.
        """
        check_times(self.started_at)

    @property
    def result(self) -> CycleResultKind:
        """The outcome, also of a record of an older version."""
        if self.outcome is not None:
            return self.outcome
        if self.success:
            return "ran"
        return "skipped" if self.skipped_reason else "failed"


def add_record(path: Path, record: CycleRecord, *, keep: int) -> None:
    """Append a record; once the file holds twice `keep` records, the oldest are dropped.

    Raises:
        Failure: `state-unwritable`.
    """
    append_line(path, msgspec.json.encode(record))
    failpoint("cycle.after_history")
    keep_last_lines(path, keep, above=keep * _TRIM_FACTOR)


def read_records(path: Path, *, limit: int, comfyui: str | None = None) -> list[CycleRecord]:
    """Return up to `limit` records, newest first; unreadable lines are skipped.

    Args:
        path: The history.
        limit: The number of records.
        comfyui: Id of the ComfyUI whose cycles are returned; None for those of all.

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
    # The newest line is the last one, so reading stops early.
    for line in reversed(lines):
        if len(records) == limit:
            break
        # A line may be torn by a power cut, or written by a later version.
        try:
            record = decode_json(line, CycleRecord)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        if comfyui in {None, record.comfyui}:
            records.append(record)
    return records
