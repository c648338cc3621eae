from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from comfywatchman.base.clock import SystemClock
from comfywatchman.supervisor import run as run_module
from comfywatchman.supervisor.health_policy import HealthReason
from comfywatchman.supervisor.incidents import OomCounters
from comfywatchman.supervisor.process.child import StopLimits
from comfywatchman.supervisor.process.foreign import ForeignProcess
from comfywatchman.supervisor.run import count_resident_bytes
from comfywatchman.supervisor.states import SupervisorState
from tests.fakes import FakeClock
from tests.supervisor.programs import wait_until
from tests.supervisor.workspaces import QUICK, watch_this_process

EAGER = replace(QUICK, health=replace(QUICK.health, steady_answers=1, steady=0.0))
"""Settles a start with the first answer."""


def test_uptime_counts_sleep(tmp_path: Path) -> None:
    clock = FakeClock()
    with watch_this_process(tmp_path, clock) as run:
        clock.advance(awake=10, asleep=50)
        assert run.uptime_seconds == 60


def test_wait_ends_with_a_look_or_another_descriptor(tmp_path: Path) -> None:
    read, write = os.pipe()
    with watch_this_process(tmp_path, SystemClock()) as run:
        # Far longer than the time limit of a test: only the monitor can end it.
        assert run.wait(600) is None
        os.write(write, b"x")
        assert run.wait(600, also=[read]) is None
    os.close(read)
    os.close(write)


def test_process_that_does_not_listen_is_starting(tmp_path: Path) -> None:
    with watch_this_process(tmp_path, SystemClock()) as run:
        assert run.wait(600) is None
        verdict = run.judge()
    assert (verdict.state, verdict.reason) == (SupervisorState.STARTING, HealthReason.NOT_LISTENING)
    assert run.canary_reason == ""


def test_test_prompt_proves_ready(tmp_path: Path) -> None:
    (tmp_path / "up").write_text(str(os.getpid()))
    with watch_this_process(tmp_path, SystemClock(), EAGER) as run:
        assert wait_until(lambda: run.judge().state is SupervisorState.READY)


def test_failed_test_prompt_is_kept_as_reason(tmp_path: Path) -> None:
    (tmp_path / "up").write_text(str(os.getpid()))
    (tmp_path / "broken").touch()
    with watch_this_process(tmp_path, SystemClock(), EAGER) as run:
        assert wait_until(lambda: run.canary_reason == "No image came.")
        assert run.judge().state is not SupervisorState.READY
        # A foreign process is left alone.
        assert run.stop(StopLimits()) is None


def test_memory_is_sampled(tmp_path: Path) -> None:
    with watch_this_process(tmp_path, FakeClock(), read_gpu_memory=lambda: 7 << 30) as run:
        # Each look adds one.
        assert wait_until(lambda: bool(run.curve.samples()))
        sample = run.curve.samples()[0]
    assert sample.at == "2026-11-20T14:00:00Z"
    assert sample.resident_bytes > 1 << 20
    assert sample.gpu_used_bytes == 7 << 30


@pytest.mark.parametrize(
    ("scope", "events_at_end", "counters"),
    [
        ("comfyui.scope", {"low": 7, "oom": 2, "oom_kill": 1}, OomCounters(2, 1)),
        ("", {"oom": 2, "oom_kill": 1}, OomCounters(2, 1)),
        # The supervisor is in the same cgroup.
        ("", None, OomCounters(9, 9)),
        # The supervisor is in another one.
        ("comfyui.scope", None, None),
    ],
)
def test_memory_kills_are_counted_in_the_cgroup_of_comfyui(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scope: str,
    events_at_end: dict[str, int] | None,
    counters: OomCounters | None,
) -> None:
    known = {1: OomCounters(0, 0), os.getpid(): OomCounters(9, 9)}
    monkeypatch.setattr(run_module, "read_oom_counters", known.get)
    monkeypatch.setattr(ForeignProcess, "leader", 1)
    monkeypatch.setattr(ForeignProcess, "oom_events_at_end", events_at_end)
    with watch_this_process(tmp_path, FakeClock()) as run:
        run.process.record = structs.replace(run.process.record, scope=scope)
        assert run.read_oom() == (OomCounters(0, 0), OomCounters(0, 0))
        del known[1]
        assert run.read_oom() == (None if counters is None else (OomCounters(0, 0), counters))


@pytest.mark.slow
def test_memory_of_descendants_counts() -> None:
    code = "import sys; held = bytearray(b'x') * (64 << 20); print(flush=True); sys.stdin.read()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}], check=True)"
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert count_resident_bytes(child.pid) > 60 << 20
        child.communicate()
    assert count_resident_bytes(child.pid) == 0
