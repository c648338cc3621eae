from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import to_json
from comfywatchman.base.host import SleepMark
from comfywatchman.base.process import read_process_identity
from comfywatchman.base.stop import StopEvent
from comfywatchman.readiness.scheduler.due import add_seconds, read_moment
from comfywatchman.readiness.scheduler.loop import CycleCommand, CycleLoop, SchedulePaths, ScheduleSettings
from comfywatchman.readiness.scheduler.state import (
    MAX_OUTCOMES,
    CycleOutcome,
    RunningCycle,
    ScheduleState,
    load_schedule_state,
    save_schedule_state,
)
from tests.base.test_process_children import DEAF, READY, python, wait_until
from tests.fakes import FakeClock

INTERVAL = 7200.0
SETTINGS = ScheduleSettings(
    interval_seconds=INTERVAL,
    cycle_deadline_seconds=120.0,
    resume_grace_seconds=120.0,
    tick_seconds=60.0,
    stop_grace_seconds=0.2,
)
NOTE = json.dumps({"id": "c-1", "skipped_reason": None, "more": 1})
OK = f"print('a table'); print({NOTE!r})"
log = logging.getLogger("tests.loop")


def skipping(reason: str) -> str:
    note = json.dumps({"id": "c-2", "skipped_reason": reason, "message": "Not now."})
    return f"print({note!r}); raise SystemExit(75)"


class Host:
    """A cycle loop on a fake clock; its cycles are real processes that run the given code."""

    def __init__(self, folder: Path, **overrides: Any) -> None:
        self.folder = folder
        self.overrides = overrides
        self.clock = FakeClock()
        self.stop = StopEvent()
        self.paths = SchedulePaths(folder / "scheduler.json", folder / "scheduler.lock", folder / "awake.json")
        self.code: str | Exception = OK
        self.program: str | None = None
        self.arguments: tuple[str, ...] = ()
        self.triggers: list[str] = []
        self.loop = self.restart()

    def restart(self) -> CycleLoop:
        settings = replace(SETTINGS, **self.overrides)
        self.loop = CycleLoop(
            settings,
            paths=self.paths,
            clock=self.clock,
            command=self.command,
            stop=self.stop,
            log=log,
        )
        return self.loop

    def command(self, trigger: str) -> CycleCommand:
        self.triggers.append(trigger)
        if isinstance(self.code, Exception):
            raise self.code
        return CycleCommand(
            [self.program] if self.program else python(self.code, *self.arguments), {"GIVEN": "yes"}, self.folder
        )

    def on_disk(self) -> ScheduleState:
        state = load_schedule_state(self.paths.state)
        assert isinstance(state, ScheduleState)
        return state

    def outcomes(self) -> list[tuple[str, str | None]]:
        return [(outcome.outcome, outcome.reason) for outcome in self.on_disk().last_outcomes]

    def live(self, seconds: float) -> None:
        """Advance waking time, with one tick per minute."""
        while seconds > 0:
            self.clock.advance(awake=min(60.0, seconds))
            seconds -= 60.0
            self.loop.tick()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    running = Host(tmp_path)
    running.loop.begin()
    yield running
    running.stop.__exit__()


def test_first_cycle_runs_at_the_start_and_is_recorded(host: Host) -> None:
    host.loop.tick()
    (outcome,) = host.on_disk().last_outcomes
    now = host.clock.now()
    expected = CycleOutcome("ran", "first", due_at=now, started_at=now, finished_at=now, cycle_id="c-1")
    assert outcome == expected
    assert host.on_disk().running is None
    assert host.triggers == ["first"]


def test_the_next_due_time_is_an_interval_after_the_start(host: Host) -> None:
    host.loop.tick()
    assert host.on_disk().next_due == add_seconds(read_moment(host.clock), INTERVAL)


@pytest.mark.slow
def test_no_cycle_runs_half_a_second_before_its_due_time(host: Host) -> None:
    host.loop.tick()
    host.clock.advance(awake=INTERVAL - 0.5)
    host.loop.tick()
    assert host.triggers == ["first"]
    host.clock.advance(awake=0.5)
    host.loop.tick()
    assert host.triggers == ["first", "schedule"]


@pytest.mark.slow
def test_cycles_run_at_a_fixed_rate(host: Host) -> None:
    host.loop.tick()
    host.live(3 * INTERVAL)
    assert host.triggers == ["first", "schedule", "schedule", "schedule"]


