from __future__ import annotations

from datetime import UTC, datetime

import pytest

from comfywatchman.readiness.history import CycleRecord
from comfywatchman.readiness.report.watch_troubles import list_watch_troubles
from comfywatchman.readiness.watch_state import WatchState, WatchTrouble
from tests.readiness.report.sample_reports import TIME, status

NOW = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)


def titles(trouble: WatchTrouble | None, message: str | None = "The disk is full.", *, old: bool = False) -> list[str]:
    last = CycleRecord(
        id="c", trigger="cron", started_at=TIME, duration_seconds=1.0, success=False, message=message, phases={}
    )
    watch = WatchState(trouble, last, 4, old)
    troubles = list_watch_troubles(watch, status(), NOW, ("comfywatchman", "--home", "/h"))
    return [f"{found.title}: {found.detail}: {found.next_step}" for found in troubles]


@pytest.mark.parametrize(
    ("trouble", "line"),
    [
        (
            WatchTrouble.FAILED,
            "The last check failed 30 min ago (14:00): The disk is full: Run comfywatchman --home /h --run-cycle.",
        ),
        (
            WatchTrouble.KILLED,
            "The last check was killed 30 min ago (14:00): The disk is full: Run comfywatchman --home /h --run-cycle.",
        ),
        (
            WatchTrouble.STOPPED,
            "The watch has stopped: a check was due 30 min ago (14:00): Run comfywatchman --home /h --run-cycle.",
        ),
        (WatchTrouble.SKIPPING, "The last 4 checks were skipped: The disk is full: "),
    ],
)
def test_trouble_of_the_watch_has_a_line(trouble: WatchTrouble, line: str) -> None:
    assert titles(trouble) == [line]


def test_working_watch_has_no_trouble() -> None:
    assert titles(None) == []


def test_old_verdicts_are_named_unless_the_watch_has_stopped() -> None:
    assert titles(None, old=True) == ["The verdicts are out of date: since 30 min ago (14:00): "]
    assert len(titles(WatchTrouble.STOPPED, None, old=True)) == 1
