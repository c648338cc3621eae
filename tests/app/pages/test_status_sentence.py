from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from comfywatchman.app.pages.status_sentence import (
    CheckFacts,
    ServerFacts,
    StatusTone,
    choose_tone,
    describe_server_state,
    measure_share_left,
)
from comfywatchman.readiness.host_summary import Summary, SupervisorSummary

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ALL_READY = CheckFacts(Summary(workflows=2, ready=2), NOW - HOUR, NOW + HOUR)
UP = ServerFacts("up")
SINCE = "2026-12-01T10:00:00Z"


@pytest.mark.parametrize(
    ("check", "failed", "server", "needs_you", "tone"),
    [
        (ALL_READY, 0, UP, 0, StatusTone.OK),
        (ALL_READY, 0, ServerFacts("unknown"), 0, StatusTone.OK),
        (ALL_READY, 1, UP, 0, StatusTone.NEED),
        (ALL_READY, None, UP, 0, StatusTone.NEED),
        (ALL_READY, 0, UP, 1, StatusTone.NEED),
        (ALL_READY, 0, ServerFacts("down"), 0, StatusTone.BAD),
        (ALL_READY, 0, ServerFacts("unproven"), 0, StatusTone.NEED),
        (CheckFacts(Summary(workflows=2, ready=1), NOW - HOUR, NOW + HOUR), 0, UP, 0, StatusTone.NEED),
        (CheckFacts(Summary(workflows=2, ready=1, invalid=1), NOW - HOUR, NOW + HOUR), 0, UP, 0, StatusTone.BAD),
        (CheckFacts(Summary(workflows=2, ready=2), NOW - HOUR, NOW), 0, UP, 0, StatusTone.OK),
        (CheckFacts(Summary(workflows=2, ready=2), NOW - HOUR, NOW - HOUR), 0, UP, 0, StatusTone.STALE),
        (CheckFacts(Summary(workflows=2, ready=1), NOW - HOUR, NOW - HOUR), 9, UP, 9, StatusTone.STALE),
        (CheckFacts(None, None, None), 0, UP, 0, StatusTone.STALE),
    ],
)
def test_green_needs_evidence_that_still_holds(
    check: CheckFacts, failed: int | None, server: ServerFacts, needs_you: int, tone: StatusTone
) -> None:
    assert choose_tone(check, failed=failed, server=server, needs_you=needs_you, now=NOW) is tone


@pytest.mark.parametrize(("hours", "share"), [(-1, 100), (0, 50), (0.5, 25), (1, 0), (2, 0)])
def test_time_left_is_a_share_of_the_validity(hours: float, share: int) -> None:
    assert measure_share_left(ALL_READY, NOW + hours * HOUR) == share


@pytest.mark.parametrize(
    ("supervisor", "word"),
    [
        (SupervisorSummary("ready", "", SINCE, is_working=True), "up"),
        (SupervisorSummary("starting", "", SINCE, is_changing=True), "changing"),
        (SupervisorSummary("unproven", "", SINCE), "unproven"),
        (SupervisorSummary("stalled", "", SINCE), "down"),
        (SupervisorSummary("gave_up", "", SINCE), "down"),
    ],
)
def test_server_that_is_not_proved_is_neither_up_nor_down(supervisor: SupervisorSummary, word: str) -> None:
    assert describe_server_state(supervisor) == word
