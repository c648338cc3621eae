"""Named points in the code where tests can kill, delay or fail the program.

A failpoint does nothing unless `COMFYWATCHMAN_FAILPOINTS` names it, for example
`files.before_rename=kill,files.after_append=raise:ENOSPC,cycle.after_gates=sleep:2`. A number after the name selects
one hit: `files.before_rename#3=kill` lets two renames happen and kills at the third.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections import Counter
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
        "gov.before_journal",
        "gov.after_journal",
        "gov.after_truth",
        "gov.after_flip",
        "gov.after_records",
        "gov.after_snapshot",
        "gov.after_unlink",
        "gov.snapshot_before_rename",
        "gov.snapshot_before_index",
        "gov.prune_after_index",
        "gov.prune_after_unmark",
        "gov.build_after_sync",
        "gov.build_before_mark",
        "jobs.after_output_written",
        "jobs.after_published",
        "jobs.before_complete",
        "jobs.after_complete",
        "jobs.before_yaml_move",
        "jobs.after_yaml_move",
    }
)
"""Every failpoint. A test goes through this set and hits each one."""

_hit_counts: Counter[str] = Counter()


@cache
def _parse_actions() -> dict[str, tuple[int, str]]:
    """Return the hit to act at (0: every hit) and the action of each armed failpoint."""
    armed: dict[str, tuple[int, str]] = {}
    for part in os.environ.get(VARIABLE, "").split(","):
        name_and_hit, separator, action = part.partition("=")
        if separator:
            name, _, hit = name_and_hit.partition("#")
            armed[name] = (int(hit or 0), action)
    unknown = armed.keys() - NAMES
    if unknown:
        raise ValueError(f"{VARIABLE} names unknown failpoints: {', '.join(sorted(unknown))}")
    return armed


def failpoint(name: str) -> None:
    """Run the action armed for a name, if any: `kill`, `raise:ERRNO` or `sleep:SECONDS`.

    Raises:
        OSError: The armed error (`raise:ENOSPC`).
    """
    if name not in _parse_actions():
        return
    armed_hit, action = _parse_actions()[name]
    _hit_counts[name] += 1
    if armed_hit not in {0, _hit_counts[name]}:
        return
    verb, _, argument = action.partition(":")
    if verb == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif verb == "sleep":
        time.sleep(float(argument))
    elif verb == "raise":
        number = getattr(errno, argument)
        raise OSError(number, os.strerror(number), name)
