"""Files in `.metadata/` that describe processes: the supervisor, its control server, and how ComfyUI was started."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec

from comfywatchman.base.clock import Clock, SystemClock
from comfywatchman.base.files import to_json, write_atomic
from comfywatchman.base.process import ProcessIdentity, read_process_identity
from comfywatchman.supervisor.metadata import (
    delete_metadata_file,
    read_metadata_bytes,
    read_metadata_file,
    read_metadata_number,
)

ORCHESTRATOR_PID: Final = ".orchestrator.pid"
HEARTBEAT: Final = ".orchestrator.heartbeat"
STARTUP_STATE: Final = ".startup_state.json"
CONTROL_PORT: Final = ".control_port"
CONTROL_TOKEN: Final = ".control_token"  # noqa: S105 - the name of a file
ORCHESTRATOR_LOG: Final = "orchestrator.log"

HEARTBEAT_LIMIT_SECONDS: Final = 30.0
"""Age above which a heartbeat is stale (comfygit's limit)."""

_MAX_PORT: Final = 65535
_PRIVATE: Final = 0o600
_START_TOLERANCE_SECONDS: Final = 2.0
"""How much later than its PID file a process may seem to have started: times of processes are in clock ticks."""
_CLOCK: Final = SystemClock()


class StartupState(msgspec.Struct, frozen=True):
    """How a ComfyUI was started, so that the supervisor starts the next one in the same way.

    Attributes:
        python_executable: Its interpreter.
        working_directory: Its working directory.
        argv: The arguments after `main.py`.
        environment_name: The managed environment; null when it was started by hand.
        workspace_root: The workspace.
        port: The port it listens on.
        timestamp: When it was recorded, in seconds since 1970.
        variables: Its environment variables, without secrets; null when they were not recorded.
    """

    python_executable: Annotated[str, msgspec.Meta(min_length=1)]
    working_directory: Annotated[str, msgspec.Meta(min_length=1)]
    argv: tuple[str, ...]
    environment_name: str | None
    workspace_root: str | None
    port: Annotated[int, msgspec.Meta(ge=1, le=_MAX_PORT)]
    timestamp: float
    variables: dict[str, str] | None = None


class Heartbeat(msgspec.Struct, frozen=True):
    """A sign of life of the supervisor.

    Attributes:
        pid: Its process id.
        timestamp: When it was written, in seconds since 1970.
        uptime: How long it has been running, in seconds.
        boot_id: The boot it runs in; null in comfygit's own.
        started_ticks: Its start in clock ticks since boot, so that a reused pid is not mistaken for it.
        monotonic: CLOCK_MONOTONIC when it was written: neither sleep nor a new wall clock makes it stale.
    """

    pid: Annotated[int, msgspec.Meta(ge=1)]
    timestamp: float
    uptime: float
    boot_id: str | None = None
    started_ticks: int | None = None
    monotonic: float | None = None


def write_orchestrator_pid(metadata: Path, *, clock: Clock = _CLOCK) -> None:
    """Record this process as the supervisor, with a first heartbeat that holds its identity.

    Raises:
        Failure: `state-unwritable`.
    """
    # The identity comes first: a PID file alone is judged by its age.
    write_heartbeat(metadata, uptime=0.0, clock=clock)
    write_atomic(metadata / ORCHESTRATOR_PID, b"%d\n" % os.getpid())


def read_orchestrator_pid(metadata: Path) -> int | None:
    """Return the recorded process id, whether or not it still is the supervisor's (`find_orchestrator`)."""
    return read_metadata_number(metadata / ORCHESTRATOR_PID) or None


def cleanup_orchestrator_pid(metadata: Path) -> None:
    """Delete the PID file and the heartbeat.

    Raises:
        Failure: `state-unwritable`.
    """
    for name in (ORCHESTRATOR_PID, HEARTBEAT):
        delete_metadata_file(metadata / name)


def find_orchestrator(metadata: Path, *, clock: Clock = _CLOCK) -> ProcessIdentity | None:
    """Return the recorded supervisor if it is running; None when another process has its pid now."""
    pid = read_orchestrator_pid(metadata)
    if pid is None:
        return None
    identity = read_process_identity(pid, boot_id=clock.boot_id())
    if identity is None or not is_running(identity):
        return None
    heartbeat = read_heartbeat(metadata)
    if heartbeat is not None and heartbeat.pid == pid and heartbeat.started_ticks is not None:
        is_same = (heartbeat.boot_id, heartbeat.started_ticks) == (identity.boot_id, identity.started_ticks)
        return identity if is_same else None
    return identity if has_started_before(pid, metadata / ORCHESTRATOR_PID) else None


def is_running(identity: ProcessIdentity) -> bool:
    """Return whether this very process runs; one that ended and was not waited for (a zombie) does not."""
    import psutil

    if read_process_identity(identity.pid, boot_id=identity.boot_id) != identity:
        return False
    try:
        status: str = psutil.Process(identity.pid).status()
    except psutil.Error:
        return False
    return status not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}


