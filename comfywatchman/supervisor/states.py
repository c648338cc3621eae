"""The states of a supervised ComfyUI, each with one sentence and a next step."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class SupervisorState(StrEnum):
    """An observed state of ComfyUI; each one needs evidence."""

    STOPPED = "stopped"
    STARTING = "starting"
    SETTLING = "settling"
    READY = "ready"
    BUSY = "busy"
    UNPROVEN = "unproven"
    STALLED = "stalled"
    RECOVERING = "recovering"
    SWITCHING = "switching"
    STOPPING = "stopping"
    GAVE_UP = "gave_up"
    HOST_NEEDS_REBOOT = "host_needs_reboot"


class ProofKind(StrEnum):
    """The evidence that ComfyUI is ready."""

    PROMPT = "prompt"
    """A test prompt ran to its end."""
    CONNECTION = "connection"
    """The port accepted three connections in a row."""


WORKING_STATES: Final = frozenset({SupervisorState.READY, SupervisorState.BUSY})
"""The states in which ComfyUI is proved to work."""

WAITING_STATES: Final = frozenset({SupervisorState.GAVE_UP, SupervisorState.HOST_NEEDS_REBOOT})
"""The states in which the supervisor waits for a person."""

CHANGING_STATES: Final = frozenset(
    {
        SupervisorState.STARTING,
        SupervisorState.SETTLING,
        SupervisorState.RECOVERING,
        SupervisorState.SWITCHING,
        SupervisorState.STOPPING,
    }
)
"""The states that pass without a person: ComfyUI is being started, restarted, switched or stopped."""


@dataclass(frozen=True, slots=True)
class StateText:
    """A state in words.

    Attributes:
        sentence: The state as a sentence.
        next_step: The command or action that helps; empty when nothing is needed.
    """

    sentence: str
    next_step: str = ""


_TEXTS: dict[SupervisorState, StateText] = {
    SupervisorState.STOPPED: StateText("ComfyUI is stopped.", "Start it: comfywatchman supervise run"),
    SupervisorState.STARTING: StateText("ComfyUI is starting."),
    SupervisorState.SETTLING: StateText("ComfyUI answers; a test prompt has yet to prove that it works."),
    SupervisorState.READY: StateText("ComfyUI is ready: a test prompt ran to its end."),
    SupervisorState.BUSY: StateText("ComfyUI is working on its queue, and the work makes progress."),
    SupervisorState.UNPROVEN: StateText(
        "It is not known whether ComfyUI works: the last proof is too old.",
        "Look at the log: comfywatchman supervise logs",
    ),
    SupervisorState.STALLED: StateText(
        "ComfyUI runs, but nothing in it makes progress.",
        "Look at the log, or restart it: comfywatchman supervise restart",
    ),
    SupervisorState.RECOVERING: StateText(
        "ComfyUI ended unexpectedly and is about to be started again.",
        "See why: comfywatchman supervise incidents",
    ),
    SupervisorState.SWITCHING: StateText("ComfyUI is moving to another environment."),
    SupervisorState.STOPPING: StateText("ComfyUI is being stopped."),
    SupervisorState.GAVE_UP: StateText(
        "ComfyUI ended too often within a short time and is not started again.",
        "See why (comfywatchman supervise incidents), repair it, then: comfywatchman supervise restart",
    ),
    SupervisorState.HOST_NEEDS_REBOOT: StateText(
        "A ComfyUI process cannot be killed: it hangs in a driver and still holds the GPU.",
        "Reboot this machine.",
    ),
}


_CONNECTION_TEXTS: Final = {
    SupervisorState.SETTLING: StateText("ComfyUI listens; three connections in a row have yet to prove that it works."),
    SupervisorState.READY: StateText("ComfyUI's port accepts connections, and nothing else was checked."),
}
"""The states whose sentence names the proof."""


def describe_state(state: SupervisorState, detail: str = "", *, proof: ProofKind = ProofKind.PROMPT) -> StateText:
    """Return a state in words.

    Args:
        state: The state.
        detail: The evidence for it, as a sentence of its own; it follows the general one.
        proof: What proves that ComfyUI is ready.
    """
    text = _TEXTS[state]
    if proof is ProofKind.CONNECTION:
        text = _CONNECTION_TEXTS.get(state, text)
    return StateText(f"{text.sentence} {detail}".rstrip(), text.next_step)
