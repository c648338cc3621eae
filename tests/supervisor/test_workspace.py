"""Workspaces found on disk, environments detected by the current folder, and the layout of comfygit workspaces."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
import uv

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.errors import Failure
from comfywatchman.base.lock import hold_lock
from comfywatchman.supervisor.process_files import write_orchestrator_pid
from comfywatchman.supervisor.status import LOCK_NAME
from comfywatchman.supervisor.workspace import (
    ComfygitWorkspace,
    EnvironmentSet,
    detect_environment_type,
    find_workspace_root,
    should_spawn_orchestrator_for_switch,
)
from tests.governance.wheels import add_wheel
from tests.supervisor.workspace_builders import StateFileBuilder, WorkspaceBuilder

PYTHON = Path(sys.executable)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with the environments `dev` and `main`."""
    builder = WorkspaceBuilder(tmp_path / "ws")
    return builder.add_environment("main", python=PYTHON).add_environment("dev", python=PYTHON).build()


def enter(folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch, workspace: Path | None = None) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(home))
    if workspace is not None:
        monkeypatch.setenv("COMFYGIT_HOME", str(workspace))


def test_detect_managed_environment(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(workspace / "environments" / "dev" / "ComfyUI", tmp_path, monkeypatch, workspace)
    assert detect_environment_type() == (True, workspace, "dev")


def test_detect_unmanaged_environment_outside_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere" / "ComfyUI").mkdir(parents=True)
    enter(tmp_path / "elsewhere" / "ComfyUI", tmp_path, monkeypatch)
    assert detect_environment_type() == (False, None, None)


def test_detect_unmanaged_environment_wrong_structure(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("environments/dev", "ComfyUI", "environments/ComfyUI", "environments/dev/ComfyUI/custom_nodes"):
        (workspace / place).mkdir(parents=True, exist_ok=True)
        enter(workspace / place, tmp_path, monkeypatch, workspace)
        assert detect_environment_type() == (False, workspace, None)


def test_find_workspace_root_via_env_var(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WorkspaceBuilder(tmp_path / "comfygit").build()
    enter(tmp_path, tmp_path, monkeypatch, workspace)
    assert find_workspace_root() == workspace


def test_find_workspace_root_via_default_location(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = WorkspaceBuilder(tmp_path / "comfygit", with_metadata=False).build()
    enter(tmp_path, tmp_path, monkeypatch)
    assert find_workspace_root() == root


def test_find_workspace_root_via_upward_search(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(workspace / "environments" / "main" / "ComfyUI", tmp_path, monkeypatch)
    assert find_workspace_root() == workspace


def test_find_workspace_root_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # An Eclipse workspace, and a folder that is only named like ours.
    (tmp_path / ".metadata").mkdir()
    (tmp_path / "home" / "comfygit").mkdir(parents=True)
    enter(tmp_path, tmp_path / "home", monkeypatch)
    assert find_workspace_root() is None


def test_should_spawn_orchestrator_not_supervised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(tmp_path, tmp_path, monkeypatch)
    assert should_spawn_orchestrator_for_switch()
    monkeypatch.setenv("COMFYGIT_SUPERVISED", "0")
    assert should_spawn_orchestrator_for_switch()


def test_should_not_spawn_orchestrator_when_supervised(metadata: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYGIT_SUPERVISED", "1")
    assert not should_spawn_orchestrator_for_switch(metadata)
    monkeypatch.delenv("COMFYGIT_SUPERVISED")
    monkeypatch.setenv("COMFYGIT_CG_RUN_SUPERVISOR", "1")
    assert not should_spawn_orchestrator_for_switch(metadata)


def test_should_not_spawn_orchestrator_when_already_running(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_orchestrator_pid(workspace / ".metadata")
    assert not should_spawn_orchestrator_for_switch(workspace / ".metadata")
    enter(tmp_path, tmp_path, monkeypatch, workspace)
    assert not should_spawn_orchestrator_for_switch()


def test_should_spawn_orchestrator_when_stale_pid(metadata: Path, foreign: StateFileBuilder) -> None:
    with subprocess.Popen(["true"]) as child:
        child.wait()
    path = foreign.write(".orchestrator.pid", b"%d" % child.pid)
    assert should_spawn_orchestrator_for_switch(metadata)
    assert not path.exists()


def test_should_spawn_orchestrator_when_pid_is_reused(metadata: Path, foreign: StateFileBuilder) -> None:
    path = foreign.write(".orchestrator.pid", b"%d" % os.getpid(), age_seconds=86400)
    assert should_spawn_orchestrator_for_switch(metadata)
    assert not path.exists()


def test_orchestrator_that_is_just_starting_is_not_started_twice(metadata: Path) -> None:
    with hold_lock(metadata / LOCK_NAME, command="supervise run", clock=SystemClock()):
        assert not should_spawn_orchestrator_for_switch(metadata)
    assert should_spawn_orchestrator_for_switch(metadata)


def test_named_workspace_that_is_absent_hides_others(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(workspace / "environments" / "dev" / "ComfyUI", tmp_path, monkeypatch, tmp_path / "absent")
    assert find_workspace_root() is None
    assert detect_environment_type() == (False, None, None)


def test_workspace_around_the_current_folder_is_recognised_beside_the_default_one(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = WorkspaceBuilder(tmp_path / "comfygit").build()
    enter(workspace / "environments" / "dev" / "ComfyUI", tmp_path, monkeypatch)
    assert find_workspace_root() == default
    assert detect_environment_type() == (True, workspace, "dev")


def test_linked_workspace_is_recognised(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(workspace)
    enter(workspace / "environments" / "dev" / "ComfyUI", tmp_path, monkeypatch, tmp_path / "link")
    assert detect_environment_type() == (True, tmp_path / "link", "dev")


def test_deleted_current_folder_is_in_no_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    enter(tmp_path / "gone", tmp_path, monkeypatch)
    (tmp_path / "gone").rmdir()
    assert detect_environment_type() == (False, None, None)


def test_comfygit_workspace_is_an_environment_set(workspace: Path) -> None:
    environments: EnvironmentSet = ComfygitWorkspace(workspace)
    (workspace / "environments" / "empty").mkdir()
    (workspace / "environments" / "a-file").write_text("")
    WorkspaceBuilder(workspace).add_environment(".hidden").environments[0].build()
    assert environments.names() == ("dev", "main")
    assert environments.metadata == workspace / ".metadata"
    environment = environments.get("dev")
    folder = workspace / "environments" / "dev"
    assert (environment.python, environment.comfyui) == (folder / ".venv" / "bin" / "python", folder / "ComfyUI")


def test_variables_of_an_environment_hold_no_keys(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("CIVITAI_API_KEY", "secret")
    monkeypatch.setenv("MY_NODE", "x")
    variables = ComfygitWorkspace(workspace, inherited=("MY_NODE",)).get("dev").variables
    assert variables["CUDA_VISIBLE_DEVICES"] == "0"
    assert variables["MY_NODE"] == "x"
    assert "CIVITAI_API_KEY" not in variables


@pytest.mark.parametrize("name", ["absent", "", ".", "..", "../ws/environments/dev", "/etc", "dev/", "a\0b"])
def test_unknown_environment_is_a_failure(workspace: Path, name: str) -> None:
    environments = ComfygitWorkspace(workspace)
    for call in (environments.get, environments.prepare, environments.activate):
        with pytest.raises(Failure) as caught:
            call(name)
        assert caught.value.code == "supervisor-environment-unknown"
        assert caught.value.hint == "Environments: dev, main."


def test_environment_without_interpreter_is_a_failure(workspace: Path) -> None:
    (workspace / "environments" / "dev" / ".venv" / "bin" / "python").unlink()
    with pytest.raises(Failure, match="has no interpreter") as caught:
        ComfygitWorkspace(workspace).get("dev")
    assert caught.value.code == "supervisor-environment-unknown"


def test_workspace_without_environments_has_none(tmp_path: Path) -> None:
    environments = ComfygitWorkspace(tmp_path)
    assert environments.names() == ()
    assert environments.current() is None
    with pytest.raises(Failure) as caught:
        environments.get("dev")
    assert caught.value.hint == "Environments: none."


def test_activate_keeps_the_other_settings(workspace: Path) -> None:
    environments = ComfygitWorkspace(workspace)
    path = workspace / ".metadata" / "workspace.json"
    settings = {"version": 1, "active_environment": "main", "api_credentials": {"token": "secret"}, "new": [1]}
    path.write_bytes(orjson.dumps(settings))
    assert environments.current() == "main"
    environments.activate("dev")
    assert environments.current() == "dev"
    assert orjson.loads(path.read_bytes()) == {**settings, "active_environment": "dev"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_activate_creates_the_settings(workspace: Path) -> None:
    environments = ComfygitWorkspace(workspace)
    assert environments.current() is None
    environments.activate("main")
    assert environments.current() == "main"
    # comfygit's reader requires these.
    settings = orjson.loads((workspace / ".metadata" / "workspace.json").read_bytes())
    assert {"version", "active_environment", "created_at"} <= settings.keys()


@pytest.mark.parametrize("content", [b"{torn", b"[]", b"[" * 5000])
def test_damaged_settings_are_left_alone(workspace: Path, content: bytes) -> None:
    environments = ComfygitWorkspace(workspace)
    path = workspace / ".metadata" / "workspace.json"
    path.write_bytes(content)
    assert environments.current() is None
    with pytest.raises(Failure) as caught:
        environments.activate("dev")
    assert caught.value.code == "supervisor-workspace-damaged"
    assert path.read_bytes() == content


def test_active_environment_that_was_deleted_is_none(workspace: Path) -> None:
    (workspace / ".metadata" / "workspace.json").write_bytes(b'{"active_environment": "deleted"}')
    assert ComfygitWorkspace(workspace).current() is None


def write_uv(folder: Path, script: str) -> Path:
    program = folder / "uv"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def add_project(workspace: Path) -> Path:
    project = workspace / "environments" / "dev" / ".cec"
    project.mkdir()
    (project / "uv.lock").write_text("")
    (project / "pyproject.toml").write_text("")
    return project


def test_environment_without_lock_is_prepared_as_it_is(workspace: Path, tmp_path: Path) -> None:
    failing = write_uv(tmp_path, "exit 1")
    ComfygitWorkspace(workspace, uv=failing).prepare("dev")
    add_project(workspace)
    ComfygitWorkspace(workspace).prepare("dev")


@pytest.mark.slow
def test_failed_sync_says_why(workspace: Path, tmp_path: Path) -> None:
    add_project(workspace)
    with pytest.raises(Failure, match="could not be installed: error: no space left") as caught:
        ComfygitWorkspace(workspace, uv=write_uv(tmp_path, "echo 'error: no space left' >&2; exit 2")).prepare("dev")
    assert caught.value.code == "supervisor-sync-failed"
    with pytest.raises(Failure, match="exited with status 3"):
        ComfygitWorkspace(workspace, uv=write_uv(tmp_path, "exit 3")).prepare("dev")
    with pytest.raises(Failure, match="could not be started") as caught:
        ComfygitWorkspace(workspace, uv=tmp_path / "absent").prepare("dev")
    assert caught.value.code == "supervisor-sync-failed"


PROJECT = """
[project]
name = "dev"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["wanted==2.0", "torch==9.0"]
[tool.uv]
no-index = true
find-links = ["{wheels}"]
"""


@pytest.mark.slow
def test_prepare_installs_the_lock_and_removes_nothing(tmp_path: Path) -> None:
    program = Path(uv.find_uv_bin())
    wheels = tmp_path / "wheels"
    for name, version in (("wanted", "1.0"), ("wanted", "2.0"), ("torch", "8.0"), ("torch", "9.0"), ("extra", "1.0")):
        add_wheel(wheels, name, version)
    workspace = WorkspaceBuilder(tmp_path / "ws").add_environment("dev").build()
    project = add_project(workspace)
    (project / "uv.lock").unlink()
    (project / "pyproject.toml").write_text(PROJECT.format(wheels=wheels))
    environment = project.parent / ".venv"

    def run_uv(*arguments: str | Path) -> None:
        subprocess.run([program, "-q", "--offline", *arguments], check=True, cwd=project)

    run_uv("venv", "--python", PYTHON, environment)
    python = environment / "bin" / "python"
    run_uv("lock", "--python", python)
    older = ["wanted==1.0", "torch==8.0", "extra==1.0"]
    run_uv("pip", "install", "--python", python, "--no-index", "--find-links", wheels, *older)

    ComfygitWorkspace(workspace, uv=program).prepare("dev")

    installed = {path.name.removesuffix(".dist-info") for path in environment.glob("lib/*/site-packages/*.dist-info")}
    assert installed == {"wanted-2.0", "torch-8.0", "extra-1.0"}
