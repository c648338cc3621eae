"""Processes that a command left behind although its group has ended: those that took a session of their own."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from comfywatchman.base.process import end_stray_process, read_process_identity
from comfywatchman.comfyui.server.listening import PROC, list_pids

TRIAL_VARIABLE: Final = "GOV_TRIAL"


def create_mark() -> str:
    """Return a value of the variable that no other trial has."""
    return secrets.token_hex(16)


def end_marked_processes(mark: str, proc: Path = PROC) -> int:
    """End every process that inherited this mark, and return how many there were."""
    wanted = f"{TRIAL_VARIABLE}={mark}".encode()
    ended = 0
    for pid in list_pids(proc):
        who = read_process_identity(pid, boot_id="")
        if who is not None and wanted in _read_environment(proc / str(pid)):
            ended += end_stray_process(who, grace_seconds=0.0)
    return ended


def end_lock_holders(lock_file: Path, proc: Path = PROC) -> int:
    """End every other process that got the held lock from us, and return how many there were.

    Builds of packages inherit it from uv; one that they leave running would keep the root locked for good. Who only
    waits for the lock has the same file open, but not the lock itself (proc_pid_fdinfo(5), `lock`).
    """
    ended, place = 0, os.path.realpath(lock_file)
    for pid in list_pids(proc):
        who = read_process_identity(pid, boot_id="")
        if who is not None and pid != os.getpid() and _holds_lock(proc / str(pid), place):
            ended += end_stray_process(who, grace_seconds=0.0)
    return ended


def _holds_lock(folder: Path, lock_file: str) -> bool:
    try:
        names = [name for name in os.listdir(folder / "fd") if os.readlink(folder / "fd" / name) == lock_file]
        return any("FLOCK" in (folder / "fdinfo" / name).read_text("ascii", "replace") for name in names)
    except OSError:
        return False


def _read_environment(folder: Path) -> list[bytes]:
    try:
        return (folder / "environ").read_bytes().split(b"\0")
    except OSError:
        return []
