from __future__ import annotations

import json
import os
import signal
import socket
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.supervisor.incidents import list_incidents
from comfywatchman.supervisor.loop import Orchestrator
from comfywatchman.supervisor.mailbox import CommandName, PromptPolicy, write_command, write_switch_request
from comfywatchman.supervisor.process.child import StopLimits
from comfywatchman.supervisor.restart_policy import RestartPolicy
from comfywatchman.supervisor.settings import SupervisorSettings
from tests.supervisor.programs import is_running
from tests.supervisor.workspaces import MAIN, QUICK, FolderProbes, RunningSupervisor, Workspace

pytestmark = pytest.mark.slow


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "ws", "main", "other")


def build_idle(workspace: Workspace) -> Orchestrator:
    return Orchestrator(workspace.root, "main", probes=lambda process: FolderProbes(process, workspace.comfyui("main")))


def test_orchestrator_init(workspace: Workspace) -> None:
    orchestrator = Orchestrator(
        workspace.root, "main", ["--port", "9000"], probes=lambda process: FolderProbes(process, workspace.root)
    )
    assert orchestrator.workspace_root == workspace.root
    assert orchestrator.current_env_name == "main"
    assert orchestrator.comfyui_args == ("--port", "9000")
    assert orchestrator.metadata_dir == workspace.metadata
    assert orchestrator.settings.port == 9000
    orchestrator._cleanup()


def test_orchestrator_writes_pid_on_init(workspace: Workspace) -> None:
    orchestrator = build_idle(workspace)
    assert (workspace.metadata / ".orchestrator.pid").read_text().strip() == str(os.getpid())
    orchestrator._cleanup()


def test_cleanup_removes_pid(workspace: Workspace) -> None:
    build_idle(workspace)._cleanup()
    assert not (workspace.metadata / ".orchestrator.pid").exists()


def test_second_supervisor_is_refused(workspace: Workspace) -> None:
    orchestrator = build_idle(workspace)
    with pytest.raises(Failure, match="supervise run") as caught:
        build_idle(workspace)
    assert caught.value.code == "lock-held"
    assert (workspace.metadata / ".orchestrator.pid").exists()
    orchestrator._cleanup()


def test_clean_exit_ends_the_supervisor(workspace: Workspace) -> None:
    workspace.write_script("main", 0)
    with RunningSupervisor(workspace, "main") as supervisor:
        assert supervisor.join() == 0
        assert supervisor.status()["state"] == "stopped"
    assert len(workspace.starts("main")) == 1


def test_handle_restart_exit(workspace: Workspace) -> None:
    workspace.write_script("main", 42, 42, 0)
    with RunningSupervisor(workspace, "main") as supervisor:
        assert supervisor.join() == 0
    assert len(workspace.starts("main")) == 3
    assert list_incidents(workspace.metadata) == ()


def test_handle_crash_exit(workspace: Workspace) -> None:
    workspace.write_script("main", 3, -9, 0)
    with RunningSupervisor(workspace, "main") as supervisor:
        assert supervisor.join() == 0
    incidents = list_incidents(workspace.metadata)
    assert [incident.exit_status for incident in incidents] == [3, -9]
    assert "ComfyUI was killed by SIGKILL" in incidents[1].sentence


def test_first_retry_after_a_crash_leaves_out_extra_arguments(workspace: Workspace) -> None:
    workspace.write_script("main", 1, 1, 0)
    settings = replace(QUICK, arguments=("--configured",))
    with RunningSupervisor(workspace, "main", ("--given",), settings) as supervisor:
        supervisor.join()
    starts = workspace.starts("main")
    assert ["--configured" in str(start["argv"]) for start in starts] == [True, False, True]
    assert all("--given" in str(start["argv"]) for start in starts)


@pytest.mark.parametrize("configured", [(), ("--configured",)])
def test_status_says_whether_arguments_are_left_out(workspace: Workspace, configured: tuple[str, ...]) -> None:
    workspace.write_script("main", 1, "stay")
    with RunningSupervisor(workspace, "main", (), replace(QUICK, arguments=configured)) as supervisor:
        supervisor.wait_for(lambda: len(workspace.starts("main")) == 2)
        supervisor.wait_for_state("ready")
        assert supervisor.status()["without_extra_arguments"] == bool(configured)


