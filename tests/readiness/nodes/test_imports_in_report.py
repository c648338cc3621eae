"""Packs that cannot be imported, as the report shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.readiness.states import WorkflowStatus
from tests.comfyui.imports.hosts import write_environment, write_files
from tests.hosts import Host

pytestmark = pytest.mark.slow


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    write_environment(host.comfyui / "venv", {})
    host.pack("Mine")
    host.write("a.json", last="Mine")
    return host


def break_pack(host: Host, line: str) -> None:
    file = next((host.comfyui / "custom_nodes").glob("*/__init__.py"))
    file.write_text(f"{line}\n{file.read_text()}")


def test_healthy_pack_is_ready(host: Host) -> None:
    assert host.entry("a.json").status is WorkflowStatus.READY


@pytest.mark.parametrize(
    ("line", "state", "status"),
    [
        ("import cv2", "import_failed", WorkflowStatus.MISSING),
        ("from .gone import x", "import_failed", WorkflowStatus.MISSING),
        ("from .. import x", "import_failed", WorkflowStatus.MISSING),
        ("raise ImportError('too old')", "import_failed", WorkflowStatus.MISSING),
        ("import subprocess\nsubprocess.run(['pip', 'install', 'x'])\nimport cv2", "unknown", WorkflowStatus.UNCERTAIN),
    ],
)
def test_broken_pack_takes_ready_away(host: Host, line: str, state: str, status: WorkflowStatus) -> None:
    break_pack(host, line)
    entry = host.entry("a.json")
    assert (entry.status, [node.state for node in entry.missing_nodes]) == (status, [state])


@pytest.mark.slow
def test_pack_that_is_not_valid_python_is_named(host: Host) -> None:
    break_pack(host, "def (:")
    (node,) = host.entry("a.json").missing_nodes
    assert node.state == "unknown"
    assert "pack-Mine, which ComfyUI cannot import: __init__.py: it is not valid Python" in (node.evidence or "")


@pytest.mark.slow
def test_installed_package_brings_ready_back(host: Host) -> None:
    break_pack(host, "import cv2")
    assert host.entry("a.json").status is WorkflowStatus.MISSING
    write_files(host.comfyui / "venv" / "lib" / "python3.11" / "site-packages", {"cv2.py": ""})
    assert host.entry("a.json").status is WorkflowStatus.READY


def test_pack_that_ends_comfyui_comes_first(host: Host) -> None:
    break_pack(host, "import sys\nsys.exit(1)")
    host.write("b.json")
    status = host.status()
    assert [problem.line for problem in status.start_problems] == [2]
    entries = {Path(entry.path).name: entry.status for entry in status.workflows}
    assert entries["b.json"] is WorkflowStatus.UNCERTAIN


@pytest.mark.slow
def test_configured_python_decides(host: Host, tmp_path: Path) -> None:
    break_pack(host, "import cv2")
    write_environment(tmp_path / "conda", {"cv2.py": ""})
    host.set(comfyui__python=str(tmp_path / "conda" / "bin" / "python"))
    assert host.entry("a.json").status is WorkflowStatus.READY


@pytest.mark.slow
def test_configured_python_without_packages_is_a_problem(host: Host, tmp_path: Path) -> None:
    host.set(comfyui__python=str(tmp_path / "gone" / "bin" / "python"))
    status = host.status()
    assert any("[comfyui] python" in problem for problem in status.problems)
    assert status.workflows[0].status is WorkflowStatus.READY


def test_environment_in_production_decides(host: Host, tmp_path: Path) -> None:
    break_pack(host, "import cv2")
    production = write_environment(tmp_path / "envs" / "key", {"cv2.py": ""})
    assert host.entry("a.json", production=production).status is WorkflowStatus.READY
