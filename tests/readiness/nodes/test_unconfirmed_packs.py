"""READY without a running server names the packs whose import nothing has confirmed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfywatchman.readiness.states import WorkflowStatus
from tests.comfyui.imports.hosts import write_environment, write_files
from tests.hosts import Host
from tests.model_files import put
from tests.readiness.nodes.attacked_packs import ATTACKED_PACKS, build_files, name_class

pytestmark = pytest.mark.slow


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.pack("Mine")
    host.write("a.json", last="Mine")
    return host


def write_start_log(host: Host, line: str) -> None:
    """Write the log of a start after every other change."""
    log = put(host.comfyui / "user" / "comfyui.log", f"Import times for custom nodes:\n   {line}\n".encode())
    later = max(path.stat().st_mtime_ns for path in host.comfyui.rglob("*")) + 10**9
    os.utime(log, ns=(later, later))


def test_pack_of_a_ready_workflow_is_named(host: Host) -> None:
    entry = host.entry("a.json")
    assert (entry.status, entry.unconfirmed_packs) == (WorkflowStatus.READY, ("pack-Mine",))
    assert "can import the pack pack-Mine" in host.layout.status_markdown.read_text("utf-8")


def test_log_of_the_last_start_confirms_the_pack(host: Host) -> None:
    write_start_log(host, f"0.0 seconds: {host.comfyui}/custom_nodes/pack-Mine")
    entry = host.entry("a.json")
    assert (entry.status, entry.unconfirmed_packs) == (WorkflowStatus.READY, ())
    assert "as far as files show" not in host.layout.status_markdown.read_text("utf-8")


def test_log_without_the_pack_confirms_nothing(host: Host) -> None:
    write_start_log(host, f"0.0 seconds: {host.comfyui}/custom_nodes/other")
    assert host.entry("a.json").unconfirmed_packs == ("pack-Mine",)


def test_workflow_of_comfyui_alone_names_no_pack(host: Host) -> None:
    host.write("core.json")
    assert host.entry("core.json").unconfirmed_packs == ()


def test_no_attacked_pack_is_ready_without_a_word(tmp_path: Path) -> None:
    host = Host(tmp_path)
    numpy = {"numpy/__init__.py": "__version__ = '2.1.0'\n", "numpy-2.1.0.dist-info/METADATA": "Name: numpy\n"}
    write_environment(host.comfyui / "venv", numpy)
    for fault in ATTACKED_PACKS:
        write_files(host.comfyui / "custom_nodes" / fault, build_files(fault))
        host.write(f"{fault}.json", last=name_class(fault))
    entries = {Path(entry.path).stem: entry for entry in host.status().workflows}
    silent = [
        fault
        for fault, entry in entries.items()
        if entry.status is WorkflowStatus.READY and fault not in entry.unconfirmed_packs
    ]
    assert (len(entries), silent) == (len(ATTACKED_PACKS), [])
