"""Starting the orchestrator: a real, detached process that outlives the one that asked for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.errors import Failure
from comfywatchman.base.process import read_process_identity
from comfywatchman.supervisor.mailbox import read_switch_request
from comfywatchman.supervisor.process_files import write_orchestrator_pid
from comfywatchman.supervisor.spawn import (
    OrchestratorStart,
    begin_switch,
    build_orchestrator_command,
    extract_comfyui_args,
    spawn_orchestrator,
)
from comfywatchman.supervisor.venv import OrchestratorVenvMissing
from tests.supervisor.recorder import Recorder

ARGUMENTS = ("--port", "8189", "--environment", "not ours")

ASK_AND_DIE = """
import os, signal, sys
from pathlib import Path
from comfywatchman.supervisor.spawn import OrchestratorStart, spawn_orchestrator
workspace, pack = Path(sys.argv[1]), Path(sys.argv[2])
spawn_orchestrator(OrchestratorStart(workspace, "main", pack), "dev")
os.killpg(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path / "workspace", tmp_path / "pack")
    recorder.build()
    yield recorder
    recorder.end()


@pytest.fixture
def start(recorder: Recorder) -> OrchestratorStart:
    return OrchestratorStart(recorder.workspace, "main", recorder.pack, ARGUMENTS)


def test_spawn_creates_detached_process(recorder: Recorder, start: OrchestratorStart) -> None:
    identity = spawn_orchestrator(start, "dev")
    record = recorder.read()
    assert (record.pid, record.sid) == (identity.pid, identity.pid)
    assert record.sid != os.getsid(0)
    assert identity == read_process_identity(record.pid, boot_id=SystemClock().boot_id())
    assert record.stdin == ""
    assert record.cwd == str(recorder.workspace / ".metadata")


def test_spawn_uses_bundled_venv(recorder: Recorder, start: OrchestratorStart) -> None:
    spawn_orchestrator(start, "dev")
    # Only the interpreter in the pack records.
    assert recorder.read().argv[:5] == ["-I", "-m", "comfywatchman", "supervise", "run"]


def test_spawn_passes_workspace_and_env(recorder: Recorder, start: OrchestratorStart) -> None:
    spawn_orchestrator(start, "dev")
    record = recorder.read()
    assert record.argv[5:9] == ["--workspace", str(recorder.workspace), "--environment", "main"]
    assert record.has_request
    request = read_switch_request(recorder.workspace / ".metadata")
    assert request is not None
    assert (request.target_env, request.source_env) == ("dev", "main")


def test_spawn_captures_comfyui_args(recorder: Recorder, start: OrchestratorStart) -> None:
    spawn_orchestrator(start, "dev")
    assert recorder.read().argv[9:] == ["--", *ARGUMENTS]


def test_spawn_fails_without_venv(recorder: Recorder, start: OrchestratorStart, tmp_path: Path) -> None:
    with pytest.raises(OrchestratorVenvMissing):
        spawn_orchestrator(replace(start, custom_node_root=tmp_path), "dev")
    assert list((recorder.workspace / ".metadata").iterdir()) == []


def test_environment_in_the_metadata_folder_is_the_default(start: OrchestratorStart) -> None:
    shared = Recorder(start.workspace, start.workspace / ".metadata" / "orchestrator")
    shared.build()
    spawn_orchestrator(replace(start, custom_node_root=None), "dev")
    assert f"{shared.pack}/" in Path(f"/proc/{shared.read().pid}/cmdline").read_text()


def test_spawn_that_cannot_start_leaves_no_request(recorder: Recorder, start: OrchestratorStart) -> None:
    recorder.python.write_text("#!/absent/interpreter")
    with pytest.raises(Failure) as caught:
        spawn_orchestrator(start, "dev")
    assert caught.value.code == "child-failed"
    assert read_switch_request(recorder.workspace / ".metadata") is None


def test_orchestrator_writes_log_file(recorder: Recorder, start: OrchestratorStart) -> None:
    log = recorder.workspace / ".metadata" / "orchestrator.log"
    log.write_text("an earlier one\n")
    spawn_orchestrator(start, "dev")
    recorder.read()
    assert log.read_text() == "an earlier one\nits output\nits errors\n"


def test_unwritable_log_is_a_failure(recorder: Recorder, start: OrchestratorStart) -> None:
    (recorder.workspace / ".metadata" / "orchestrator.log").mkdir()
    with pytest.raises(Failure) as caught:
        spawn_orchestrator(start, "dev")
    assert caught.value.code == "state-unwritable"
    assert read_switch_request(recorder.workspace / ".metadata") is None


def test_first_switch_triggers_spawn(recorder: Recorder, start: OrchestratorStart) -> None:
    assert begin_switch(start, "dev") is not None
    recorder.read()


def test_running_orchestrator_takes_the_request(recorder: Recorder, start: OrchestratorStart) -> None:
    metadata = recorder.workspace / ".metadata"
    write_orchestrator_pid(metadata)
    assert begin_switch(start, "dev") is None
    request = read_switch_request(metadata)
    assert request is not None
    assert request.target_env == "dev"
    assert not recorder.has_started()


def test_supervised_no_spawn(recorder: Recorder, start: OrchestratorStart, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYGIT_SUPERVISED", "1")
    assert begin_switch(start, "dev") is None
    assert read_switch_request(recorder.workspace / ".metadata") is not None
    assert not recorder.has_started()


def test_orchestrator_is_not_itself_supervised(
    recorder: Recorder, start: OrchestratorStart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFYGIT_SUPERVISED", "1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("COMFYWATCHMAN_SCHEDULE__MIN_VRAM_GB", "4")
    spawn_orchestrator(start, "dev")
    variables = recorder.read().variables
    assert not {"COMFYGIT_SUPERVISED", "AWS_SECRET_ACCESS_KEY"} & variables.keys()
    assert variables["CUDA_VISIBLE_DEVICES"] == "1"
    assert variables["COMFYWATCHMAN_SCHEDULE__MIN_VRAM_GB"] == "4"


@pytest.mark.slow
def test_orchestrator_survives_parent_death(recorder: Recorder) -> None:
    command = [sys.executable, "-c", ASK_AND_DIE, str(recorder.workspace), str(recorder.pack)]
    with subprocess.Popen(command, start_new_session=True) as parent:
        assert parent.wait(60) == -signal.SIGKILL
    record = recorder.read()
    os.kill(record.pid, 0)
    assert os.getpgid(record.pid) == record.pid


def test_extract_args_from_sys_argv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["main.py", "--port", "8188", "--listen"])
    assert extract_comfyui_args() == ["--port", "8188", "--listen"]
    assert extract_comfyui_args(["/x/main.py", "--cpu"]) == ["--cpu"]


def test_extract_args_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["main.py"])
    assert extract_comfyui_args() == []


def test_unmanaged_comfyui_names_no_environment() -> None:
    command = build_orchestrator_command(Path("/p/python"), Path("/ws"), None)
    assert command == ["/p/python", "-I", "-m", "comfywatchman", "supervise", "run", "--workspace", "/ws", "--"]
