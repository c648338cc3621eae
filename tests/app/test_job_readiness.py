"""Workflows of jobs are judged as `scan` judges them, and published with the reason."""

from __future__ import annotations

import errno
import json
import os
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfywatchman.app import job_readiness
from comfywatchman.app.job_readiness import JobReadiness, describe_models, describe_obstacles
from comfywatchman.app.session import Session
from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.validation.rejection import RejectionReason
from comfywatchman.jobs.files.workflows import JobWorkflow
from comfywatchman.jobs.records import JobSpec
from comfywatchman.readiness.states import WorkflowStatus
from comfywatchman.readiness.status import RefusedInput
from comfywatchman.readiness.verdicts.workflow import WorkflowVerdict
from tests.hosts import CHECKPOINT, Host
from tests.jobs.execution.sites import LIMIT_SECONDS
from tests.jobs.jobs import SPEC

URL = "http://127.0.0.1:9"


class Board:
    """Holds what was published."""

    def __init__(self) -> None:
        self.published: list[tuple[str, dict[str, bool], dict[str, str]]] = []
        self.is_published = threading.Semaphore(0)
        self.variants: list[JobSpec] = []

    def publish_readiness(self, host: str, ready: Mapping[str, bool], reasons: Mapping[str, str]) -> None:
        self.published.append((host, dict(ready), dict(reasons)))
        self.is_published.release()

    def list_variants(self) -> list[JobSpec]:
        return list(self.variants)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path)
    for name, value in host.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(host.home)
    return host


def build_prompt(checkpoint: str) -> bytes:
    """Return a template in the server's format."""
    nodes: dict[str, tuple[str, dict[str, Any]]] = {
        "1": ("CheckpointLoaderSimple", {"ckpt_name": checkpoint}),
        "2": ("EmptyLatentImage", {"width": 512, "height": 512, "batch_size": 1}),
        "3": ("VAEDecode", {"samples": ["2", 0], "vae": ["1", 2]}),
        "4": ("SaveImage", {"images": ["3", 0], "filename_prefix": "cat"}),
    }
    prompt = {node: {"class_type": class_type, "inputs": inputs} for node, (class_type, inputs) in nodes.items()}
    return json.dumps(prompt).encode()


def build_workflows(host: Host) -> dict[str, JobWorkflow]:
    paths = {
        "good": host.write("good.json", build_prompt(CHECKPOINT)),
        "lacking": host.write("lacking.json", build_prompt("none.safetensors")),
        "gone": host.workflows / "gone.json",
    }
    return {
        name: JobWorkflow(template_path=str(path), required_inputs=[], description="", inputs={}, defaults={})
        for name, path in paths.items()
    }


def judge(host: Host, url: str = URL) -> JobReadiness:
    return JobReadiness(Session(host.home, None), url, "here")


def test_each_workflow_is_ready_or_has_a_reason(host: Host) -> None:
    board = Board()
    readiness = judge(host)
    readiness.refresh(board, build_workflows(host))
    assert readiness.ready == frozenset({"good"})
    ((name, ready, reasons),) = board.published
    assert (name, ready) == ("here", {"good": True, "lacking": False, "gone": False})
    assert "none.safetensors" in reasons["lacking"]
    assert "gone.json cannot be used" in reasons["gone"]


def build_job(workflow_id: str, *checkpoints: str) -> JobSpec:
    """Return a waiting job that names models."""
    repeats = tuple({"ckpt_name": checkpoint} for checkpoint in checkpoints)
    key = f"{workflow_id} with {', '.join(checkpoints)}"
    return replace(SPEC, workflow_id=workflow_id, repeats=repeats, readiness_key=key)


def test_models_that_jobs_name_are_judged(host: Host) -> None:
    board, readiness = Board(), judge(host)
    board.variants = [
        build_job("lacking", CHECKPOINT),
        build_job("good", "other.safetensors"),
        build_job("good", CHECKPOINT, "other.safetensors"),
        build_job("unknown", CHECKPOINT),
    ]
    readiness.refresh(board, build_workflows(host))
    assert readiness.ready == frozenset({"good", board.variants[0].readiness_key})
    ((_, _, reasons),) = board.published
    assert "other.safetensors" in reasons[board.variants[1].readiness_key]
    assert "other.safetensors" in reasons[board.variants[2].readiness_key]
    assert "has no workflow 'unknown'" in reasons[board.variants[3].readiness_key]