def test_crash_restarts_exactly_what_was_proved(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with RunningSupervisor(workspace, "main", ("--lowvram",)) as supervisor:
        supervisor.wait_for_state("ready")
        # A change meanwhile waits for a person: it must not break what worked, at night.
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
        workspace.end("main", 5)
        supervisor.wait_for(lambda: len(workspace.starts("main")) == 2)
        supervisor.wait_for_state("ready")
        write_command(workspace.metadata, CommandName.RESTART)
        supervisor.wait_for(lambda: len(workspace.starts("main")) == 3)
    starts = workspace.starts("main")
    assert [start["gpus"] for start in starts] == ["0", "0", "7"]
    assert starts[0]["argv"] == starts[1]["argv"] == starts[2]["argv"]


def test_start_that_was_not_proved_is_not_repeated(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    (workspace.comfyui("main") / "silent").touch()
    with RunningSupervisor(workspace, "main") as supervisor:
        supervisor.wait_for(lambda: len(workspace.starts("main")) == 1)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
        workspace.end("main", 5)
        supervisor.wait_for(lambda: len(workspace.starts("main")) == 2)
    assert [start["gpus"] for start in workspace.starts("main")] == ["0", "7"]


def test_budget_of_starts_is_kept_and_a_person_can_begin_anew(workspace: Workspace) -> None:
    workspace.write_script("main", *[1] * 5, "stay")
    with RunningSupervisor(workspace, "main") as supervisor:
        supervisor.wait_for_state("gave_up")
        assert len(workspace.starts("main")) == 5
        assert supervisor.status()["starts_in_window"] == 5
        write_command(workspace.metadata, CommandName.RESTART)
        supervisor.wait_for_state("ready")
    assert len(workspace.starts("main")) == 6


def test_uses_environment_python_and_its_folder(workspace: Workspace) -> None:
    workspace.write_script("main", 0)
    with RunningSupervisor(workspace, "main") as supervisor:
        supervisor.join()
    record = json.loads((workspace.metadata / "comfyui_process.json").read_text())
    assert record["argv"][:2] == [
        str(workspace.root / "environments/main/.venv/bin/python"),
        str(workspace.comfyui("main") / "main.py"),
    ]
    assert workspace.starts("main")[0]["cwd"] == str(workspace.comfyui("main"))


def test_passes_args_and_sets_supervised_env_var(workspace: Workspace) -> None:
    workspace.write_script("main", 0)
    with RunningSupervisor(workspace, "main", ("--lowvram",)) as supervisor:
        supervisor.join()
        port = supervisor.orchestrator.settings.port
    start = workspace.starts("main")[0]
    assert start["argv"] == ["--lowvram", f"--port={port}"]
    assert start["supervised"] == "1"


def test_startup_state_records_the_start(workspace: Workspace) -> None:
    workspace.write_script("main", 0)
    with RunningSupervisor(workspace, "main") as supervisor:
        supervisor.join()
    state = json.loads((workspace.metadata / ".startup_state.json").read_text())
    assert (state["environment_name"], state["workspace_root"]) == ("main", str(workspace.root))


def test_ready_is_published_with_its_proof(workspace: Workspace) -> None:
    with RunningSupervisor(workspace, "main") as supervisor:
        supervisor.wait_for_state("ready")
        status = supervisor.status()
        assert status["proven_at"] is not None
        assert status["pid"] == workspace.starts("main")[0]["pid"]


def test_stop_ends_comfyui_and_is_no_incident(workspace: Workspace) -> None:
    with RunningSupervisor(workspace, "main") as supervisor:
        supervisor.wait_for_state("ready")
        pid = int(str(workspace.starts("main")[0]["pid"]))
        supervisor.stop()
        assert not is_running(pid)
        assert supervisor.status()["state"] == "stopped"
    assert list_incidents(workspace.metadata) == ()


def test_shutdown_command_ends_the_supervisor(workspace: Workspace) -> None:
    with RunningSupervisor(workspace, "main") as supervisor:
        supervisor.wait_for_state("ready")
        write_command(workspace.metadata, CommandName.SHUTDOWN)
        assert supervisor.join() == 0


def test_restart_command_starts_a_new_process(workspace: Workspace) -> None:
    with RunningSupervisor(workspace, "main") as supervisor:
        supervisor.wait_for_state("ready")
        write_command(workspace.metadata, CommandName.RESTART)
        supervisor.wait_for(lambda: len(workspace.starts("main")) == 2)
        supervisor.wait_for_state("ready")
        assert supervisor.status()["starts_in_window"] == 1


def test_command_is_refused_while_prompts_run(workspace: Workspace) -> None:
    with RunningSupervisor(workspace, "main") as supervisor:
        supervisor.wait_for_state("ready")
        queue = workspace.comfyui("main") / "queue"
        queue.write_text("2")
        supervisor.wait_for_state("busy")
        command = write_command(workspace.metadata, CommandName.RESTART)
        supervisor.wait_for(lambda: supervisor.status()["refused"] is not None)
        refused = supervisor.status()["refused"]
        assert isinstance(refused, dict)
        assert (refused["code"], refused["ordered_at"]) == ("supervisor-queue-not-empty", command.timestamp)
        # The same order waits, and is carried out when the prompts have ended.
        write_command(workspace.metadata, CommandName.RESTART, prompts=PromptPolicy.WAIT)
        supervisor.wait_for(lambda: supervisor.status()["waiting_command"] == "restart")
        assert len(workspace.starts("main")) == 1
        queue.unlink()
        supervisor.wait_for(lambda: len(workspace.starts("main")) == 2)
        assert supervisor.status()["refused"] is None


def test_stop_ends_prompts_only_when_told(workspace: Workspace) -> None:
    with RunningSupervisor(workspace, "main") as supervisor:
        supervisor.wait_for_state("ready")
        (workspace.comfyui("main") / "queue").write_text("1")
        supervisor.wait_for_state("busy")
        write_command(workspace.metadata, CommandName.SHUTDOWN)
        supervisor.wait_for(lambda: supervisor.status()["refused"] is not None)
        write_command(workspace.metadata, CommandName.SHUTDOWN, prompts=PromptPolicy.END)
        assert supervisor.join() == 0


def test_command_is_carried_out_during_the_wait_after_a_crash(workspace: Workspace) -> None:
    workspace.write_script("main", 1, 1, "stay")
    settings = replace(QUICK, restarts=RestartPolicy(backoff_first_seconds=600, backoff_max_seconds=600))
    with RunningSupervisor(workspace, "main", (), settings) as supervisor:
        supervisor.wait_for_state("recovering")
        write_command(workspace.metadata, CommandName.RESTART)
        supervisor.wait_for(lambda: len(workspace.starts("main")) == 2)
        supervisor.wait_for_state("recovering")
        write_command(workspace.metadata, CommandName.SHUTDOWN)
        assert supervisor.join() == 0


def test_supervisor_that_gave_up_takes_many_failing_orders(workspace: Workspace) -> None:
    workspace.write_script("main", 1)
    settings = replace(QUICK, restarts=RestartPolicy(max_starts=1))
    with RunningSupervisor(workspace, "main", (), settings) as supervisor:
        supervisor.wait_for_state("gave_up")
        with socket.create_server(("127.0.0.1", supervisor.orchestrator.settings.port)):
            write_command(workspace.metadata, CommandName.RESTART)
            supervisor.wait_for_state("stopped")
            assert "is in use by process" in str(supervisor.status()["detail"])
        write_command(workspace.metadata, CommandName.ABORT_SWITCH)
        supervisor.wait_for(lambda: supervisor.status()["refused"] is not None)
        write_command(workspace.metadata, CommandName.RESTART)
        supervisor.wait_for_state("ready")


UNKILLABLE = replace(QUICK, stop=StopLimits(interrupt=0, terminate=0, kill=0))
"""No signal is sent, so ComfyUI is there as a process is that hangs in a driver."""


def test_process_that_cannot_be_killed_is_waited_for(workspace: Workspace) -> None:
    with RunningSupervisor(workspace, "main", (), UNKILLABLE) as supervisor:
        supervisor.wait_for_state("ready")
        write_command(workspace.metadata, CommandName.RESTART)
        supervisor.wait_for_state("host_needs_reboot")
        write_command(workspace.metadata, CommandName.SWITCH, target_env="other")
        supervisor.wait_for(lambda: supervisor.status()["refused"] is not None)
        refused = supervisor.status()["refused"]
        assert isinstance(refused, dict)
        assert refused["code"] == "supervisor-needs-reboot"
        assert workspace.starts("other") == []
        # The driver lets it go after all.
        workspace.end("main", 5)
        supervisor.wait_for(lambda: len(workspace.starts("main")) == 2)
        supervisor.wait_for_state("ready")
        write_command(workspace.metadata, CommandName.RESTART)
        supervisor.wait_for_state("host_needs_reboot")
        write_command(workspace.metadata, CommandName.SHUTDOWN)
        assert supervisor.join() == 0


def test_switch_ends_with_a_process_that_cannot_be_killed(workspace: Workspace) -> None:
    workspace.set_broken("other")
    deaf = "import signal; signal.signal(signal.SIGABRT, signal.SIG_IGN)\n"
    (workspace.comfyui("other") / "main.py").write_text(deaf + MAIN)
    with RunningSupervisor(workspace, "main", (), UNKILLABLE) as supervisor:
        supervisor.wait_for_state("ready")
        write_switch_request(workspace.metadata, "other")
        workspace.end("main", 43)
        supervisor.wait_for_state("host_needs_reboot")
        assert supervisor.status()["pid"] == workspace.starts("other")[0]["pid"]
        assert len(workspace.starts("main")) == 1
        assert list_incidents(workspace.metadata)[-1].kind == "needs_reboot"
        workspace.end("other", 5)
        supervisor.wait_for(lambda: len(workspace.starts("main")) == 2)
        supervisor.wait_for_state("ready")


def test_failing_canary_restarts_with_an_incident(workspace: Workspace) -> None:
    with RunningSupervisor(workspace, "main") as supervisor:
        supervisor.wait_for_state("ready")
        workspace.set_broken("main")
        supervisor.wait_for(lambda: len(workspace.starts("main")) == 2)
        workspace.set_broken("main", broken=False)
        supervisor.wait_for_state("ready")
    incident = list_incidents(workspace.metadata)[0]
    assert (incident.kind, incident.reason) == ("killed", "canary_failed")
    assert "No image came." in incident.sentence


def test_busy_server_is_left_alone(workspace: Workspace) -> None:
    with RunningSupervisor(workspace, "main") as supervisor:
        supervisor.wait_for_state("ready")
        workspace.set_broken("main")
        (workspace.comfyui("main") / "queue").write_text("1")
        supervisor.wait_for_state("busy")
    assert len(workspace.starts("main")) == 1


def test_manager_restart_marker_restarts(workspace: Workspace) -> None:
    workspace.write_script("main", "stay", 0)
    with RunningSupervisor(workspace, "main") as supervisor:
        supervisor.wait_for_state("ready")
        (workspace.metadata / "comfy_session.reboot").touch()
        workspace.end("main", 0)
        assert supervisor.join() == 0
    assert len(workspace.starts("main")) == 2


def test_port_in_use_names_the_process_and_leaves_it(workspace: Workspace) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        supervisor = RunningSupervisor(workspace, "main", ("--port", str(listener.getsockname()[1])))
        with supervisor:
            error = supervisor.join()
    assert isinstance(error, Failure)
    assert error.code == "supervisor-port-taken"
    assert f"process {os.getpid()} (" in error.message
    assert workspace.starts("main") == []


def test_unknown_environment_ends_with_its_failure(workspace: Workspace) -> None:
    with RunningSupervisor(workspace, "absent") as supervisor:
        error = supervisor.join()
    assert isinstance(error, Failure)
    assert error.code == "supervisor-environment-unknown"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_ask_to_end(workspace: Workspace, number: signal.Signals) -> None:
    orchestrator = build_idle(workspace)
    handler = orchestrator._handle_sigterm if number is signal.SIGTERM else orchestrator._handle_sigint
    handler(number, None)
    assert orchestrator._stop.is_set()
    orchestrator._cleanup()


def test_nothing_is_left_after_many_restarts(workspace: Workspace) -> None:
    before = set(psutil.Process().children(recursive=True))
    descriptors = psutil.Process().num_fds()
    workspace.write_script("main", *[42] * 4, 0)
    settings = replace(QUICK, restarts=RestartPolicy(max_starts=50, backoff_first_seconds=0.01))
    with RunningSupervisor(workspace, "main", (), settings) as supervisor:
        supervisor.join()
    assert set(psutil.Process().children(recursive=True)) <= before
    assert psutil.Process().num_fds() <= descriptors


def test_default_settings_are_used_without_others(workspace: Workspace) -> None:
    orchestrator = build_idle(workspace)
    assert orchestrator.settings == SupervisorSettings()
    orchestrator._cleanup()


def test_switch_exit_without_a_request_is_a_crash(workspace: Workspace) -> None:
    workspace.write_script("main", 43, 0)
    with RunningSupervisor(workspace, "main") as supervisor:
        supervisor.join()
    assert [incident.exit_status for incident in list_incidents(workspace.metadata)] == [43]
