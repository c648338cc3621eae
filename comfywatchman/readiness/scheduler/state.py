"""The scheduler's state file `state/scheduler.json`, written only by the scheduler."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import msgspec

from comfywatchman.base.json_values import decode_json
from comfywatchman.base.state.ranges import Count, Pid, Seconds, UtcTime
from comfywatchman.base.state.state_file import CorruptFile, read_state, write_state
from comfywatchman.readiness.scheduler.due import Moment

SCHEMA_VERSION: Final = 1
MAX_OUTCOMES: Final = 50

OutcomeKind = Literal["ran", "failed", "skipped", "killed", "missed"]


class CycleNote(msgspec.Struct, frozen=True):
    """Result that a cycle prints for the scheduler: the last line of its standard output, as JSON.

    Attributes:
        id: Id of the cycle; null when it ended before it had one.
        skipped_reason: Code of the gate that skipped it; null when it was not skipped.
        message: Text of the gate or the failure.
    """

    id: str | None = None
    skipped_reason: str | None = None
    message: str | None = None


class CycleOutcome(msgspec.Struct, frozen=True):
    """How one due cycle ended.

    Attributes:
        outcome: `ran`; `failed` (it ended with an error or could not be started); `skipped` (by a gate); `killed` (it
            exceeded its deadline, or the scheduler stopped); `missed` (no scheduler was running, or the machine
            slept; the next cycle makes up for it).
        trigger: `first` at the start of a scheduler, `schedule` after that.
        due_at: When it was due, UTC; the first due time when several were missed.
        started_at: When it started, UTC; null when it did not start.
        finished_at: When the outcome was recorded, UTC.
        cycle_id: Its id in the history; null when it did not report one.
        reason: Code of the gate, `deadline`, `scheduler-stopped`, `scheduler-died`, `status-N`, `not-started`,
            `scheduler-away` or `asleep`; null when it ran.
        message: Description of the reason.
        count: Number of due times of this outcome; more than one only when they were missed.
    """

    outcome: OutcomeKind
    trigger: str
    due_at: UtcTime
    started_at: UtcTime | None
    finished_at: UtcTime
    cycle_id: str | None = None
    reason: str | None = None
    message: str | None = None
    count: Count = 1


class RunningCycle(msgspec.Struct, frozen=True):
    """The running cycle.

    Attributes:
        pid: Its process id.
        started_ticks: Start of that process in clock ticks since boot; differs for a later process with the same id.
        boot_id: The boot it runs in.
        trigger: Why it was started.
        due_at: When it was due, UTC.
        started_at: When it was started, UTC.
    """

    pid: Pid
    started_ticks: Count
    boot_id: str
    trigger: str
    due_at: UtcTime
    started_at: UtcTime


class ScheduleState(msgspec.Struct, frozen=True):
    """Content of the state file.

    Attributes:
        interval_seconds: Seconds from one due time to the next.
        next_due: When the next cycle is due; null before the first start.
        running: The running cycle; null between cycles.
        last_outcomes: The latest outcomes, oldest first, at most 50.
        schema_version: Version of this schema.
    """

    interval_seconds: Seconds
    next_due: Moment | None = None
    running: RunningCycle | None = None
    last_outcomes: tuple[CycleOutcome, ...] = ()
    schema_version: Literal[1] = SCHEMA_VERSION


def load_schedule_state(path: Path) -> ScheduleState | CorruptFile | None:
    """Read the state; a damaged file is set aside and returned as `CorruptFile`, as is one of a later version."""
    return read_state(path, ScheduleState)


def save_schedule_state(path: Path, state: ScheduleState) -> None:
    """Write the state atomically if it changed.

    Raises:
        Failure: `state-newer`, `state-unwritable`.
    """
    write_state(path, state)


def add_outcome(state: ScheduleState, outcome: CycleOutcome) -> ScheduleState:
    """Return the state with one more outcome and no running cycle; only the latest outcomes are kept."""
    outcomes = (*state.last_outcomes, outcome)[-MAX_OUTCOMES:]
    return msgspec.structs.replace(state, last_outcomes=outcomes, running=None)


def parse_cycle_note(output: bytes) -> CycleNote:
    """Parse the note in the last line of a cycle's output; an empty note when that line is not one."""
    # A cycle that crashed or was killed may have printed anything, or nothing.
    lines = output.strip().splitlines()
    if not lines:
        return CycleNote()
    try:
        return decode_json(lines[-1], CycleNote)
    except msgspec.DecodeError:
        return CycleNote()
