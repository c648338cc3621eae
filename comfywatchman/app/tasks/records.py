"""Records of background tasks: two state files each, one written by who starts it and one by the task itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal

import msgspec

from comfywatchman.base.state.ranges import Count, Pid, check_times

SKIPPED_STATUS: Final = 75
"""Exit status of a cycle that a gate skipped (EX_TEMPFAIL of sysexits.h)."""
INTERRUPTED_STATUS: Final = 130
"""Exit status of a command that a signal stopped."""

ORDER_SUFFIX: Final = ".task.json"
PROGRESS_SUFFIX: Final = ".progress.json"
LOG_SUFFIX: Final = ".log"


class TaskKind(StrEnum):
    """The long actions that run in the background."""

    CYCLE = "cycle"
    SEARCH = "search"
    DOWNLOAD = "download"
    TRIAL = "trial"
    PROMOTION = "promotion"
    ROLLBACK = "rollback"
    UNDO = "undo"
    ABORT = "abort"
    RESOLUTION = "resolution"
    CHECK = "check"
    COMPARISON = "comparison"


class TaskState(StrEnum):
    """The state of a task."""

    RUNNING = "running"
    DONE = "done"
    SKIPPED = "skipped"
    """A gate of the cycle prevented it."""
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """It was stopped, or its process ended without a result: it was killed, or the machine was switched off."""


class TaskOrder(msgspec.Struct, frozen=True, omit_defaults=True):
    """`state/tasks/<id>.task.json`: what was ordered. Written when the task is started.

    Attributes:
        kind: Kind of the task.
        command: The command that does the same, as a person would type it.
        started_at: UTC.
        subject: What it is about, such as the name of a model or a transaction; empty when the kind says it all.
        pid: Its process; null until it was started.
        started_ticks: Start of that process in clock ticks since boot.
        boot_id: The boot it runs in.
        schema_version: 1.
    """

    kind: TaskKind
    command: str
    started_at: str
    subject: str = ""
    pid: Pid | None = None
    started_ticks: Count = 0
    boot_id: str = ""
    schema_version: Literal[1] = 1

    def __post_init__(self) -> None:
        """Check the times.

        Raises:
            ValueError: One is out of range.
        """
        check_times(self.started_at)


class TaskProgress(msgspec.Struct, frozen=True, omit_defaults=True):
    """`state/tasks/<id>.progress.json`: how far it is. Written by the task itself.

    Attributes:
        text: What it does at present, for people.
        done: Bytes or steps done so far.
        total: Bytes or steps in all; null when it is not known.
        updated_at: When this was written, UTC.
        ended_at: When it ended, UTC; null while it runs.
        exit_status: Its exit status; null while it runs.
        code: Failure code; null when it did not fail with one.
        message: Why it failed.
        hint: The next step for the person.
        schema_version: 1.
    """

    text: str = ""
    done: Count = 0
    total: Count | None = None
    updated_at: str = ""
    ended_at: str | None = None
    exit_status: int | None = None
    code: str | None = None
    message: str | None = None
    hint: str | None = None
    schema_version: Literal[1] = 1

    def __post_init__(self) -> None:
        """Check the times.

        Raises:
            ValueError: One is out of range.
        """
        check_times(self.updated_at or None, self.ended_at)


@dataclass(frozen=True, slots=True)
class TaskSnapshot:
    """A task as it is now.

    Attributes:
        id: Its id, which sorts by time.
        order: What was ordered.
        progress: How far it is.
        state: Its state.
        log: The file with its output.
    """

    id: str
    order: TaskOrder
    progress: TaskProgress
    state: TaskState
    log: Path

    @property
    def is_running(self) -> bool:
        """Whether it runs now."""
        return self.state is TaskState.RUNNING

    @property
    def percent(self) -> int | None:
        """How far it is, in percent; None when that is not known."""
        if not self.progress.total:
            return None
        return min(100, 100 * self.progress.done // self.progress.total)


def decide_state(progress: TaskProgress, *, is_alive: bool) -> TaskState:
    """Return the state of a task from its own record and from whether its process is alive."""
    if progress.exit_status is None:
        return TaskState.RUNNING if is_alive else TaskState.INTERRUPTED
    if progress.exit_status == 0:
        return TaskState.DONE
    if progress.exit_status == INTERRUPTED_STATUS:
        return TaskState.INTERRUPTED
    return TaskState.SKIPPED if progress.exit_status == SKIPPED_STATUS else TaskState.FAILED
