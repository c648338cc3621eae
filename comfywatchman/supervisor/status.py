"""The published status of the supervisor: written by it alone, and read with proof that it still runs."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.clock import Clock, format_past, parse_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular, to_json, write_atomic
from comfywatchman.base.json_values import decode_json
from comfywatchman.base.lock import is_held, read_holder
from comfywatchman.base.process import ProcessIdentity
from comfywatchman.base.state.ranges import check_times
from comfywatchman.supervisor.mailbox import CommandName
from comfywatchman.supervisor.process_files import is_running
from comfywatchman.supervisor.states import ProofKind, SupervisorState, describe_state

STATUS_NAME: Final = "supervisor_status.json"
LOCK_NAME: Final = ".supervisor.lock"
_MAX_BYTES: Final = 1 << 20
VALID_SECONDS: Final = 60.0
"""How long a status is believed; a living supervisor writes it at least three times in that time."""


class CommandRefusal(msgspec.Struct, frozen=True):
    """A command that the supervisor refused.

    Attributes:
        command: The command.
        ordered_at: Its timestamp, by which its sender recognises it.
        at: When it was refused, UTC.
        code: Why: a failure code.
        sentence: Why, in words.
        next_step: The command or action that helps.
    """

    command: CommandName
    ordered_at: float
    at: str
    code: str
    sentence: str
    next_step: str = ""


class SupervisorStatus(msgspec.Struct, frozen=True):
    """The state of ComfyUI as the supervisor last observed it.

    Attributes:
        state: The observed state.
        reason: Why it holds: a value of `HealthReason` or `ExitKind`; empty when the state says it all.
        detail: The evidence as a sentence.
        environment: The environment that runs, or ran last.
        since: Since when the state holds, UTC.
        looked_at: When this was written, UTC.
        proof: The evidence that makes ComfyUI ready.
        proven_at: When there last was that evidence, UTC; None before the first.
        pid: Process id of ComfyUI; None while it does not run.
        port: The port of ComfyUI.
        supervisor_pid: Process id of the supervisor.
        queue_length: Running and waiting prompts; None when unknown.
        starts_in_window: Starts that count against the budget.
        max_starts: The budget.
        without_extra_arguments: Whether ComfyUI runs without the configured arguments, after a crash.
        last_incident: Name of the folder of the last incident; None without one.
        waiting_command: A command that waits until no prompt runs or waits; None without one.
        refused: The last command, if it was refused.
        boot_id: The boot in which this was written; None in a record of an earlier version.
        looked_at_seconds: When this was written, in seconds since that boot, sleep included.
        schema_version: Version of this record.
    """

    state: SupervisorState
    looked_at: str
    since: str
    port: int
    supervisor_pid: int
    environment: str | None = None
    reason: str = ""
    detail: str = ""
    proof: ProofKind = ProofKind.PROMPT
    proven_at: str | None = None
    pid: int | None = None
    queue_length: int | None = None
    starts_in_window: int = 0
    max_starts: int = 0
    without_extra_arguments: bool = False
    last_incident: str | None = None
    waiting_command: CommandName | None = None
    refused: CommandRefusal | None = None
    boot_id: str | None = None
    looked_at_seconds: float | None = None
    schema_version: int = 1

    def __post_init__(self) -> None:
        """Check the times.

        Raises:
            ValueError: One is out of range.
        """
        check_times(self.looked_at, self.since, self.proven_at)

    @property
    def sentence(self) -> str:
        """The state in words."""
        return describe_state(self.state, self.detail, proof=self.proof).sentence

    @property
    def next_step(self) -> str:
        """The command or action that helps; empty when nothing is needed."""
        return describe_state(self.state).next_step


def write_status(metadata: Path, status: SupervisorStatus) -> None:
    """Write the status.

    Raises:
        Failure: `state-unwritable`.
    """
    # Not lasting: after a power cut ComfyUI does not run either, and no reader trusts an old file.
    write_atomic(metadata / STATUS_NAME, to_json(msgspec.to_builtins(status)), is_lasting=False)


def read_status(metadata: Path, clock: Clock) -> SupervisorStatus | None:
    """Return the status, as far as it is still proved; None when no supervisor ever wrote one, or it is damaged.

    Without a living supervisor, or when it has not written for a minute, nothing is known of ComfyUI: the state is
    then `unproven`, or `stopped` where the last state was one without a process.
    """
    try:
        content = read_regular(metadata / STATUS_NAME, max_bytes=_MAX_BYTES)
        status = decode_json(content, SupervisorStatus)
        looked_at = parse_utc(status.looked_at)
    except (Failure, msgspec.MsgspecError, ValueError):
        return None
    if not is_held(metadata / LOCK_NAME):
        if status.state in (SupervisorState.STOPPED, SupervisorState.GAVE_UP):
            return status
        if status.state is SupervisorState.HOST_NEEDS_REBOOT and status.boot_id in (None, clock.boot_id()):
            return status
        detail = f"The supervisor no longer runs; it last looked {format_past(looked_at, clock.now())}."
    elif not _is_holder(metadata / LOCK_NAME, status.supervisor_pid):
        # It was killed a moment ago, and the next one has not looked yet.
        detail = f"The supervisor has just started; an earlier one last looked {format_past(looked_at, clock.now())}."
    elif not 0 <= _compute_age_seconds(status, looked_at, clock) <= VALID_SECONDS:
        detail = f"The supervisor (process {status.supervisor_pid}) last looked {format_past(looked_at, clock.now())}."
    else:
        return status
    return msgspec.structs.replace(status, state=SupervisorState.UNPROVEN, detail=detail, pid=None, queue_length=None)


def _is_holder(lock: Path, pid: int) -> bool:
    """Return whether the living process that holds a lock is this one."""
    holder = read_holder(lock)
    if holder is None or holder.pid != pid:
        return False
    # One that ended is still named for a moment, until the next holder has written its own name.
    return is_running(ProcessIdentity(holder.boot_id, holder.pid, holder.started_ticks))


def _compute_age_seconds(status: SupervisorStatus, looked_at: datetime, clock: Clock) -> float:
    """Return the age of a status; infinite for one of an earlier boot."""
    if status.boot_id is None or status.looked_at_seconds is None:
        return (clock.now() - looked_at).total_seconds()
    # Not the wall clock, which a person or NTP may set: set back, it would let an old status be believed for hours.
    return clock.boottime() - status.looked_at_seconds if status.boot_id == clock.boot_id() else math.inf
