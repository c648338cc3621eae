"""Whether the watch works, from the report and the last cycles. Pure decisions on values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import takewhile

from comfywatchman.base.clock import parse_utc
from comfywatchman.readiness.history import CycleRecord
from comfywatchman.readiness.status import MasterStatus


class WatchTrouble(StrEnum):
    """What is wrong with the watch."""

    STOPPED = "stopped"
    """No cycle has come for longer than the interval and its grace."""
    FAILED = "failed"
    """The last cycle ended with an error."""
    KILLED = "killed"
    """The last cycle was killed."""
    SKIPPING = "skipping"
    """Too many cycles in a row were skipped."""


@dataclass(frozen=True, slots=True)
class WatchState:
    """State of the watch.

    Attributes:
        trouble: What is wrong; None when nothing is.
        last: The last cycle that was due and not missed; None when none is on record.
        skips: Number of cycles skipped in a row.
        has_old_verdicts: Whether the verdicts are older than an interval and its grace, as after a skipped cycle.
    """

    trouble: WatchTrouble | None
    last: CycleRecord | None
    skips: int
    has_old_verdicts: bool


def judge_watch(
    report: MasterStatus | None, records: Sequence[CycleRecord], *, now: datetime, max_skips: int
) -> WatchState:
    """Return the state of the watch.

    Args:
        report: The last report; None when there is none.
        records: The last cycles of the watched ComfyUI, newest first.
        now: The time.
        max_skips: Number of skipped cycles in a row that is too many.
    """
    cycles = [record for record in records if record.result != "missed"]
    last = cycles[0] if cycles else None
    skips = sum(1 for _ in takewhile(lambda record: record.result == "skipped", cycles))
    has_old_verdicts = report is not None and now > parse_utc(report.valid_until)
    return WatchState(_find_trouble(report, last, skips, now, max_skips), last, skips, has_old_verdicts)


def _find_trouble(
    report: MasterStatus | None, last: CycleRecord | None, skips: int, now: datetime, max_skips: int
) -> WatchTrouble | None:
    if last is not None and last.result == "failed":
        return WatchTrouble.FAILED
    if last is not None and last.result == "killed":
        return WatchTrouble.KILLED
    # Reports of older versions have one time for both.
    if report is not None and now > parse_utc(report.watched_until or report.valid_until):
        return WatchTrouble.STOPPED
    if skips >= max_skips:
        return WatchTrouble.SKIPPING
    return None
