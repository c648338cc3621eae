"""`handler runpod` with RunPod's package, where `make runpod` has installed it, and with a stand-in for it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from comfywatchman.comfyui.server.listening import find_free_port
from tests.handler.requests import TEXT_WORKFLOW, DescribedComfyUI, build_body
from tests.hosts import Host
from tests.servers.runpod import RunPodServer

pytestmark = pytest.mark.slow

LIMIT_SECONDS = 90
REAL = Path(__file__).parents[3] / ".tools" / "runpod"
STAND_IN = '''
"""Takes jobs and sends their results, as RunPod's package does."""
import asyncio, json, os, sys, urllib.request

def _call(name, job_id="", body=None):
    url = os.environ[name].replace("$RUNPOD_POD_ID", "worker").replace("$ID", job_id or "worker")
    with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=60) as response:
        return json.loads(response.read() or b"null")

class serverless:
    @staticmethod
    def progress_update(job, progress):
        body = json.dumps({"status": "IN_PROGRESS", "output": progress}).encode()
        _call("RUNPOD_WEBHOOK_POST_OUTPUT", job["id"], body)

    @staticmethod
    def start(config):
        assert sys.argv[1:] == ["--rp_log_level", "INFO"], sys.argv
        while True:
            job = _call("RUNPOD_WEBHOOK_GET_JOB")
            if job is None:
                continue
            output = asyncio.run(config["handler"](job))
            result = {"output": output, "error": output.pop("error", None)}
            if output.pop("refresh_worker", False):
                result["stopPod"] = True
            _call("RUNPOD_WEBHOOK_POST_OUTPUT", job["id"], json.dumps(result).encode())
'''


@pytest.fixture(params=["stand-in", "real"])
def packages(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "stand-in":
        folder = tmp_path / "packages"
        folder.mkdir()
        (folder / "runpod.py").write_text(STAND_IN)
        return folder
    found = next(REAL.glob("lib/python3.*/site-packages"), None)
    if found is None or found.parent.name != f"python{sys.version_info.major}.{sys.version_info.minor}":
        pytest.skip("RunPod's package is not installed: make runpod")
    return found


@contextmanager
def start_worker(
    host: Host, endpoint: RunPodServer, packages: Path, *options: str
) -> Iterator[subprocess.Popen[bytes]]:
    environment: Mapping[str, str] = {**host.environment(), **endpoint.variables, "PYTHONPATH": str(packages)}
    command = host.command("handler", "runpod", *options)
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def build_job(job_id: str, workflow: object, **fields: object) -> dict[str, Any]:
    return {"id": job_id, **orjson.loads(build_body(workflow, **fields))}


def test_jobs_are_taken_and_answered(tmp_path: Path, packages: Path) -> None:
    with DescribedComfyUI() as server, RunPodServer() as endpoint:
        endpoint.jobs.put(build_job("good", TEXT_WORKFLOW))
        endpoint.jobs.put(build_job("bad", {"1": {"class_type": "Unknown", "inputs": {}}}))
        with start_worker(Host(tmp_path), endpoint, packages, "--url", server.url):
            name, result = endpoint.results.get(timeout=LIMIT_SECONDS)
            assert name == "good"
            assert not result.get("error")
            assert result["output"]["outputs"][0]["data"] == "a text"
            assert result["output"]["idempotency_key"] == "good"
            name, result = endpoint.results.get(timeout=LIMIT_SECONDS)
            assert name == "bad"
            assert result["error"].startswith("handler-nodes-missing: ")
            assert result["output"]["details"]["node_types"] == ["Unknown"]


def test_job_that_lost_comfyui_ends_the_worker(tmp_path: Path, packages: Path) -> None:
    with (
        DescribedComfyUI() as server,
        RunPodServer() as endpoint,
        start_worker(Host(tmp_path), endpoint, packages, "--url", server.url),
    ):
        endpoint.jobs.put(build_job("first", TEXT_WORKFLOW))
        assert not endpoint.results.get(timeout=LIMIT_SECONDS)[1].get("error")
        server.faults.closes_requests = {"/object_info"}
        endpoint.jobs.put(build_job("second", TEXT_WORKFLOW))
        result = endpoint.results.get(timeout=LIMIT_SECONDS)[1]
    assert result["stopPod"] is True
    assert result["error"].startswith("http-unreachable: ")


def test_worker_without_comfyui_takes_no_job(tmp_path: Path, packages: Path) -> None:
    with RunPodServer() as endpoint:
        options = ("--url", f"http://127.0.0.1:{find_free_port()}", "--start-timeout", "0")
        with start_worker(Host(tmp_path), endpoint, packages, *options) as process:
            assert process.wait(LIMIT_SECONDS) == 1
        assert endpoint.asked == []


def test_job_that_the_endpoint_cancels_is_stopped_in_comfyui(tmp_path: Path, packages: Path) -> None:
    if packages.parent == tmp_path:
        pytest.skip("the stand-in stops no jobs")
    with DescribedComfyUI() as server, RunPodServer() as endpoint:
        endpoint.jobs.put(build_job("long", {"1": {"class_type": "TestSleep", "inputs": {"seconds": 600}}}))
        with start_worker(Host(tmp_path), endpoint, packages, "--url", server.url):
            wait_for(lambda: bool(endpoint.posts["long"]))
            endpoint.stops.put("long")
            wait_for(lambda: server.queued == [])
            endpoint.jobs.put(build_job("next", TEXT_WORKFLOW))
            name, result = endpoint.results.get(timeout=LIMIT_SECONDS)
    assert (name, result["output"]["outputs"][0]["data"]) == ("next", "a text")


def wait_for(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
