"""The mark of a running cycle (`state/running_cycle.json`): a cycle that is killed leaves it behind."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Literal

import msgspec

from comfywatchman.base.clock import Clock
from comfywatchman.base.errors import Failure
from comfywatchman.base.process import read_process_identity
from comfywatchman.base.state.ranges import Count, Pid, check_times
from comfywatchman.base.state.state_file import read_state, write_state
from comfywatchman.readiness.history import CycleRecord


class RunningMark(msgspec.Struct, frozen=True):
    """One running cycle.

    Attributes:
        id: Its id.
        trigger: Why it was started.
        started_at: UTC.
        pid: Its process.
        started_ticks: Start of that process in clock ticks since boot.
        boot_id: The boot it runs in.
        comfyui: Id of the ComfyUI that is checked.
        comfyui_root: Its folder.
        schema_version: 1.
    """

    id: str
    trigger: str
    started_at: str
    pid: Pid
    started_ticks: Count
    boot_id: str
    comfyui: str
    comfyui_root: str
    schema_version: Literal[1] = 1

    def __post_init__(self) -> None:
        """Check the times.

        Raises:
            ValueError: One is out of range.
        """
        check_times(self.started_at)


def write_mark(path: Path, record: CycleRecord, clock: Clock) -> None:
    """Mark the cycle of this process as running; a mark that cannot be written costs only its own purpose."""
    boot_id = clock.boot_id()
    identity = read_process_identity(os.getpid(), boot_id=boot_id)
    mark = RunningMark(
        id=record.id,
        trigger=record.trigger,
        started_at=record.started_at,
        pid=os.getpid(),
        started_ticks=identity.started_ticks if identity else 0,
        boot_id=boot_id,
        comfyui=record.comfyui or "",
        comfyui_root=record.comfyui_root or "",
    )
    with contextlib.suppress(Failure):
        write_state(path, mark, is_lasting=False)


def remove_mark(path: Path) -> None:
    """Remove the mark of a cycle whose record is in the history."""
    with contextlib.suppress(OSError):
        path.unlink()


def read_killed_cycle(path: Path, clock: Clock) -> CycleRecord | None:
    """Return the record of a cycle that left its mark and whose process has ended; None when there is none."""
    mark = read_state(path, RunningMark, only_look=True)
    if not isinstance(mark, RunningMark):
        return None
    identity = read_process_identity(mark.pid, boot_id=mark.boot_id)
    is_running = identity is not None and identity.started_ticks == mark.started_ticks
    if is_running and mark.boot_id == clock.boot_id():
        return None
    return CycleRecord(
        id=mark.id,
        trigger=mark.trigger,
        started_at=mark.started_at,
        duration_seconds=0.0,
        success=False,
        message=f"Process {mark.pid} ended without a result: it was killed, or the machine stopped.",
        comfyui=mark.comfyui or None,
        comfyui_root=mark.comfyui_root or None,
        outcome="killed",
    )
