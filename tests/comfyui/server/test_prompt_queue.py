from __future__ import annotations

import pytest

from comfywatchman.base.http import HttpSession
from comfywatchman.comfyui.server.prompt_queue import PromptQueue, QueuedPrompt, parse_queue, read_queue
from tests.servers.comfyui import FakeComfyUI
from tests.servers.comfyui_http import Faults

OURS, THEIRS = QueuedPrompt("a", 3, "me"), QueuedPrompt("b", 1, None)


def test_waiting_prompts_are_in_the_order_of_their_numbers() -> None:
    items = [[2, "x", {}, {"client_id": "me", "cw": 1}, []], [-1, "y", {}, {}, []], [0.5, "z", {}, None, [], 1]]
    queue = parse_queue({"queue_running": [[7, "r", {}, {}, []]], "queue_pending": items})
    assert [prompt.prompt_id for prompt in queue.pending] == ["y", "z", "x"]
    assert queue.pending[2] == QueuedPrompt("x", 2, "me", {"client_id": "me", "cw": 1})
    assert (len(queue), queue.is_running("r"), queue.is_pending("r"), queue.is_pending("x")) == (4, True, False, True)


@pytest.mark.parametrize("payload", [None, [], {}, {"queue_running": [3, [], ["1", "x", {}, {}], [1, 2, {}, {}]]}])
def test_malformed_items_are_left_out(payload: object) -> None:
    assert parse_queue(payload) == PromptQueue()


def test_prompts_of_others_are_recognised() -> None:
    queue = PromptQueue((THEIRS,), (OURS,))
    assert queue.find_others(prompt_ids={"a"}) == (THEIRS,)
    assert queue.find_others(client_ids={"me"}) == (THEIRS,)
    assert queue.find_others(prompt_ids={"a", "b"}) == ()
    assert queue.find_others() == (THEIRS, OURS)


def test_queue_of_a_server_is_read() -> None:
    with FakeComfyUI(Faults(dead_worker=True)) as server, HttpSession(timeout_seconds=10) as session:
        prompt = {"1": {"class_type": "PreviewAny", "inputs": {}}}
        session.post_json(f"{server.url}/prompt", {"prompt": prompt, "prompt_id": "p", "client_id": "me"})
        assert [(item.prompt_id, item.client_id) for item in read_queue(session, server.url).pending] == [("p", "me")]
