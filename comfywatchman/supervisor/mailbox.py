"""The messages in `.metadata/` between ComfyUI, the supervisor and commands: switch request and status, commands.

`process_files` has the files that describe processes. Names and fields are those of comfygit, with further fields of
ours.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import msgspec

from comfywatchman.base.clock import Clock, SystemClock
from comfywatchman.base.files import delete_temporary_files, to_json, write_atomic
from comfywatchman.supervisor.metadata import delete_metadata_file, read_metadata_file

SWITCH_REQUEST: Final = ".switch_request.json"
SWITCH_STATUS: Final = ".switch_status.json"
COMMAND: Final = ".cmd"

_TAKEN: Final = re.compile(r"^\.cmd\.(?:taken|tmp)\.(\d+)$")
"""A command that is being read, and comfygit's name for one that is being written; the number is a process id."""

_CLOCK: Final = SystemClock()
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]


class SwitchState(StrEnum):
    """The states of a switch to another environment."""

    IDLE = "idle"
    PREPARING = "preparing"
    SYNCING = "syncing"
    STARTING = "starting"
    VALIDATING = "validating"
    COMPLETE = "complete"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    RECOVERING = "recovering"
    FAILED = "failed"
    ABORTED = "aborted"
    CRITICAL_FAILURE = "critical_failure"
    UNKNOWN = "unknown"


FINAL_SWITCH_STATES: Final = frozenset(
    {
        SwitchState.COMPLETE,
        SwitchState.ROLLED_BACK,
        SwitchState.FAILED,
        SwitchState.ABORTED,
        SwitchState.CRITICAL_FAILURE,
    }
)
"""The states in which a switch has ended."""


_STATE_NAMES: Final = frozenset(state.value for state in SwitchState)


class CommandName(StrEnum):
    """The commands that the command file may hold."""

    RESTART = "restart"
    SHUTDOWN = "shutdown"
    ABORT_SWITCH = "abort_switch"
    SWITCH = "switch"


class PromptPolicy(StrEnum):
    """What a command that ends ComfyUI does about prompts that run or wait, whoever sent them."""

    REFUSE = "refuse"
    """The command is refused."""
    WAIT = "wait"
    """It is carried out when there are none any more."""
    END = "end"
    """They are lost."""


class SwitchRequest(msgspec.Struct, frozen=True):
    """The environment that ComfyUI asks for when it exits with status 43.

    Attributes:
        target_env: The environment to switch to.
        timestamp: When it was asked for, in seconds since 1970.
        source_env: The environment that ran then; null when it is not a managed one.
    """

    target_env: Name
    timestamp: float
    source_env: str | None = None


class SwitchStatus(msgspec.Struct, frozen=True):
    """The progress of a switch, for pages and programs that poll it.

    Attributes:
        state: Its state; one that this version does not know reads as `unknown`.
        progress: Percent.
        message: The state in words.
        updated_at: When it was written, in seconds since 1970.
        target_env: The environment that is switched to.
        source_env: The environment that ran before.
        error: Why it failed.
        elapsed_seconds: How long the present state has taken so far.
        attempt: The number of the present health check.
        started_at: When the switch began, in seconds since 1970.
    """

    state: SwitchState
    progress: Percent
    message: str
    updated_at: float
    target_env: str | None = None
    source_env: str | None = None
    error: str | None = None
    elapsed_seconds: float | None = None
    attempt: int | None = None
    started_at: float | None = None


class SupervisorCommand(msgspec.Struct, frozen=True):
    """A command for the supervisor.

    Attributes:
        command: Its name.
        timestamp: When it was written, in seconds since 1970.
        reason: Why, for people.
        pid: The process that wrote it.
        target_env: The environment of `switch`.
        prompts: What happens to prompts that run or wait.
    """

    command: CommandName
    timestamp: float
    reason: str = ""
    pid: int | None = None
    target_env: Name | None = None
    prompts: PromptPolicy = PromptPolicy.REFUSE


def write_switch_request(
    metadata: Path, target_env: str, *, source_env: str | None = None, clock: Clock = _CLOCK
) -> SwitchRequest:
    """Ask for a switch; ComfyUI writes this before it exits with status 43, and before a supervisor is started.

    Raises:
        Failure: `state-unwritable`.
    """
    request = SwitchRequest(target_env, _timestamp(clock), source_env)
    write_atomic(metadata / SWITCH_REQUEST, to_json(request))
    return request