def test_next_due_time_and_running_cycle_are_on_disk_during_a_cycle(host: Host) -> None:
    # The running cycle is written down after its process has started, so that process waits to read of itself.
    host.code = (
        "import shutil, time\n"
        "while '\"pid\"' not in open('scheduler.json').read(): time.sleep(0.01)\n"
        "shutil.copy('scheduler.json', 'seen.json')"
    )
    host.loop.tick()
    state_during_cycle = load_schedule_state(host.folder / "seen.json")
    assert isinstance(state_during_cycle, ScheduleState)
    assert state_during_cycle.next_due == add_seconds(read_moment(host.clock), INTERVAL)
    assert state_during_cycle.running is not None
    assert (state_during_cycle.running.trigger, state_during_cycle.running.started_at) == ("first", host.clock.now())


def test_skipped_cycle_is_recorded_and_waits_for_the_next_due_time(host: Host) -> None:
    host.code = skipping("vram-low")
    host.loop.tick()
    (outcome,) = host.on_disk().last_outcomes
    assert (outcome.outcome, outcome.reason, outcome.message) == ("skipped", "vram-low", "Not now.")
    host.live(INTERVAL - 60)
    assert len(host.triggers) == 1


@pytest.mark.slow
@pytest.mark.parametrize("reason", ["just-resumed", "going-to-sleep", "comfyui-changing"])
def test_cycle_skipped_for_minutes_is_retried_after_the_grace(host: Host, reason: str) -> None:
    host.code = skipping(reason)
    host.loop.tick()
    host.code = OK
    host.live(60)
    assert len(host.triggers) == 1
    host.live(60)
    assert host.outcomes() == [("skipped", reason), ("ran", None)]


def test_a_grace_longer_than_the_interval_does_not_delay_the_next_cycle(tmp_path: Path) -> None:
    host = Host(tmp_path, resume_grace_seconds=10 * INTERVAL)
    host.loop.begin()
    host.code = skipping("just-resumed")
    host.loop.tick()
    assert host.on_disk().next_due == add_seconds(read_moment(host.clock), INTERVAL)


