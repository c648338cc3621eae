"""Workflows that could not be read are unknown: they stay in the totals, and the report says what to mount."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.cli.render import exit_code
from comfywatchman.comfyui.install.reachability import ObstacleKind
from comfywatchman.readiness.report.render import headline, render_markdown
from comfywatchman.readiness.report.troubles import TroubleKind, list_troubles
from comfywatchman.readiness.sample.workflows import build_png_with_text
from comfywatchman.readiness.states import WorkflowStatus
from comfywatchman.readiness.status import MasterStatus
from comfywatchman.readiness.workflows.discovery import WatchedRoot
from tests.closed_paths import close_paths
from tests.hosts import Host, graph, needs_refusals


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Return a host with two workflows in a subfolder and one beside it, checked once."""
    host = Host(tmp_path)
    for name in ("a.json", "far/b.json", "far/deep/c.json"):
        host.write(name)
    assert host.status().summary.ready == 3
    return host


@pytest.fixture
def far(host: Host) -> Path:
    return host.workflows / "far"


def assert_unknown(host: Host, path: Path, *, workflows: int = 2, ready: int = 1) -> MasterStatus:
    """Check that workflows are unknown because of a path, in everything that a cycle writes; return its report."""
    acknowledged = len(host.intake())
    status = host.status()
    unread = [entry for entry in status.workflows if entry.obstacle is not None]
    assert {(entry.status, entry.obstacle and entry.obstacle.path) for entry in unread} == {
        (WorkflowStatus.UNCERTAIN, str(path))
    }
    summary = status.summary
    assert (summary.ready, summary.uncertain, summary.unknown_workflows) == (ready, workflows, workflows)
    assert headline(status) == f"{ready} of {ready + workflows} workflows ready; {workflows} could not be read"
    trouble = list_troubles(status)[0]
    assert (trouble.kind, trouble.subject) == (TroubleKind.UNREACHABLE, str(path))
    assert trouble.workflows == len(unread)
    text = render_markdown(status)
    assert text.startswith(f"# {headline(status)}\n")
    assert f"- **Couldn't read** `{path}`: " in text
    assert host.history()[-1].unknown_workflows == workflows
    assert (host.history()[-1].resolved, len(host.intake())) == (0, acknowledged)
    assert host.report()["summary"]["unknown_workflows"] == workflows
    return status


def assert_back(host: Host) -> None:
    """Check that all is as it was, without reading a file again."""
    result = host.cycle()
    assert result.status is not None
    assert (result.record.ready, result.record.unknown_workflows, result.record.read) == (3, 0, 0)
    assert (result.status.unread_folders, result.status.problems) == ((), ())
    assert [entry.kind for entry in host.intake()] == ["new"] * 3


