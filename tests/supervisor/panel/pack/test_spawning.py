"""The orchestrator started by the panel, and its environment created when ComfyUI loads the panel without one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfywatchman.supervisor.panel.pack import spawning
from comfywatchman.supervisor.panel.pack.workspace_files import PanelSettings
from comfywatchman.supervisor.process_files import read_startup_state, write_orchestrator_pid
from tests.supervisor.recorder import Recorder


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path / "workspace", tmp_path / "pack")
    recorder.build()
    yield recorder
    recorder.end()


@pytest.fixture
def settings(recorder: Recorder, tmp_path: Path) -> PanelSettings:
    """The settings of a panel whose supervisor's environment is missing."""
    return PanelSettings(
        folder=str(recorder.pack),
        workspace=str(recorder.workspace),
        metadata=str(recorder.workspace / ".metadata"),
        environment_files="environments/*/ComfyUI/main.py",
        orchestrator=(str(tmp_path / "absent"), "supervise", "run"),
        venv_command=(str(recorder.python), "create", "the venv"),
    )


def test_ensure_venv_on_load(recorder: Recorder, settings: PanelSettings) -> None:
    assert spawning.ensure_environment(settings)
    record = recorder.read()
    assert record.argv == ["create", "the venv"]
    assert record.sid == record.pid


def test_environment_that_is_there_is_not_created_again(recorder: Recorder, settings: PanelSettings) -> None:
    complete = PanelSettings(**{**vars(settings), "orchestrator": (sys.executable,)})
    assert not spawning.ensure_environment(complete)
    assert not recorder.has_started()


def test_removed_program_is_reported(settings: PanelSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    removed = PanelSettings(**{**vars(settings), "venv_command": (str(tmp_path / "removed"),)})
    assert not spawning.ensure_environment(removed)
    assert "install the panel again" in caplog.text


def test_orchestrator_gets_comfyuis_arguments(
    recorder: Recorder, settings: PanelSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["main.py", "--port", "8189", "--enable-manager", "--cpu"])
    monkeypatch.setenv("COMFYGIT_SUPERVISED", "1")
    start = PanelSettings(**{**vars(settings), "orchestrator": (str(recorder.python), "supervise", "run")})
    pid = spawning.spawn_orchestrator(start, "main")
    record = recorder.read()
    assert record.pid == pid
    assert record.argv == ["supervise", "run", "--environment", "main", "--", "--port", "8189", "--cpu"]
    assert record.cwd == settings.metadata
    assert "COMFYGIT_SUPERVISED" not in record.variables
    assert Path(settings.metadata, "orchestrator.log").read_text() == "its output\nits errors\n"


def test_orchestrator_runs_where_its_configuration_is(
    recorder: Recorder, settings: PanelSettings, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    changes = {"orchestrator": (str(recorder.python),), "working_directory": str(tmp_path / "home")}
    spawning.spawn_orchestrator(PanelSettings(**{**vars(settings), **changes}), None)
    assert recorder.read().cwd == str(tmp_path / "home")


def test_supervised_comfyui_does_not_spawn(settings: PanelSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert spawning.should_spawn(settings)
    monkeypatch.setenv("COMFYGIT_SUPERVISED", "1")
    assert not spawning.should_spawn(settings)
    monkeypatch.delenv("COMFYGIT_SUPERVISED")
    write_orchestrator_pid(Path(settings.metadata))
    assert not spawning.should_spawn(settings)


def test_recorded_start_is_read_by_the_supervisor(settings: PanelSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["main.py", "--cpu"])
    spawning.record_start(settings, None, 8189)
    state = read_startup_state(Path(settings.metadata))
    assert state is not None
    assert (state.python_executable, state.argv, state.port) == (sys.executable, ("--cpu",), 8189)
    assert (state.environment_name, state.workspace_root) == (None, settings.workspace)
