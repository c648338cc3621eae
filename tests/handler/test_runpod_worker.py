from __future__ import annotations

import asyncio
import base64
import sys
import threading
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.handler.handle import HandlerOptions, VersionName
from comfywatchman.handler.runpod_worker import (
    ProgressReporter,
    RunPodWorker,
    describe_job_failure,
    parse_job,
    start_worker,
)
from comfywatchman.jobs.execution.run_states import RunProgress
from tests.handler.requests import TEXT_WORKFLOW, WORKFLOW, DescribedComfyUI, build_body

SLEEPING = {"1": {"class_type": "TestSleep", "inputs": {"seconds": 600}}}


@pytest.fixture
def server() -> Iterator[DescribedComfyUI]:
    with DescribedComfyUI() as running:
        yield running


def build_job(workflow: object = WORKFLOW, **fields: object) -> dict[str, Any]:
    return {"id": "job-1", **orjson.loads(build_body(workflow, **fields))}


def run(server: DescribedComfyUI, job: dict[str, Any], **options: Any) -> dict[str, Any]:
    worker = RunPodWorker(HandlerOptions(server.url, **options), lambda _job, _progress: None)
    return asyncio.run(worker.run_job(job))


def test_output_of_a_job_is_the_result(server: DescribedComfyUI) -> None:
    output = run(server, build_job(), version=VersionName("first", "a" * 64))
    assert "error" not in output
    assert output["idempotency_key"] == "job-1"
    assert output["lock"] == {"tag": "first", "content_sha256": "a" * 64}
    assert base64.b64decode(output["outputs"][0]["data"]) == server.saved


def test_failed_job_has_an_error_text(server: DescribedComfyUI) -> None:
    output = run(server, build_job({"1": {"class_type": "Unknown", "inputs": {}}}))
    assert output["error"].startswith("handler-nodes-missing: ")
    assert output["details"]["node_types"] == ["Unknown"]
    assert "refresh_worker" not in output


def test_job_that_lost_comfyui_replaces_the_worker(server: DescribedComfyUI) -> None:
    server.faults.closes_requests = {"/object_info"}
    assert run(server, build_job())["refresh_worker"] is True


@pytest.mark.parametrize("job", [{"id": "a", "input": None}, {"id": "a", "input": [1]}, {"id": "a"}])
def test_job_without_a_request_fails(server: DescribedComfyUI, job: dict[str, Any]) -> None:
    assert run(server, job)["error"].startswith("handler-request-invalid: ")


def test_result_that_runpod_would_refuse_is_an_error(server: DescribedComfyUI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfywatchman.handler.runpod_worker.MAX_RESULT_BYTES", 4)
    output = run(server, build_job(output="base64"))
    assert output["error"].startswith("handler-outputs-too-large: ")


def test_cancelled_job_is_stopped_in_comfyui(server: DescribedComfyUI) -> None:
    running = threading.Event()

    async def run_and_cancel() -> None:
        worker = RunPodWorker(HandlerOptions(server.url), lambda _job, _progress: running.set())
        task = asyncio.create_task(worker.run_job(build_job(SLEEPING)))
        await asyncio.to_thread(running.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run_and_cancel())
    assert server.queued == []
    assert run(server, build_job(TEXT_WORKFLOW))["outputs"][0]["data"] == "a text"


def test_own_key_of_a_request_stays() -> None:
    assert parse_job(build_job(idempotency_key="own")).key == "own"
    assert parse_job(build_job()).key == "job-1"
    assert parse_job({**build_job(), "id": "a b"}).key is None


def test_progress_is_sent_when_it_is_new_and_not_too_often() -> None:
    sent: list[Any] = []
    now = [0.0]
    reporter = ProgressReporter(sent.append, lambda: now[0])
    for seconds, node_id in ((0, "1"), (1, "2"), (2, "2"), (9, "2"), (9, "3")):
        now[0] = float(seconds)
        reporter.show(RunProgress(node_id=node_id))
    assert [progress["node_id"] for progress in sent] == ["1", "2", "3"]


def test_failure_names_its_code() -> None:
    failure = Failure("handler-timeout", "Too long.")
    assert describe_job_failure(failure)["error"] == "handler-timeout: Too long."


def test_missing_package_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "runpod", None)
    with pytest.raises(Failure) as raised:
        start_worker(HandlerOptions("http://127.0.0.1:9"))
    assert raised.value.code == "handler-runpod-missing"
