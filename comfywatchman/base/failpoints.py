"""Named places where tests may stop, delay or break the program.

A failpoint does nothing unless `COMFYWATCHMAN_FAILPOINTS` names it, for example
`report.before_rename=kill,intake.after_append=raise:ENOSPC,cycle.scan=sleep:2`.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from functools import cache
from typing import Final

VARIABLE: Final = "COMFYWATCHMAN_FAILPOINTS"

NAMES: Final[frozenset[str]] = frozenset(
    {
        "files.before_rename",
        "files.after_rename",
        "files.after_append",
        "cycle.after_gates",
        "cycle.after_inventory",
        "cycle.after_nodes",
        "cycle.after_workflows",
        "cycle.after_intake",
        "cycle.after_report",
        "cycle.after_history",
        "download.before_publish",
        "download.after_publish",
        "download.write",
        "index.before_commit",
        "index.after_commit",
    }
)
"""Every failpoint; a test walks this set and hits each one."""


@cache
def _armed() -> dict[str, str]:
    text = os.environ.get(VARIABLE, "")
    armed = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
    unknown = armed.keys() - NAMES
    if unknown:
        raise ValueError(f"{VARIABLE} names unknown failpoints: {', '.join(sorted(unknown))}")
    return armed


def failpoint(name: str) -> None:
    """Act as `COMFYWATCHMAN_FAILPOINTS` says for this name: `kill`, `raise:ERRNO` or `sleep:SECONDS`.

    Raises:
        OSError: The armed error (`raise:ENOSPC`).
    """
    action = _armed().get(name) if _armed() else None
    if action is None:
        return
    verb, _, argument = action.partition(":")
    if verb == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif verb == "sleep":
        time.sleep(float(argument))
    elif verb == "raise":
        number = getattr(errno, argument)
        raise OSError(number, os.strerror(number), name)
