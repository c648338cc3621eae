"""A configuration on which ComfyUI exits at its start takes READY away and makes nothing MISSING."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from comfywatchman.readiness.report.troubles import TroubleKind, list_troubles
from comfywatchman.readiness.states import ModelState, WorkflowStatus
from comfywatchman.readiness.status import MasterStatus
from tests.hosts import CHECKPOINT, Host, graph
from tests.model_files import put, safetensors

pytestmark = pytest.mark.slow

BROKEN = b"disk:\n  base_path: /mnt/disk\n  checkpoints: models/checkpoints\n  loras:\n"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.write("ready.json")
    return host


def break_folders(host: Host, content: bytes = BROKEN) -> Path:
    return put(host.comfyui / "extra_model_paths.yaml", content)


def first_trouble(status: MasterStatus) -> tuple[str, str, str]:
    trouble = list_troubles(status)[0]
    return trouble.kind.value, trouble.subject, trouble.next_step


@pytest.mark.slow
def test_broken_file_makes_ready_uncertain_and_comes_first(host: Host) -> None:
    assert host.status().summary.ready == 1
    path = break_folders(host)
    status = host.status()
    assert status.summary.ready == 0
    entry = next(entry for entry in status.workflows if entry.path.endswith("/ready.json"))
    assert (entry.status, [problem.code for problem in entry.problems]) == (WorkflowStatus.UNCERTAIN, ["comfyui-exits"])
    assert f"{path}, line 4: 'loras' has no value." in entry.problems[0].message
    assert first_trouble(status) == (
        "start",
        str(path),
        "Write a folder there, or delete the line; several folders go on lines of their own below `|`.",
    )
    assert not any("extra_model_paths" in problem for problem in status.problems)
    path.unlink()
    assert host.entry("ready.json").status is WorkflowStatus.READY


@pytest.mark.slow
def test_absent_model_is_unknown_while_folders_are_not_known(host: Host) -> None:
    path = break_folders(host)
    entry = host.entry("ready.json")
    host.write("absent.json", checkpoint="absent.safetensors")
    entry = host.entry("absent.json")
    assert entry.status is WorkflowStatus.UNCERTAIN
    (model,) = entry.missing_models
    assert (model.status, model.answer) == (ModelState.UNKNOWN, None)
    assert model.fix == f"Repair {path}, line 4 first: until then it is not known which folders hold models."
    status = host.status()
    assert [trouble.kind for trouble in list_troubles(status)] == [TroubleKind.START]


@pytest.mark.slow
def test_repaired_file_shows_its_models(host: Host, tmp_path: Path) -> None:
    put(tmp_path / "disk" / "checkpoints" / "far.safetensors", safetensors())
    host.write("far.json", checkpoint="far.safetensors")
    break_folders(host, f"disk:\n  base_path: {tmp_path}/disk\n  checkpoints: checkpoints\n  vae:\n".encode())
    assert host.entry("far.json").status is WorkflowStatus.UNCERTAIN
    break_folders(host, f"disk:\n  base_path: {tmp_path}/disk\n  checkpoints: checkpoints\n".encode())
    assert host.entry("far.json").status is WorkflowStatus.READY


def test_near_match_does_not_count_while_folders_are_not_known(host: Host) -> None:
    host.write("case.json", checkpoint=CHECKPOINT.upper())
    assert host.entry("case.json").missing_models[0].status is ModelState.CASE
    break_folders(host)
    assert host.entry("case.json").missing_models[0].status is ModelState.UNKNOWN


def test_class_of_no_pack_is_unknown_while_packs_are_not_known(host: Host) -> None:
    workflow = orjson.loads(graph(last="NodeOfAPack"))
    for node in workflow["nodes"]:
        if node["type"] == "NodeOfAPack":
            node["properties"] = {"cnr_id": "some-pack"}
    host.write("a.json", orjson.dumps(workflow))
    assert host.entry("a.json").missing_nodes[0].state == "missing"
    path = break_folders(host)
    (node,) = host.entry("a.json").missing_nodes
    assert (node.state, node.packages, node.fix) == ("unknown", (), f"Repair {path}, line 4 first.")


def test_named_file_that_is_absent_counts_as_broken(host: Host, tmp_path: Path) -> None:
    installation = replace(host.installation, extra_model_paths=(tmp_path / "absent.yaml",))
    status = host.status(installation=installation)
    assert status.summary.ready == 0
    assert first_trouble(status)[:2] == ("start", str(tmp_path / "absent.yaml"))


def test_folder_of_packs_that_is_absent_takes_ready_away(host: Host) -> None:
    (host.comfyui / "custom_nodes").rmdir()
    status = host.status()
    assert status.summary.ready == 0
    assert first_trouble(status) == ("start", f"{host.comfyui}/custom_nodes", "Create the folder, or make it readable.")
    host.write("absent.json", checkpoint="absent.safetensors")
    assert host.entry("absent.json").missing_models[0].status is ModelState.MISSING


def test_scan_and_status_name_the_line(host: Host) -> None:
    path = break_folders(host)
    scan = host.invoke("scan", host.workflows)
    assert scan.exit_code == 1
    assert f"Problem: ComfyUI cannot start with {path}, line 4: 'loras' has no value." in scan.output
    host.cycle()
    lines = [line.strip() for line in host.invoke("status").output.splitlines()]
    assert any(line.startswith(f"Error: ComfyUI cannot start: {path}, line 4: ") for line in lines)
    table = host.invoke("status", "--all").output.splitlines()
    assert any("ready.json" in line and "a ComfyUI that starts" in line for line in table)


def test_skipped_cycle_keeps_the_start_problems(host: Host) -> None:
    break_folders(host)
    before = host.status().start_problems
    host.set(schedule__min_vram_gb=1000, schedule__no_gpu="skip")
    skipped = host.status()
    assert skipped.cycle.skipped_reason
    assert skipped.start_problems == before != ()


def test_download_is_refused_while_folders_are_not_known(host: Host) -> None:
    path = break_folders(host)
    result = host.invoke("download")
    assert result.exit_code == 1
    assert f"It is not known where models belong. {path}, line 4: 'loras' has no value." in str(result.exception)
