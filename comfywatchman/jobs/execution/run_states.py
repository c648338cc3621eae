"""The states of a prompt that runs for a job, its time limits, and the ways in which it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from comfywatchman.comfyui.server.events import PreviewImage


class RunEnd(StrEnum):
    """How the run of a prompt ended.

    Attributes:
        SUCCESS: ComfyUI ran all of it.
        FAILED: A node raised an error.
        REFUSED: ComfyUI did not accept it, as a whole or in part.
        SERVER_ERROR: ComfyUI answered it with an error of its own (status 500 and above).
        INTERRUPTED: Somebody else interrupted it, or removed it from the queue or the history.
        STOPPED: This agent stopped it.
        RESTARTED: ComfyUI no longer knows it: it was restarted.
        AWAY: ComfyUI did not answer for too long.
        STALLED: ComfyUI answers and runs nothing.
    """

    SUCCESS = "success"
    FAILED = "failed"
    REFUSED = "refused"
    SERVER_ERROR = "server-error"
    INTERRUPTED = "interrupted"
    STOPPED = "stopped"
    RESTARTED = "restarted"
    AWAY = "away"
    STALLED = "stalled"


class StopCause(StrEnum):
    """Why this agent stops a prompt."""

    CANCELLED = "cancelled"
    LEASE_LOST = "lease-lost"
    DEADLINE = "deadline"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True)
class RunLimits:
    """Time limits of a run.

    Attributes:
        run_seconds: How long the prompt may run, from the moment ComfyUI begins.
        away_seconds: How long ComfyUI may not answer.
        stall_seconds: How long the prompt may wait while ComfyUI runs nothing.
        cancel_seconds: How long ComfyUI may take to stop the prompt.
    """

    run_seconds: float = 3600.0
    away_seconds: float = 60.0
    stall_seconds: float = 60.0
    cancel_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a prompt is.

    Attributes:
        is_running: Whether ComfyUI has begun.
        node_id: The node that runs, if known.
        value: Steps of that node.
        maximum: All steps of that node.
        prompts_ahead: How many prompts of others run first; None when it is not known.
        preview: The newest preview image that ComfyUI sent.
    """

    is_running: bool = False
    node_id: str | None = None
    value: float = 0.0
    maximum: float = 0.0
    prompts_ahead: int | None = None
    preview: PreviewImage | None = None


@dataclass(frozen=True, slots=True)
class PromptRun:
    """The end of a prompt.

    Attributes:
        end: How it ended.
        prompt_id: The id that the server used.
        reason: Why it did not succeed, on one line; empty when the server does not say.
        entry: Its history entry, after a success.
        has_begun: Whether ComfyUI had begun to run it.
        is_gone: Whether it is certain that ComfyUI does not run it any more.
        stop: Why it was stopped.
        node_errors: ComfyUI's errors by node id, when it refused the prompt.
        queue_seconds: Time from submitting it to its begin.
        run_seconds: Time from its begin to its end.
    """

    end: RunEnd
    prompt_id: str
    reason: str = ""
    entry: Mapping[str, object] = field(default_factory=dict, repr=False)
    has_begun: bool = False
    is_gone: bool = True
    stop: StopCause | None = None
    node_errors: Mapping[str, object] = field(default_factory=dict, repr=False)
    queue_seconds: float = 0.0
    run_seconds: float = 0.0


Watch = Callable[[RunProgress], StopCause | None]
"""Called several times per second with the progress; returns why the prompt must stop, or None."""