def test_a_skip_because_of_an_unknown_gpu_is_a_warning(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    host.code = skipping("gpu-unknown")
    host.loop.tick()
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_failed_cycle_is_recorded_with_status_and_last_error_line(host: Host) -> None:
    host.code = "import sys; sys.stderr.write('Traceback\\nValueError: no such thing\\n'); sys.exit(1)"
    host.loop.tick()
    (outcome,) = host.on_disk().last_outcomes
    assert (outcome.outcome, outcome.reason) == ("failed", "status-1")
    assert (outcome.message, outcome.cycle_id) == ("ValueError: no such thing", None)


def test_failed_cycle_without_output_has_no_message(host: Host) -> None:
    host.code = "raise SystemExit(3)"
    host.loop.tick()
    assert host.on_disk().last_outcomes[0].message is None


def test_a_crashed_cycle_is_recorded_with_its_signal(host: Host) -> None:
    host.code = "import os; os.abort()"
    host.loop.tick()
    assert host.outcomes() == [("failed", "status--6")]


@pytest.mark.slow
def test_a_cycle_over_its_deadline_is_killed(tmp_path: Path) -> None:
    host = Host(tmp_path, cycle_deadline_seconds=0.2)
    host.loop.begin()
    host.code, host.arguments = READY.format(before=DEAF), (str(tmp_path / "ready"),)
    host.loop.tick()
    assert host.outcomes() == [("killed", "deadline")]
    assert host.on_disk().last_outcomes[0].message == "It ran for longer than 0.2 seconds."


def stop_in_mid_cycle(host: Host, code: str) -> None:
    ready = host.folder / "ready"
    host.code, host.arguments = code, (str(ready),)
    ticking = threading.Thread(target=host.loop.tick)
    ticking.start()
    wait_until(ready.exists)
    assert host.loop.busy
    host.stop.set()
    ticking.join(60)
    assert not host.loop.busy


def test_cycle_that_exits_cleanly_on_sigterm_counts_as_run(tmp_path: Path) -> None:
    host = Host(tmp_path, stop_grace_seconds=60.0)
    host.loop.begin()
    stop_in_mid_cycle(host, READY.format(before="signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))"))
    assert host.outcomes() == [("ran", None)]


@pytest.mark.slow
def test_stop_during_a_cycle_kills_and_records_it(host: Host) -> None:
    stop_in_mid_cycle(host, READY.format(before=DEAF))
    assert host.outcomes() == [("killed", "scheduler-stopped")]


def test_no_cycle_starts_after_the_stop(host: Host) -> None:
    host.stop.set()
    host.loop.tick()
    assert host.triggers == []


def test_program_that_cannot_start_is_recorded_as_failed(host: Host) -> None:
    host.program = "/no/such/program"
    host.loop.tick()
    assert host.outcomes() == [("failed", "not-started")]
    assert host.on_disk().next_due == add_seconds(read_moment(host.clock), INTERVAL)


def test_command_failure_is_recorded_with_its_message(host: Host) -> None:
    host.code = Failure("child-failed", "No interpreter.")
    host.loop.tick()
    assert host.on_disk().last_outcomes[0].message == "No interpreter."


def test_unexpected_error_is_recorded_and_keeps_the_rate(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    host.code = ZeroDivisionError()
    host.loop.tick()
    assert host.outcomes() == [("failed", "not-started")]
    assert "ZeroDivisionError" in caplog.text
    assert not host.loop.busy
    host.code = OK
    host.live(INTERVAL)
    assert host.outcomes()[1:] == [("ran", None)]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_unkillable_cycle_is_abandoned_and_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A test cannot create a process that survives SIGKILL, so here no signal reaches the process.
    host = Host(tmp_path, cycle_deadline_seconds=0.1, stop_grace_seconds=0.1)
    host.loop.begin()
    host.code = "import time; time.sleep(600)"
    groups: list[int] = []
    with monkeypatch.context() as patched:
        patched.setattr(os, "killpg", lambda group, _number: groups.append(group))
        host.loop.tick()
    os.killpg(groups[0], signal.SIGKILL)
    assert host.on_disk().last_outcomes[0].message == (
        "It ran for longer than 0.1 seconds. It could not be killed and still runs."
    )


class BrokenClock(FakeClock):
    def boottime(self) -> float:
        raise ZeroDivisionError


def test_error_between_cycles_is_logged_and_keeps_the_rate(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    host.loop.tick()
    host.clock.__class__ = BrokenClock
    host.loop.tick()
    assert "tick failed" in caplog.text
    host.clock.__class__ = FakeClock
    host.live(INTERVAL)
    assert host.outcomes() == [("ran", None), ("ran", None)]


def test_due_times_missed_asleep_are_one_cycle_and_recorded(host: Host) -> None:
    host.loop.tick()
    host.clock.advance(asleep=3.5 * INTERVAL, awake=1)
    host.loop.tick()
    outcomes = host.on_disk().last_outcomes
    assert [(outcome.outcome, outcome.count) for outcome in outcomes] == [("ran", 1), ("missed", 2), ("ran", 1)]
    assert outcomes[1].reason == "asleep"


def test_wall_clock_set_back_corrects_only_the_stored_time(host: Host) -> None:
    host.loop.tick()
    host.clock.shift_wall(-8 * 3600)
    host.live(60)
    shown = host.on_disk().next_due
    assert shown is not None
    assert shown.wall == host.clock.now() + timedelta(seconds=INTERVAL - 60)
    host.live(INTERVAL - 60)
    assert len(host.triggers) == 2


def test_sleep_is_detected_and_written_for_the_cycle(host: Host) -> None:
    host.loop.tick()
    host.clock.advance(asleep=600, awake=30)
    host.loop.tick()
    mark = msgspec.json.decode(host.paths.awake.read_bytes(), type=SleepMark)
    assert mark.resumed_monotonic == host.clock.monotonic()


def test_sleep_mark_is_written_only_when_it_changed(host: Host) -> None:
    host.loop.tick()
    before = host.paths.awake.stat().st_mtime_ns
    host.live(600)
    assert host.paths.awake.stat().st_mtime_ns == before


def test_restart_runs_at_once_and_records_missed_cycles(host: Host) -> None:
    host.loop.tick()
    host.clock.advance(awake=2.5 * INTERVAL)
    host.restart().begin()
    host.loop.tick()
    outcomes = host.on_disk().last_outcomes
    assert [(outcome.outcome, outcome.reason, outcome.count) for outcome in outcomes] == [
        ("ran", None, 1),
        ("missed", "scheduler-away", 2),
        ("ran", None, 1),
    ]
    assert host.triggers == ["first", "first"]


def test_a_restart_within_the_interval_has_missed_nothing(host: Host) -> None:
    host.loop.tick()
    host.clock.advance(awake=60)
    host.restart().begin()
    assert [outcome.outcome for outcome in host.on_disk().last_outcomes] == ["ran"]


def test_changed_interval_applies_from_the_restart(host: Host) -> None:
    host.loop.tick()
    host.overrides["interval_seconds"] = 600.0
    host.restart().begin()
    host.loop.tick()
    assert host.on_disk().interval_seconds == 600
    assert host.on_disk().next_due == add_seconds(read_moment(host.clock), 600)


def left_running(host: Host, pid: int, ticks: int, boot: str) -> None:
    now = host.clock.now()
    running = RunningCycle(pid=pid, started_ticks=ticks, boot_id=boot, trigger="schedule", due_at=now, started_at=now)
    save_schedule_state(host.paths.state, ScheduleState(interval_seconds=INTERVAL, running=running))


def test_orphaned_cycle_is_ended_and_recorded(host: Host) -> None:
    host.clock.boot = SystemClock().boot_id()
    process = subprocess.Popen(python("import time; time.sleep(600)"))
    identity = read_process_identity(process.pid, boot_id=host.clock.boot)
    assert identity is not None
    left_running(host, process.pid, identity.started_ticks, host.clock.boot)
    host.restart().begin()
    assert process.wait(60) < 0
    (outcome,) = host.on_disk().last_outcomes
    assert (outcome.outcome, outcome.reason) == ("killed", "scheduler-died")
    assert "the next scheduler ended it" in (outcome.message or "")
    assert host.on_disk().running is None


def test_orphan_of_an_earlier_boot_is_recorded_without_a_signal(host: Host) -> None:
    process = subprocess.Popen(python("import time; time.sleep(600)"))
    try:
        identity = read_process_identity(process.pid, boot_id="boot-0")
        assert identity is not None
        left_running(host, process.pid, identity.started_ticks, "boot-0")
        host.restart().begin()
        assert host.outcomes() == [("killed", "scheduler-died")]
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"interval_seconds": "x"}', b"\xff\xfe", b"{}"])
def test_a_damaged_state_is_set_aside_and_rebuilt(host: Host, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    host.paths.state.write_bytes(content)
    host.restart().begin()
    host.loop.tick()
    assert [outcome.outcome for outcome in host.on_disk().last_outcomes] == ["ran"]
    assert (host.folder / "scheduler.json.damaged-1").read_bytes() == content
    assert "state file damaged" in caplog.text


def test_state_of_a_later_version_is_not_changed(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    content = to_json({"interval_seconds": 1, "schema_version": 2, "unknown_to_us": True})
    host.paths.state.write_bytes(content)
    host.restart().begin()
    host.loop.tick()
    assert host.paths.state.read_bytes() == content
    assert "state file of a later version" in caplog.text
    assert "scheduler state not written" not in caplog.text


def test_due_time_that_no_clock_reaches_is_set_aside(host: Host) -> None:
    host.loop.begin()
    state = json.loads(host.paths.state.read_bytes())
    state["next_due"]["boottime"] = -1e18
    host.paths.state.write_bytes(json.dumps(state).encode())
    host.restart().begin()
    host.loop.tick()
    assert (host.folder / "scheduler.json.damaged-1").exists()
    assert [outcome.outcome for outcome in host.on_disk().last_outcomes] == ["ran"]


@pytest.mark.slow
def test_scheduler_runs_at_the_end_of_the_calendar(host: Host) -> None:
    host.clock.set_wall(datetime(9999, 12, 31, 23, 59, 30, tzinfo=UTC))
    host.restart().begin()
    host.loop.tick()
    host.restart().begin()
    host.loop.tick()
    assert host.on_disk().last_outcomes[-1].outcome == "ran"


def test_damaged_sleep_mark_is_set_aside(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    host.paths.awake.write_bytes(b"{")
    host.restart().begin()
    host.loop.tick()
    assert "state file damaged" in caplog.text
    assert msgspec.json.decode(host.paths.awake.read_bytes(), type=SleepMark).boot_id == "boot-1"


def test_unwritable_state_is_logged_and_written_later(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    host.loop.tick()
    moved = host.folder.with_name("moved")
    host.folder.rename(moved)
    host.folder.write_bytes(b"a file where the folder was")
    host.restart().begin()
    host.loop.tick()
    assert "scheduler state not written" in caplog.text
    host.folder.unlink()
    host.loop.tick()
    assert host.on_disk().interval_seconds == INTERVAL


def test_removed_or_damaged_state_is_rewritten_at_the_next_tick(host: Host) -> None:
    host.loop.tick()
    rightly = host.paths.state.read_bytes()
    host.paths.state.unlink()
    host.live(60)
    assert host.paths.state.read_bytes() == rightly
    host.paths.state.write_bytes(b"{")
    host.live(60)
    assert host.paths.state.read_bytes() == rightly


def test_only_the_latest_outcomes_are_kept(host: Host) -> None:
    now = host.clock.now()
    many = tuple(CycleOutcome("ran", "schedule", now, now, now, cycle_id=str(n)) for n in range(MAX_OUTCOMES))
    save_schedule_state(host.paths.state, ScheduleState(interval_seconds=INTERVAL, last_outcomes=many))
    host.restart().begin()
    host.loop.tick()
    cycle_ids = [outcome.cycle_id for outcome in host.on_disk().last_outcomes]
    assert cycle_ids == [*(str(n) for n in range(1, MAX_OUTCOMES)), "c-1"]


def test_silent_seconds_count_waking_time_since_the_last_tick(host: Host) -> None:
    host.loop.tick()
    host.clock.advance(asleep=600, awake=90)
    assert host.loop.silent_seconds() == 90
