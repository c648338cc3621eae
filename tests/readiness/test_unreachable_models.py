"""Models that could not be looked for are unknown, never missing: nothing is searched or fetched for them."""

from __future__ import annotations

import shutil
from pathlib import Path

import orjson
import pytest

from comfywatchman.readiness.report.render import render_markdown
from comfywatchman.readiness.report.troubles import TroubleKind, list_troubles
from comfywatchman.readiness.states import ModelState, WorkflowStatus
from comfywatchman.readiness.status import MasterStatus, MissingModel
from tests.closed_paths import close_paths
from tests.hosts import CHECKPOINT, Host, needs_refusals
from tests.model_files import put, safetensors

pytestmark = pytest.mark.slow


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.write("a.json")
    return host


@pytest.fixture
def checkpoints(host: Host) -> Path:
    return host.comfyui / "models" / "checkpoints"


def judge(host: Host) -> tuple[WorkflowStatus, MissingModel, MasterStatus]:
    """Run a cycle, and return the verdict on the only workflow, its only model, and the report."""
    status = host.status()
    (entry,) = status.workflows
    (model,) = entry.missing_models
    return entry.status, model, status


def assert_unknown(host: Host, path: Path) -> str:
    """Check that the model is unknown because of a path, also to a cycle that may search; return what to do."""
    host.set(search__budget_seconds=5)
    verdict, model, status = judge(host)
    assert (verdict, model.status, model.answer) == (WorkflowStatus.UNCERTAIN, ModelState.UNKNOWN, None)
    assert model.obstacle is not None
    assert model.obstacle.path == str(path)
    assert (status.plan, status.summary.missing_models, status.summary.unknown_models) == (None, 0, 1)
    assert "delete" not in (model.fix or "")
    trouble = list_troubles(status)[0]
    assert (trouble.kind, trouble.subject) == (TroubleKind.UNREACHABLE, str(path))
    assert trouble.workflows == 1
    assert f"- **Couldn't read** `{path}`: " in render_markdown(status)
    return trouble.next_step


