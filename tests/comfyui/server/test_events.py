from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from comfywatchman.comfyui.server.events import (
    EventBuffer,
    EventKind,
    NodeProgress,
    PreviewImage,
    ServerEvent,
    parse_event,
)


def text(kind: str, **facts: Any) -> str:
    return json.dumps({"type": kind, "data": facts})


@pytest.mark.parametrize(
    ("message", "event"),
    [
        (
            text("status", status={"exec_info": {"queue_remaining": 2}}, sid="me"),
            ServerEvent(EventKind.STATUS, queue_length=2, session_id="me"),
        ),
        (text("status", status={"exec_info": {"queue_remaining": "2"}}), ServerEvent(EventKind.STATUS)),
        (text("execution_start", prompt_id="p", timestamp=1), ServerEvent(EventKind.EXECUTION_START, "p")),
        (text("executing", prompt_id="p", node="3"), ServerEvent(EventKind.EXECUTING, "p", "3")),
        (text("executing", prompt_id="p", node=None), ServerEvent(EventKind.EXECUTING, "p")),
        (
            text("progress", prompt_id="p", node="3", value=1, max=20),
            ServerEvent(EventKind.PROGRESS, "p", "3", nodes=(NodeProgress("3", 1, 20),)),
        ),
        (text("progress", value=1, max=20), ServerEvent(EventKind.PROGRESS)),
        (
            text("progress_state", prompt_id="p", nodes={"3": {"value": 1.5, "max": "x", "state": "running"}, "4": 1}),
            ServerEvent(
                EventKind.PROGRESS_STATE, "p", nodes=(NodeProgress("3", 1.5, 0, "running"), NodeProgress("4", 0, 0))
            ),
        ),
        (text("executed", prompt_id="p", node="3", output={}), ServerEvent(EventKind.EXECUTED, "p", "3")),
        (
            text(
                "execution_error",
                prompt_id="p",
                node_id="3",
                node_type="K",
                exception_type="E",
                exception_message="a\nb",
            ),
            ServerEvent(EventKind.EXECUTION_ERROR, "p", "3", error="K: E: a b"),
        ),
        ('{"type": "executed", "data": {"prompt_id": "p", "output": NaN}}', ServerEvent(EventKind.EXECUTED, "p")),
        ('{"type": "execution_success"}', ServerEvent(EventKind.EXECUTION_SUCCESS)),
    ],
)
def test_message_is_parsed(message: str, event: ServerEvent) -> None:
    assert parse_event(message) == event


@pytest.mark.parametrize(
    "message", ["", "[]", "{", '{"type": 3}', text("preview"), text("feature_flags"), b"", b"\0\0\0\2x"]
)
def test_other_messages_are_not_events(message: str | bytes) -> None:
    assert parse_event(message) is None


def test_preview_has_its_image() -> None:
    message = struct.pack(">II", 1, 2) + b"png"
    assert parse_event(message) == ServerEvent(EventKind.PREVIEW, image=PreviewImage("image/png", b"png"))
    assert parse_event(struct.pack(">I", 1)) == ServerEvent(EventKind.PREVIEW, image=PreviewImage("", b""))


def test_preview_with_metadata_names_its_prompt() -> None:
    metadata = json.dumps({"prompt_id": "p", "node_id": "3", "image_type": "image/jpeg"}).encode()
    message = struct.pack(">II", 4, len(metadata)) + metadata + b"jpeg"
    assert parse_event(message) == ServerEvent(EventKind.PREVIEW, "p", "3", image=PreviewImage("image/jpeg", b"jpeg"))


@pytest.mark.parametrize(
    ("event", "ends"),
    [
        (ServerEvent(EventKind.EXECUTION_SUCCESS, "p"), True),
        (ServerEvent(EventKind.EXECUTION_ERROR, "p"), True),
        (ServerEvent(EventKind.EXECUTION_INTERRUPTED, "p"), True),
        (ServerEvent(EventKind.EXECUTING, "p"), True),
        (ServerEvent(EventKind.EXECUTING, "p", "3"), False),
        (ServerEvent(EventKind.EXECUTING), False),
        (ServerEvent(EventKind.STATUS), False),
    ],
)
def test_end_of_a_prompt_is_recognised(event: ServerEvent, *, ends: bool) -> None:
    assert event.ends_prompt is ends


def test_status_is_no_work() -> None:
    assert not ServerEvent(EventKind.STATUS).is_work
    assert ServerEvent(EventKind.PREVIEW).is_work


def kinds_kept(limit: int, *kinds: EventKind) -> list[EventKind]:
    buffer = EventBuffer(limit)
    for kind in kinds:
        buffer.add(ServerEvent(kind, "p", "1"))
    return [event.kind for event in buffer.take()]


def test_full_buffer_drops_previews_then_progress_then_status() -> None:
    preview, progress, status = EventKind.PREVIEW, EventKind.PROGRESS, EventKind.STATUS
    executing, success = EventKind.EXECUTING, EventKind.EXECUTION_SUCCESS
    order = (success, executing, status, progress, preview)
    assert kinds_kept(5, *order, success) == [success, executing, status, progress, success]
    assert kinds_kept(4, success, executing, status, progress, success) == [success, executing, status, success]
    assert kinds_kept(3, success, executing, status, success) == [success, executing, success]
    assert kinds_kept(2, success, executing, success) == [success, success]
    assert kinds_kept(1, success, EventKind.EXECUTION_ERROR) == [EventKind.EXECUTION_ERROR]


def test_only_the_newest_preview_waits() -> None:
    buffer = EventBuffer()
    for content in (b"1", b"2", b"3"):
        buffer.add(ServerEvent(EventKind.PREVIEW, image=PreviewImage("image/png", content)))
    assert [event.image and event.image.content for event in buffer.take()] == [b"3"]
    assert buffer.dropped == 2


def test_buffer_of_a_prompt_takes_only_its_events() -> None:
    buffer = EventBuffer(prompt_id="p")
    buffer.add(ServerEvent(EventKind.STATUS))
    buffer.add(ServerEvent(EventKind.EXECUTING, "other"))
    buffer.add(ServerEvent(EventKind.EXECUTING, "p"))
    assert buffer.take() == (ServerEvent(EventKind.EXECUTING, "p"),)
    assert buffer.take() == ()


def test_waiting_for_the_end_stops_there_or_at_the_limit() -> None:
    buffer = EventBuffer()
    buffer.add(ServerEvent(EventKind.EXECUTION_START, "p"))
    assert [event.kind for event in buffer.wait_for_end(0.01)] == [EventKind.EXECUTION_START]
    buffer.add(ServerEvent(EventKind.EXECUTION_SUCCESS, "p"))
    assert buffer.wait_for_end(10)[-1].ends_prompt
