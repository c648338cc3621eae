"""Decides what follows when ComfyUI exits: start again, switch, stop or give up. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

RESTART_STATUS: Final = 42
"""Exit status by which ComfyUI asks to be started again."""
SWITCH_STATUS: Final = 43
"""Exit status by which ComfyUI asks for another environment; the switch request says which."""


class ExitKind(Enum):
    """The meaning of an exit."""

    OWN_STOP = "own_stop"
    RESTART_REQUESTED = "restart_requested"
    SWITCH_REQUESTED = "switch_requested"
    FINISHED = "finished"
    CRASH = "crash"


class ExitAction(Enum):
    """The next step of the supervisor."""

    START = "start"
    SWITCH = "switch"
    STOP = "stop"
    GIVE_UP = "give_up"


@dataclass(frozen=True, slots=True)
class ExitEvent:
    """The end of a ComfyUI process.

    Attributes:
        status: Its exit status; negative for a signal.
        stopped_by_us: Whether the supervisor stopped it.
        switch_target: The environment that a valid switch request names; None without one.
        reboot_marker: Whether ComfyUI-Manager left its marker for a restart.
    """

    status: int
    stopped_by_us: bool = False
    switch_target: str | None = None
    reboot_marker: bool = False


@dataclass(frozen=True, slots=True)
class StartHistory:
    """The starts so far.

    Attributes:
        starts: Times of the counted starts, in seconds of the boot clock, oldest first.
        crashes: Crashes in a row, since the last time that ComfyUI stayed ready long enough.
        ready_since: Since when the present process has been ready; None while it is not.
    """

    starts: tuple[float, ...] = ()
    crashes: int = 0
    ready_since: float | None = None


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How often and how soon ComfyUI is started again.

    Attributes:
        max_starts: Starts that are allowed within the window.
        window_seconds: Length of the sliding window.
        stable_seconds: How long ComfyUI must be ready until its earlier starts no longer count.
        backoff_first_seconds: Longest wait after the first crash; it doubles with each crash in a row.
        backoff_max_seconds: Longest wait after any crash.
    """

    max_starts: int = 5
    window_seconds: float = 600.0
    stable_seconds: float = 600.0
    backoff_first_seconds: float = 2.0
    backoff_max_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class ExitDecision:
    """The decision after an exit.

    Attributes:
        action: The next step.
        kind: The meaning of the exit.
        history: The history to carry forward.
        delay_seconds: How long to wait before a start.
        without_extra_arguments: Whether to leave out the configured extra arguments: one of them may be the cause.
        prepare: Whether to bring the environment up to date before the start.
    """

    action: ExitAction
    kind: ExitKind
    history: StartHistory
    delay_seconds: float = 0.0
    without_extra_arguments: bool = False
    prepare: bool = False

    @property
    def is_crash(self) -> bool:
        """Whether ComfyUI ended unexpectedly."""
        return self.kind is ExitKind.CRASH


def decide_after_exit(
    event: ExitEvent,
    history: StartHistory,
    policy: RestartPolicy,
    *,
    now_seconds: float,
    jitter: float,
    is_stopping: bool = False,
) -> ExitDecision:
    """Decide what follows an exit.

    Args:
        event: The exit.
        history: The starts before it, the present one included.
        policy: The limits.
        now_seconds: The boot clock.
        jitter: A random number from 0 to 1, so that many hosts do not start at the same moment.
        is_stopping: Whether the supervisor was asked to end.
    """
    history = forget_old_starts(history, policy, now_seconds=now_seconds)
    kind = classify_exit(event)
    if is_stopping or kind is ExitKind.FINISHED:
        return ExitDecision(ExitAction.STOP, kind, history)
    if kind is ExitKind.SWITCH_REQUESTED:
        return ExitDecision(ExitAction.SWITCH, kind, history)
    if kind is ExitKind.OWN_STOP:
        # Whoever stopped it decides what follows: a restart, a switch or nothing.
        return ExitDecision(ExitAction.STOP, kind, history)
    crashes = history.crashes
    if kind is ExitKind.CRASH:
        crashes += 1
        history = replace(history, crashes=crashes)
    if is_budget_used_up(history, policy):
        return ExitDecision(ExitAction.GIVE_UP, kind, history)
    if kind is ExitKind.RESTART_REQUESTED:
        return ExitDecision(ExitAction.START, kind, history, prepare=True)
    return ExitDecision(
        ExitAction.START,
        kind,
        history,
        delay_seconds=compute_backoff(crashes, policy, jitter=jitter),
        without_extra_arguments=crashes == 1,
    )


def classify_exit(event: ExitEvent) -> ExitKind:
    """Return the meaning of an exit. A status 43 without a valid switch request is a crash."""
    if event.stopped_by_us:
        return ExitKind.OWN_STOP
    if event.status == RESTART_STATUS:
        return ExitKind.RESTART_REQUESTED
    if event.status == SWITCH_STATUS and event.switch_target is not None:
        return ExitKind.SWITCH_REQUESTED
    if event.status == 0:
        return ExitKind.RESTART_REQUESTED if event.reboot_marker else ExitKind.FINISHED
    return ExitKind.CRASH


def record_start(history: StartHistory, *, now_seconds: float) -> StartHistory:
    """Return the history with one more start; the new process is not ready yet."""
    return replace(history, starts=(*history.starts, now_seconds), ready_since=None)


def forget_old_starts(history: StartHistory, policy: RestartPolicy, *, now_seconds: float) -> StartHistory:
    """Return the history without starts that left the window; without any after a long enough time of being ready.

    One good probe must not reset the count: a server that flaps would be restarted for ever.
    """
    if history.ready_since is not None and now_seconds - history.ready_since >= policy.stable_seconds:
        return StartHistory(ready_since=history.ready_since)
    recent = tuple(start for start in history.starts if now_seconds - start < policy.window_seconds)
    return replace(history, starts=recent)


def is_budget_used_up(history: StartHistory, policy: RestartPolicy) -> bool:
    """Return whether no further start is allowed within the window."""
    return len(history.starts) >= policy.max_starts


def compute_backoff(crashes: int, policy: RestartPolicy, *, jitter: float) -> float:
    """Return the wait before the next start in seconds: between half of the limit and the limit."""
    # The exponent is bounded: a float overflows after about a thousand crashes.
    exponent = min(max(crashes - 1, 0), 30)
    limit = min(policy.backoff_max_seconds, policy.backoff_first_seconds * 2.0**exponent)
    return limit * (0.5 + 0.5 * jitter)
