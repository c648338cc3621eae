"""One tick of the scheduler: detect sleep, and run a due cycle as a child process with a deadline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from logging import ERROR, INFO, WARNING, Logger
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.clock import Clock
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.base.host import SleepMark, detect_sleep, read_sleep_mark, write_sleep_mark
from comfywatchman.base.process import (
    NOT_STARTED_STATUS,
    ChildProcess,
    ProcessIdentity,
    end_stray_process,
    read_process_identity,
)
from comfywatchman.base.state.state_file import CorruptFile
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
"""Exit status of a cycle that a gate skipped (EX_TEMPFAIL of sysexits.h)."""

_MAX_MESSAGE_LENGTH: Final = 300
_LOG_LEVELS: Final[dict[OutcomeKind, int]] = {
    "ran": INFO,
    "skipped": INFO,
    "missed": WARNING,
    "failed": ERROR,
    "killed": ERROR,
}


@dataclass(frozen=True, slots=True)
class CycleCommand:
    """How to start one cycle as a child process.

    Attributes:
        argv: The program and its arguments. It exits with 0, or with 75 when a gate skipped it, and the last line of
            its standard output is a `CycleNote` as JSON.
        environment: Variables to set in addition to those that every child gets, including secrets.
        folder: Its working directory; the scheduler's own when None.
    """

    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class ScheduleSettings:
    """Timing of the scheduler, all in seconds.

    Attributes:
        interval_seconds: From one due time to the next.
        cycle_deadline_seconds: How long a cycle may run before it is killed; time asleep does not count.
        resume_grace_seconds: After how long a cycle that was skipped because of sleep is retried.
        tick_seconds: How often the clocks are compared; at most 60, so that a resume is noticed within a minute.
        stop_grace_seconds: How long a stopped cycle has to exit by itself.
    """

    interval_seconds: float
    cycle_deadline_seconds: float
    resume_grace_seconds: float
    tick_seconds: float = 30.0
    stop_grace_seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class SchedulePaths:
    """The scheduler's files: its state, the lock that allows only one scheduler, and the mark of the last sleep."""

    state: Path
    lock: Path
    awake: Path


@dataclass(frozen=True, slots=True)
class _CycleAttempt:
    """One due cycle that has no outcome yet."""

    trigger: str
    due_at: datetime
    started_at: datetime | None

    def build_outcome(
        self, kind: OutcomeKind, *, at: datetime, reason: str | None = None, message: str | None = None
    ) -> CycleOutcome:
        return CycleOutcome(
            outcome=kind,
            trigger=self.trigger,
            due_at=self.due_at,
            started_at=self.started_at,
            finished_at=at,
            reason=reason,
            message=message,
        )


