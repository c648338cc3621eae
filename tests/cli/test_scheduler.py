"""`--scheduler` with the real program: the first cycle at once, a clean stop, one scheduler for each state."""

from __future__ import annotations

import json
import signal
import time
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
        assert first.wait(10) == 0
    assert record.trigger == "first"
    found = state(host)
    assert found is not None
    assert found.last_outcomes[0].cycle_id == record.id
    assert found.next_due is not None


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signal_during_a_cycle_stops_within_two_seconds(host: Host, number: int, code: int) -> None:
    with host.started("--scheduler", COMFYWATCHMAN_FAILPOINTS="cycle.after_intake=sleep:60") as scheduler:
        wait_until(host.layout.intake_log.exists, seconds=60)
        running = state(host)
        began = time.monotonic()
        scheduler.send_signal(number)
        assert scheduler.wait(10) == code
        assert time.monotonic() - began < 2
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


def test_skipped_cycle_is_recorded_with_its_reason(host: Host) -> None:
    host.set(comfyui__root="x")
    host.variables["COMFYUI_ROOT"] = str(host.folder / "absent")
    with host.started("--scheduler") as scheduler:
        wait_until(lambda: outcomes(host), seconds=60)
        scheduler.send_signal(signal.SIGTERM)
        scheduler.wait(10)
    assert outcomes(host) == [("failed", "status-1")]
    found = state(host)
    assert found is not None
    assert "COMFYUI_ROOT" in (found.last_outcomes[0].message or "")