@pytest.mark.slow
def test_folder_without_permission(host: Host, far: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as closed:
        close_paths(closed, far)
        status = assert_unknown(host, far)
        (folder,) = status.unread_folders
        assert (folder.obstacle.kind, folder.workflows) == (ObstacleKind.UNREADABLE, 2)
    assert_back(host)


@pytest.mark.slow
@pytest.mark.parametrize("error", [errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT])
def test_share_with_an_error(host: Host, far: Path, error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as closed:
        close_paths(closed, far, error=error)
        entry = next(entry for entry in assert_unknown(host, far).workflows if entry.path.endswith("b.json"))
        assert os.strerror(error) in entry.problems[0].message
    assert_back(host)


@pytest.mark.slow
def test_link_to_a_disk_that_is_not_mounted(host: Host, far: Path, tmp_path: Path) -> None:
    far.rename(tmp_path / "disk")
    far.symlink_to(tmp_path / "disk")
    assert host.status().summary.ready == 3
    (tmp_path / "disk").rename(tmp_path / "unplugged")
    status = assert_unknown(host, far)
    assert status.unread_folders[0].obstacle.detail == str(tmp_path / "disk")
    (tmp_path / "unplugged").rename(tmp_path / "disk")
    assert_back(host)


@pytest.mark.slow
def test_workflows_folder_behind_a_broken_link(host: Host, tmp_path: Path) -> None:
    host.workflows.rename(tmp_path / "disk")
    host.workflows.symlink_to(tmp_path / "elsewhere/disk")
    assert_unknown(host, host.workflows, workflows=3, ready=0)
    host.workflows.unlink()
    (tmp_path / "disk").rename(host.workflows)
    assert_back(host)


@pytest.mark.slow
@pytest.mark.parametrize("link", ["user", "user/default", "user/default/workflows"])
def test_first_cycle_with_the_workflows_out_of_reach(tmp_path: Path, link: str) -> None:
    host = Host(tmp_path)
    shutil.rmtree(host.comfyui / link)
    (host.comfyui / link).symlink_to(tmp_path / "unplugged")
    status = host.status()
    assert headline(status) == "No workflows found; 1 folder could not be read"
    trouble = list_troubles(status)[0]
    assert (trouble.kind, trouble.subject, trouble.workflows) == (
        TroubleKind.UNREACHABLE,
        str(host.comfyui / link),
        0,
    )
    assert f"- **Couldn't read** `{host.comfyui / link}`: " in render_markdown(status)
    output = host.invoke("status").output
    assert "1 folder could not be read" in output
    assert "Mount the disk of" in output


@pytest.mark.slow
def test_root_that_does_not_exist(host: Host, tmp_path: Path) -> None:
    host.roots = (WatchedRoot(host.workflows, "comfyui"), WatchedRoot(tmp_path / "mnt/usb", "usb"))
    status = host.status()
    assert headline(status) == "3 of 3 workflows ready; 1 folder could not be read"
    assert status.unread_folders[0].obstacle.path == str(tmp_path / "mnt/usb")


@pytest.mark.slow
def test_subfolder_that_disappears_while_it_is_listed(host: Host, far: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as closed:
        close_paths(closed, far, error=errno.ENOENT)
        assert_unknown(host, far)
    shutil.rmtree(far)
    assert host.status().summary.workflows == 1
    assert [entry.kind for entry in host.intake()[-2:]] == ["removed", "removed"]


def test_deleted_workflow_is_gone_while_another_folder_is_closed(
    host: Host, far: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close_paths(monkeypatch, far)
    (host.workflows / "a.json").unlink()
    status = host.status()
    assert (status.summary.workflows, status.summary.unknown_workflows) == (2, 2)
    assert headline(status) == "0 of 2 workflows ready; 2 could not be read"
    assert [entry.kind for entry in host.intake()] == ["new", "new", "new", "removed"]


def fail_to_open(path: Path, _tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(graph(lora="another.safetensors"))
    close_paths(monkeypatch, path, error=errno.EIO, calls=("open",))


def break_link(path: Path, tmp: Path, _monkeypatch: pytest.MonkeyPatch) -> None:
    path.unlink()
    path.symlink_to(tmp / "unplugged/a.json")


@pytest.mark.slow
@pytest.mark.parametrize("hide", [fail_to_open, break_link])
def test_single_file(
    host: Host, tmp_path: Path, hide: Callable[[Path, Path, pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = host.workflows / "a.json"
    hide(path, tmp_path, monkeypatch)
    assert assert_unknown(host, path, workflows=1, ready=2).unread_folders == ()


@pytest.mark.slow
def test_single_new_file(host: Host) -> None:
    path = host.workflows / "d.json"
    path.symlink_to("/nowhere/at/all/d.json")
    status = assert_unknown(host, path, workflows=1, ready=3)
    entry = next(entry for entry in status.workflows if entry.path == str(path))
    assert (entry.source, entry.intake, entry.sha256) == ("comfyui", None, None)
    path.unlink()
    assert_back(host)


@pytest.mark.slow
def test_image_that_may_hold_a_workflow(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    path = host.write("d.png", build_png_with_text("workflow", graph()))
    close_paths(monkeypatch, path, error=errno.EIO, calls=("open",))
    assert_unknown(host, path, workflows=1, ready=3)


@pytest.mark.slow
def test_unchanged_file_that_must_be_read_anew(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    path = host.write("a.json", lora="a.safetensors")
    host.status()
    host.set(workflows__max_file_mb=20)  # what was read before was read under other rules
    close_paths(monkeypatch, path, error=errno.EIO, calls=("open",))
    assert_unknown(host, path, workflows=1, ready=2)


@pytest.mark.slow
def test_file_that_disappears_while_it_is_read_is_unknown_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    path = host.write("d.json", lora="a.safetensors")
    with monkeypatch.context() as closed:
        close_paths(closed, path, error=errno.ENOENT, calls=("open",))
        assert_unknown(host, path, workflows=1, ready=3)
    path.unlink()
    assert_back(host)


@pytest.mark.slow
def test_scan_names_what_it_could_not_read(host: Host, far: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    close_paths(monkeypatch, far)
    link = host.workflows / "d.json"
    link.symlink_to("/nowhere/at/all/d.json")
    result = host.invoke("scan", host.workflows)
    assert result.exit_code == 1
    assert f"{far}: Permit this user to read it" in result.stdout
    assert f"{link}: Mount the disk of /nowhere/at/all/d.json" in result.stdout
    unread = json.loads(host.invoke("scan", "--json", host.workflows).stdout)["unread"]
    assert {entry["path"]: entry["obstacle"]["kind"] for entry in unread} == {
        str(far): "unreadable",
        str(link): "broken_link",
    }


@pytest.mark.slow
def test_explain_of_a_file_that_cannot_be_read(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    path = host.workflows / "a.json"
    close_paths(monkeypatch, path, error=errno.EIO, calls=("open",))
    result = host.invoke("explain", path)
    assert result.exit_code == 1
    failure = result.exception
    assert isinstance(failure, Failure)
    assert (failure.code, failure.message) == ("file-unreadable", f"{path} could not be read.")
    assert failure.hint == "Permit this user to read it, or mount its disk again (Input/output error)."


@pytest.mark.slow
def test_paths_that_cannot_be_reached_are_no_usage_errors(host: Host, tmp_path: Path) -> None:
    link = tmp_path / "far"
    link.symlink_to("/nowhere/at/all")
    result = host.invoke("scan", link, host.workflows / "a.json")
    assert result.exit_code == 1
    assert "READY" in result.stdout
    assert f"{link}: Mount the disk of /nowhere/at/all" in result.stdout
    failure = host.invoke("explain", link / "a.json").exception
    assert isinstance(failure, Failure)
    assert (failure.code, (failure.hint or "")[:18]) == ("file-unreadable", "Mount the disk of ")
    for command in ("scan", "explain"):
        unknown = host.invoke(command, tmp_path / "absent.json").exception
        assert isinstance(unknown, Failure)
        assert (unknown.code, exit_code(unknown)) == ("workflow-unknown", 2)


@pytest.mark.slow
def test_history_and_status_count_them(host: Host, far: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    close_paths(monkeypatch, far)
    host.cycle()
    newest = json.loads(host.invoke("history", "--json").stdout)["cycles"][0]
    assert (newest["uncertain"], newest["unknown_workflows"]) == (2, 2)
    output = host.invoke("status").output
    assert "1 of 3 workflows ready; 2 could not be read" in output
    assert "could not be read" in output


@pytest.mark.slow
@needs_refusals
@pytest.mark.parametrize(
    "closed",
    ["user/default/workflows", "user/default", "user", "user/default/workflows/far", "user/default/workflows/a.json"],
)
def test_refusal_by_the_kernel(host: Host, closed: str) -> None:
    is_file = closed.endswith(".json")
    if is_file:
        host.write("a.json", lora="another.safetensors")
    report = host.report_without_permission(host.comfyui / closed)
    count = {"a.json": 1, "far": 2}.get(Path(closed).name, 3)
    assert (report["summary"]["workflows"], report["summary"]["unknown_workflows"]) == (3, count)
    assert report["summary"]["invalid"] == 0
    if is_file:
        assert report["workflows"][0]["obstacle"]["path"] == str(host.comfyui / closed)
    else:
        assert report["unread_folders"][0]["obstacle"]["path"] == str(host.comfyui / closed)
        assert_back(host)
