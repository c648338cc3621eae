"""What the scheduler remembers: `state/scheduler.json`, written by the scheduler alone."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

from comfywatchman.base.files import CorruptFile, read_state, set_aside, to_json, write_if_changed
from comfywatchman.readiness.scheduler.due import Moment

SCHEMA_VERSION: Final = 1
OUTCOMES_KEPT: Final = 50

OutcomeKind = Literal["ran", "failed", "skipped", "killed", "missed"]


class CycleNote(msgspec.Struct, frozen=True):
    """What a cycle started by the scheduler says of itself: the last line of its standard output, as JSON.

    Attributes:
        id: Id of the cycle; null when it did not come so far.
        skipped_reason: Code of the gate that turned it away; null when none did.
        message: The gate's or the failure's text.
    """

    id: str | None = None
    skipped_reason: str | None = None
    message: str | None = None


class CycleOutcome(msgspec.Struct, frozen=True):
    """How one due cycle ended.

    Attributes:
        outcome: `ran`; `failed` (it ended with an error or could not be started); `skipped` (a gate turned it away);
            `killed` (it overran its deadline, or the scheduler stopped); `missed` (nobody was there to start it, or
            the machine slept; it is made up for by the next one).
        trigger: `first` at the start of a scheduler, `schedule` after that.
        due_at: When it was due, UTC; of missed ones, the first.
        started_at: When it started, UTC; null when it did not.
        finished_at: When this was recorded, UTC.
        cycle_id: The id that it carries in the history; null when it did not tell.
        reason: A code: of the gate, `deadline`, `scheduler-stopped`, `scheduler-died`, `status-N`, `not-started`,
            `scheduler-away` or `asleep`; null when it ran.
        message: The reason in words.
        count: How many due times this stands for; more than one only when they were missed.
    """

    outcome: OutcomeKind
    trigger: str
    due_at: datetime
    started_at: datetime | None
    finished_at: datetime
    cycle_id: str | None = None
    reason: str | None = None
    message: str | None = None
    count: int = 1


class RunningCycle(msgspec.Struct, frozen=True):
    """The cycle that runs now.

    Attributes:
        pid: Its process.
        started_ticks: The start of that process in clock ticks since boot, so that no other is mistaken for it.
        boot_id: The boot it runs in.
        trigger: Why it was started.
        due_at: When it was due, UTC.
        started_at: When it was started, UTC.
    """

    pid: int
    started_ticks: int
    boot_id: str
    trigger: str
    due_at: datetime
    started_at: datetime


class ScheduleState(msgspec.Struct, frozen=True):
    """All that the scheduler remembers.

    Attributes:
        interval_seconds: Seconds from one due time to the next.
        next_due: When the next cycle is due; null before the first start.
        running: The cycle that runs now; null between cycles.
        last_outcomes: The latest outcomes, oldest first, at most 50.
        schema_version: Version of this shape.
    """

    interval_seconds: float
    next_due: Moment | None = None
    running: RunningCycle | None = None
    last_outcomes: tuple[CycleOutcome, ...] = ()
    schema_version: int = SCHEMA_VERSION


def load_schedule_state(path: Path) -> ScheduleState | CorruptFile | None:
    """Read the state; a damaged file, or one of a later version, is set aside and named."""
    state = read_state(path, ScheduleState)
    if isinstance(state, ScheduleState) and state.schema_version != SCHEMA_VERSION:
        reason = f"schema_version is {state.schema_version}, not {SCHEMA_VERSION}"
        return CorruptFile(path=path, moved_to=set_aside(path), reason=reason)
    return state


def save_schedule_state(path: Path, state: ScheduleState) -> None:
    """Write the state atomically, if it changed.

    Raises:
        Failure: `state-unwritable`.
    """
    write_if_changed(path, to_json(state))


def add_outcome(state: ScheduleState, outcome: CycleOutcome) -> ScheduleState:
    """Return the state with one more outcome, the oldest dropped where there are too many, and nothing running."""
    kept = (*state.last_outcomes, outcome)[-OUTCOMES_KEPT:]
    return msgspec.structs.replace(state, last_outcomes=kept, running=None)


def parse_cycle_note(output: bytes) -> CycleNote:
    """Read what a cycle said of itself; an empty note when its last line is none."""
    lines = output.strip().splitlines()
    try:
        return msgspec.json.decode(lines[-1], type=CycleNote)
    except (IndexError, msgspec.DecodeError):
        return CycleNote()
