"""Events that ComfyUI sends over its WebSocket: their types, how a message is read, and a bounded buffer for them.

Events show progress only; the history of the server is what decides how a prompt ended. The messages: `server.py`,
`execution.py` and `comfy_execution/progress.py` of ComfyUI, `protocol.py` for the binary ones.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import orjson

from comfywatchman.base.json_values import as_mapping, as_text
from comfywatchman.comfyui.server.log_text import clean_line

DEFAULT_BUFFER_LIMIT: Final = 1000


class EventKind(StrEnum):
    """The kind of an event, by ComfyUI's name for it; `preview` stands for its binary messages."""

    STATUS = "status"
    EXECUTION_START = "execution_start"
    EXECUTION_CACHED = "execution_cached"
    EXECUTING = "executing"
    PROGRESS = "progress"
    PROGRESS_STATE = "progress_state"
    EXECUTED = "executed"
    EXECUTION_SUCCESS = "execution_success"
    EXECUTION_ERROR = "execution_error"
    EXECUTION_INTERRUPTED = "execution_interrupted"
    PREVIEW = "preview"


_KINDS: Final = {kind.value: kind for kind in EventKind if kind is not EventKind.PREVIEW}
_END_KINDS: Final = frozenset({EventKind.EXECUTION_SUCCESS, EventKind.EXECUTION_ERROR, EventKind.EXECUTION_INTERRUPTED})
_DROP_ORDER: Final = (
    frozenset({EventKind.PREVIEW}),
    frozenset({EventKind.PROGRESS, EventKind.PROGRESS_STATE}),
    frozenset({EventKind.STATUS}),
    frozenset({EventKind.EXECUTION_CACHED, EventKind.EXECUTING, EventKind.EXECUTED}),
    frozenset(EventKind),
)
"""What a full buffer drops first; the end of a prompt comes last."""

_TYPE_BYTES: Final = 4
_PREVIEW: Final = 1
_PREVIEW_WITH_METADATA: Final = 4
_IMAGE_TYPES: Final = {1: "image/jpeg", 2: "image/png"}


@dataclass(frozen=True, slots=True)
class NodeProgress:
    """How far one node of a running prompt is.

    Attributes:
        node_id: The node.
        value: Steps done.
        maximum: All steps.
        state: ComfyUI's word: `pending`, `running`, `finished` or `error`; empty in an event of older versions.
    """

    node_id: str
    value: float
    maximum: float
    state: str = ""


