from __future__ import annotations

import signal
from pathlib import Path

import pytest

from comfywatchman.readiness.history import CycleRecord
from comfywatchman.readiness.unfinished import read_killed_cycle, remove_mark, write_mark
from tests.fakes import FakeClock
from tests.hosts import Host

RECORD = CycleRecord("c-1", "manual", "2026-11-20T14:00:00Z", 0.0, success=False, comfyui="i", comfyui_root="/c")


def test_running_cycle_counts_as_running(tmp_path: Path) -> None:
    path, clock = tmp_path / "running_cycle.json", FakeClock()
    write_mark(path, RECORD, clock)
    assert read_killed_cycle(path, clock) is None
    remove_mark(path)
    assert not path.exists()
    remove_mark(path)


def test_mark_of_an_earlier_boot_is_that_of_a_killed_cycle(tmp_path: Path) -> None:
    path, clock = tmp_path / "running_cycle.json", FakeClock()
    write_mark(path, RECORD, clock)
    clock.reboot()
    killed = read_killed_cycle(path, clock)
    assert killed is not None
    assert (killed.id, killed.result, killed.comfyui, killed.success) == ("c-1", "killed", "i", False)


@pytest.mark.parametrize("content", [b"{", b"{}", b'{"pid": -1}'])
def test_damaged_mark_is_no_cycle(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "running_cycle.json"
    path.write_bytes(content)
    assert read_killed_cycle(path, FakeClock()) is None


def test_mark_that_cannot_be_written_stops_no_cycle(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    write_mark(tmp_path / "file" / "running_cycle.json", RECORD, FakeClock())


@pytest.mark.slow
def test_killed_cycle_is_in_status_and_history(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.cycle()
    killed = host.program("--run-cycle", COMFYWATCHMAN_FAILPOINTS="cycle.after_workflows=kill")
    assert killed.returncode == -signal.SIGKILL
    status = host.invoke("status")
    assert status.exit_code == 1
    assert "was killed" in status.output
    host.cycle()
    assert [record.result for record in host.history()] == ["ran", "killed", "ran"]
    assert host.invoke("status").exit_code == 0
    assert "killed" in host.invoke("history").output
