"""Judging files without a cycle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfywatchman.readiness.assessment.dry_run import DryRunResult, scan_files
from comfywatchman.readiness.sample.workflows import build_sample_workflows
from comfywatchman.readiness.states import WorkflowStatus
from tests.hosts import Host, graph, tree
from tests.model_files import put


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def scan(host: Host, *paths: Path) -> DryRunResult:
    request = host.request()
    return scan_files(paths, installation=host.installation, settings=request.settings, layout=host.layout)


def statuses(result: DryRunResult) -> dict[str, WorkflowStatus]:
    return {Path(workflow.path).name: workflow.verdict.status for workflow in result.workflows}


def test_dry_run_judges_files_and_folders(host: Host, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    put(folder / "ready.json", graph())
    lora = put(tmp_path / "lora.json", graph(lora="absent.safetensors"))
    result = scan(host, folder, lora)
    assert statuses(result) == {"ready.json": WorkflowStatus.READY, "lora.json": WorkflowStatus.MISSING}
    assert result.problems == ()


def test_dry_run_writes_nothing(host: Host, tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", graph())
    before = tree(tmp_path)
    scan(host, path)
    assert tree(tmp_path) == before


@pytest.mark.slow
def test_required_input_file_makes_a_workflow_missing(host: Host, tmp_path: Path) -> None:
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "me.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}},
    }
    path = put(tmp_path / "a.json", json.dumps(prompt).encode())
    host.set(workflows__require_inputs=False)
    assert statuses(scan(host, path)) == {"a.json": WorkflowStatus.READY}
    host.set(workflows__require_inputs=True)
    result = scan(host, path)
    assert statuses(result) == {"a.json": WorkflowStatus.MISSING}
    assert [missing.name for missing in result.workflows[0].missing_inputs] == ["me.png"]


def test_unreadable_file_is_a_problem(host: Host, tmp_path: Path) -> None:
    link = tmp_path / "a.json"
    link.symlink_to("/proc/self/mem")  # a regular file for stat, but reading it fails even for root
    result = scan(host, link, tmp_path / "absent.json")
    assert result.workflows == ()
    assert len(result.problems) == 2
    assert "workflow root cannot be read" in result.problems[0]
    assert "cannot be read" in result.problems[1]


@pytest.mark.slow
def test_dry_run_and_cycle_give_the_same_verdicts(host: Host) -> None:
    host.set(workflows__require_inputs=True)
    for name, content in build_sample_workflows().items():
        host.write(name, content)
    report = host.status()
    of_cycle = {Path(entry.path).name: (entry.status, entry.missing_inputs) for entry in report.workflows}
    result = scan(host, host.workflows)
    of_dry_run = {}
    for workflow in result.workflows:
        of_dry_run[Path(workflow.path).name] = (workflow.verdict.status, workflow.missing_inputs)
    assert of_dry_run == of_cycle
    assert {status for status, _inputs in of_cycle.values()} == set(WorkflowStatus)


def test_missing_inputs_belong_to_the_file_and_not_to_its_bytes(host: Host, tmp_path: Path) -> None:
    prompt = json.dumps({"1": {"class_type": "LoadImage", "inputs": {"image": "me.png"}}}).encode()
    put(tmp_path / "good.json", prompt)
    put(tmp_path / "zcopy.png", prompt)
    result = scan(host, tmp_path / "good.json", tmp_path / "zcopy.png")
    inputs = {Path(workflow.path).name: len(workflow.missing_inputs) for workflow in result.workflows}
    assert inputs == {"good.json": 1, "zcopy.png": 0}
