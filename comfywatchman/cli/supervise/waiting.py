"""Waiting for the end of a restart, a switch or a stop, by what the supervisor publishes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from comfywatchman.base.clock import Clock, parse_utc
from comfywatchman.supervisor.mailbox import FINAL_SWITCH_STATES, SwitchState, SwitchStatus
from comfywatchman.supervisor.states import WORKING_STATES, SupervisorState
from comfywatchman.supervisor.status import SupervisorStatus

_LOOK_SECONDS: Final = 0.2
_FAILED_STATES: Final = frozenset({SupervisorState.GAVE_UP, SupervisorState.STOPPED, SupervisorState.HOST_NEEDS_REBOOT})


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of what was waited for.

    Attributes:
        success: Whether it was done.
        message: What happened, as a sentence.
        hint: The next step; empty without one.
    """

    success: bool
    message: str
    hint: str = ""


SUPERVISOR_ENDED: Final = Ending(False, "The supervisor has ended.", "Start it again: comfywatchman supervise run")


def is_well(status: SupervisorStatus | None) -> bool:
    """Return whether ComfyUI is proved to work."""
    return status is not None and status.state in WORKING_STATES


def wait_for_ending(look: Callable[[], Ending | None], *, timeout_seconds: float, clock: Clock) -> Ending:
    """Look until there is an ending, or the time is up.

    Args:
        look: Returns the ending; None while there is none.
        timeout_seconds: How long to wait.
        clock: The clocks.
    """
    deadline = clock.monotonic() + timeout_seconds
    while True:
        ending = look()
        if ending is not None:
            return ending
        if clock.monotonic() >= deadline:
            return Ending(
                False,
                f"It was not done within {timeout_seconds:g} seconds; it goes on.",
                "Look at its state: comfywatchman supervise status",
            )
        time.sleep(_LOOK_SECONDS)


def judge_refusal(status: SupervisorStatus | None, ordered_at: float) -> Ending | None:
    """Return the refusal of a command; None when it was not refused.

    Args:
        status: The published status.
        ordered_at: The timestamp of the command.
    """
    if status is None or status.refused is None or status.refused.ordered_at != ordered_at:
        return None
    return Ending(False, status.refused.sentence, status.refused.next_step)


def judge_restart(
    status: SupervisorStatus | None, *, old_pid: int | None, taken_at: datetime | None, is_running: bool
) -> Ending | None:
    """Return the end of a restart; None while it goes on.

    Args:
        status: The published status.
        old_pid: ComfyUI's process before; None without one.
        taken_at: When the supervisor had taken the command; None before.
        is_running: Whether the supervisor runs.
    """
    if not is_running:
        return SUPERVISOR_ENDED
    if taken_at is None or status is None:
        return None
    if is_well(status) and status.pid != old_pid:
        return Ending(True, status.sentence)
    # A failed start is known by a status that was written after the command: the old one may have been the same.
    if status.state in _FAILED_STATES and _is_newer(status, taken_at):
        return Ending(False, status.sentence, status.next_step)
    return None


def judge_switch(
    switch: SwitchStatus | None,
    status: SupervisorStatus | None,
    order: SwitchOrder,
    *,
    was_seen: bool,
    taken_at: datetime | None,
    is_running: bool,
) -> Ending | None:
    """Return the end of a switch; None while it goes on.

    Args:
        switch: The published progress.
        status: The published status.
        order: The switch that was asked for.
        was_seen: Whether this very switch was seen under way.
        taken_at: When the supervisor had taken the command; None before.
        is_running: Whether the supervisor runs.
    """
    done = Ending(True, f"ComfyUI runs in {order.target!r}.")
    if switch is not None and order.is_shown_by(switch):
        if switch.state is SwitchState.COMPLETE:
            return done
        if switch.state in FINAL_SWITCH_STATES:
            return _describe_failure(switch)
    if not is_running:
        return SUPERVISOR_ENDED
    # Only the status of a successful switch is deleted, after some seconds.
    if was_seen and switch is None:
        return done
    # A supervisor that runs there already does not begin a switch.
    is_there = is_well(status) and status is not None and status.environment == order.target
    return done if is_there and _is_newer(status, taken_at) else None


def _is_newer(status: SupervisorStatus | None, taken_at: datetime | None) -> bool:
    """Return whether a status was written after the command had been taken; its time is in whole seconds."""
    if status is None or taken_at is None:
        return False
    return (parse_utc(status.looked_at) - taken_at).total_seconds() >= 1


def _describe_failure(switch: SwitchStatus) -> Ending:
    detail = "" if not switch.error or switch.error in switch.message else f" {switch.error}"
    hint = "See why: comfywatchman supervise incidents, or comfywatchman supervise logs"
    return Ending(False, f"{switch.message}{detail}", hint)


@dataclass(frozen=True, slots=True)
class SwitchOrder:
    """A switch that was asked for.

    Attributes:
        target: The environment.
        since: When, in seconds since 1970.
    """

    target: str
    since: float

    def is_shown_by(self, switch: SwitchStatus) -> bool:
        """Return whether a progress is that of this switch, and not of an earlier one."""
        return switch.target_env == self.target and switch.started_at is not None and switch.started_at >= self.since
