"""The supervisor beside a server that misbehaves in every known way: no false READY, and only the needed restarts."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from comfywatchman.supervisor.incidents import list_incidents
from comfywatchman.supervisor.restart_policy import RestartPolicy
from tests.servers.comfyui_http import client_that_does_not_read
from tests.supervisor.misbehaving import EVERYTHING, SETTINGS, MisbehavingWorkspace, Witness, supervise
from tests.supervisor.workspaces import RunningSupervisor

RUNS = int(os.environ.get("MISBEHAVING_RUNS", "20"))
Behaviour = Callable[[MisbehavingWorkspace], None]


def count_starts(workspace: MisbehavingWorkspace) -> int:
    return len(workspace.starts("main"))


def break_until_restarted(workspace: MisbehavingWorkspace, reason: str, **faults: object) -> None:
    """Break a server that is ready, and expect one restart for a reason, after which it is ready again."""
    with supervise(workspace) as supervisor, Witness(workspace.metadata) as witness:
        supervisor.wait_for_state("ready")
        workspace.break_server(**faults)
        witness.note_broken(supervisor.status()["pid"])
        supervisor.wait_for(lambda: is_ready_at(supervisor, workspace, 2))
    assert [incident.reason for incident in list_incidents(workspace.metadata)] == [reason]


def dead_prompt_thread(workspace: MisbehavingWorkspace) -> None:
    break_until_restarted(workspace, "canary_failed", dead_worker=True)


def events_stop(workspace: MisbehavingWorkspace) -> None:
    break_until_restarted(workspace, "events_do_not_arrive", no_events=True)


def sockets_are_closed(workspace: MisbehavingWorkspace) -> None:
    break_until_restarted(workspace, "events_do_not_arrive", closes_sockets=True)


def hang(workspace: MisbehavingWorkspace) -> None:
    break_until_restarted(workspace, "no_answer", hanging=list(EVERYTHING))


def text_errors(workspace: MisbehavingWorkspace) -> None:
    """It answers errors only and computes all the time, which is no work."""
    break_until_restarted(workspace, "answers_errors", text_errors=list(EVERYTHING), spins=True)


def log_grows_behind_a_hang(workspace: MisbehavingWorkspace) -> None:
    """A log that grows is progress, so it is not restarted, but nothing is claimed either."""
    # One look, with a test prompt that hangs, takes up to half a minute.
    settings = replace(SETTINGS, health=replace(SETTINGS.health, silence=60.0))
    with supervise(workspace, settings) as supervisor, Witness(workspace.metadata) as witness:
        supervisor.wait_for_state("ready")
        workspace.break_server(hanging=list(EVERYTHING), prints=True)
        witness.note_broken()
        supervisor.wait_for_state("unproven")
        supervisor.wait_for(lambda: os.stat(workspace.metadata / "comfyui.log").st_size > 60_000)
        assert count_starts(workspace) == 1
        witness.note_repaired()
        workspace.set_faults()
        supervisor.wait_for_state("ready")
    assert count_starts(workspace) == 1


def client_does_not_read(workspace: MisbehavingWorkspace) -> None:
    """The client is named, and nothing is restarted."""
    with supervise(workspace) as supervisor, Witness(workspace.metadata) as witness:
        supervisor.wait_for_state("ready")
        with client_that_does_not_read(supervisor.orchestrator.settings.port) as (host, port):
            workspace.break_server(floods=True)
            witness.note_broken()
            supervisor.wait_for(lambda: f"{host}:{port}" in str(supervisor.status().get("detail")))
            assert supervisor.status()["reason"] == "client_does_not_read"
            witness.note_repaired()
            workspace.set_faults()
        supervisor.wait_for_state("ready")
    assert count_starts(workspace) == 1


def poisoned_jobs(workspace: MisbehavingWorkspace) -> None:
    """The list of jobs is never asked for, so it may answer 500 for ever."""
    workspace.set_faults(poisoned_jobs=True, poisoned_job=True)
    with supervise(workspace) as supervisor, Witness(workspace.metadata):
        supervisor.wait_for_state("ready")
        first = supervisor.status()["proven_at"]
        supervisor.wait_for(lambda: supervisor.status()["proven_at"] != first)
    assert count_starts(workspace) == 1


def slow_start_with_progress(workspace: MisbehavingWorkspace) -> None:
    """It takes longer than a start may stand still, and says what it does meanwhile."""
    workspace.set_start(seconds=9.0, prints=True)
    settings = replace(SETTINGS, health=replace(SETTINGS.health, startup_progress=6.0))
    began = time.monotonic()
    with supervise(workspace, settings) as supervisor, Witness(workspace.metadata):
        supervisor.wait_for_state("ready")
        assert time.monotonic() - began > 9.0
    assert count_starts(workspace) == 1


def start_without_progress(workspace: MisbehavingWorkspace) -> None:
    workspace.set_start(seconds=600.0)
    health = replace(SETTINGS.health, startup_progress=4.0)
    settings = replace(SETTINGS, health=health, restarts=RestartPolicy(max_starts=2, backoff_first_seconds=0.05))
    with supervise(workspace, settings) as supervisor, Witness(workspace.metadata) as witness:
        witness.note_broken()
        supervisor.wait_for_state("gave_up")
    reasons = [incident.reason for incident in list_incidents(workspace.metadata)]
    assert reasons == ["no_startup_progress", "no_startup_progress"]
    assert count_starts(workspace) == 2


def exits_at_once(workspace: MisbehavingWorkspace) -> None:
    workspace.set_start(exit=1)
    with supervise(workspace) as supervisor, Witness(workspace.metadata) as witness:
        witness.note_broken()
        supervisor.wait_for_state("gave_up")
    assert count_starts(workspace) == SETTINGS.restarts.max_starts


def asked_exits(workspace: MisbehavingWorkspace) -> None:
    """42 restarts, 43 without a request is a crash, 0 is the end."""
    with supervise(workspace) as supervisor, Witness(workspace.metadata):
        for number, status in enumerate((42, 43), start=1):
            supervisor.wait_for(lambda: is_ready_at(supervisor, workspace, number))  # noqa: B023
            workspace.set_faults(exit=status)
            supervisor.wait_for(lambda: count_starts(workspace) == number + 1)  # noqa: B023
        supervisor.wait_for(lambda: is_ready_at(supervisor, workspace, 3))
        workspace.set_faults(exit=0)
        assert supervisor.join() == 0
    assert [incident.exit_status for incident in list_incidents(workspace.metadata)] == [43]


def is_ready_at(supervisor: RunningSupervisor, workspace: MisbehavingWorkspace, start: int) -> bool:
    """Return whether the ComfyUI of this start is proved ready."""
    starts = workspace.starts("main")
    status = supervisor.status()
    return len(starts) == start and status.get("state") == "ready" and status.get("pid") == starts[-1]["pid"]


def stranger_takes_the_port(workspace: MisbehavingWorkspace) -> None:
    """It is named, no other port is taken, and the supervisor gives up within the budget."""
    # Time for the stranger to take the port before the next start.
    settings = replace(
        SETTINGS, restarts=RestartPolicy(max_starts=3, backoff_first_seconds=4.0, backoff_max_seconds=4.0)
    )
    with supervise(workspace, settings) as supervisor, Witness(workspace.metadata) as witness:
        supervisor.wait_for_state("ready")
        port = supervisor.orchestrator.settings.port
        with socket.socket() as stranger:
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            workspace.set_faults(exit=1)
            supervisor.wait_for(lambda: takes(stranger, port))
            witness.note_broken()
            supervisor.wait_for_state("gave_up")
            assert f"Port {port} is in use by process {os.getpid()}" in str(supervisor.status()["detail"])
    assert count_starts(workspace) == 1


def takes(stranger: socket.socket, port: int) -> bool:
    """Return whether a socket listens at a port now."""
    try:
        stranger.bind(("127.0.0.1", port))
    except OSError:
        return False
    stranger.listen()
    return True


BEHAVIOURS: tuple[Behaviour, ...] = (
    dead_prompt_thread,
    events_stop,
    sockets_are_closed,
    hang,
    text_errors,
    log_grows_behind_a_hang,
    client_does_not_read,
    poisoned_jobs,
    slow_start_with_progress,
    start_without_progress,
    exits_at_once,
    asked_exits,
    stranger_takes_the_port,
)


@pytest.mark.slow
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_server_that_misbehaves(tmp_path: Path, behaviour: Behaviour) -> None:
    behaviour(MisbehavingWorkspace(tmp_path / "ws"))


@pytest.mark.torture
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_server_that_misbehaves_many_times(tmp_path: Path, behaviour: Behaviour) -> None:
    for turn in range(RUNS):
        behaviour(MisbehavingWorkspace(tmp_path / f"ws{turn}"))