def has_started_before(pid: int, path: Path) -> bool:
    """Return whether a running process is older than a file, so that the file may name it."""
    import psutil

    try:
        process = psutil.Process(pid)
        started: float = process.create_time()
        is_zombie = process.status() == psutil.STATUS_ZOMBIE
        written = path.stat().st_mtime
    except (psutil.Error, OSError):
        return False
    return not is_zombie and started <= written + _START_TOLERANCE_SECONDS


def write_heartbeat(metadata: Path, *, uptime: float, clock: Clock = _CLOCK) -> Heartbeat:
    """Write a sign of life of this process, which is the supervisor.

    Raises:
        Failure: `state-unwritable`.
    """
    identity = read_process_identity(os.getpid(), boot_id=clock.boot_id())
    heartbeat = Heartbeat(
        pid=os.getpid(),
        timestamp=clock.now().timestamp(),
        uptime=uptime,
        boot_id=clock.boot_id(),
        started_ticks=identity.started_ticks if identity else None,
        monotonic=clock.monotonic(),
    )
    write_atomic(metadata / HEARTBEAT, to_json(heartbeat), is_lasting=False)
    return heartbeat


def read_heartbeat(metadata: Path) -> Heartbeat | None:
    """Return the last sign of life of the supervisor; None when there is none."""
    return read_metadata_file(metadata / HEARTBEAT, Heartbeat)


def is_heartbeat_fresh(
    heartbeat: Heartbeat, *, clock: Clock = _CLOCK, limit_seconds: float = HEARTBEAT_LIMIT_SECONDS
) -> bool:
    """Return whether a heartbeat is younger than the limit; one of another boot never is."""
    if heartbeat.boot_id is None or heartbeat.monotonic is None:
        return abs(clock.now().timestamp() - heartbeat.timestamp) <= limit_seconds
    if heartbeat.boot_id != clock.boot_id():
        return False
    return 0 <= clock.monotonic() - heartbeat.monotonic <= limit_seconds


def write_startup_state(
    metadata: Path,
    *,
    python_executable: str,
    working_directory: str,
    argv: Sequence[str],
    environment_name: str | None,
    workspace_root: str | None,
    port: int,
    variables: Mapping[str, str] | None = None,
    clock: Clock = _CLOCK,
) -> StartupState:
    """Record how ComfyUI was started; the attributes of `StartupState` describe the arguments.

    Raises:
        Failure: `state-unwritable`.
    """
    state = StartupState(
        python_executable=python_executable,
        working_directory=working_directory,
        argv=tuple(argv),
        environment_name=environment_name,
        workspace_root=workspace_root,
        port=port,
        timestamp=clock.now().timestamp(),
        variables=None if variables is None else dict(variables),
    )
    # Arguments and variables of a person's own may hold a key.
    write_atomic(metadata / STARTUP_STATE, to_json(state), mode=_PRIVATE)
    return state


def read_startup_state(metadata: Path) -> StartupState | None:
    """Return how ComfyUI was started; None when that is not known."""
    return read_metadata_file(metadata / STARTUP_STATE, StartupState)


def write_control_port(metadata: Path, port: int) -> None:
    """Publish the port of the control server.

    Raises:
        Failure: `state-unwritable`.
    """
    write_atomic(metadata / CONTROL_PORT, b"%d\n" % port, is_lasting=False)


def read_control_port(metadata: Path) -> int | None:
    """Return the port of the control server; None when none was published."""
    port = read_metadata_number(metadata / CONTROL_PORT)
    return port if port is not None and 1 <= port <= _MAX_PORT else None


def write_control_token(metadata: Path, token: str) -> None:
    """Store the token that requests to the control server must carry, readable by its owner only.

    Raises:
        Failure: `state-unwritable`.
    """
    write_atomic(metadata / CONTROL_TOKEN, token.encode("ascii") + b"\n", mode=_PRIVATE, is_lasting=False)


def read_control_token(metadata: Path) -> str | None:
    """Return the token for requests to the control server; None when there is none."""
    content = read_metadata_bytes(metadata / CONTROL_TOKEN)
    if content is None or not re.fullmatch(rb"[A-Za-z0-9_-]{16,256}\s*", content):
        return None
    return content.decode("ascii").strip()


def cleanup_control_files(metadata: Path) -> None:
    """Delete port and token of a control server that has ended.

    Raises:
        Failure: `state-unwritable`.
    """
    for name in (CONTROL_PORT, CONTROL_TOKEN):
        delete_metadata_file(metadata / name)
