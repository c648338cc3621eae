"""What the scheduler does at each tick: look for sleep, and run the cycle that is due as a child with a deadline."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from logging import ERROR, INFO, WARNING, Logger
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.clock import Clock
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import CorruptFile, printable_path, read_state
from comfywatchman.base.host import SleepMark, detect_sleep, write_sleep_mark
from comfywatchman.base.process import ChildProcess, ProcessIdentity, end_stray_process, read_process_identity
from comfywatchman.base.stop import StopEvent
from comfywatchman.readiness.gates import TEMPORARY_SKIPS
from comfywatchman.readiness.scheduler.due import (
    NextDue,
    add_seconds,
    count_missed,
    is_wall_time_current,
    next_due,
    read_moment,
    seconds_between,
)
from comfywatchman.readiness.scheduler.state import (
    CycleOutcome,
    OutcomeKind,
    RunningCycle,
    ScheduleState,
    add_outcome,
    load_schedule_state,
    parse_cycle_note,
    save_schedule_state,
)

SKIPPED_STATUS: Final = 75
"""Exit status of a cycle that a gate turned away (EX_TEMPFAIL of sysexits.h)."""

_LOG_LEVELS: Final[dict[OutcomeKind, int]] = {
    "ran": INFO,
    "skipped": INFO,
    "missed": WARNING,
    "failed": ERROR,
    "killed": ERROR,
}


@dataclass(frozen=True, slots=True)
class CycleCommand:
    """How one cycle is started as a child process.

    Attributes:
        argv: The program and its arguments. It exits with 0, or with 75 when a gate turned it away, and the last line
            of its standard output is a `CycleNote` as JSON.
        environment: The variables that it needs beside those that every child gets (secrets among them).
        folder: Where it runs; the scheduler's folder when None.
    """

    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class ScheduleSettings:
    """How the scheduler works; all in seconds.

    Attributes:
        interval_seconds: From one due time to the next.
        cycle_deadline_seconds: How long a cycle may run before it is killed; time asleep does not count.
        resume_grace_seconds: After how long a cycle is tried again that was turned away because of sleep.
        tick_seconds: How often the clocks are compared; at most 60, so that a resume is noticed within a minute.
        stop_grace_seconds: How long a cycle has to end by itself when it is stopped.
    """

    interval_seconds: float
    cycle_deadline_seconds: float
    resume_grace_seconds: float
    tick_seconds: float = 30.0
    stop_grace_seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class SchedulePaths:
    """The scheduler's files: what it remembers, the lock of the one scheduler, and the mark of the last sleep."""

    state: Path
    lock: Path
    awake: Path


@dataclass(frozen=True, slots=True)
class _CycleAttempt:
    """One due cycle on its way to an outcome."""

    trigger: str
    due_at: datetime
    started_at: datetime | None

    def ended(
        self, outcome: OutcomeKind, *, at: datetime, reason: str | None = None, message: str | None = None
    ) -> CycleOutcome:
        return CycleOutcome(
            outcome=outcome,
            trigger=self.trigger,
            due_at=self.due_at,
            started_at=self.started_at,
            finished_at=at,
            reason=reason,
            message=message,
        )


