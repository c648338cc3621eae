from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from comfywatchman.app.cycle_trace import record_outcome
from comfywatchman.app.session import Session
from comfywatchman.readiness.scheduler.state import CycleOutcome, OutcomeKind
from tests.hosts import Host

DUE = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path)
    for name, value in host.variables.items():
        monkeypatch.setenv(name, value)
    return host


def record(host: Host, kind: OutcomeKind, *, started: datetime | None = DUE, count: int = 1) -> None:
    finished = DUE + timedelta(seconds=90)
    outcome = CycleOutcome(kind, "schedule", DUE, started, finished, None, f"why-{kind}", f"It {kind}.", count)
    record_outcome(Session(host.home, None, clock=host.clock), outcome)


@pytest.mark.parametrize("kind", ["failed", "killed", "missed", "skipped"])
def test_outcome_without_a_record_gets_one(host: Host, kind: OutcomeKind) -> None:
    record(host, kind, started=None if kind == "missed" else DUE, count=3 if kind == "missed" else 1)
    (entry,) = host.history()
    assert (entry.result, entry.message, entry.trigger) == (kind, f"It {kind}.", "schedule")
    assert entry.duration_seconds == (0.0 if kind == "missed" else 90.0)
    assert entry.comfyui_root == str(host.comfyui)
    log = [json.loads(line) for line in (host.home / "log" / "structured.log").read_text().splitlines()]
    assert [(line["message"], line["detail"]) for line in log] == [(f"cycle {kind}", f"It {kind}.")]
    assert kind in host.invoke("history").output


def test_cycle_that_ran_recorded_itself(host: Host) -> None:
    record(host, "ran")
    assert host.history() == []


def test_cycle_with_a_record_gets_no_second_one(host: Host) -> None:
    host.cycle(trigger="schedule")
    record(host, "failed")
    assert [entry.result for entry in host.history()] == ["ran"]
    record(host, "killed", started=host.clock.now() + timedelta(seconds=1))
    assert [entry.result for entry in host.history()] == ["ran", "killed"]


@pytest.mark.slow
def test_cycle_without_its_comfyui_leaves_a_trace(host: Host) -> None:
    host.cycle()
    host.comfyui.rename(host.folder / "moved")
    ended = host.program("--run-cycle", "--note", "--trigger", "schedule")
    assert ended.returncode == 1
    note = json.loads(ended.stdout.splitlines()[-1])
    assert "There is no ComfyUI in" in note["message"]
    assert [entry.result for entry in host.history()] == ["ran", "failed"]
    status = host.invoke("status")
    assert status.exit_code == 1
    assert "The last check failed" in status.output
    assert "There is no ComfyUI in" in status.output
    log = (host.home / "log" / "structured.log").read_text()
    assert '"cycle failed"' in log
