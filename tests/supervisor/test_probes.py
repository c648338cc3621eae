from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.comfyui.server.listening import find_free_port
from comfywatchman.supervisor.health_policy import PortState
from comfywatchman.supervisor.monitor import CanaryOutcome, QueueAnswer
from comfywatchman.supervisor.probes import ComfyProbes, choose_probes
from comfywatchman.supervisor.process.port_probes import PortProbes
from comfywatchman.supervisor.states import ProofKind
from tests.servers.comfyui import FakeComfyUI
from tests.supervisor.programs import open_this_process


@pytest.fixture
def server() -> Iterator[FakeComfyUI]:
    with FakeComfyUI() as server:
        yield server


@pytest.fixture
def probes(server: FakeComfyUI, tmp_path: Path) -> Iterator[ComfyProbes]:
    """Probes of the server in this process."""
    process = open_this_process(tmp_path, SystemClock(), port=server.port)
    yield ComfyProbes(process)
    process.release()


@pytest.fixture
def hasty(server: FakeComfyUI, tmp_path: Path) -> Iterator[ComfyProbes]:
    """Probes with short limits, for what does not come."""
    process = open_this_process(tmp_path, SystemClock(), port=server.port)
    yield ComfyProbes(process, canary_seconds=0.5, events_seconds=0.2)
    process.release()


@pytest.mark.slow
def test_healthy_server_answers_every_probe(probes: ComfyProbes, server: FakeComfyUI) -> None:
    assert probes.find_port_state() is PortState.OURS
    assert probes.ask_stats()
    assert probes.ask_queue() == QueueAnswer(0)
    report = probes.run_canary()
    assert (report.outcome, report.reason) == (CanaryOutcome.RAN, "")
    assert len(server.ran) == 1


@pytest.mark.slow
def test_computing_moves_the_counters_of_work(probes: ComfyProbes) -> None:
    before = probes.count_work()
    deadline = time.monotonic() + 60
    while probes.count_work() == before:
        assert time.monotonic() < deadline


@pytest.mark.slow
def test_prompt_without_an_end_fails(hasty: ComfyProbes, server: FakeComfyUI) -> None:
    server.faults.dead_worker = True
    report = hasty.run_canary()
    assert report.outcome is CanaryOutcome.FAILED
    assert "did not end in time" in report.reason


@pytest.mark.slow
def test_missing_events_are_their_own_outcome(server: FakeComfyUI, tmp_path: Path) -> None:
    server.faults.no_events = True
    process = open_this_process(tmp_path, SystemClock(), port=server.port)
    report = ComfyProbes(process, events_seconds=0.2).run_canary()
    process.release()
    assert (report.outcome, report.unread_client) == (CanaryOutcome.EVENTS_MISSING, None)


@pytest.mark.slow
def test_broken_answers_are_no_answers(probes: ComfyProbes, server: FakeComfyUI) -> None:
    server.faults.failing_prefix = "/"
    assert not probes.ask_stats()
    assert probes.ask_queue() == QueueAnswer(is_error=True)
    assert probes.run_canary().outcome is CanaryOutcome.FAILED


def test_closed_port_gives_no_answers(tmp_path: Path) -> None:
    process = open_this_process(tmp_path, SystemClock(), port=find_free_port())
    probes = ComfyProbes(process, canary_seconds=1.0)
    assert probes.find_port_state() is PortState.NOBODY
    assert not probes.ask_stats()
    assert probes.ask_queue() == QueueAnswer()
    assert probes.run_canary().outcome is CanaryOutcome.FAILED
    process.release()


def test_probes_follow_the_kind_of_proof() -> None:
    assert choose_probes(ProofKind.PROMPT) is ComfyProbes
    assert choose_probes(ProofKind.CONNECTION) is PortProbes