@pytest.mark.slow
def test_job_with_other_models_is_judged_at_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_readiness, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(job_readiness, "_LOOK_SHARE", 0)
    board, readiness, workflows = Board(), judge(host), build_workflows(host)
    readiness.refresh(board, workflows)
    assert board.is_published.acquire(timeout=LIMIT_SECONDS)
    readiness.start(board, lambda: workflows)
    board.variants = [build_job("lacking", CHECKPOINT)]
    assert board.is_published.acquire(timeout=LIMIT_SECONDS)
    readiness.close()
    assert board.published[1][1][board.variants[0].readiness_key]
    assert readiness._thread is not None
    readiness._thread.join(LIMIT_SECONDS)
    assert len(board.published) == 2


@pytest.mark.parametrize("url", ["http://gpu-7:8188", "not an address"])
def test_comfyui_of_another_host_is_not_judged(host: Host, url: str) -> None:
    board = Board()
    readiness = judge(host, url)
    readiness.refresh(board, build_workflows(host))
    assert (readiness.ready, board.published) == (None, [])


def test_host_without_comfyui_is_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert JobReadiness(Session(tmp_path / "home", None), URL, "here").judge({}) is None


@pytest.mark.slow
def test_judgement_is_repeated_until_it_is_closed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_readiness, "_MIN_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(job_readiness, "_PAUSE_SHARE", 0)
    board, workflows = Board(), build_workflows(host)
    failures = iter([True])

    def load() -> Mapping[str, JobWorkflow]:
        if next(failures, False):
            raise Failure("jobs-file-invalid", "workflows.yaml is being written.")
        return workflows

    readiness = judge(host)
    readiness.start(board, load)
    for _ in range(2):
        assert board.is_published.acquire(timeout=LIMIT_SECONDS)
    readiness.close()
    assert readiness._thread is not None
    readiness._thread.join(LIMIT_SECONDS)
    assert not readiness._thread.is_alive()


def test_full_disk_for_temporary_files_is_a_failure(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    with pytest.raises(Failure, match="full"):
        judge(host).judge(build_workflows(host))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_unexpected_error_lets_every_job_be_tried(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    readiness, board = judge(host), Board()
    monkeypatch.setattr(job_readiness, "_MIN_PAUSE_SECONDS", 0.0)
    readiness.refresh(board, build_workflows(host))
    assert readiness.ready is not None
    readiness.start(board, lambda: 1 / 0)
    assert readiness._thread is not None
    readiness._thread.join(LIMIT_SECONDS)
    assert readiness.ready is None


def test_refused_inputs_and_plain_states_are_reasons() -> None:
    refused = RefusedInput("steps", "0", "KSampler", "3", RejectionReason.TOO_SMALL, "", "is smaller than 1")
    verdict = WorkflowVerdict(WorkflowStatus.MISSING, "json", refused_inputs=(refused,))
    assert describe_obstacles(verdict) == "MISSING: refused inputs: steps is smaller than 1"
    assert describe_obstacles(WorkflowVerdict(WorkflowStatus.UNCERTAIN, "json")) == "UNCERTAIN"


@pytest.mark.slow
def test_models_of_a_prompt_have_the_hashes_of_the_last_cycle(host: Host) -> None:
    session = Session(host.home, None)
    prompt: dict[str, dict[str, Any]] = {"1": {"inputs": {"ckpt_name": CHECKPOINT, "steps": 3}}, "2": {}}
    assert describe_models(session, prompt) == []
    host.cycle()
    (model,) = describe_models(session, prompt)
    assert (model["name"], model["folder"]) == (CHECKPOINT, "checkpoints")
    assert model["size_bytes"] > 0