def test_folder_without_permission(host: Host, checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    close_paths(monkeypatch, checkpoints)
    assert assert_unknown(host, checkpoints).startswith("Permit this user to read it")


@pytest.mark.slow
def test_broken_link_to_the_folder(host: Host, checkpoints: Path, tmp_path: Path) -> None:
    shutil.move(checkpoints, tmp_path / "disk")
    checkpoints.symlink_to(tmp_path / "disk")
    assert host.entry("a.json").status is WorkflowStatus.READY
    (tmp_path / "disk").rename(tmp_path / "unplugged")
    assert assert_unknown(host, checkpoints).startswith(f"Mount the disk of {tmp_path}/disk")
    (tmp_path / "unplugged").rename(tmp_path / "disk")
    assert host.entry("a.json").status is WorkflowStatus.READY


def test_broken_link_to_all_models(host: Host, checkpoints: Path, tmp_path: Path) -> None:
    models = checkpoints.parent
    shutil.rmtree(models)
    models.symlink_to(tmp_path / "mnt/models")
    assert assert_unknown(host, models).startswith("Mount the disk of ")


@pytest.mark.parametrize("has_mount_point", [False, True])
def test_disk_of_extra_model_paths_is_not_mounted(
    host: Host, checkpoints: Path, tmp_path: Path, *, has_mount_point: bool
) -> None:
    disk, unplugged = tmp_path / "disk", tmp_path / "unplugged"
    put(host.comfyui / "extra_model_paths.yaml", f"far:\n  base_path: {disk}\n  checkpoints: models/sd\n".encode())
    put(unplugged / "models/sd" / CHECKPOINT, safetensors())
    (checkpoints / CHECKPOINT).unlink()
    if has_mount_point:
        disk.mkdir()
    assert assert_unknown(host, disk).startswith("Mount its disk")
    if has_mount_point:
        disk.rmdir()
    unplugged.rename(disk)
    assert host.entry("a.json").status is WorkflowStatus.READY


def test_mounting_a_disk_again_is_no_repair(host: Host, checkpoints: Path) -> None:
    resolved_at = host.entry("a.json").last_resolved_at
    hidden = checkpoints.rename(checkpoints.with_name("hidden"))
    checkpoints.symlink_to("nowhere")
    host.status()
    checkpoints.unlink()
    hidden.rename(checkpoints)
    assert host.entry("a.json").last_resolved_at == resolved_at is not None
    assert [record.resolved for record in host.history()] == [1, 0, 0]


def test_link_to_a_model_on_a_disk_that_is_not_mounted(host: Host, checkpoints: Path, tmp_path: Path) -> None:
    link = checkpoints / CHECKPOINT
    link.unlink()
    link.symlink_to(tmp_path / "mnt/disk/sd" / CHECKPOINT)
    assert assert_unknown(host, link) == (
        f"Mount the disk of {tmp_path}/mnt/disk/sd/{CHECKPOINT}, where this link leads, or point the link elsewhere."
    )


def test_link_to_a_model_that_its_folder_lacks(host: Host, checkpoints: Path, tmp_path: Path) -> None:
    link, disk = checkpoints / CHECKPOINT, tmp_path / "disk"
    disk.mkdir()
    link.unlink()
    link.symlink_to(disk / CHECKPOINT)
    verdict, model, status = judge(host)
    assert (verdict, model.status, model.obstacle) == (WorkflowStatus.MISSING, ModelState.MISSING, None)
    assert f"checkpoints/{CHECKPOINT} is a link to {disk}/{CHECKPOINT}, which does not exist: " in (model.fix or "")
    assert "delete" not in (model.fix or "")
    assert status.summary.missing_models == 1


def test_file_with_an_error_of_its_disk(host: Host, checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = checkpoints / CHECKPOINT
    close_paths(monkeypatch, path, error=5, calls=("open",))
    assert "Input/output error" in assert_unknown(host, path)


def test_subfolder_hides_only_the_names_below_it(
    host: Host, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkpoints / "lost+found").mkdir()
    close_paths(monkeypatch, checkpoints / "lost+found")
    host.write("b.json", checkpoint="absent.safetensors")
    host.write("c.json", checkpoint="Lost+Found\\a.safetensors")
    status = host.status()
    states = {Path(entry.path).name: [model.status for model in entry.missing_models] for entry in status.workflows}
    assert states == {"a.json": [], "b.json": [ModelState.MISSING], "c.json": [ModelState.UNKNOWN]}


def test_workflows_of_one_closed_folder_share_a_trouble(
    host: Host, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.write("b.json", checkpoint="other.safetensors")
    close_paths(monkeypatch, checkpoints)
    status = host.status()
    trouble = list_troubles(status)[0]
    assert (trouble.subject, trouble.workflows) == (str(checkpoints), 2)
    assert host.report()["summary"]["unknown_models"] == 2


def test_embedding_in_a_prompt(host: Host, checkpoints: Path, tmp_path: Path) -> None:
    folder = checkpoints.parent / "embeddings"
    put(folder / "soft.safetensors", safetensors())
    host.write("a.json", host.workflows.joinpath("a.json").read_bytes().replace(b"blurry", b"embedding:soft, blurry"))
    assert host.entry("a.json").status is WorkflowStatus.READY
    shutil.rmtree(folder)
    folder.symlink_to(tmp_path / "mnt/embeddings")
    assert assert_unknown(host, folder).startswith("Mount the disk of ")


def test_model_folder_that_this_comfyui_does_not_know_is_not_called_missing(host: Host) -> None:
    workflow = orjson.loads(host.workflows.joinpath("a.json").read_bytes())
    workflow["nodes"].append(
        {
            "id": 99,
            "type": "SaveImage",
            "mode": 0,
            "inputs": [],
            "widgets_values": ["far.safetensors"],
            "properties": {"models": [{"name": "far.safetensors", "url": "", "directory": "of_the_future"}]},
        }
    )
    host.write("a.json", orjson.dumps(workflow))
    verdict, model, _status = judge(host)
    assert (verdict, model.status, model.folder) == (WorkflowStatus.UNCERTAIN, ModelState.UNKNOWN, "of_the_future")
    assert model.fix == (
        "This ComfyUI has no model folder of_the_future: install the pack or the version that adds it."
    )


@pytest.mark.slow
@needs_refusals
@pytest.mark.parametrize("closed", ["models/checkpoints", f"models/checkpoints/{CHECKPOINT}", "models"])
def test_refusal_by_the_kernel(host: Host, closed: str) -> None:
    host.status()
    report = host.report_without_permission(host.comfyui / closed)
    (entry,) = report["workflows"]
    assert (entry["status"], entry["missing_models"][0]["status"]) == ("UNCERTAIN", "unknown")
    assert entry["missing_models"][0]["obstacle"]["path"] == str(host.comfyui / closed)
