from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from comfywatchman.readiness.history import CycleRecord, CycleResultKind
from comfywatchman.readiness.watch_state import WatchTrouble, judge_watch
from tests.readiness.report.sample_reports import status

NOW = datetime(2026, 11, 20, 16, 0, tzinfo=UTC)
EARLIER = "2026-11-20T15:00:00Z"
LATER = "2026-11-20T17:00:00Z"


def record(outcome: CycleResultKind) -> CycleRecord:
    return CycleRecord("c", "schedule", EARLIER, 1.0, outcome == "ran", outcome=outcome)


def trouble_of(*outcomes: CycleResultKind, watched_until: str | None = LATER, max_skips: int = 3) -> object:
    current = msgspec.structs.replace(status(), valid_until=LATER, watched_until=watched_until)
    records = [record(outcome) for outcome in outcomes]
    return judge_watch(current, records, now=NOW, max_skips=max_skips).trouble


@pytest.mark.parametrize(
    ("outcomes", "trouble"),
    [
        ((), None),
        (("ran", "failed"), None),
        (("failed", "ran"), WatchTrouble.FAILED),
        (("killed", "ran"), WatchTrouble.KILLED),
        (("missed", "killed"), WatchTrouble.KILLED),
        (("missed", "ran"), None),
        (("skipped", "skipped", "ran"), None),
        (("skipped", "missed", "skipped", "skipped"), WatchTrouble.SKIPPING),
    ],
)
def test_last_cycles_decide(outcomes: tuple[CycleResultKind, ...], trouble: WatchTrouble | None) -> None:
    assert trouble_of(*outcomes) == trouble


def test_watch_has_stopped_when_no_cycle_came() -> None:
    assert trouble_of("ran", watched_until=EARLIER) is WatchTrouble.STOPPED
    assert trouble_of("ran", watched_until=None) is None, "a report of an older version has one time only"


def test_verdicts_grow_old_while_the_watch_lives() -> None:
    skipping = msgspec.structs.replace(status(), valid_until=EARLIER, watched_until=LATER)
    state = judge_watch(skipping, [record("skipped")], now=NOW, max_skips=3)
    assert (state.trouble, state.skips, state.has_old_verdicts) == (None, 1, True)


def test_host_without_a_report_and_cycles_has_no_trouble() -> None:
    state = judge_watch(None, [], now=NOW, max_skips=3)
    assert (state.trouble, state.last, state.has_old_verdicts) == (None, None, False)


def test_record_of_an_older_version_has_a_result() -> None:
    old = CycleRecord("c", "manual", EARLIER, 1.0, success=False)
    assert old.result == "failed"
    assert msgspec.structs.replace(old, skipped_reason="vram-low").result == "skipped"
    assert msgspec.structs.replace(old, success=True).result == "ran"
