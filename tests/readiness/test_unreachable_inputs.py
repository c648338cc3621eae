"""Pictures and other files of the user that could not be looked for are unknown, never missing."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from comfywatchman.comfyui.install.reachability import Obstacle, ObstacleKind
from comfywatchman.readiness.report.render import render_markdown
from comfywatchman.readiness.report.troubles import TroubleKind, list_troubles
from comfywatchman.readiness.states import WorkflowStatus
from comfywatchman.readiness.status import MasterStatus
from comfywatchman.readiness.verdicts import input_files
from tests.closed_paths import close_paths
from tests.hosts import Host, needs_refusals
from tests.model_files import put

pytestmark = pytest.mark.slow

PROMPT = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "set/a.png"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}},
}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Return a host with a workflow whose picture must be there, and is."""
    host = Host(tmp_path, workflows__require_inputs=True)
    host.write("a.json", orjson.dumps(PROMPT))
    put(host.comfyui / "input/set/a.png")
    assert host.entry("a.json").status is WorkflowStatus.READY
    return host


@pytest.fixture
def folder(host: Host) -> Path:
    return host.comfyui / "input"


def assert_unknown(host: Host, path: Path, instruction: str, **changes: Any) -> MasterStatus:
    """Check that the picture is unknown because of a path, in the cycle, `scan` and `explain`; return the report."""
    status = host.status(**changes)
    (entry,) = status.workflows
    (picture,) = entry.missing_inputs
    assert (entry.status, entry.uncertain_count) == (WorkflowStatus.UNCERTAIN, 1)
    assert picture.obstacle is not None
    assert picture.obstacle.path == str(path)
    assert (status.summary.missing_inputs, status.summary.unknown_inputs) == (0, 1)
    trouble = list_troubles(status)[0]
    assert (trouble.kind, trouble.subject) == (TroubleKind.UNREACHABLE, str(path))
    assert trouble.next_step.startswith(instruction)
    text = render_markdown(status)
    assert f"- **Couldn't read** `{path}`: " in text
    assert "1 workflow uses it; what it holds is unknown, not missing" in text
    assert any(problem.startswith(f"{path}: ") for problem in status.problems)
    assert host.history()[-1].resolved == 0
    assert host.report()["summary"]["unknown_inputs"] == 1
    scanned = json.loads(host.invoke("scan", "--json", host.workflows / "a.json").stdout)["workflows"][0]
    explained = json.loads(host.invoke("explain", "--json", host.workflows / "a.json").stdout)
    assert scanned["status"] == explained["judged"]["status"] == "UNCERTAIN"
    assert scanned["missing_inputs"][0]["obstacle"]["path"] == str(path)
    assert explained["missing_inputs"] == scanned["missing_inputs"]
    return status


def assert_back(host: Host) -> None:
    status = host.status()
    assert (status.workflows[0].status, status.problems) == (WorkflowStatus.READY, ())
    assert host.history()[-1].resolved == 0


@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ENOTCONN])
def test_folder_that_cannot_be_searched(host: Host, folder: Path, error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as closed:
        # As below a folder that cannot be searched: its own name can be looked at, nothing in it.
        close_paths(closed, folder / "set", folder / "set/a.png", error=error, calls=("stat", "lstat", "scandir"))
        status = assert_unknown(host, folder, "Permit this user to read it")
        assert os.strerror(error) in (status.workflows[0].missing_inputs[0].fix)
    assert_back(host)


@pytest.mark.parametrize("link", ["input", "input/set"])
def test_link_to_a_disk_that_is_not_mounted(host: Host, tmp_path: Path, link: str) -> None:
    path = host.comfyui / link
    path.rename(tmp_path / "disk")
    path.symlink_to(tmp_path / "mnt/disk")
    assert_unknown(host, path, f"Mount the disk of {tmp_path}/mnt/disk")
    path.unlink()
    (tmp_path / "disk").rename(path)
    assert_back(host)


def test_configured_folder_that_does_not_exist(host: Host, folder: Path, tmp_path: Path) -> None:
    folder.rename(tmp_path / "unplugged")
    host.set(comfyui__input_directory=tmp_path / "mnt/input")
    placed = replace(host.installation, input=tmp_path / "mnt/input")
    assert_unknown(host, tmp_path / "mnt/input", "Mount its disk", installation=placed)


def test_link_to_a_picture_on_a_disk_that_is_not_mounted(host: Host, folder: Path, tmp_path: Path) -> None:
    path = folder / "set/a.png"
    path.unlink()
    path.symlink_to(tmp_path / "mnt/disk/a.png")
    assert_unknown(host, path, "Mount the disk of ")


def test_mount_point_of_fstab_without_its_disk(host: Host, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "set/a.png").unlink()
    monkeypatch.setattr(input_files, "list_unmounted", lambda: (str(folder / "set"),))
    assert_unknown(host, folder / "set", "Mount its disk")


def test_folder_that_is_a_link_to_itself(host: Host, folder: Path) -> None:
    shutil.rmtree(folder)
    folder.symlink_to("input")
    assert_unknown(host, folder, "Permit this user to read it, or mount its disk again (Too many levels")


@pytest.mark.parametrize("change", ["deleted", "folder deleted", "a file in its place", "link into a listed folder"])
def test_picture_that_is_certainly_missing(host: Host, folder: Path, tmp_path: Path, change: str) -> None:
    if change == "folder deleted":
        shutil.rmtree(folder)
    elif change == "a file in its place":
        shutil.rmtree(folder / "set")
        put(folder / "set")
    else:
        (folder / "set/a.png").unlink()
    if change.startswith("link"):
        (folder / "set/a.png").symlink_to(tmp_path / "gone.png")
    status = host.status()
    assert status.workflows[0].status is WorkflowStatus.MISSING
    assert status.workflows[0].missing_inputs[0].obstacle is None
    assert (status.summary.missing_inputs, status.summary.unknown_inputs) == (1, 0)


def test_picture_that_need_not_be_there_is_named_beside_ready(host: Host, folder: Path) -> None:
    host.set(workflows__require_inputs=False)
    shutil.rmtree(folder)
    folder.symlink_to("/nowhere/at/all")
    status = host.status()
    assert status.workflows[0].status is WorkflowStatus.READY
    assert status.workflows[0].missing_inputs[0].obstacle == Obstacle(
        ObstacleKind.BROKEN_LINK, str(folder), "/nowhere/at/all"
    )
    assert "| `set/a.png` (may be there) | 1 |\n" in render_markdown(status)
    assert "set/a.png\tinput\t1" in host.invoke("status", "--only", "inputs").output


@needs_refusals
@pytest.mark.parametrize("closed", ["input", "input/set"])
def test_refusal_by_the_kernel(host: Host, closed: str) -> None:
    report = host.report_without_permission(host.comfyui / closed)
    (entry,) = report["workflows"]
    assert entry["status"] == "UNCERTAIN"
    assert entry["missing_inputs"][0]["obstacle"]["path"] == str(host.comfyui / closed)
