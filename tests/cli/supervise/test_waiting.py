from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from comfywatchman.base.clock import format_utc, parse_utc
from comfywatchman.cli.supervise.waiting import (
    SUPERVISOR_ENDED,
    Ending,
    SwitchOrder,
    judge_refusal,
    judge_restart,
    judge_switch,
    wait_for_ending,
)
from comfywatchman.supervisor.mailbox import CommandName, SwitchState, SwitchStatus
from comfywatchman.supervisor.states import SupervisorState
from comfywatchman.supervisor.status import CommandRefusal, SupervisorStatus
from tests.fakes import FakeClock

TAKEN = parse_utc("2026-11-20T12:00:00Z")
ORDER = SwitchOrder("other", 1000.0)


def build_status(state: str, *, after_seconds: float = 0, pid: int | None = 7, name: str = "main") -> SupervisorStatus:
    looked_at = format_utc(TAKEN + timedelta(seconds=after_seconds))
    return SupervisorStatus(
        SupervisorState(state), looked_at, looked_at, port=8188, supervisor_pid=1, pid=pid, environment=name
    )


def build_switch(state: str, *, started_at: float = 1001.0, error: str | None = None) -> SwitchStatus:
    return SwitchStatus(SwitchState(state), 90, "It failed.", 1002.0, "other", "main", error, started_at=started_at)


@pytest.mark.parametrize(
    ("status", "success"),
    [
        (build_status("ready", pid=8), True),
        (build_status("busy", pid=8), True),
        (build_status("ready"), None),
        (build_status("starting", pid=8, after_seconds=5), None),
        (build_status("recovering", pid=None, after_seconds=5), None),
        (build_status("gave_up", pid=None), None),
        (build_status("gave_up", pid=None, after_seconds=1), False),
        (build_status("stopped", pid=None, after_seconds=1), False),
        (None, None),
    ],
)
def test_end_of_a_restart(status: SupervisorStatus | None, *, success: bool | None) -> None:
    ending = judge_restart(status, old_pid=7, taken_at=TAKEN, is_running=True)
    assert (ending.success if ending else None) is success


def test_restart_is_not_over_before_the_command_is_taken() -> None:
    assert judge_restart(build_status("ready", pid=8), old_pid=7, taken_at=None, is_running=True) is None
    assert judge_restart(None, old_pid=7, taken_at=None, is_running=False) is SUPERVISOR_ENDED


def test_refusal_of_this_very_command_ends_the_wait() -> None:
    refusal = CommandRefusal(CommandName.RESTART, 1000.0, "2026-11-20T12:00:00Z", "supervisor-queue-not-empty", "No.")
    status = replace(build_status("busy"), refused=refusal)
    assert judge_refusal(status, 1000.0) == Ending(False, "No.", "")
    assert judge_refusal(status, 999.0) is None
    assert judge_refusal(build_status("busy"), 1000.0) is None
    assert judge_refusal(None, 1000.0) is None


@pytest.mark.parametrize(
    ("switch", "facts", "success"),
    [
        (build_switch("complete"), {}, True),
        (build_switch("validating"), {}, None),
        (build_switch("rolled_back"), {}, False),
        (build_switch("complete", started_at=900.0), {}, None),
        (None, {"was_seen": True}, True),
        (None, {}, None),
        (None, {"status": build_status("ready", name="other", after_seconds=2)}, True),
        (None, {"status": build_status("ready", name="other")}, None),
        (None, {"status": build_status("ready", name="other", after_seconds=2), "taken_at": None}, None),
        (None, {"status": build_status("ready", after_seconds=2)}, None),
        (build_switch("validating"), {"is_running": False}, False),
        (build_switch("rolled_back"), {"is_running": False}, False),
    ],
)
def test_end_of_a_switch(switch: SwitchStatus | None, facts: dict[str, Any], *, success: bool | None) -> None:
    given = {"status": None, "was_seen": False, "taken_at": TAKEN, "is_running": True, **facts}
    ending = judge_switch(switch, given.pop("status"), ORDER, **given)
    assert (ending.success if ending else None) is success


def test_error_of_a_switch_is_told_once() -> None:
    for error, message in (("Why.", "It failed. Why."), ("failed", "It failed."), (None, "It failed.")):
        switch = build_switch("critical_failure", error=error)
        ending = judge_switch(switch, None, ORDER, was_seen=True, taken_at=TAKEN, is_running=True)
        assert ending is not None
        assert ending.message == message


def test_waiting_ends_with_the_ending_or_the_time() -> None:
    done = Ending(True, "Done.")
    assert wait_for_ending(lambda: done, timeout_seconds=0, clock=FakeClock()) is done
    assert "within 0 seconds" in wait_for_ending(lambda: None, timeout_seconds=0, clock=FakeClock()).message