class CycleLoop:
    """The scheduler's memory and its ticks; one thread calls `begin` and then `tick`, another may ask how it is.

    Args:
        settings: How it works.
        paths: Its files.
        clock: The clocks of this machine.
        command: Gives the command of a cycle for a trigger (`first` or `schedule`).
        stop: Ends a running cycle when it is given.
        log: Where outcomes and troubles are written.
    """

    def __init__(
        self,
        settings: ScheduleSettings,
        *,
        paths: SchedulePaths,
        clock: Clock,
        command: Callable[[str], CycleCommand],
        stop: StopEvent,
        log: Logger,
    ) -> None:
        self._settings = settings
        self._paths = paths
        self._clock = clock
        self._command = command
        self._stop = stop
        self._log = log
        self._state = ScheduleState(interval_seconds=settings.interval_seconds)
        self._mark: SleepMark | None = None
        self._attempt: _CycleAttempt | None = None
        self._trigger = "first"
        self._last_beat = clock.monotonic()
        self.busy = False

    def silent_seconds(self) -> float:
        """Return the waking time since a tick last began or ended."""
        return self._clock.monotonic() - self._last_beat

    def begin(self) -> None:
        """Read what an earlier scheduler left, report what was missed, end its orphan, and make a cycle due now."""
        self._mark = self._read_mark()
        earlier = load_schedule_state(self._paths.state)
        if isinstance(earlier, CorruptFile):
            self._report_damage(earlier)
        elif earlier is not None:
            self._state = msgspec.structs.replace(earlier, interval_seconds=self._settings.interval_seconds)
            self._settle_orphan()
            self._count_missed()
        self._keep(msgspec.structs.replace(self._state, next_due=read_moment(self._clock), running=None))

    def tick(self) -> None:
        """Run the cycle that is due, if one is; return when it has ended."""
        self.busy = True
        self._last_beat = self._clock.monotonic()
        try:
            self._look_for_sleep()
            self._serve_if_due()
            self._keep(self._state)
        # The edge of the loop: whatever one tick trips over, a scheduler that died of it would look like one that has
        # nothing to do, so it is logged with its traceback, recorded for the cycle it hit, and the next tick comes.
        except Exception as error:  # noqa: BLE001
            self._log.exception("tick failed")
            self._close_attempt(error)
        finally:
            self._last_beat = self._clock.monotonic()
            self.busy = False

    def _read_mark(self) -> SleepMark | None:
        mark = read_state(self._paths.awake, SleepMark)
        if isinstance(mark, CorruptFile):
            self._report_damage(mark)
            return None
        return mark

    def _report_damage(self, damaged: CorruptFile) -> None:
        kept = printable_path(damaged.moved_to) if damaged.moved_to else None
        facts = {"path": printable_path(damaged.path), "kept_as": kept, "reason": damaged.reason}
        self._log.warning("state file damaged", extra=facts)

    def _settle_orphan(self) -> None:
        """End the cycle of a scheduler that died: nobody holds it to its deadline, and it holds the cycle lock."""
        left = self._state.running
        if left is None:
            return
        identity = ProcessIdentity(boot_id=left.boot_id, pid=left.pid, started_ticks=left.started_ticks)
        same_boot = left.boot_id == self._clock.boot_id()
        ended = same_boot and end_stray_process(identity, grace_seconds=self._settings.stop_grace_seconds)
        attempt = _CycleAttempt(left.trigger, left.due_at, left.started_at)
        message = "The scheduler that started it died" + (", so it was ended by the next one." if ended else ".")
        self._record(attempt.ended("killed", at=self._now(), reason="scheduler-died", message=message))

    def _count_missed(self) -> None:
        due = self._state.next_due
        if due is None:
            return
        count = count_missed(due, read_moment(self._clock), interval_seconds=self._settings.interval_seconds)
        if count:
            self._record_missed(due.wall, count, reason="scheduler-away", message="No scheduler was running.")

    def _record_missed(self, due_at: datetime, count: int, *, reason: str, message: str) -> None:
        missed = _CycleAttempt("schedule", due_at, None).ended("missed", at=self._now(), reason=reason, message=message)
        self._record(msgspec.structs.replace(missed, count=count))

    def _look_for_sleep(self) -> None:
        mark = detect_sleep(self._clock, self._mark)
        known = self._mark
        self._mark = mark
        if known is not None and (known.boot_id, known.resumed_monotonic) == (mark.boot_id, mark.resumed_monotonic):
            return
        try:
            write_sleep_mark(self._paths.awake, mark)
        except Failure as failure:
            self._log_failure(failure)

    def _serve_if_due(self) -> None:
        due = self._state.next_due
        if due is None or self._stop.is_set():
            return
        judged = next_due(due, read_moment(self._clock), interval_seconds=self._settings.interval_seconds)
        if judged.wait_seconds <= 0:
            self._serve(judged)
        elif not is_wall_time_current(due, judged):
            self._state = msgspec.structs.replace(self._state, next_due=judged.at)

    def _serve(self, judged: NextDue) -> None:
        """Run one due cycle to its outcome; the following one is on disk before this one starts."""
        if judged.missed:
            message = "The machine slept, or a cycle before it took too long."
            self._record_missed(judged.at.wall, judged.missed, reason="asleep", message=message)
        self._attempt = attempt = _CycleAttempt(self._trigger, judged.at.wall, self._now())
        self._keep(msgspec.structs.replace(self._state, next_due=judged.following))
        self._trigger = "schedule"
        try:
            outcome = self._run(attempt)
        except Failure as failure:
            outcome = attempt.ended("failed", at=self._now(), reason="not-started", message=str(failure))
        self._attempt = None
        self._record(outcome)
        self._postpone(outcome)

    def _run(self, attempt: _CycleAttempt) -> CycleOutcome:
        command = self._command(attempt.trigger)
        with ChildProcess(command.argv, extra_environment=command.environment, folder=command.folder) as child:
            self._keep(msgspec.structs.replace(self._state, running=self._running(child.pid, attempt)))
            status = child.wait(self._settings.cycle_deadline_seconds, also=[self._stop.fileno()])
            stopped = status is None and self._stop.is_set()
            if status is None:
                status = child.end(grace_seconds=self._settings.stop_grace_seconds)
                if status != 0:
                    return self._killed(attempt, status, stopped=stopped)
            return self._ended(attempt, status, child)

    def _running(self, pid: int, attempt: _CycleAttempt) -> RunningCycle:
        boot_id = self._clock.boot_id()
        identity = read_process_identity(pid, boot_id=boot_id)
        return RunningCycle(
            pid=pid,
            started_ticks=identity.started_ticks if identity else 0,
            boot_id=boot_id,
            trigger=attempt.trigger,
            due_at=attempt.due_at,
            started_at=attempt.started_at or attempt.due_at,
        )

    def _killed(self, attempt: _CycleAttempt, status: int | None, *, stopped: bool) -> CycleOutcome:
        reason = "scheduler-stopped" if stopped else "deadline"
        limit = self._settings.cycle_deadline_seconds
        message = "The scheduler was stopped." if stopped else f"It ran for longer than {limit:g} seconds."
        if status is None:
            message += " It could not be killed and was left."
        return attempt.ended("killed", at=self._now(), reason=reason, message=message)

    def _ended(self, attempt: _CycleAttempt, status: int, child: ChildProcess) -> CycleOutcome:
        note = parse_cycle_note(child.output_tail())
        if status == 0:
            outcome = attempt.ended("ran", at=self._now())
        elif status == SKIPPED_STATUS:
            outcome = attempt.ended("skipped", at=self._now(), reason=note.skipped_reason, message=note.message)
        else:
            message = note.message or _find_last_line(child.errors_tail())
            outcome = attempt.ended("failed", at=self._now(), reason=f"status-{status}", message=message)
        return msgspec.structs.replace(outcome, cycle_id=note.id)

    def _postpone(self, outcome: CycleOutcome) -> None:
        """Try again soon what sleep turned away; a laptop awake for an hour at a time would never have a cycle."""
        if outcome.reason not in TEMPORARY_SKIPS or self._state.next_due is None:
            return
        wait = max(self._settings.resume_grace_seconds, self._settings.tick_seconds)
        soon = add_seconds(read_moment(self._clock), wait)
        if seconds_between(soon, self._state.next_due) > 0:
            self._keep(msgspec.structs.replace(self._state, next_due=soon))

    def _close_attempt(self, error: Exception) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            message = f"The scheduler tripped over {type(error).__name__}."
            self._record(attempt.ended("failed", at=self._now(), reason="not-started", message=message))

    def _record(self, outcome: CycleOutcome) -> None:
        facts = {
            "outcome": outcome.outcome,
            "trigger": outcome.trigger,
            "cycle_id": outcome.cycle_id,
            "reason": outcome.reason,
            "detail": outcome.message,
            "count": outcome.count,
        }
        level = WARNING if outcome.reason == "gpu-unknown" else _LOG_LEVELS[outcome.outcome]
        self._log.log(level, "due cycle settled", extra=facts)
        self._keep(add_outcome(self._state, outcome))

    def _keep(self, state: ScheduleState) -> None:
        """Remember, and write it down; what a full disk refuses is written at a later tick."""
        self._state = state
        try:
            save_schedule_state(self._paths.state, state)
        except Failure as failure:
            self._log_failure(failure)

    def _log_failure(self, failure: Failure) -> None:
        self._log.error("scheduler state not written", extra={"code": failure.code, "detail": failure.message})

    def _now(self) -> datetime:
        return self._clock.now().replace(microsecond=0)


def _find_last_line(errors: bytes) -> str | None:
    line = errors.decode("utf-8", "replace").strip().rpartition(os.linesep)[2].strip()
    return line[:300] or None
