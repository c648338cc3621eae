"""A ComfyUI that somebody else started: it is watched like our own, and never stopped or restarted."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from comfywatchman.base.process import read_process_identity
from comfywatchman.base.stop import wait_for_any
from comfywatchman.comfyui.server.listening import LOOPBACK, find_listeners
from comfywatchman.supervisor.process.child import ProcessRecord, StopLimits, SupervisedProcess

_MAIN = "main.py"
_UNKNOWN_STATUS = 1


class ForeignProcess:
    """The process that listens on ComfyUI's port, with the interface of `SupervisedProcess`.

    Args:
        record: Its identity and command.
        log: The log to look at, which a foreign process does not have.
    """

    is_foreign = True

    def __init__(self, record: ProcessRecord, log: Path) -> None:
        self.record = record
        self.log = log
        self._pidfd = os.pidfd_open(record.guard.pid)
        self._has_ended = False

    @classmethod
    def find(cls, port: int, metadata: Path, *, environment: str, boot_id: str, now_seconds: float) -> Self | None:
        """Return the ComfyUI that listens on a port; None when there is none, or something else listens.

        Args:
            port: The port.
            metadata: The `.metadata` folder.
            environment: The environment that would be started here; what the process runs in is not known.
            boot_id: The kernel's id of this boot.
            now_seconds: The boot clock.
        """
        for listener in find_listeners(LOOPBACK, port):
            identity = read_process_identity(listener.pid, boot_id=boot_id)
            is_comfyui = any(os.path.basename(argument) == _MAIN for argument in listener.argv)
            if identity is None or not is_comfyui:
                continue
            record = ProcessRecord(
                guard=identity,
                environment=environment,
                argv=listener.argv,
                folder="",
                port=port,
                started_at=now_seconds,
            )
            try:
                process = cls(record, metadata / "foreign.log")
            except ProcessLookupError:
                continue
            # The pidfd stays with one process; its identity is compared after it was opened.
            if read_process_identity(listener.pid, boot_id=boot_id) == identity:
                return process
            process.release()
        return None

    @property
    def leader(self) -> int:
        """Its process id: a foreign process has no guard."""
        return self.record.guard.pid

    @property
    def main_pid(self) -> int | None:
        """Its process id."""
        return self.record.guard.pid

    @property
    def oom_events_at_end(self) -> Mapping[str, int] | None:
        """None: a foreign process has no guard that could read them."""
        return None

    def wait(self, timeout_seconds: float, *, also: Sequence[int] = ()) -> int | None:
        """Wait for its end, or until another descriptor is readable; its real exit status stays unknown."""
        if not self._has_ended and self._pidfd in wait_for_any([self._pidfd, *also], timeout_seconds):
            self._has_ended = True
        return _UNKNOWN_STATUS if self._has_ended else None

    def stop(self, _limits: StopLimits) -> int | None:
        """Leave it alone; return None while it runs."""
        return self.wait(0)

    def count_log_bytes(self) -> int:
        """Return 0: where its log is is not known."""
        return 0

    def release(self) -> None:
        """Close the descriptor."""
        os.close(self._pidfd)


WatchedProcess = SupervisedProcess | ForeignProcess
"""A ComfyUI that is watched: our own, or one that somebody else started."""