def read_switch_request(metadata: Path) -> SwitchRequest | None:
    """Return the requested switch; None without a valid request."""
    return read_metadata_file(metadata / SWITCH_REQUEST, SwitchRequest)


def cleanup_switch_request(metadata: Path) -> None:
    """Delete the request, once its switch has begun or it was refused.

    Raises:
        Failure: `state-unwritable`.
    """
    delete_metadata_file(metadata / SWITCH_REQUEST)


def write_switch_status(
    metadata: Path,
    state: SwitchState,
    progress: int,
    message: str,
    *,
    target_env: str | None = None,
    source_env: str | None = None,
    error: str | None = None,
    elapsed_seconds: float | None = None,
    attempt: int | None = None,
    started_at: float | None = None,
    clock: Clock = _CLOCK,
) -> SwitchStatus:
    """Write the progress of a switch; the attributes of `SwitchStatus` describe the arguments.

    Raises:
        Failure: `state-unwritable`.
    """
    status = SwitchStatus(
        state=state,
        progress=progress,
        message=message,
        updated_at=_timestamp(clock),
        target_env=target_env,
        source_env=source_env,
        error=error,
        elapsed_seconds=elapsed_seconds,
        attempt=attempt,
        started_at=started_at,
    )
    # Progress is written every second or so: only how the switch ended must survive a power cut.
    write_atomic(metadata / SWITCH_STATUS, to_json(status), is_lasting=state in FINAL_SWITCH_STATES)
    return status


def read_switch_status(metadata: Path) -> SwitchStatus | None:
    """Return the progress of the present or last switch; None when there is none."""
    content = read_metadata_file(metadata / SWITCH_STATUS, dict[str, object])
    if content is None:
        return None
    state = content.get("state")
    if isinstance(state, str) and state not in _STATE_NAMES:
        content["state"] = SwitchState.UNKNOWN.value
    with contextlib.suppress(msgspec.ValidationError):
        return msgspec.convert(content, SwitchStatus)
    return None


def cleanup_switch_status(metadata: Path) -> None:
    """Delete the progress of the last switch.

    Raises:
        Failure: `state-unwritable`.
    """
    delete_metadata_file(metadata / SWITCH_STATUS)


def write_command(
    metadata: Path,
    command: CommandName,
    *,
    reason: str = "",
    target_env: str | None = None,
    prompts: PromptPolicy = PromptPolicy.REFUSE,
    clock: Clock = _CLOCK,
) -> SupervisorCommand:
    """Write a command for the supervisor; it replaces one that was not taken yet.

    Raises:
        Failure: `state-unwritable`.
    """
    written = SupervisorCommand(command, _timestamp(clock), reason, os.getpid(), target_env, prompts)
    write_atomic(metadata / COMMAND, to_json(written))
    return written


def take_command(metadata: Path) -> SupervisorCommand | None:
    """Remove and return the pending command, so that it is carried out at most once; None without a valid one."""
    path = metadata / COMMAND
    taken = metadata / f"{COMMAND}.taken.{os.getpid()}"
    try:
        # A folder would stay under the new name and be in the way of the next command.
        if stat.S_ISDIR(os.lstat(path).st_mode):
            return None
        # A rename takes a whole command even while the next one is being written, and only one process gets it.
        os.rename(path, taken)
    except OSError:
        return None
    command = read_metadata_file(taken, SupervisorCommand)
    with contextlib.suppress(OSError):
        taken.unlink()
    if command is not None and command.command is CommandName.SWITCH and command.target_env is None:
        return None
    return command


def discard_old_command(metadata: Path, *, limit_seconds: float, clock: Clock = _CLOCK) -> SupervisorCommand | None:
    """Delete a command that was left for an earlier supervisor and is older than a limit, and return it.

    Otherwise a `shutdown` of yesterday would end the supervisor of today.
    """
    command = read_metadata_file(metadata / COMMAND, SupervisorCommand)
    if command is None or 0 <= _timestamp(clock) - command.timestamp <= limit_seconds:
        return None
    return take_command(metadata)


def cleanup_stale_temp_files(metadata: Path) -> int:
    """Delete the temporary files of killed writers and readers; return how many."""
    deleted = delete_temporary_files(metadata)
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(metadata)):
            match = _TAKEN.match(entry.name)
            if match is None or _has_process(int(match[1])):
                continue
            with contextlib.suppress(OSError):
                os.unlink(entry.path)
                deleted += 1
    return deleted


def _has_process(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


def _timestamp(clock: Clock) -> float:
    return clock.now().timestamp()
