"""End stray processes: those that a finished command left running in a session of their own."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

from comfywatchman.base.process import end_stray_process, read_process_identity

if TYPE_CHECKING:
    import psutil

TRIAL_VARIABLE: Final = "GOV_TRIAL"
"""The environment variable that marks a command and everything that it starts."""


def create_mark() -> str:
    """Return a unique value for the variable."""
    return secrets.token_hex(16)


def end_marked_processes(mark: str) -> int:
    """End every process that inherited a mark, and return their number."""
    import psutil

    ended = 0
    for process in psutil.process_iter():
        # Read first, so that another process that gets the id in the meantime is not taken for this one.
        identity = read_process_identity(process.pid, boot_id="")
        if identity is not None and _has_mark(process, mark):
            ended += end_stray_process(identity, grace_seconds=0.0)
    return ended


def end_lock_holders(lock_file: Path) -> int:
    """End every other process that inherited our held lock, and return their number.

    Builds of packages inherit it from uv; one that stays behind would keep the root locked forever.
    """
    import psutil

    ended, path = 0, os.path.realpath(lock_file)
    for process in psutil.process_iter():
        identity = read_process_identity(process.pid, boot_id="")
        if identity is not None and process.pid != os.getpid() and _holds_lock(process, path):
            ended += end_stray_process(identity, grace_seconds=0.0)
    return ended


def _has_mark(process: psutil.Process, mark: str) -> bool:
    import psutil

    try:
        return process.environ().get(TRIAL_VARIABLE) == mark
    except psutil.Error:
        return False


def _holds_lock(process: psutil.Process, path: str) -> bool:
    import psutil

    try:
        descriptors = [file.fd for file in process.open_files() if file.path == path]
    except (psutil.Error, OSError):
        return False
    # A process that only waits for the lock has the file open as well; the kernel lists the lock itself in fdinfo
    # (proc_pid_fdinfo(5), `lock`), which psutil does not read.
    return any("FLOCK" in _read_descriptor_info(process.pid, descriptor) for descriptor in descriptors)


def _read_descriptor_info(pid: int, descriptor: int) -> str:
    try:
        return Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text("ascii", "replace")
    except OSError:
        return ""
