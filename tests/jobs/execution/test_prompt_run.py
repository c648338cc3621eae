"""Runs of prompts on a fake ComfyUI; the same on a real one: tests/real_comfyui/test_jobs.py."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from comfywatchman.jobs.execution.prompt_run import PromptRunner, describe_node_errors, invoke_comfyui
from comfywatchman.jobs.execution.run_states import PromptRun, RunEnd, RunLimits, RunProgress, StopCause, Watch
from tests.servers.comfyui import FakeComfyUI
from tests.servers.comfyui_http import Faults

IMAGE: dict[str, dict[str, Any]] = {
    "1": {"class_type": "EmptyImage", "inputs": {}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "cat"}},
}
SLEEP: dict[str, dict[str, Any]] = {"1": {"class_type": "TestSleep", "inputs": {"seconds": 600}}}
FAIL: dict[str, dict[str, Any]] = {"1": {"class_type": "TestFail", "inputs": {}}}
LIMITS = RunLimits(run_seconds=600, away_seconds=60, stall_seconds=60, cancel_seconds=60)
IMPATIENT = RunLimits(run_seconds=600, away_seconds=1.5, stall_seconds=1.5, cancel_seconds=60)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let slow machines connect."""
    monkeypatch.setattr("comfywatchman.jobs.execution.prompt_run._CONNECT_SECONDS", 60.0)


def go_on(_progress: RunProgress) -> StopCause | None:
    return None


def run(
    server: FakeComfyUI, prompt: dict[str, dict[str, Any]], watch: Watch = go_on, limits: RunLimits = LIMITS
) -> PromptRun:
    with PromptRunner(server.url, limits) as runner:
        return runner.run(prompt, prompt_id=str(uuid.uuid4()), extra_data={"comfywatchman": {"job": 1}}, watch=watch)


def act_when_running(server: FakeComfyUI, act: Callable[[], object]) -> Watch:
    """Return a watch that acts once, when the prompt runs."""
    acted = threading.Event()

    def watch(progress: RunProgress) -> StopCause | None:
        if progress.is_running and server.running_id is not None and not acted.is_set():
            acted.set()
            act()
        return None

    return watch


@contextmanager
def serve(**faults: Any) -> Iterator[FakeComfyUI]:
    with FakeComfyUI(Faults(**faults)) as server:
        yield server


def test_success_has_the_history_entry() -> None:
    seen: list[RunProgress] = []

    def watch(progress: RunProgress) -> StopCause | None:
        seen.append(progress)
        return None

    with serve() as server:
        result = run(server, IMAGE, watch)
        assert result.end is RunEnd.SUCCESS
        assert server.history[result.prompt_id]["prompt"][3]["comfywatchman"] == {"job": 1}
    assert "images" in str(result.entry["outputs"])
    assert seen[-1].is_running


@pytest.mark.slow
def test_history_alone_is_enough() -> None:
    with serve(no_events=True) as server:
        assert run(server, IMAGE).end is RunEnd.SUCCESS


def test_socket_refused_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfywatchman.jobs.execution.prompt_run._CONNECT_SECONDS", 0.05)
    with serve(refuses_sockets=True) as server:
        assert run(server, IMAGE).end is RunEnd.SUCCESS


def test_failed_node_is_named() -> None:
    with serve() as server:
        result = run(server, FAIL)
    assert (result.end, result.reason) == (RunEnd.FAILED, "TestFail: RuntimeError: made to fail")


def test_unknown_class_is_refused() -> None:
    with serve() as server:
        result = run(server, {"1": {"class_type": "NoSuchNode", "inputs": {}}})
    assert result.end is RunEnd.REFUSED
    assert "NoSuchNode" in result.reason


def test_server_error_says_little_about_the_prompt() -> None:
    with serve(text_errors={"/prompt"}) as server:
        result = run(server, IMAGE)
    assert (result.end, result.reason) == (RunEnd.SERVER_ERROR, "status 500")


def test_partly_accepted_prompt_is_refused_and_leaves_nothing() -> None:
    with serve(drops_outputs=True) as server:
        result = run(server, SLEEP)
        assert (result.end, server.queued) == (RunEnd.REFUSED, [])


def test_prompt_interrupted_by_somebody_is_not_failed() -> None:
    with serve() as server:
        result = run(server, SLEEP, act_when_running(server, server._set_interrupt))
    assert (result.end, result.has_begun) == (RunEnd.INTERRUPTED, True)


@pytest.mark.slow
def test_prompt_removed_from_the_queue_by_somebody_is_not_failed() -> None:
    with serve(dead_worker=True) as server:

        def watch(progress: RunProgress) -> StopCause | None:
            if progress.prompts_ahead is not None:
                server.forget()
            return None

        result = run(server, SLEEP, watch)
    assert (result.end, result.has_begun) == (RunEnd.INTERRUPTED, False)
    assert "removed" in result.reason


