from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from comfywatchman.base.clock import Clock, SystemClock
from comfywatchman.base.errors import Failure
from comfywatchman.base.process import ProcessIdentity
from comfywatchman.base.stop import StopEvent
from comfywatchman.comfyui.server.listening import find_free_port
from comfywatchman.supervisor.health_policy import HealthReason, HealthVerdict
from comfywatchman.supervisor.incidents import list_incidents
from comfywatchman.supervisor.process.child import ProcessRecord, StartCommand
from comfywatchman.supervisor.process_files import write_startup_state
from comfywatchman.supervisor.run import ComfyRun
from comfywatchman.supervisor.runner import ComfyRunner, read_start_command
from comfywatchman.supervisor.settings import SupervisorSettings
from comfywatchman.supervisor.states import SupervisorState
from comfywatchman.supervisor.workspace import ComfygitWorkspace
from tests.fakes import FakeClock
from tests.supervisor.programs import wait_until
from tests.supervisor.workspaces import QUICK, FolderProbes, Workspace, watch_this_process

READY = HealthVerdict(SupervisorState.READY, HealthReason.CANARY_RAN)
STALLED = HealthVerdict(SupervisorState.STALLED, HealthReason.NO_ANSWER)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "ws", "main", "other")


def build_runner(workspace: Workspace, clock: Clock, settings: SupervisorSettings = QUICK) -> ComfyRunner:
    return ComfyRunner(
        ComfygitWorkspace(workspace.root),
        "main",
        ("--given",),
        probes=lambda process: FolderProbes(process, Path(process.record.folder)),
        settings=replace(settings, port=find_free_port()),
        clock=clock,
        log=logging.getLogger("test"),
    )


def read_status(workspace: Workspace) -> dict[str, object]:
    content: dict[str, object] = json.loads((workspace.metadata / "supervisor_status.json").read_text())
    return content


@contextmanager
def started(runner: ComfyRunner, name: str, *, without_extra: bool = False) -> Iterator[ComfyRun]:
    """Start ComfyUI in an environment, and stop it afterwards."""
    run = runner.start(name, without_extra=without_extra)
    try:
        yield run
    finally:
        run.stop(runner.settings.stop)
        run.close()


def test_unknown_environment_is_not_counted_as_a_start(workspace: Workspace) -> None:
    runner = build_runner(workspace, FakeClock())
    with pytest.raises(Failure) as raised:
        runner.start("nowhere")
    assert raised.value.code == "supervisor-environment-unknown"
    assert runner.history == build_runner(workspace, FakeClock()).history
    assert runner.current == "main"


def test_nothing_is_adopted_in_a_new_workspace(workspace: Workspace) -> None:
    assert build_runner(workspace, SystemClock()).adopt() is None
    with StopEvent() as stop:
        assert build_runner(workspace, SystemClock()).watch_foreign(stop)
        stop.set()
        assert not build_runner(workspace, SystemClock()).watch_foreign(stop)


def test_ready_since_lasts_until_a_stall(workspace: Workspace, tmp_path: Path) -> None:
    clock = FakeClock()
    runner = build_runner(workspace, clock)
    with watch_this_process(tmp_path, clock) as run:
        runner.note_health(run, READY)
        clock.advance(awake=5)
        runner.note_health(run, READY)
        ready_since = runner.history.ready_since
        assert ready_since == 1000.0
        assert read_status(workspace)["state"] == "ready"
        runner.note_health(run, STALLED)
    assert runner.history.ready_since is None
    assert (read_status(workspace)["state"], read_status(workspace)["pid"]) == ("stalled", os.getpid())


def test_crash_becomes_the_last_incident(workspace: Workspace, tmp_path: Path) -> None:
    clock = FakeClock()
    runner = build_runner(workspace, clock)
    with watch_this_process(tmp_path, clock) as run:
        runner.note_crash(run, 3)
        runner.note_kill(run, STALLED, 0)
    incidents = list_incidents(workspace.metadata)
    assert [incident.kind for incident in incidents] == ["crash", "killed"]
    assert runner.publisher.last_incident == incidents[-1].name


def test_unwritable_status_and_failed_preparation_end_nothing(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    runner = build_runner(workspace, FakeClock())
    (workspace.metadata / "supervisor_status.json").mkdir()
    with caplog.at_level(logging.WARNING, "test"):
        runner.publish(SupervisorState.STARTING, None)
        with StopEvent() as stop:
            runner.synchronise("nowhere", stop)
    assert [record.message for record in caplog.records] == ["status not written", "environment not synchronised"]


@pytest.mark.slow
def test_start_runs_the_environment_with_both_kinds_of_arguments(workspace: Workspace) -> None:
    settings = replace(QUICK, arguments=("--configured",))
    runner = build_runner(workspace, SystemClock(), settings)
    with started(runner, "other"):
        assert wait_until(lambda: len(workspace.starts("other")) == 1)
    with started(runner, "other", without_extra=True):
        assert wait_until(lambda: len(workspace.starts("other")) == 2)
    port = f"--port={runner.settings.port}"
    arguments = [start["argv"] for start in workspace.starts("other")]
    assert arguments == [["--configured", "--given", port], ["--given", port]]
    assert runner.current == "other"
    assert len(runner.history.starts) == 2


def test_command_of_an_adopted_process_is_that_of_its_start(workspace: Workspace) -> None:
    command = StartCommand("main", ("/bin/python", "main.py", "--lowvram"), workspace.root, {"PATH": "/bin"}, 8188)
    identity = ProcessIdentity("boot", 7, 1)
    record = ProcessRecord(identity, "main", command.argv, str(command.folder), command.port, 0.0)
    assert read_start_command(workspace.metadata, record) is None
    for variables, expected in ((None, None), (command.variables, command)):
        write_startup_state(
            workspace.metadata,
            python_executable=command.argv[0],
            working_directory=str(command.folder),
            argv=command.argv[2:],
            environment_name="main",
            workspace_root=str(workspace.root),
            port=command.port,
            variables=variables,
        )
        assert read_start_command(workspace.metadata, record) == expected
    # The record of another start says nothing about this one.
    assert read_start_command(workspace.metadata, structs.replace(record, argv=("/bin/python", "main.py"))) is None
