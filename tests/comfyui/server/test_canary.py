"""Minimal prompts on a fake ComfyUI that misbehaves; a real one: tests/real_comfyui/test_server_jobs.py."""

from __future__ import annotations

import pytest

from comfywatchman.comfyui.server.canary import (
    CanaryResult,
    CanaryStatus,
    GpuCoverage,
    check_server,
    choose_canary,
    run_canary,
)
from comfywatchman.comfyui.server.prompt_client import PromptClient
from comfywatchman.comfyui.server.prompts import PromptResult
from tests.servers.comfyui import CLASSES, FakeComfyUI
from tests.servers.comfyui_http import Faults, client_that_does_not_read

LIMIT_SECONDS = 60.0
SILENCE_SECONDS = 0.2
SLEEP = {"1": {"class_type": "TestSleep", "inputs": {"seconds": 600}}}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let slow machines connect and clean up."""
    monkeypatch.setattr("comfywatchman.comfyui.server.canary._CONNECT_SECONDS", LIMIT_SECONDS)
    monkeypatch.setattr("comfywatchman.comfyui.server.canary._CLEANUP_SECONDS", LIMIT_SECONDS)
    monkeypatch.setattr("comfywatchman.comfyui.server.canary._PROBE_SECONDS", LIMIT_SECONDS)


def check(
    server: FakeComfyUI, *, limit_seconds: float = LIMIT_SECONDS, events_limit_seconds: float = LIMIT_SECONDS
) -> CanaryResult:
    return check_server(server.url, limit_seconds=limit_seconds, events_limit_seconds=events_limit_seconds)


def check_faults(
    faults: Faults, *, limit_seconds: float = LIMIT_SECONDS, events_limit_seconds: float = LIMIT_SECONDS
) -> CanaryResult:
    with FakeComfyUI(faults) as server:
        result = check(server, limit_seconds=limit_seconds, events_limit_seconds=events_limit_seconds)
        assert (server.queued, server.history) == ([], {}), "a canary leaves nothing behind"
    return result


def test_image_prompt_is_chosen_when_its_classes_exist() -> None:
    prompt = choose_canary({"EmptyImage", "PreviewImage", "PreviewAny"}, "unique")
    assert prompt is not None
    assert [node["class_type"] for node in prompt.values()] == ["EmptyImage", "PreviewImage"]


def test_text_prompt_is_chosen_otherwise() -> None:
    expected = {"1": {"class_type": "PreviewAny", "inputs": {"source": "unique"}}}
    assert choose_canary({"PreviewAny"}, "unique") == expected


def test_no_prompt_without_its_classes() -> None:
    assert choose_canary({"PreviewImage"}, "unique") is None


def test_prompt_of_a_trial_runs() -> None:
    with FakeComfyUI() as server:
        result = run_canary(server.url, CLASSES, limit_seconds=LIMIT_SECONDS, is_running=lambda: True)
        assert run_canary(server.url, (), limit_seconds=LIMIT_SECONDS, is_running=lambda: True) is None
    assert result == PromptResult("success")


def test_refused_prompt_of_a_trial_has_the_reason() -> None:
    with FakeComfyUI(Faults(text_errors={"/prompt"})) as server:
        result = run_canary(server.url, CLASSES, limit_seconds=LIMIT_SECONDS, is_running=lambda: True)
    assert result == PromptResult("refused", "status 500")


def test_canary_proves_computing_and_events_and_leaves_nothing() -> None:
    with FakeComfyUI() as server:
        result = check_server(server.url, limit_seconds=LIMIT_SECONDS)
        assert (server.queued, server.history, server.files) == ([], {}, {})
        assert len(server.ran) == 1
    assert (result.status, result.gpu, result.reason) == (CanaryStatus.RAN, GpuCoverage.NO_GPU, "")
    assert result.run_seconds is not None
    assert result.events_seconds is not None


@pytest.mark.slow
def test_cache_of_the_server_cannot_answer_a_canary() -> None:
    with FakeComfyUI() as server:
        for _ in range(3):
            check(server)
        prompts = {str(prompt) for prompt in server.submitted}
    assert len(prompts) == 3


@pytest.mark.slow
def test_slow_server_is_no_broken_server() -> None:
    assert check_faults(Faults(delay_seconds=0.2)).status is CanaryStatus.RAN


def test_canary_computes_on_the_gpu_where_there_is_one() -> None:
    assert check_faults(Faults(device="cuda")).gpu is GpuCoverage.COVERED


@pytest.mark.slow
def test_gpu_is_not_covered_without_the_class_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.servers.comfyui.CLASSES", ("PreviewAny",))
    assert check_faults(Faults(device="cuda")).gpu is GpuCoverage.NOT_COVERED
    result = check_faults(Faults(device="cpu"))
    assert (result.status, result.gpu) == (CanaryStatus.RAN, GpuCoverage.NO_GPU)


def test_server_without_any_class_refuses_the_canary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.servers.comfyui.CLASSES", ())
    result = check_faults(Faults())
    assert result.status is CanaryStatus.REFUSED
    assert "PreviewAny does not exist" in result.reason


@pytest.mark.slow
@pytest.mark.parametrize(
    "faults",
    [
        Faults(no_events=True),
        Faults(closes_sockets=True),
        Faults(silent_kinds={"execution_start"}),
        Faults(silent_kinds={"execution_success", "executing"}),
    ],
    ids=["no_events", "closes_sockets", "no_beginning", "no_end"],
)
def test_missing_events_are_told_from_a_server_that_does_not_compute(faults: Faults) -> None:
    result = check_faults(faults, events_limit_seconds=SILENCE_SECONDS)
    assert (result.status, result.events_seconds) == (CanaryStatus.EVENTS_MISSING, None)
    assert result.run_seconds is not None


@pytest.mark.slow
def test_refused_event_connection_counts_as_missing_events(monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds in (SILENCE_SECONDS, 5.0, 30.0):
        monkeypatch.setattr("comfywatchman.comfyui.server.canary._CONNECT_SECONDS", seconds)
        result = check_faults(Faults(refuses_sockets=True), events_limit_seconds=SILENCE_SECONDS)
        assert result.status is CanaryStatus.EVENTS_MISSING
        # The server may have been too slow to refuse by then.
        if "503" in result.reason:
            break
    assert "503" in result.reason


@pytest.mark.slow
def test_client_that_does_not_read_makes_events_missing() -> None:
    with FakeComfyUI() as server, client_that_does_not_read(server.port):
        server.send("executed", {"output": "x" * (8 << 20)}, "stalled")
        result = check(server, events_limit_seconds=SILENCE_SECONDS)
    assert result.status is CanaryStatus.EVENTS_MISSING


@pytest.mark.slow
def test_dead_prompt_thread_is_a_timeout() -> None:
    assert check_faults(Faults(dead_worker=True), limit_seconds=0.3) == CanaryResult(CanaryStatus.TIMEOUT)


@pytest.mark.slow
def test_server_that_stops_answering_is_lost() -> None:
    faults = Faults()
    with FakeComfyUI(faults) as server:
        faults.closes_requests = {"/prompt"}
        result = check(server)
    assert result.status is CanaryStatus.LOST
    assert "did not answer" in result.reason


@pytest.mark.slow
def test_failing_history_is_no_timeout_of_the_prompt() -> None:
    with FakeComfyUI(Faults(dead_worker=True)) as server:
        server.faults.failing_prefix = "/history/"
        for limit_seconds in (1.5, 10.0, 60.0):
            result = check(server, limit_seconds=limit_seconds)
            # A slow server may not have answered by then.
            if result.reason:
                break
    assert result.status is CanaryStatus.LOST
    assert "status 500" in result.reason


def test_busy_server_is_not_tested() -> None:
    with FakeComfyUI() as server, PromptClient(server.url) as client:
        other = client.submit(SLEEP).prompt_id
        assert check(server) == CanaryResult(CanaryStatus.BUSY)
        assert server.queued == [other]
        assert len(server.submitted) == 1


@pytest.mark.slow
def test_canary_gives_way_to_a_prompt_that_was_faster() -> None:
    with FakeComfyUI(Faults(dead_worker=True)) as server, PromptClient(server.url) as client:
        # It enters the queue between the look at the queue and the canary.
        submitted: list[str] = []

        def submit_another() -> bool:
            if not submitted:
                submitted.append(client.submit(SLEEP, front=True).prompt_id)
            return True

        result = check_server(server.url, limit_seconds=LIMIT_SECONDS, is_running=submit_another)
        assert server.queued == submitted
    assert result == CanaryResult(CanaryStatus.BUSY)


def test_server_that_ends_meanwhile_is_lost() -> None:
    with FakeComfyUI(Faults(dead_worker=True)) as server:
        result = check_server(server.url, limit_seconds=LIMIT_SECONDS, is_running=lambda: False)
    assert result == CanaryResult(CanaryStatus.LOST)


def test_port_without_listener_is_lost() -> None:
    with FakeComfyUI() as server:
        url = server.url
    assert check_server(url, limit_seconds=LIMIT_SECONDS).status is CanaryStatus.LOST
