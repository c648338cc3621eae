"""A query of the NVIDIA driver that cannot be killed is remembered, so that no second one joins it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Literal

import msgspec

from comfywatchman.base.clock import Clock
from comfywatchman.base.errors import Failure
from comfywatchman.base.process import read_process_identity
from comfywatchman.base.state.ranges import Count, Pid
from comfywatchman.base.state.state_file import read_state, write_state


class HungProbe(msgspec.Struct, frozen=True):
    """A query that did not end (`state/hung_gpu_probe.json`): its process, the boot it runs in, and its start."""

    pid: Pid
    started_ticks: Count
    boot_id: str
    schema_version: Literal[1] = 1


def find_hung_probe(path: Path, clock: Clock) -> int | None:
    """Return the process of a query that still hangs in the driver; None when there is none."""
    probe = read_state(path, HungProbe, only_look=True)
    if not isinstance(probe, HungProbe) or probe.boot_id != clock.boot_id():
        return None
    identity = read_process_identity(probe.pid, boot_id=probe.boot_id)
    if identity is None or identity.started_ticks != probe.started_ticks:
        return None
    return probe.pid


def remember_hung_probe(path: Path, pid: int, clock: Clock) -> None:
    """Remember a query that survived SIGKILL; where that cannot be written, the next cycle starts another one."""
    identity = read_process_identity(pid, boot_id=clock.boot_id())
    if identity is None:
        return
    with contextlib.suppress(Failure):
        write_state(path, HungProbe(pid, identity.started_ticks, identity.boot_id), is_lasting=False)
