from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.app.supervisor_orders import count_prompts, give_order
from comfywatchman.base.clock import SystemClock
from comfywatchman.base.errors import Failure
from comfywatchman.base.lock import hold_lock
from comfywatchman.comfyui.server.listening import find_free_port
from comfywatchman.supervisor.mailbox import CommandName, PromptPolicy, SwitchState, take_command, write_switch_status
from comfywatchman.supervisor.metadata import create_metadata_folder
from comfywatchman.supervisor.states import SupervisorState
from comfywatchman.supervisor.status import LOCK_NAME, SupervisorStatus
from comfywatchman.supervisor.workspace import ComfygitWorkspace
from tests.servers.comfyui import FakeComfyUI
from tests.supervisor.workspaces import Workspace

CLOCK = SystemClock()


def build_status(port: int, *, pid: int | None = 7, queue_length: int | None = None) -> SupervisorStatus:
    at = "2026-11-20T12:00:00Z"
    return SupervisorStatus(SupervisorState.READY, at, at, port, 1, pid=pid, queue_length=queue_length)


def test_prompts_are_counted_by_the_server() -> None:
    with FakeComfyUI() as server:
        assert count_prompts(build_status(server.port, queue_length=3)) == 0


def test_published_number_of_prompts_counts_while_the_server_is_silent() -> None:
    port = find_free_port()
    assert count_prompts(build_status(port, queue_length=3)) == 3
    assert count_prompts(build_status(port)) is None


def test_no_prompts_without_a_comfyui() -> None:
    assert count_prompts(None) == 0
    assert count_prompts(build_status(1, pid=None)) == 0


def test_order_needs_a_supervisor(tmp_path: Path) -> None:
    environments = ComfygitWorkspace(Workspace(tmp_path, "main").root)
    with pytest.raises(Failure, match="No supervisor runs") as caught:
        give_order(environments, CLOCK, CommandName.RESTART, prompts=PromptPolicy.REFUSE)
    assert caught.value.code == "supervisor-not-running"


def test_order_is_written_for_the_supervisor(tmp_path: Path) -> None:
    environments = ComfygitWorkspace(Workspace(tmp_path, "main", "other").root)
    metadata = environments.metadata
    create_metadata_folder(metadata)
    with hold_lock(metadata / LOCK_NAME, command="supervise run", clock=CLOCK):
        give_order(environments, CLOCK, CommandName.SWITCH, prompts=PromptPolicy.WAIT, target="other")
    command = take_command(metadata)
    assert command is not None
    assert (command.command, command.target_env, command.prompts) == (CommandName.SWITCH, "other", PromptPolicy.WAIT)
    assert command.reason == "supervise switch"


def test_restart_is_refused_during_a_switch(tmp_path: Path) -> None:
    environments = ComfygitWorkspace(Workspace(tmp_path, "main").root)
    metadata = environments.metadata
    create_metadata_folder(metadata)
    write_switch_status(metadata, SwitchState.SYNCING, 40, "Synchronising", target_env="other")
    with hold_lock(metadata / LOCK_NAME, command="supervise run", clock=CLOCK):
        with pytest.raises(Failure, match="A switch to 'other' is under way") as caught:
            give_order(environments, CLOCK, CommandName.RESTART, prompts=PromptPolicy.END)
        assert caught.value.code == "supervisor-switch-running"
        give_order(environments, CLOCK, CommandName.SHUTDOWN, prompts=PromptPolicy.END)


def test_switch_to_an_unknown_environment_is_refused(tmp_path: Path) -> None:
    environments = ComfygitWorkspace(Workspace(tmp_path, "main").root)
    create_metadata_folder(environments.metadata)
    with (
        hold_lock(environments.metadata / LOCK_NAME, command="supervise run", clock=CLOCK),
        pytest.raises(Failure) as caught,
    ):
        give_order(environments, CLOCK, CommandName.SWITCH, prompts=PromptPolicy.END, target="none")
    assert caught.value.code == "supervisor-environment-unknown"