@pytest.mark.slow
def test_restart_of_comfyui_is_seen() -> None:
    with serve() as server:

        def restart() -> None:
            server.faults.no_history = True
            server.close_sockets()
            server._interrupt.set()

        result = run(server, SLEEP, act_when_running(server, restart))
    assert (result.end, result.has_begun, result.is_gone) == (RunEnd.RESTARTED, True, True)


@pytest.mark.slow
def test_server_that_answers_no_more_is_away() -> None:
    with serve() as server:

        def cut() -> None:
            server.faults.failing_prefix = "/"
            server.faults.closes_requests = {"/prompt"}

        result = run(server, SLEEP, act_when_running(server, cut), IMPATIENT)
    assert (result.end, result.is_gone) == (RunEnd.AWAY, False)


@pytest.mark.slow
def test_short_outage_is_survived() -> None:
    with serve() as server:

        def cut() -> None:
            server.faults.failing_prefix = "/"

            def repair() -> None:
                server.faults.failing_prefix = "nothing"
                server._interrupt.set()

            threading.Timer(0.6, repair).start()

        result = run(server, SLEEP, act_when_running(server, cut))
    assert result.end is RunEnd.INTERRUPTED


@pytest.mark.slow
def test_request_that_never_arrived_is_away() -> None:
    with serve(closes_requests={"/prompt"}) as server:
        result = run(server, IMAGE, limits=IMPATIENT)
        assert (result.end, server.submitted) == (RunEnd.AWAY, [])


def test_lost_answer_does_not_lose_the_prompt() -> None:
    with serve(loses_answers=True) as server:
        assert run(server, IMAGE).end is RunEnd.SUCCESS
        assert len(server.submitted) == 1


def test_server_that_runs_nothing_is_stalled_and_keeps_nothing() -> None:
    with serve(dead_worker=True) as server:
        result = run(server, IMAGE, limits=IMPATIENT)
        assert (result.end, result.is_gone, server.queued) == (RunEnd.STALLED, True, [])


@pytest.mark.parametrize("cause", list(StopCause))
def test_stopped_prompt_is_cancelled(cause: StopCause) -> None:
    with serve() as server:

        def watch(progress: RunProgress) -> StopCause | None:
            return cause if progress.is_running else None

        result = run(server, SLEEP, watch)
        assert (result.end, result.stop, result.is_gone) == (RunEnd.STOPPED, cause, True)
        assert server.queued == []


def test_run_limit_begins_with_the_run() -> None:
    with serve() as server:
        result = run(server, SLEEP, limits=RunLimits(run_seconds=0.2, cancel_seconds=60))
    assert (result.end, result.stop) == (RunEnd.STOPPED, StopCause.DEADLINE)
    assert result.run_seconds >= 0.2


@pytest.mark.slow
def test_prompt_of_somebody_else_is_waited_for() -> None:
    ahead: list[int | None] = []
    with serve() as server, PromptRunner(server.url, replace(LIMITS, stall_seconds=4)) as runner:
        foreign = runner.client.submit(SLEEP).prompt_id
        deadline = time.monotonic() + 60
        while server.running_id is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)

        def watch(progress: RunProgress) -> StopCause | None:
            ahead.append(progress.prompts_ahead)
            # Longer than the limit of a stalled server: that one works.
            if progress.prompts_ahead == 1 and time.monotonic() > began + 5:
                server._interrupt.set()
            return None

        began = time.monotonic()
        result = runner.run(IMAGE, prompt_id=str(uuid.uuid4()), extra_data={}, watch=watch)
        assert result.end is RunEnd.SUCCESS
        assert server.ran == [foreign, result.prompt_id]
    assert 1 in ahead
    assert result.queue_seconds > 4


def test_node_errors_are_described() -> None:
    errors = {
        "4": {
            "class_type": "CheckpointLoaderSimple",
            "errors": [{"type": "value_not_in_list", "message": "Value not in list", "details": "ckpt: 'a' not in []"}],
        },
        "5": {"errors": [{"type": "odd"}, "x"]},
        "6": None,
    }
    text = "node 4 (CheckpointLoaderSimple): Value not in list: ckpt: 'a' not in []; node 5: odd"
    assert describe_node_errors(errors) == text


def test_invoke_returns_the_outputs() -> None:
    with serve() as server:
        result = invoke_comfyui(server.url, IMAGE, 60)
    assert [file["filename"] for file in result["outputs"]] == ["cat_00001_.png"]
    assert result["seconds"] >= 0


@pytest.mark.parametrize(("prompt", "seconds", "words"), [(FAIL, 60, "made to fail"), (SLEEP, 0.3, "deadline")])
def test_invoke_raises_for_anything_but_success(prompt: dict[str, dict[str, Any]], seconds: float, words: str) -> None:
    with serve() as server, pytest.raises(RuntimeError, match=words):
        invoke_comfyui(server.url, prompt, seconds)


def test_invoke_raises_without_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfywatchman.jobs.execution.prompt_run._CONNECT_SECONDS", 0.05)
    with FakeComfyUI() as server:
        url = server.url
    with pytest.raises(RuntimeError, match="away"):
        invoke_comfyui(url, IMAGE, 0.3)
