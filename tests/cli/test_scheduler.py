"""`--scheduler` with the real program: the first cycle at once, a clean stop, one scheduler for each state."""

from __future__ import annotations

import json
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from comfywatchman.readiness.scheduler.state import ScheduleState, load_schedule_state
from tests.base.test_process_children import gone, wait_until
from tests.hosts import Host

pytestmark = pytest.mark.slow


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.write("a.json")
    return host


def state(host: Host) -> ScheduleState | None:
    found = load_schedule_state(host.layout.scheduler)
    return found if isinstance(found, ScheduleState) else None


def outcomes(host: Host) -> list[tuple[str, str | None]]:
    found = state(host)
    return [(one.outcome, one.reason) for one in found.last_outcomes] if found else []


def test_first_cycle_runs_at_once_and_second_scheduler_is_refused(host: Host) -> None:
    with host.started("--scheduler", "--comfyui", str(host.comfyui), measured=True) as first:
        wait_until(lambda: outcomes(host), seconds=60)
        assert outcomes(host) == [("ran", None)]
        assert host.report()["summary"]["ready"] == 1
        (record,) = host.history()
        second = host.program("--scheduler")
        assert second.returncode == 75
        assert f"scheduler.lock is held by process {first.pid} (comfywatchman --scheduler".encode() in second.stderr
        assert first.poll() is None
        first.send_signal(signal.SIGTERM)
        assert first.wait(60) == 0
    assert record.trigger == "first"
    found = state(host)
    assert found is not None
    assert found.last_outcomes[0].cycle_id == record.id
    assert found.next_due is not None


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signal_during_a_cycle_stops_within_two_seconds(tmp_path: Path, number: int, code: int) -> None:
    # The best of several attempts: on a busy machine any of them may be held up.
    best = 60.0
    for attempt in range(4):
        host = Host(tmp_path / str(attempt))
        host.write("a.json")
        best = min(best, measure_stop(host, number, code))
        if best < 2:
            return
    # Or all of them, and then the end of a scheduler without a cycle, too.
    assert best < 1.0 + 4 * measure_idle_stop(Host(tmp_path / "idle"))


def measure_idle_stop(host: Host) -> float:
    """Return how long a scheduler takes to stop between its cycles."""
    with host.started("--scheduler") as scheduler:
        wait_until(lambda: outcomes(host), seconds=60)
        began = time.monotonic()
        scheduler.send_signal(signal.SIGTERM)
        assert scheduler.wait(60) == 0
        return time.monotonic() - began


def measure_stop(host: Host, number: int, code: int) -> float:
    """Return how long a scheduler takes to stop in mid-cycle, and check what it leaves."""
    with host.started("--scheduler", COMFYWATCHMAN_FAILPOINTS="cycle.after_intake=sleep:600") as scheduler:
        wait_until(host.layout.intake_log.exists, seconds=60)
        running = state(host)
        began = time.monotonic()
        scheduler.send_signal(number)
        assert scheduler.wait(60) == code
        seconds = time.monotonic() - began
    assert running is not None
    assert running.running is not None
    assert gone(running.running.pid)
    assert outcomes(host) == [("killed", "scheduler-stopped")]
    for path in (host.home / "state").glob("*.json"):
        json.loads(path.read_bytes())
    result = host.cycle()
    assert result.record.success
    assert result.record.errors == 0
    assert len(host.intake()) == 1
    return seconds


def test_skipped_cycle_is_recorded_with_its_reason(host: Host) -> None:
    host.set(comfyui__root="x")
    host.variables["COMFYUI_ROOT"] = str(host.folder / "absent")
    with host.started("--scheduler") as scheduler:
        wait_until(lambda: outcomes(host), seconds=60)
        scheduler.send_signal(signal.SIGTERM)
        scheduler.wait(60)
    assert outcomes(host) == [("failed", "status-1")]
    found = state(host)
    assert found is not None
    assert "There is no ComfyUI in" in (found.last_outcomes[0].message or ""), "the error, not the hint"
    assert [record.result for record in host.history()] == ["failed"]


def find_running_pid(host: Host) -> int | None:
    found = state(host)
    return found.running.pid if found is not None and found.running is not None else None


def test_killed_scheduler_leaves_no_cycle(host: Host) -> None:
    pids: list[int | None] = [None]
    for _ in range(3):
        with host.started("--scheduler", COMFYWATCHMAN_FAILPOINTS="cycle.after_gates=sleep:600") as scheduler:
            wait_until(lambda: find_running_pid(host) not in pids, seconds=60)
            pid = find_running_pid(host)
            assert pid is not None
            scheduler.kill()
            scheduler.wait(60)
        pids.append(pid)
        # The kernel kills it at once; what is waited for is its end.
        wait_until(partial(gone, pid), seconds=60)
    with host.started("--scheduler") as scheduler:
        wait_until(lambda: ("ran", None) in outcomes(host), seconds=60)
        scheduler.send_signal(signal.SIGTERM)
        scheduler.wait(60)
    assert "killed" in {record.result for record in host.history()}
