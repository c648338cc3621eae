"""Processes that a trial left behind although its group has ended: those that took a session of their own."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from comfywatchman.base.process import end_stranger, identity_of
from comfywatchman.governance.listening import PROC, all_pids

VARIABLE: Final = "GOV_TRIAL"


def new_mark() -> str:
    """Return a value of the variable that no other trial has."""
    return secrets.token_hex(16)


def end_marked(mark: str, proc: Path = PROC) -> int:
    """End every process that inherited this mark, and return how many there were."""
    wanted = f"{VARIABLE}={mark}".encode()
    ended = 0
    for pid in all_pids(proc):
        who = identity_of(pid, boot_id="")
        if who is not None and wanted in _environment(proc / str(pid)):
            ended += end_stranger(who, grace_seconds=0.0)
    return ended


def _environment(folder: Path) -> list[bytes]:
    try:
        return (folder / "environ").read_bytes().split(b"\0")
    except OSError:
        return []
