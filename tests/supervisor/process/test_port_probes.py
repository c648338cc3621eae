from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.comfyui.server.listening import find_free_port
from comfywatchman.supervisor.health_policy import PortState
from comfywatchman.supervisor.monitor import CanaryOutcome, QueueAnswer
from comfywatchman.supervisor.process.port_probes import PortProbes
from comfywatchman.supervisor.states import ProofKind
from tests.supervisor.programs import open_this_process
from tests.supervisor.workspaces import QUICK, RunningSupervisor, Workspace

LISTENER = """
import socket, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[-1].rpartition("=")[2])))
time.sleep(600)
"""


@pytest.fixture
def port() -> int:
    return find_free_port()


@pytest.fixture
def probes(port: int, tmp_path: Path) -> Iterator[PortProbes]:
    """Probes of this process."""
    process = open_this_process(tmp_path, SystemClock(), port=port)
    yield PortProbes(process)
    process.release()


def test_three_connections_prove_a_listener(probes: PortProbes, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)) as listener:
        assert probes.find_port_state() is PortState.OURS
        assert (probes.ask_stats(), probes.ask_queue()) == (True, QueueAnswer(0))
        assert probes.run_canary().outcome is CanaryOutcome.RAN
        listener.settimeout(60)
        # Two of the connections come from the answers above.
        for _ in range(5):
            listener.accept()[0].close()
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_closed_port_proves_nothing(probes: PortProbes) -> None:
    assert probes.find_port_state() is PortState.NOBODY
    assert (probes.ask_stats(), probes.ask_queue()) == (False, QueueAnswer())
    assert probes.run_canary().outcome is CanaryOutcome.NOT_RUN


@pytest.mark.slow
def test_computing_moves_the_counters_of_work(probes: PortProbes) -> None:
    before = probes.count_work()
    sum(number * number for number in range(2_000_000))
    assert probes.count_work() != before


@pytest.mark.slow
def test_program_that_is_not_comfyui_is_ready_by_connections(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "ws", "main")
    (workspace.comfyui("main") / "main.py").write_text(LISTENER)
    settings = replace(QUICK, health=replace(QUICK.health, kind=ProofKind.CONNECTION))
    with RunningSupervisor(workspace, "main", settings=settings, probes=PortProbes) as supervisor:
        supervisor.wait_for_state("ready")
        status = supervisor.status()
    assert (status["reason"], status["proof"]) == ("port_accepts", "connection")
    # Its queue is unknown, and not empty.
    assert status["queue_length"] is None
