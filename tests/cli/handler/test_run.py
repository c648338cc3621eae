from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.handler.requests import TEXT_WORKFLOW, DescribedComfyUI, build_body
from tests.hosts import Host
from tests.servers.gcs import BUCKET, GcsServer

DEADLINE_SECONDS = 60


@pytest.fixture
def request_file(tmp_path: Path) -> Path:
    path = tmp_path / "request.json"
    path.write_bytes(build_body())
    return path


def test_outputs_are_saved_and_listed(tmp_path: Path, request_file: Path) -> None:
    with DescribedComfyUI() as server:
        folder = tmp_path / "outputs"
        result = Host(tmp_path).invoke("handler", "run", request_file, "--url", server.url, "--output-dir", folder)
    assert result.exit_code == 0, result.output
    (path,) = folder.rglob("*.png")
    assert path.read_bytes() == server.saved
    assert f"2\timages\timage/png\t9 B\t{path}" in result.stdout


def test_json_holds_the_outputs(tmp_path: Path, request_file: Path) -> None:
    request_file.write_bytes(build_body(TEXT_WORKFLOW))
    with DescribedComfyUI() as server:
        result = Host(tmp_path).invoke("handler", "run", request_file, "--url", server.url, "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert (answer["status"], answer["outputs"][0]["data"]) == ("success", "a text")


def test_link_is_the_first_line(tmp_path: Path, request_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with DescribedComfyUI() as server, GcsServer() as gcs:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.url)
        monkeypatch.setenv("GCS_BUCKET", BUCKET)
        monkeypatch.setenv("GCS_PREFIX", "made")
        result = Host(tmp_path).invoke("handler", "run", request_file, "--url", server.url, "--gcs-project", "p")
        assert result.exit_code == 0, result.output
        (name,) = gcs.objects
        assert result.stdout.splitlines()[0] == f"gs://{BUCKET}/{name}"
        assert name.startswith("made/")
        gcs.permissions = []
        refused = Host(tmp_path).invoke("handler", "run", request_file, "--url", server.url, "--gcs-project", "p")
    assert getattr(refused.exception, "code", refused.exception) == "gcs-no-access"
    assert len(server.ran) == 1


@pytest.mark.slow
def test_failed_request_exits_with_1(tmp_path: Path, request_file: Path) -> None:
    request_file.write_bytes(build_body({"1": {"class_type": "TestFail", "inputs": {}}}))
    with DescribedComfyUI() as server:
        result = Host(tmp_path).program("handler", "run", str(request_file), "--url", server.url, "--json")
    assert result.returncode == 1
    assert json.loads(result.stdout)["error"]["code"] == "handler-prompt-failed"


@pytest.mark.slow
def test_signal_cancels_the_workflow(tmp_path: Path, request_file: Path) -> None:
    request_file.write_bytes(build_body({"1": {"class_type": "TestSleep", "inputs": {"seconds": 600}}}))
    host = Host(tmp_path)
    with DescribedComfyUI() as server:
        command = host.command("handler", "run", str(request_file), "--url", server.url, "--json")
        child = subprocess.Popen(command, env=host.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while server.running_id is None and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGTERM)
        stdout, _stderr = child.communicate(timeout=DEADLINE_SECONDS)
        assert server.queued == []
    assert child.returncode == 130
    assert json.loads(stdout)["error"]["code"] == "interrupted"


def test_request_is_read_from_standard_input_too(tmp_path: Path, request_file: Path) -> None:
    result = Host(tmp_path).invoke("handler", "run", "-", "--json")
    assert result.exit_code == 1
    assert getattr(result.exception, "code", result.exception) == "handler-request-invalid"
    missing = Host(tmp_path).invoke("handler", "run", request_file.with_name("none.json"), "--json")
    assert getattr(missing.exception, "code", "") == "file-unreadable"


def test_a_place_for_outputs_is_needed(tmp_path: Path, request_file: Path) -> None:
    result = Host(tmp_path).invoke("handler", "run", request_file)
    assert result.exit_code == 2
    assert "--output-dir" in result.output
