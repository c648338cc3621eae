"""The process at ComfyUI's port. A foreign one is named and never stopped, and no other port is taken instead."""

from __future__ import annotations

import shlex
import socket
import time
from collections.abc import Iterable
from typing import Final

from comfywatchman.base.clock import Clock
from comfywatchman.base.errors import Failure
from comfywatchman.base.http import is_listening
from comfywatchman.base.stop import StopEvent
from comfywatchman.comfyui.server.listening import LOOPBACK, ServerProcess, find_listeners
from comfywatchman.supervisor.health_policy import PortState
from comfywatchman.supervisor.process.guard import list_descendants

_MAX_COMMAND: Final = 120
_PAUSE_SECONDS: Final = 0.1


def check_port_is_free(port: int, clock: Clock, *, patience_seconds: float = 2.0) -> None:
    """Raise when another process listens on a port, after a short wait for the end of our own earlier process.

    Raises:
        Failure: `supervisor-port-taken`, naming the process.
    """
    deadline = time.monotonic() + patience_seconds
    while not can_bind(port):
        if time.monotonic() >= deadline:
            raise build_port_failure(port, find_listeners(LOOPBACK, port), clock)
        time.sleep(_PAUSE_SECONDS)


def can_bind(port: int) -> bool:
    """Return whether a server could listen on a port of 127.0.0.1 now."""
    with socket.socket() as probe:
        # As servers do: connections of an earlier one that linger in TIME_WAIT are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def wait_for_free_port(port: int, stop: StopEvent, *, limit_seconds: float) -> None:
    """Wait until a server could listen on a port, the limit, or the stop event."""
    deadline = time.monotonic() + limit_seconds
    while not can_bind(port) and time.monotonic() < deadline:
        if stop.wait(_PAUSE_SECONDS):
            return


def can_connect(port: int) -> bool:
    """Return whether a port of 127.0.0.1 accepts connections; False as well when that takes long."""
    return is_listening(LOOPBACK, port, timeout_seconds=1.0)


def find_port_state(port: int, leader: int) -> PortState:
    """Return whether a process of a tree listens on a port, another one, or none.

    It looks at the sockets instead of connecting: a busy server may not accept for minutes.

    Args:
        port: The port.
        leader: The guard of ComfyUI, or ComfyUI itself when somebody else started it.
    """
    listeners = {process.pid for process in find_listeners(LOOPBACK, port)}
    if not listeners:
        return PortState.NOBODY
    family = {leader, *(pid for pid, _started_ticks in list_descendants(leader))}
    return PortState.OURS if listeners & family else PortState.FOREIGN


def build_port_failure(port: int, holders: Iterable[ServerProcess], clock: Clock) -> Failure:
    """Return the failure for a port in use, with process, command and age of its holder as far as they can be seen."""
    described = [_describe(holder, clock) for holder in holders]
    who = ", ".join(described) or "a process that cannot be seen (of another user, or in a container)"
    return Failure(
        "supervisor-port-taken",
        f"Port {port} is in use by {who}.",
        hint="Stop it, or set another [supervisor] port; it is not stopped for you.",
    )


def _describe(holder: ServerProcess, clock: Clock) -> str:
    import psutil

    command = shlex.join(holder.argv)
    if len(command) > _MAX_COMMAND:
        command = f"{command[:_MAX_COMMAND]}…"
    try:
        age_seconds = clock.now().timestamp() - psutil.Process(holder.pid).create_time()
    except psutil.Error:
        return f"process {holder.pid} ({command})"
    return f"process {holder.pid} ({command}; running for {_format_age(age_seconds)})"


def _format_age(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} seconds"
