"""Submitting, waiting and cancelling, on a fake ComfyUI that misbehaves; a real one: tests/real_comfyui."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.server.prompt_client import CancelOutcome, PromptClient, PromptState
from comfywatchman.comfyui.server.prompts import PromptResult
from tests.servers.comfyui import FakeComfyUI
from tests.servers.comfyui_http import Faults

LIMIT_SECONDS = 60.0
POLL_SECONDS = 0.01

TEXT: dict[str, dict[str, Any]] = {"1": {"class_type": "PreviewAny", "inputs": {"source": "x"}}}
SLEEP: dict[str, dict[str, Any]] = {"1": {"class_type": "TestSleep", "inputs": {"seconds": 600}}}
FAIL: dict[str, dict[str, Any]] = {"1": {"class_type": "TestFail", "inputs": {}}}
UNKNOWN_CLASS: dict[str, dict[str, Any]] = {"1": {"class_type": "NoSuchNode", "inputs": {}}}

API_FAULTS: dict[str, dict[str, Any]] = {
    "jobs_api": {"poisoned_jobs": True},
    "no_cancel_route": {"no_cancel_route": True},
    "poisoned_job": {"poisoned_job": True},
    "no_jobs_api": {"no_jobs_api": True},
}


@pytest.fixture(params=API_FAULTS)
def faults(request: pytest.FixtureRequest) -> Faults:
    """A server of each age; a test may add further faults."""
    return Faults(**API_FAULTS[request.param])


@contextmanager
def serve(faults: Faults | None = None) -> Iterator[tuple[FakeComfyUI, PromptClient]]:
    with FakeComfyUI(faults) as server, PromptClient(server.url + "/", timeout_seconds=LIMIT_SECONDS) as client:
        yield server, client
        assert ("GET", "/api/jobs") not in server.requests, "the list of jobs can be broken by one prompt of anybody"


def pause() -> bool:
    time.sleep(POLL_SECONDS)
    return True


def wait(client: PromptClient, prompt_id: str, limit_seconds: float = LIMIT_SECONDS) -> PromptResult:
    return client.wait(prompt_id, limit_seconds=limit_seconds, is_running=pause)


def cancel(client: PromptClient, prompt_id: str, limit_seconds: float = LIMIT_SECONDS) -> CancelOutcome:
    return client.cancel(prompt_id, limit_seconds=limit_seconds, pause=pause)


def wait_until_running(client: PromptClient, prompt_id: str) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while client.find_state(prompt_id) is not PromptState.RUNNING:
        assert time.monotonic() < deadline
        pause()


def test_prompt_runs_under_its_own_id(faults: Faults) -> None:
    prompt_id = str(uuid.uuid4())
    with serve(faults) as (server, client):
        submission = client.submit(TEXT, prompt_id=prompt_id, extra_data={"cw": {"job": 1}})
        assert (submission.prompt_id, submission.refusal) == (prompt_id, None)
        assert wait(client, prompt_id) == PromptResult("success")
        assert client.find_state(prompt_id) is PromptState.ENDED
        entry = client.read_entry(prompt_id)
        assert entry is not None
        assert entry["outputs"] == {"1": {"text": ["x"]}}
        assert server.history[prompt_id]["prompt"][3] == {"cw": {"job": 1}}
        client.delete_entry(prompt_id)
        assert client.find_state(prompt_id) is PromptState.UNKNOWN


def test_events_are_requested_by_the_client_id() -> None:
    with FakeComfyUI() as server, PromptClient(server.url, client_id="me") as client:
        prompt_id = client.submit(TEXT).prompt_id
        wait(client, prompt_id)
        assert server.history[prompt_id]["prompt"][3] == {"client_id": "me"}


def test_prompt_at_the_front_runs_first() -> None:
    with serve(Faults(dead_worker=True)) as (server, client):
        prompt_ids = [client.submit(TEXT, front=number == 2).prompt_id for number in range(3)]
        assert server.queued == [prompt_ids[2], *prompt_ids[:2]]


def test_failed_prompt_has_its_error() -> None:
    with serve() as (_server, client):
        result = wait(client, client.submit(FAIL).prompt_id)
    assert result == PromptResult("error", "TestFail: RuntimeError: made to fail")


def test_refused_prompt_has_reason_and_type() -> None:
    with serve() as (server, client):
        submission = client.submit(UNKNOWN_CLASS)
        assert submission.refusal == "Cannot execute because node NoSuchNode does not exist."
        assert submission.error_type == "invalid_prompt"
        assert server.queued == []


def test_error_as_text_is_a_refusal() -> None:
    with serve(Faults(text_errors={"/prompt"})) as (_server, client):
        assert client.submit(TEXT).refusal == "status 500"


def test_prompt_accepted_in_part_is_cancelled() -> None:
    with serve(Faults(drops_outputs=True, dead_worker=True)) as (server, client):
        submission = client.submit(TEXT)
        assert submission.refusal == "errors in 99"
        assert list(submission.node_errors) == ["99"]
        assert server.queued == []


def test_part_of_a_prompt_that_runs_already_is_interrupted(faults: Faults) -> None:
    faults.drops_outputs = True
    with serve(faults) as (server, client):
        submission = client.submit(SLEEP)
        assert submission.refusal == "errors in 99"
        assert wait(client, submission.prompt_id).outcome in {"interrupted", "lost"}
        assert server.queued == []


def test_server_may_give_a_prompt_another_id() -> None:
    requested_id = str(uuid.uuid4())
    with serve(Faults(renames_prompts=True)) as (_server, client):
        submission = client.submit(TEXT, prompt_id=requested_id)
        assert submission.prompt_id != requested_id
        assert wait(client, submission.prompt_id).outcome == "success"


def test_lost_answer_is_settled_by_the_queue() -> None:
    with serve(Faults(loses_answers=True, dead_worker=True)) as (server, client):
        prompt_id = client.submit(TEXT).prompt_id
        assert server.queued == [prompt_id]


def test_request_that_never_arrived_fails() -> None:
    with serve(Faults(closes_requests={"/prompt"})) as (server, client):
        with pytest.raises(Failure) as caught:
            client.submit(TEXT)
        assert caught.value.code == "http-unreachable"
        assert server.queued == []


def test_extra_data_that_breaks_the_list_of_jobs_is_left_out() -> None:
    with serve(Faults(dead_worker=True)) as (_server, client):
        prompt_id = client.submit(TEXT, extra_data={"extra_pnginfo": {"workflow": None, "x": 1}, "cw": 2}).prompt_id
        items = client.session.get_json(f"{client.url}/queue")
        assert isinstance(items, dict)
        assert [item[3] for item in items["queue_pending"] if item[1] == prompt_id] == [
            {"extra_pnginfo": {"x": 1}, "cw": 2}
        ]


def test_prompt_that_the_server_forgot_is_lost(faults: Faults) -> None:
    faults.dead_worker = True
    with serve(faults) as (server, client):
        prompt_id = client.submit(TEXT).prompt_id
        server.forget()
        result = client.wait(prompt_id, limit_seconds=LIMIT_SECONDS, is_running=pause, look_seconds=0)
    assert result == PromptResult("lost", "The server no longer knows the prompt.")


def test_prompt_without_history_is_lost() -> None:
    with serve(Faults(no_history=True)) as (_server, client):
        prompt_id = client.submit(TEXT).prompt_id
        result = client.wait(prompt_id, limit_seconds=LIMIT_SECONDS, is_running=pause, look_seconds=0)
    assert result.outcome == "lost"


def test_caller_can_stop_waiting() -> None:
    answers = iter([True, True, False])
    with serve(Faults(dead_worker=True)) as (_server, client):
        prompt_id = client.submit(TEXT).prompt_id
        result = client.wait(
            prompt_id,
            limit_seconds=LIMIT_SECONDS,
            is_running=pause,
            keep_waiting=lambda: next(answers),
            look_seconds=0,
        )
    assert result == PromptResult("abandoned")
    assert list(answers) == []


def test_end_of_the_process_ends_the_waiting() -> None:
    with serve(Faults(dead_worker=True)) as (_server, client):
        result = client.wait(client.submit(TEXT).prompt_id, limit_seconds=LIMIT_SECONDS, is_running=lambda: False)
    assert result == PromptResult("lost")


def test_waiting_ends_at_its_limit() -> None:
    with serve(Faults(dead_worker=True)) as (server, client):
        prompt_id = client.submit(TEXT).prompt_id
        assert wait(client, prompt_id, 0.05) == PromptResult("timeout")
        assert server.queued == [prompt_id], "waiting does not cancel"


def test_failing_requests_do_not_end_the_waiting() -> None:
    with serve() as (server, client):
        server.faults.failing_prefix = "/history/"
        prompt_id = client.submit(TEXT).prompt_id
        result = wait(client, prompt_id, 0.3)
        assert result.outcome == "timeout"
        assert "status 500" in result.reason
        server.faults.failing_prefix = "-"
        assert wait(client, prompt_id) == PromptResult("success")


def test_waiting_prompt_is_taken_out_of_the_queue(faults: Faults) -> None:
    with serve(faults) as (server, client):
        other = client.submit(SLEEP).prompt_id
        wait_until_running(client, other)
        prompt_id = client.submit(TEXT).prompt_id
        assert cancel(client, prompt_id) is CancelOutcome.CANCELLED
        assert server.queued == [other], "the prompt of somebody else goes on"


def test_running_prompt_is_interrupted(faults: Faults) -> None:
    with serve(faults) as (server, client):
        prompt_id = client.submit(SLEEP).prompt_id
        wait_until_running(client, prompt_id)
        other = client.submit(TEXT).prompt_id
        assert cancel(client, prompt_id) is CancelOutcome.CANCELLED
        assert wait(client, prompt_id) == PromptResult("interrupted")
        assert wait(client, other) == PromptResult("success")
        assert server.ran == [prompt_id, other]


@pytest.mark.slow
def test_interrupt_without_effect_is_repeated(faults: Faults) -> None:
    faults.ignored_interrupts = 1
    with serve(faults) as (_server, client):
        prompt_id = client.submit(SLEEP).prompt_id
        wait_until_running(client, prompt_id)
        assert cancel(client, prompt_id) is CancelOutcome.CANCELLED


def test_server_that_ignores_interrupts_is_told_from_one_that_obeys(faults: Faults) -> None:
    faults.ignored_interrupts = 1000
    with serve(faults) as (_server, client):
        prompt_id = client.submit(SLEEP).prompt_id
        wait_until_running(client, prompt_id)
        assert cancel(client, prompt_id, 0.05) is CancelOutcome.IGNORED


def test_prompt_that_begins_while_it_is_cancelled_is_interrupted() -> None:
    with serve(Faults(dead_worker=True, no_jobs_api=True)) as (server, client):
        prompt_id = client.submit(SLEEP).prompt_id
        original = server.answer
        begun = threading.Event()

        def begin_first(method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
            if (method, path) == ("POST", "/queue") and not begun.is_set():
                begun.set()
                server.faults.dead_worker = False
                server.wake()
                while not server.history and server.queued and server.running_id is None:
                    pause()
            return original(method, path, query, body)

        server.answer = begin_first  # type: ignore[method-assign]
        assert cancel(client, prompt_id) is CancelOutcome.CANCELLED
        assert wait(client, prompt_id) == PromptResult("interrupted")


def test_prompt_that_ended_is_not_cancelled(faults: Faults) -> None:
    with serve(faults) as (_server, client):
        prompt_id = client.submit(TEXT).prompt_id
        wait(client, prompt_id)
        assert cancel(client, prompt_id) is CancelOutcome.FINISHED
        assert cancel(client, str(uuid.uuid4())) is CancelOutcome.UNKNOWN


def test_server_that_does_not_answer_is_asked_until_the_limit() -> None:
    with serve(Faults(dead_worker=True)) as (server, client):
        prompt_id = client.submit(TEXT).prompt_id
        server.faults.failing_prefix = "/"
        with pytest.raises(Failure) as caught:
            cancel(client, prompt_id, 0.05)
        assert caught.value.code == "http-status"
        server.faults.failing_prefix = "-"
        assert cancel(client, prompt_id) is CancelOutcome.CANCELLED