@dataclass(frozen=True, slots=True)
class PreviewImage:
    """An image that a node sent while it ran."""

    media_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event.

    Attributes:
        kind: Its kind.
        prompt_id: The prompt that it is about; None for events about the server.
        node_id: The node that it is about; None in the `executing` event that ends a prompt.
        queue_length: Running and waiting prompts, in a `status` event.
        session_id: The client id that the server registered, in the first `status` event of a connection.
        nodes: Progress of nodes.
        error: Why a prompt failed, on one line.
        image: The image of a `preview` event.
    """

    kind: EventKind
    prompt_id: str | None = None
    node_id: str | None = None
    queue_length: int | None = None
    session_id: str | None = None
    nodes: tuple[NodeProgress, ...] = ()
    error: str | None = None
    image: PreviewImage | None = None

    @property
    def is_work(self) -> bool:
        """Whether it shows that the server works on a prompt; the status of the queue does not."""
        return self.kind is not EventKind.STATUS

    @property
    def ends_prompt(self) -> bool:
        """Whether it is the last event of a prompt, or the last but one."""
        is_last = self.kind is EventKind.EXECUTING and self.prompt_id is not None and self.node_id is None
        return is_last or self.kind in _END_KINDS


def parse_event(message: str | bytes) -> ServerEvent | None:
    """Return the event in a message; None for one that is malformed, or of a kind that only some node packs send."""
    if isinstance(message, bytes):
        return _parse_preview(message)
    envelope = as_mapping(_parse_json(message))
    kind = _KINDS.get(as_text(envelope.get("type")) or "")
    if kind is None:
        return None
    facts = as_mapping(envelope.get("data"))
    return ServerEvent(
        kind=kind,
        prompt_id=as_text(facts.get("prompt_id")),
        node_id=_parse_node_id(facts),
        queue_length=_parse_queue_length(facts),
        session_id=as_text(facts.get("sid")),
        nodes=_parse_progress(kind, facts),
        error=_parse_error(kind, facts),
    )


class EventBuffer:
    """Events that wait for their consumer. Adding never blocks: a full buffer drops the least important events.

    Args:
        limit: The largest number of events kept.
        prompt_id: The prompt whose events are kept; None for the events of all prompts and of the server.
    """

    def __init__(self, limit: int = DEFAULT_BUFFER_LIMIT, *, prompt_id: str | None = None) -> None:
        self._limit = limit
        self._prompt_id = prompt_id
        self._events: list[ServerEvent] = []
        self._changed = threading.Condition()
        self.dropped = 0

    def add(self, event: ServerEvent) -> None:
        """Add an event, unless it is about something else; a preview replaces the one before."""
        if self._prompt_id is not None and event.prompt_id != self._prompt_id:
            return
        with self._changed:
            if event.kind is EventKind.PREVIEW:
                self._drop(frozenset({EventKind.PREVIEW}))
            if len(self._events) >= self._limit:
                self._make_room()
            self._events.append(event)
            self._changed.notify_all()

    def take(self, timeout_seconds: float = 0.0) -> tuple[ServerEvent, ...]:
        """Remove and return all events, oldest first; wait for the first one at most as long as the time limit."""
        with self._changed:
            self._changed.wait_for(lambda: self._events, timeout_seconds)
            events = tuple(self._events)
            self._events.clear()
            return events

    def wait_for_end(self, timeout_seconds: float) -> tuple[ServerEvent, ...]:
        """Remove and return events until one ends a prompt, or until the time limit."""
        deadline = time.monotonic() + timeout_seconds
        events: list[ServerEvent] = []
        while not any(event.ends_prompt for event in events):
            remaining_seconds = deadline - time.monotonic()
            if remaining_seconds <= 0:
                break
            events.extend(self.take(remaining_seconds))
        return tuple(events)

    def _make_room(self) -> None:
        for kinds in _DROP_ORDER:
            if self._drop(kinds):
                return

    def _drop(self, kinds: frozenset[EventKind]) -> bool:
        """Drop the oldest event of some kinds; return whether there was one."""
        for index, event in enumerate(self._events):
            if event.kind in kinds:
                del self._events[index]
                self.dropped += 1
                return True
        return False


def _parse_json(text: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        # Outputs of nodes may hold bare NaN and Infinity, which orjson refuses.
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _parse_node_id(facts: Mapping[str, object]) -> str | None:
    # `execution_error` has `node_id`, all others `node`.
    return as_text(facts.get("node")) or as_text(facts.get("node_id"))


def _parse_queue_length(facts: Mapping[str, object]) -> int | None:
    length = as_mapping(as_mapping(facts.get("status")).get("exec_info")).get("queue_remaining")
    return length if isinstance(length, int) else None


def _parse_progress(kind: EventKind, facts: Mapping[str, object]) -> tuple[NodeProgress, ...]:
    if kind is EventKind.PROGRESS:
        node_id = as_text(facts.get("node"))
        return (_build_progress(node_id, facts),) if node_id else ()
    if kind is EventKind.PROGRESS_STATE:
        nodes = as_mapping(facts.get("nodes"))
        return tuple(_build_progress(node_id, as_mapping(node)) for node_id, node in nodes.items())
    return ()


def _build_progress(node_id: str, facts: Mapping[str, object]) -> NodeProgress:
    value, maximum = facts.get("value"), facts.get("max")
    return NodeProgress(
        node_id,
        float(value) if isinstance(value, (int, float)) else 0.0,
        float(maximum) if isinstance(maximum, (int, float)) else 0.0,
        as_text(facts.get("state")) or "",
    )


def _parse_error(kind: EventKind, facts: Mapping[str, object]) -> str | None:
    if kind is not EventKind.EXECUTION_ERROR:
        return None
    parts = [facts.get(name, "") for name in ("node_type", "exception_type", "exception_message")]
    return clean_line(": ".join(map(str, parts)))


def _parse_preview(message: bytes) -> ServerEvent | None:
    """Read a binary message: its type (4 bytes, big-endian), then the content."""
    kind, content = int.from_bytes(message[:_TYPE_BYTES], "big"), message[_TYPE_BYTES:]
    if kind == _PREVIEW:
        media_type = _IMAGE_TYPES.get(int.from_bytes(content[:_TYPE_BYTES], "big"), "")
        return ServerEvent(EventKind.PREVIEW, image=PreviewImage(media_type, content[_TYPE_BYTES:]))
    if kind != _PREVIEW_WITH_METADATA:
        return None
    # The length of the metadata, the metadata as JSON, then the image.
    end = _TYPE_BYTES + int.from_bytes(content[:_TYPE_BYTES], "big")
    metadata = as_mapping(_parse_json(content[_TYPE_BYTES:end].decode("utf-8", "replace")))
    return ServerEvent(
        EventKind.PREVIEW,
        prompt_id=as_text(metadata.get("prompt_id")),
        node_id=as_text(metadata.get("node_id")),
        image=PreviewImage(as_text(metadata.get("image_type")) or "", content[end:]),
    )
