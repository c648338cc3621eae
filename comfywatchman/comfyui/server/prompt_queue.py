"""The queue of a running ComfyUI: which prompts run and wait, in their order, and whose they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from comfywatchman.base.http import HttpSession
from comfywatchman.base.json_values import as_list, as_mapping, as_text

_MIN_FIELDS: Final = 4
"""An item is `[number, prompt_id, prompt, extra_data, outputs]`."""


@dataclass(frozen=True, slots=True)
class QueuedPrompt:
    """A prompt that runs or waits.

    Attributes:
        prompt_id: Its id.
        number: Its place: smaller numbers run first.
        client_id: The client that submitted it; None when it gave no id.
        extra_data: Further data that the client sent with it.
    """

    prompt_id: str
    number: float
    client_id: str | None = None
    extra_data: Mapping[str, object] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class PromptQueue:
    """The queue at one moment.

    Attributes:
        running: Prompts that run; ComfyUI runs one at a time.
        pending: Prompts that wait, in the order in which they will run.
    """

    running: tuple[QueuedPrompt, ...] = ()
    pending: tuple[QueuedPrompt, ...] = ()

    def __len__(self) -> int:
        return len(self.running) + len(self.pending)

    def is_running(self, prompt_id: str) -> bool:
        """Return whether a prompt runs."""
        return any(prompt.prompt_id == prompt_id for prompt in self.running)

    def is_pending(self, prompt_id: str) -> bool:
        """Return whether a prompt waits."""
        return any(prompt.prompt_id == prompt_id for prompt in self.pending)

    def find_others(
        self, *, prompt_ids: Collection[str] = (), client_ids: Collection[str] = ()
    ) -> tuple[QueuedPrompt, ...]:
        """Return the prompts that are not ours: neither their id nor their client is in a collection."""
        prompts = (*self.running, *self.pending)
        return tuple(
            prompt for prompt in prompts if prompt.prompt_id not in prompt_ids and prompt.client_id not in client_ids
        )


def read_queue(session: HttpSession, url: str) -> PromptQueue:
    """Read the queue of a server. The answer holds every waiting prompt as a whole.

    Raises:
        Failure: `http-unreachable`, `http-status` or `http-body`.
    """
    return parse_queue(session.get_json(f"{url}/queue"))


def parse_queue(payload: object) -> PromptQueue:
    """Return the queue in an answer; malformed items are left out."""
    answer = as_mapping(payload)
    pending = _parse_items(answer.get("queue_pending"))
    # They come in the order of a heap.
    return PromptQueue(_parse_items(answer.get("queue_running")), tuple(sorted(pending, key=lambda item: item.number)))


def _parse_items(items: object) -> tuple[QueuedPrompt, ...]:
    prompts: list[QueuedPrompt] = []
    for item in as_list(items):
        fields = as_list(item)
        if len(fields) < _MIN_FIELDS:
            continue
        number, prompt_id, extra_data = fields[0], fields[1], as_mapping(fields[3])
        if not isinstance(number, (int, float)) or not isinstance(prompt_id, str):
            continue
        prompts.append(QueuedPrompt(prompt_id, float(number), as_text(extra_data.get("client_id")), extra_data))
    return tuple(prompts)
