from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfywatchman.base.gpu.hung_probe import find_hung_probe, remember_hung_probe
from comfywatchman.base.gpu.query import read_gpus
from comfywatchman.base.process import ChildProcess
from tests.fakes import FakeClock
from tests.nvml.library import write_nvml_state


def test_query_that_runs_is_found_until_it_ends(tmp_path: Path) -> None:
    path, clock = tmp_path / "probe.json", FakeClock()
    assert find_hung_probe(path, clock) is None
    with ChildProcess(["sleep", "600"]) as child:
        remember_hung_probe(path, child.pid, clock)
        assert find_hung_probe(path, clock) == child.pid
    assert find_hung_probe(path, clock) is None


def test_process_with_the_same_pid_is_no_query(tmp_path: Path) -> None:
    path, clock = tmp_path / "probe.json", FakeClock()
    path.write_text(f'{{"pid": {os.getpid()}, "started_ticks": 1, "boot_id": "boot-1"}}')
    assert find_hung_probe(path, clock) is None


def test_query_of_an_earlier_boot_is_gone(tmp_path: Path) -> None:
    path, clock = tmp_path / "probe.json", FakeClock()
    remember_hung_probe(path, os.getpid(), clock)
    assert find_hung_probe(path, clock) == os.getpid()
    clock.reboot()
    assert find_hung_probe(path, clock) is None


@pytest.mark.parametrize("content", [b"{", b'{"pid": 9223372036854775808}'])
def test_damaged_file_remembers_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "probe.json"
    path.write_bytes(content)
    assert find_hung_probe(path, FakeClock()) is None


def test_ended_query_is_not_remembered(tmp_path: Path) -> None:
    with ChildProcess(["true"]) as child:
        child.wait(60)
    remember_hung_probe(tmp_path / "probe.json", child.pid, FakeClock())
    assert not (tmp_path / "probe.json").exists()


def test_no_second_query_is_started_while_one_hangs(tmp_path: Path, library: Path) -> None:
    path, clock = tmp_path / "probe.json", FakeClock()
    write_nvml_state(library, "init 0", "gpu GPU-a 0 0 24576 20000 400 -1 Card")
    remember_hung_probe(path, os.getpid(), clock)
    reading = read_gpus(libraries=(str(library),), system=tmp_path, hung_probe=path, clock=clock)
    assert (reading.status, reading.devices) == ("unknown", ())
    assert f"process {os.getpid()}" in (reading.reason or "")
