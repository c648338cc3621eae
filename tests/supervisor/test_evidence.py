from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.supervisor.evidence import describe_status, describe_verdict, read_clue, record_crash, record_kill
from comfywatchman.supervisor.health_policy import HealthReason, HealthVerdict, Remedy
from comfywatchman.supervisor.incidents import list_incidents, read_incident_log
from comfywatchman.supervisor.process.log_clues import LogClue
from comfywatchman.supervisor.run import ComfyRun
from comfywatchman.supervisor.states import SupervisorState
from tests.fakes import FakeClock
from tests.supervisor.programs import wait_until
from tests.supervisor.workspaces import QUICK, watch_this_process

OUT_OF_MEMORY = "got prompt\nTraceback (most recent call last):\ntorch.OutOfMemoryError: CUDA out of memory.\n"
LOST_CLIENT = """got prompt
Traceback (most recent call last):
  File "main.py", line 300, in run
    await asyncio.gather(server_instance.publish_loop())
  File "server.py", line 900, in send_json
    await ws.send_json(message)
OSError: [Errno 113] No route to host
"""
STALLED = HealthVerdict(SupervisorState.STALLED, HealthReason.NO_ANSWER)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def run(tmp_path: Path, clock: FakeClock) -> Iterator[ComfyRun]:
    with watch_this_process(tmp_path, clock) as run:
        yield run


@pytest.mark.parametrize(
    ("status", "text"),
    [(0, "exited with status 0"), (3, "exited with status 3"), (-9, "was killed by SIGKILL"), (-99, "signal 99")],
)
def test_exit_status_is_described(status: int, text: str) -> None:
    assert describe_status(status).endswith(text)


def test_clue_is_read_from_the_log(run: ComfyRun) -> None:
    assert read_clue(run) is LogClue.NONE
    run.process.log.write_text(OUT_OF_MEMORY)
    assert read_clue(run) is LogClue.OUT_OF_MEMORY


def test_crash_is_recorded_with_its_clue(run: ComfyRun, clock: FakeClock, metadata: Path) -> None:
    run.process.log.write_text(OUT_OF_MEMORY)
    run.sample_memory()
    clock.advance(awake=75)
    incident = record_crash(metadata, run, 1, clock, max_incidents=3)
    assert list_incidents(metadata) == (incident,)
    assert (incident.kind, incident.reason, incident.exit_status) == ("crash", "out_of_memory", 1)
    assert (incident.environment, incident.uptime_seconds, incident.at) == ("main", 75.0, "2026-11-20T14:01:15Z")
    assert incident.memory
    # The monitor goes on adding samples.
    assert incident.memory == run.curve.samples()[: len(incident.memory)]
    assert incident.sentence.startswith("ComfyUI exited with status 1 after 75 s. Its log ends with")
    assert read_incident_log(metadata, incident.name) == OUT_OF_MEMORY


def test_only_an_end_by_the_prompt_itself_counts_against_it(run: ComfyRun, clock: FakeClock, metadata: Path) -> None:
    assert record_crash(metadata, run, 1, clock, max_incidents=9).blames_job
    run.process.log.write_text(LOST_CLIENT)
    assert not record_crash(metadata, run, 1, clock, max_incidents=9).blames_job
    for reason, blames_job in ((HealthReason.WORK_STANDS_STILL, True), (HealthReason.CANARY_FAILED, False)):
        verdict = HealthVerdict(SupervisorState.STALLED, reason, Remedy.RESTART)
        assert record_kill(metadata, run, verdict, clock, max_incidents=9, status=0).blames_job == blames_job


def test_stopped_process_is_recorded_with_its_reason(run: ComfyRun, clock: FakeClock, metadata: Path) -> None:
    dumped = record_kill(metadata, run, STALLED, clock, max_incidents=3, status=-int(signal.SIGABRT))
    plain = record_kill(metadata, run, STALLED, clock, max_incidents=3, status=0)
    assert (dumped.kind, dumped.reason, dumped.has_stack_dump) == ("killed", "no_answer", True)
    crashed = record_crash(metadata, run, -int(signal.SIGABRT), clock, max_incidents=3)
    # Only the supervisor asks for a dump before it aborts a process.
    assert (plain.has_stack_dump, crashed.has_stack_dump) == (False, False)
    assert len(list_incidents(metadata)) == 3


def test_process_that_cannot_be_killed_needs_a_reboot(run: ComfyRun, clock: FakeClock, metadata: Path) -> None:
    incident = record_kill(metadata, run, STALLED, clock, max_incidents=3, status=None)
    assert (incident.kind, incident.exit_status, incident.has_stack_dump) == ("needs_reboot", None, False)


def test_failed_test_prompt_gives_its_reason(tmp_path: Path) -> None:
    (tmp_path / "up").write_text(str(os.getpid()))
    (tmp_path / "broken").touch()
    settings = replace(QUICK, health=replace(QUICK.health, steady_answers=1, steady=0.0))
    with watch_this_process(tmp_path, SystemClock(), settings) as run:
        assert wait_until(lambda: run.canary_reason != "")
        failed = HealthVerdict(SupervisorState.STALLED, HealthReason.CANARY_FAILED)
        assert describe_verdict(failed, run).endswith(": No image came.")
        assert "No image came." not in describe_verdict(STALLED, run)
