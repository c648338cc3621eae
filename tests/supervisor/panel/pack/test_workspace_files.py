"""The panel's own reading of the state files, compared with the supervisor's on the same files."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.lock import LockHolder
from comfywatchman.base.process import read_process_identity
from comfywatchman.supervisor import lock
from comfywatchman.supervisor.mailbox import read_switch_request
from comfywatchman.supervisor.panel.pack import workspace_files as files
from comfywatchman.supervisor.panel.pack.workspace_files import PanelSettings
from comfywatchman.supervisor.process_files import (
    find_orchestrator,
    write_control_port,
    write_control_token,
    write_heartbeat,
    write_orchestrator_pid,
)
from tests.supervisor.workspace_builders import StateFileBuilder, WorkspaceBuilder


@pytest.fixture
def settings(metadata: Path) -> PanelSettings:
    return PanelSettings(
        folder="/pack",
        workspace=str(metadata.parent),
        metadata=str(metadata),
        environment_files="environments/*/ComfyUI/main.py",
        orchestrator=("/python",),
        venv_command=("/python",),
    )


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as child:
        yield child
        child.kill()


def is_running(settings: PanelSettings) -> bool:
    """Return the panel's answer, which must be the supervisor's."""
    answer = files.is_orchestrator_running(settings)
    assert answer == (find_orchestrator(Path(settings.metadata)) is not None)
    return answer


def is_locked(settings: PanelSettings) -> bool:
    """Return the panel's answer, which must be the supervisor's."""
    answer = files.is_switch_locked(settings)
    assert answer == lock.is_switch_locked(Path(settings.metadata))
    return answer


def test_running_orchestrator_is_recognised(settings: PanelSettings, metadata: Path) -> None:
    assert not is_running(settings)
    write_orchestrator_pid(metadata)
    assert is_running(settings)


def test_reused_pid_is_not_the_orchestrator(
    settings: PanelSettings, metadata: Path, foreign: StateFileBuilder, stranger: subprocess.Popen[bytes]
) -> None:
    recorded = msgspec.structs.replace(write_heartbeat(metadata, uptime=1.0), pid=stranger.pid)
    foreign.write(".orchestrator.heartbeat", msgspec.to_builtins(recorded))
    foreign.write(".orchestrator.pid", b"%d" % stranger.pid)
    assert not is_running(settings)
    (metadata / ".orchestrator.heartbeat").unlink()
    assert is_running(settings)
    foreign.write(".orchestrator.pid", b"%d" % stranger.pid, age_seconds=60)
    assert not is_running(settings)


def test_zombie_is_not_the_orchestrator(
    settings: PanelSettings, foreign: StateFileBuilder, stranger: subprocess.Popen[bytes]
) -> None:
    foreign.write(".orchestrator.pid", b"%d" % stranger.pid)
    assert is_running(settings)
    stranger.kill()
    os.waitid(os.P_PID, stranger.pid, os.WEXITED | os.WNOWAIT)
    assert not is_running(settings)


@pytest.mark.parametrize("content", [b"", b"x", b"-1", b"0", b"9" * 30, b"\xff"])
def test_damaged_pid_file_names_nobody(settings: PanelSettings, foreign: StateFileBuilder, content: bytes) -> None:
    foreign.write(".orchestrator.pid", content)
    assert not is_running(settings)


def test_lock_is_recognised(settings: PanelSettings, metadata: Path) -> None:
    assert not is_locked(settings)
    with lock.hold_switch_lock(metadata):
        assert is_locked(settings)
        (metadata / ".switch.lock").unlink()
        assert is_locked(settings)
    assert not is_locked(settings)


def test_lock_goes_by_its_owner(
    settings: PanelSettings, foreign: StateFileBuilder, stranger: subprocess.Popen[bytes]
) -> None:
    boot_id = SystemClock().boot_id()
    identity = read_process_identity(stranger.pid, boot_id=boot_id)
    assert identity is not None
    holder = LockHolder(stranger.pid, identity.started_ticks, boot_id, "a switch", "2026-11-20T14:00:00Z")
    foreign.write(".switch.lock", msgspec.to_builtins(holder), age_seconds=7200)
    assert is_locked(settings)
    foreign.write(".switch.lock", {**msgspec.to_builtins(holder), "started_ticks": 1})
    assert not is_locked(settings)
    foreign.write(".switch.lock", {**msgspec.to_builtins(holder), "boot_id": "earlier"})
    assert not is_locked(settings)


def test_lock_without_owner_goes_by_its_age(settings: PanelSettings, foreign: StateFileBuilder) -> None:
    for content in (b"", b"{torn"):
        foreign.write(".switch.lock", content)
        assert is_locked(settings)
        foreign.write(".switch.lock", content, age_seconds=301)
        assert not is_locked(settings)


def test_environments_are_found(settings: PanelSettings, metadata: Path) -> None:
    workspace = metadata.parent
    assert files.list_environments(settings) == []
    WorkspaceBuilder(workspace).add_environment("dev").environments[0].build()
    (workspace / "environments" / "empty").mkdir()
    assert files.list_environments(settings) == ["dev"]
    assert files.find_own_environment(settings, str(workspace / "environments" / "dev" / "ComfyUI")) == "dev"
    assert files.find_own_environment(settings, str(workspace)) is None
    governed = replace(settings, environment_files="envs/*/.gov-complete")
    (workspace / "envs" / "g1").mkdir(parents=True)
    assert files.list_environments(governed) == []
    (workspace / "envs" / "g1" / ".gov-complete").touch()
    assert files.list_environments(governed) == ["g1"]
    assert files.list_environments(replace(governed, environment_names=("production", "g1"))) == ["production", "g1"]


def test_supervisor_names_the_environment_of_a_shared_comfyui(
    settings: PanelSettings, metadata: Path, foreign: StateFileBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    governed = replace(settings, environment_names=("production",))
    foreign.write("supervisor_status.json", {"environment": "production"})
    assert files.find_own_environment(governed, str(metadata)) is None
    monkeypatch.setenv("COMFYGIT_SUPERVISED", "1")
    assert files.find_own_environment(governed, str(metadata)) == "production"
    for content in (b"{torn", b'{"environment": "deleted"}', b'{"environment": ["x"]}'):
        foreign.write("supervisor_status.json", content)
        assert files.find_own_environment(governed, str(metadata)) is None


def test_control_files_are_read(settings: PanelSettings, metadata: Path, foreign: StateFileBuilder) -> None:
    assert (files.read_control_port(settings), files.read_control_token(settings)) == (None, None)
    write_control_port(metadata, 5050)
    write_control_token(metadata, "a-token_of-the-supervisor")
    assert files.read_control_port(settings) == 5050
    assert files.read_control_token(settings) == "a-token_of-the-supervisor"
    for content in (b"", b"65536", b"0", b"x", b"5050 5051"):
        foreign.write(".control_port", content)
        assert files.read_control_port(settings) is None
    for content in (b"", b"a b", b"a\r\nX-Header: b", b"\xff\xfe"):
        foreign.write(".control_token", content)
        assert files.read_control_token(settings) is None


def test_request_of_the_panel_is_read_by_the_supervisor(settings: PanelSettings, metadata: Path) -> None:
    files.write_switch_request(settings, "dev", None)
    request = read_switch_request(metadata)
    assert request is not None
    assert (request.target_env, request.source_env) == ("dev", None)
    files.delete_switch_request(settings)
    files.delete_switch_request(settings)
    assert list(metadata.iterdir()) == []


def test_failed_write_leaves_the_old_file(settings: PanelSettings, metadata: Path) -> None:
    files.write_switch_request(settings, "old", None)
    with pytest.raises(TypeError):
        files.write_json(str(metadata / ".switch_request.json"), {"target_env": object()})
    assert [path.name for path in metadata.iterdir()] == [".switch_request.json"]
    request = read_switch_request(metadata)
    assert request is not None
    assert request.target_env == "old"


def test_files_that_are_not_regular_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    with (tmp_path / "huge").open("wb") as stream:
        stream.truncate(1 << 40)
    for name in ("fifo", "zero", "huge", ".", "absent", "nul\0"):
        assert files.read_bytes(str(tmp_path / name)) is None
        assert files.read_json(str(tmp_path / name)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"workspace": ""},
        {"metadata": None},
        {"environment_files": 5},
        {"environment_files": "environments/main.py"},
        {"environment_names": "production"},
        {"environment_names": [5]},
        {"orchestrator": []},
        {"orchestrator": "python"},
        {"venv_command": [1]},
    ],
)
def test_damaged_settings_are_none(tmp_path: Path, change: dict[str, object]) -> None:
    content: dict[str, object] = {
        "workspace": "/ws",
        "metadata": "/ws/.metadata",
        "environment_files": "environments/*/ComfyUI/main.py",
        "orchestrator": ["/python"],
        "venv_command": ["/python"],
    }
    (tmp_path / "panel.json").write_text(json.dumps(content))
    assert files.read_settings(str(tmp_path)) is not None
    (tmp_path / "panel.json").write_text(json.dumps({**content, **change}))
    assert files.read_settings(str(tmp_path)) is None
    (tmp_path / "panel.json").unlink()
    assert files.read_settings(str(tmp_path)) is None
