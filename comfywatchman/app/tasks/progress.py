"""Progress of a background task, written by its command: how far it is, and how it ended."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.app.tasks.records import TaskProgress
from comfywatchman.base.clock import Clock, SystemClock, format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.state.state_file import write_state

_PAUSE_SECONDS: Final = 0.5
"""Bytes are counted many times per second; a page asks every two seconds."""


@dataclass
class TaskReporter:
    """Writes the progress of the command that runs in this process; several threads may call it.

    A record that cannot be written is left out: the command itself goes on.

    Attributes:
        path: The file of the progress.
        clock: The clock.
    """

    path: Path
    clock: Clock = field(default_factory=SystemClock)
    _progress: TaskProgress = field(default_factory=TaskProgress)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _written_at: float | None = None

    def show(self, text: str) -> None:
        """Record what the command does now; its numbers begin anew."""
        with self._lock:
            self._write(TaskProgress(text=text))

    def count(self, text: str, done: int, total: int | None) -> None:
        """Record how far it is, at most twice per second."""
        with self._lock:
            now = self.clock.monotonic()
            if self._written_at is not None and now - self._written_at < _PAUSE_SECONDS:
                return
            self._write(TaskProgress(text=text, done=done, total=total))

    def fail(self, code: str, message: str, hint: str | None = None) -> None:
        """Record why the command fails."""
        with self._lock:
            self._write(msgspec.structs.replace(self._progress, code=code, message=message, hint=hint))

    def end(self, exit_status: int) -> None:
        """Record that the command has ended."""
        with self._lock:
            ended_at = format_utc(self.clock.now())
            self._write(msgspec.structs.replace(self._progress, ended_at=ended_at, exit_status=exit_status))

    def _write(self, progress: TaskProgress) -> None:
        self._written_at = self.clock.monotonic()
        self._progress = msgspec.structs.replace(progress, updated_at=format_utc(self.clock.now()))
        with contextlib.suppress(Failure):
            write_state(self.path, self._progress, is_lasting=False)
