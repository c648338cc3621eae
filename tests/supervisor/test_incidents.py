from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.supervisor.incidents import (
    Incident,
    MemoryCurve,
    MemorySample,
    OomCounters,
    choose_name,
    list_incidents,
    read_incident_log,
    read_last_lines,
    read_oom_counters,
    record_incident,
)
from tests.fakes import FakeClock

CRASH = Incident(
    name="",
    at="2026-11-20T14:00:00Z",
    kind="crash",
    environment="main",
    reason="crash",
    sentence="It ended.",
)


def build(name: str, **facts: Any) -> Incident:
    return msgspec.structs.replace(CRASH, name=name, **facts)


def test_incident_keeps_facts_and_the_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "comfyui.log"
    log.write_text("".join(f"line {number}\n" for number in range(500)))
    incident = build("20261120T140000Z-crash", exit_status=-9, memory=(MemorySample("2026-11-20T13:59:00Z", 5, None),))
    record_incident(tmp_path, incident, log, max_incidents=3)
    assert list_incidents(tmp_path) == (incident,)
    lines = read_incident_log(tmp_path, incident.name).splitlines()
    assert (len(lines), lines[0], lines[-1]) == (200, "line 300", "line 499")


def test_oldest_incidents_are_deleted_beyond_the_limit(tmp_path: Path) -> None:
    for number in range(5):
        record_incident(tmp_path, build(f"2026-{number}"), tmp_path / "none", max_incidents=3)
    assert [incident.name for incident in list_incidents(tmp_path)] == ["2026-2", "2026-3", "2026-4"]


def test_incidents_of_one_second_have_different_names(tmp_path: Path) -> None:
    names = []
    for _ in range(3):
        name = choose_name(tmp_path, "crash", FakeClock())
        record_incident(tmp_path, build(name), tmp_path / "none", max_incidents=9)
        names.append(name)
    assert names == ["20261120T140000Z-crash", "20261120T140000Z-crash-2", "20261120T140000Z-crash-3"]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"name": 1}', b"\xff"])
def test_damaged_incident_is_left_out(tmp_path: Path, content: bytes) -> None:
    record_incident(tmp_path, build("a"), tmp_path / "none", max_incidents=9)
    record_incident(tmp_path, build("b"), tmp_path / "none", max_incidents=9)
    (tmp_path / "incidents" / "a" / "incident.json").write_bytes(content)
    assert [incident.name for incident in list_incidents(tmp_path)] == ["b"]


def test_folder_that_cannot_be_created_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "incidents").write_text("a file")
    with pytest.raises(Failure) as caught:
        record_incident(tmp_path, build("a"), tmp_path / "none", max_incidents=9)
    assert caught.value.code == "state-unwritable"


def test_very_long_lines_are_cut(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x" * 100_000 + b"\nend\n")
    assert read_last_lines(tmp_path / "log") == b"x" * 4000 + b"\nend\n"


def test_only_the_last_samples_are_kept() -> None:
    curve = MemoryCurve()
    for number in range(300):
        curve.add(MemorySample("2026-11-20T14:00:00Z", number))
    assert [sample.resident_bytes for sample in curve.samples()] == list(range(180, 300))


def test_oom_counters_of_cgroup_v2(tmp_path: Path) -> None:
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/cgroup").write_text("0::/user.slice/comfy.scope\n")
    folder = tmp_path / "sys/fs/cgroup/user.slice/comfy.scope"
    folder.mkdir(parents=True)
    (folder / "memory.events").write_text("low 0\nhigh 3\nmax 12\noom 2\noom_kill 1\n")
    assert read_oom_counters(7, root=tmp_path) == OomCounters(oom=2, oom_kill=1)


def test_oom_counters_of_cgroup_v1(tmp_path: Path) -> None:
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/cgroup").write_text("5:cpu,cpuacct:/a\n4:memory:/docker/x\n")
    folder = tmp_path / "sys/fs/cgroup/memory/docker/x"
    folder.mkdir(parents=True)
    (folder / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 4\n")
    assert read_oom_counters(7, root=tmp_path) == OomCounters(oom_kill=4)


def test_machine_without_cgroups_has_no_counters(tmp_path: Path) -> None:
    assert read_oom_counters(7, root=tmp_path) is None


def test_kill_for_memory_is_recognised_by_the_counters() -> None:
    assert build("a", oom=(OomCounters(1, 1), OomCounters(2, 2))).is_out_of_memory
    assert not build("a", oom=(OomCounters(1, 1), OomCounters(2, 1))).is_out_of_memory
    assert not build("a").is_out_of_memory