class CycleLoop:
    """State and ticks of the scheduler.

    One thread calls `begin` and then `tick`; another one may read `busy` and `silent_seconds`.

    Args:
        settings: Timing.
        paths: Its files.
        clock: The clocks of this machine.
        command: Returns the command of a cycle for a trigger (`first` or `schedule`).
        stop: Ends a running cycle when it is set.
        log: Log for outcomes and errors.
        record: Called with each outcome, to add it to the history unless the cycle has done so itself.
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
        record: Callable[[CycleOutcome], None] = lambda _outcome: None,
    ) -> None:
        self._settings = settings
        self._paths = paths
        self._clock = clock
        self._command = command
        self._stop = stop
        self._log = log
        self._record_outcome = record
        self._state = ScheduleState(interval_seconds=settings.interval_seconds)
        self._sleep_mark: SleepMark | None = None
        self._attempt: _CycleAttempt | None = None
        self._trigger = "first"
        self._last_beat = clock.monotonic()
        # The state of a later version is not changed; without it, only its own memory tells the next due time.
        self._may_save = True
        self.busy = False

    def silent_seconds(self) -> float:
        """Return the waking time since a tick last began or ended."""
        return self._clock.monotonic() - self._last_beat

    def begin(self) -> None:
        """Read the state of an earlier scheduler, record missed cycles, end an orphaned one, and make a cycle due."""
        self._sleep_mark = self._read_sleep_mark()
        earlier = load_schedule_state(self._paths.state)
        if isinstance(earlier, CorruptFile):
            self._log_damage(earlier)
            self._may_save = earlier.later_version is None
        elif earlier is not None:
            self._state = msgspec.structs.replace(earlier, interval_seconds=self._settings.interval_seconds)
            self._end_orphan()
            self._record_missed_while_away()
        self._save(msgspec.structs.replace(self._state, next_due=read_moment(self._clock), running=None))

    def tick(self) -> None:
        """Run the due cycle, if there is one; return when it has ended."""
        self.busy = True
        self._last_beat = self._clock.monotonic()
        try:
            self._detect_sleep()
            self._run_if_due()
            self._save(self._state)
        # The edge of the loop: a scheduler that died of one bad tick would look like one that has nothing to do. So the
        # error is logged with its traceback and recorded for the cycle it hit, and the next tick comes.
        except Exception as error:  # noqa: BLE001
            self._log.exception("tick failed")
            self._record_failed_tick(error)
        finally:
            self._last_beat = self._clock.monotonic()
            self.busy = False

    def _read_sleep_mark(self) -> SleepMark | None:
        mark = read_sleep_mark(self._paths.awake, self._clock)
        if isinstance(mark, CorruptFile):
            self._log_damage(mark)
            return None
        return mark

    def _log_damage(self, file: CorruptFile) -> None:
        moved_to = printable_path(file.moved_to) if file.moved_to else None
        facts = {"path": printable_path(file.path), "kept_as": moved_to, "reason": file.reason}
        event = "state file damaged" if file.later_version is None else "state file of a later version"
        self._log.warning(event, extra=facts)

    def _end_orphan(self) -> None:
        """End the cycle of a scheduler that died: it has no deadline any more, and it holds the cycle lock."""
        orphan = self._state.running
        if orphan is None:
            return
        message = "The scheduler that started it died."
        # After a reboot the process id belongs to another process, if to any.
        if orphan.boot_id == self._clock.boot_id():
            identity = ProcessIdentity(boot_id=orphan.boot_id, pid=orphan.pid, started_ticks=orphan.started_ticks)
            if end_stray_process(identity, grace_seconds=self._settings.stop_grace_seconds):
                message = "The scheduler that started it died, so the next scheduler ended it."
        attempt = _CycleAttempt(orphan.trigger, orphan.due_at, orphan.started_at)
        self._record(attempt.build_outcome("killed", at=self._now(), reason="scheduler-died", message=message))

    def _record_missed_while_away(self) -> None:
        due = self._state.next_due
        if due is None:
            return
        count = count_missed(due, read_moment(self._clock), interval_seconds=self._settings.interval_seconds)
        if count:
            self._record_missed(due.wall, count, reason="scheduler-away", message="No scheduler was running.")

    def _record_missed(self, due_at: datetime, count: int, *, reason: str, message: str) -> None:
        attempt = _CycleAttempt("schedule", due_at, None)
        outcome = attempt.build_outcome("missed", at=self._now(), reason=reason, message=message)
        self._record(msgspec.structs.replace(outcome, count=count))

    def _detect_sleep(self) -> None:
        last = self._sleep_mark
        mark = detect_sleep(self._clock, last)
        self._sleep_mark = mark
        # The mark contains the time of this reading, so it differs at each tick; it is written only after a sleep.
        if last is not None and (last.boot_id, last.resumed_monotonic) == (mark.boot_id, mark.resumed_monotonic):
            return
        try:
            write_sleep_mark(self._paths.awake, mark)
        except Failure as failure:
            self._log_failure(failure)

    def _run_if_due(self) -> None:
        due = self._state.next_due
        if due is None or self._stop.is_set():
            return
        state = next_due(due, read_moment(self._clock), interval_seconds=self._settings.interval_seconds)
        if state.wait_seconds <= 0:
            self._run_due(state)
        elif not is_wall_time_current(due, state):
            self._state = msgspec.structs.replace(self._state, next_due=state.at)

    def _run_due(self, due: NextDue) -> None:
        """Run one due cycle and record its outcome; the due time after it is saved before this cycle starts."""
        if due.missed:
            message = "The machine slept, or the cycle before it took too long."
            self._record_missed(due.at.wall, due.missed, reason="asleep", message=message)
        attempt = _CycleAttempt(self._trigger, due.at.wall, self._now())
        self._attempt = attempt
        self._save(msgspec.structs.replace(self._state, next_due=due.following))
        self._trigger = "schedule"
        try:
            outcome = self._run_cycle(attempt)
        except Failure as failure:
            outcome = attempt.build_outcome("failed", at=self._now(), reason="not-started", message=str(failure))
        self._attempt = None
        self._record(outcome)
        self._retry_soon(outcome)

    def _run_cycle(self, attempt: _CycleAttempt) -> CycleOutcome:
        command = self._command(attempt.trigger)
        # A cycle without a scheduler would have no deadline, and would hold the lock of the next one.
        with ChildProcess(
            command.argv, extra_environment=command.environment, folder=command.folder, dies_with_us=True
        ) as child:
            running = self._describe_running(child.pid, attempt)
            self._save(msgspec.structs.replace(self._state, running=running))
            status = child.wait(self._settings.cycle_deadline_seconds, also=[self._stop.fileno()])
            if status is None:
                # Read the event first: it may be set while the child ends after its deadline.
                is_stopped = self._stop.is_set()
                status = child.end(grace_seconds=self._settings.stop_grace_seconds)
                # A cycle that exits cleanly during the grace has done its work and counts as run.
                if status != 0:
                    return self._build_killed_outcome(attempt, status, is_stopped=is_stopped)
            return self._build_ended_outcome(attempt, status, child)

    def _describe_running(self, pid: int, attempt: _CycleAttempt) -> RunningCycle:
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

    def _build_killed_outcome(self, attempt: _CycleAttempt, status: int | None, *, is_stopped: bool) -> CycleOutcome:
        if is_stopped:
            reason = "scheduler-stopped"
            message = "The scheduler was stopped."
        else:
            reason = "deadline"
            message = f"It ran for longer than {self._settings.cycle_deadline_seconds:g} seconds."
        if status is None:
            message += " It could not be killed and still runs."
        return attempt.build_outcome("killed", at=self._now(), reason=reason, message=message)

    def _build_ended_outcome(self, attempt: _CycleAttempt, status: int, child: ChildProcess) -> CycleOutcome:
        note = parse_cycle_note(child.output_tail())
        if status == 0:
            outcome = attempt.build_outcome("ran", at=self._now())
        elif status == SKIPPED_STATUS:
            outcome = attempt.build_outcome("skipped", at=self._now(), reason=note.skipped_reason, message=note.message)
        else:
            message = note.message or _find_last_line(child.errors_tail())
            reason = "not-started" if status == NOT_STARTED_STATUS else f"status-{status}"
            outcome = attempt.build_outcome("failed", at=self._now(), reason=reason, message=message)
        return msgspec.structs.replace(outcome, cycle_id=note.id)

    def _retry_soon(self, outcome: CycleOutcome) -> None:
        """Make a cycle that was skipped for a reason that passes within minutes due again soon.

        Otherwise a laptop that is awake for an hour at a time would never run a cycle.
        """
        if outcome.reason not in TEMPORARY_SKIPS or self._state.next_due is None:
            return
        wait = max(self._settings.resume_grace_seconds, self._settings.tick_seconds)
        retry_at = add_seconds(read_moment(self._clock), wait)
        if seconds_between(retry_at, self._state.next_due) > 0:
            self._save(msgspec.structs.replace(self._state, next_due=retry_at))

    def _record_failed_tick(self, error: Exception) -> None:
        attempt = self._attempt
        self._attempt = None
        if attempt is not None:
            message = f"The scheduler failed with {type(error).__name__}."
            self._record(attempt.build_outcome("failed", at=self._now(), reason="not-started", message=message))

    def _record(self, outcome: CycleOutcome) -> None:
        facts = {
            "outcome": outcome.outcome,
            "trigger": outcome.trigger,
            "cycle_id": outcome.cycle_id,
            "reason": outcome.reason,
            "detail": outcome.message,
            "count": outcome.count,
        }
        level = _LOG_LEVELS[outcome.outcome]
        # Without a warning, a driver that never responds would skip every cycle unnoticed.
        if outcome.reason == "gpu-unknown":
            level = WARNING
        self._log.log(level, "due cycle settled", extra=facts)
        self._save(add_outcome(self._state, outcome))
        try:
            self._record_outcome(outcome)
        except Failure as failure:
            self._log.error("history not written", extra={"code": failure.code, "detail": failure.message})

    def _save(self, state: ScheduleState) -> None:
        """Set the state and write it; a state that a full disk refuses is written at a later tick."""
        self._state = state
        if not self._may_save:
            return
        try:
            save_schedule_state(self._paths.state, state)
        except Failure as failure:
            self._log_failure(failure)

    def _log_failure(self, failure: Failure) -> None:
        self._log.error("scheduler state not written", extra={"code": failure.code, "detail": failure.message})

    def _now(self) -> datetime:
        return self._clock.now().replace(microsecond=0)


def _find_last_line(errors: bytes) -> str | None:
    """Return the last line of a cycle's standard error, shortened; None when there is none."""
    text = errors.decode("utf-8", "replace").strip()
    last_line = text.rpartition("\n")[2].strip()
    return last_line[:_MAX_MESSAGE_LENGTH] or None
