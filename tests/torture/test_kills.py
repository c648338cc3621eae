"""SIGKILL at any moment of a cycle: files stay complete, and the next cycle acknowledges each workflow once."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from comfywatchman.base.failpoints import NAMES
from comfywatchman.readiness.workflows.intake_log import Acknowledgement
from tests.hosts import Host, graph
from tests.mutation import repeatable

POINTS = sorted(name for name in NAMES if not name.startswith(("download.", "gov.", "jobs.")))
"""Every failpoint of a cycle."""


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    for n in range(6):
        host.write(f"{n}.json", lora=f"absent{n}.safetensors")
    return host


def kill_at(host: Host, point: str) -> bool:
    """Run a cycle that is killed at a failpoint; return whether it reached the failpoint."""
    completed = host.program("--run-cycle", COMFYWATCHMAN_FAILPOINTS=f"{point}=kill")
    assert completed.returncode in {0, -signal.SIGKILL}, completed.stderr
    return completed.returncode == -signal.SIGKILL


def check_whole(host: Host) -> None:
    """Check that every file written by a cycle is complete, before another cycle repairs anything."""
    for path in (host.home / "state").glob("*.json"):
        json.loads(path.read_bytes())
    if host.layout.status_json.exists():
        report = json.loads(host.layout.status_json.read_bytes())
        assert report["schema_version"] == 1
    if host.layout.status_markdown.exists():
        assert host.layout.status_markdown.read_text("utf-8").endswith("\n")
    for log in (host.layout.intake_log, host.layout.history):
        for line in whole_lines(log):
            json.loads(line)
    if host.layout.database.exists():
        with contextlib.closing(sqlite3.connect(host.layout.database)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def whole_lines(log: Path) -> list[bytes]:
    return log.read_bytes().splitlines(keepends=True)[:-1] if log.exists() else []


def replay(entries: list[Acknowledgement]) -> dict[str, str]:
    """Apply the log from its beginning; each entry must follow from the earlier ones."""
    known: dict[str, str] = {}
    for entry in entries:
        if entry.kind == "new":
            assert entry.path not in known, "acknowledged twice"
            known[entry.path] = entry.sha256
        elif entry.kind == "updated":
            assert known[entry.path] != entry.sha256, "acknowledged twice"
            known[entry.path] = entry.sha256
        elif entry.kind == "renamed":
            assert entry.previous_path is not None
            assert known.pop(entry.previous_path) == entry.sha256
            known[entry.path] = entry.sha256
        else:
            assert known.pop(entry.path) == entry.sha256
    return known


def check_recovery(host: Host, before: list[Acknowledgement]) -> None:
    """Run the next cycle, and compare its report and the log with the files; no acknowledgement may be lost."""
    result = host.cycle()
    assert result.record.success
    assert not [problem for problem in host.report()["problems"] if "damaged" in problem]
    entries = host.intake()
    assert entries[: len(before)] == before, "an acknowledged line was lost"
    files = sorted(str(path) for path in host.workflows.rglob("*.json"))
    assert sorted(replay(entries)) == files
    assert [entry["path"] for entry in host.report()["workflows"]] == files
    assert not list((host.home / "state").glob(".*.tmp"))
    again = host.cycle()
    assert (again.record.read, again.record.errors) == (0, 0)


def change_files(host: Host, turn: int, rng: random.Random) -> None:
    """Add, change, rename and remove workflow files, as a user does between and during cycles."""
    files = sorted(host.workflows.rglob("*.json"))
    host.write(f"new{turn}.json", lora=f"absent{turn % 7}.safetensors", last=rng.choice(["SaveImage", "NobodyKnows"]))
    if files and rng.random() < 0.4:
        rng.choice(files).write_bytes(graph(lora=f"changed{turn}.safetensors"))
    if len(files) > 4 and rng.random() < 0.4:
        path = rng.choice(files)
        path.rename(path.with_name(f"renamed{turn}.json"))
    if len(files) > 20:
        rng.choice(sorted(host.workflows.rglob("*.json"))).unlink()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("passes", [1, pytest.param(2, marks=pytest.mark.torture)])
def test_cycle_recovers_from_a_kill_at_every_failpoint(host: Host, passes: int) -> None:
    hit = set()
    rng = repeatable(1)
    for turn, point in enumerate(POINTS * passes):
        change_files(host, turn, rng)
        before = host.intake()
        if kill_at(host, point):
            hit.add(point)
        check_whole(host)
        check_recovery(host, before)
    assert hit == set(POINTS)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("step", "least"), [(4, 4), pytest.param(1, 12, marks=pytest.mark.torture)])
def test_cycle_recovers_from_a_kill_at_every_write(host: Host, step: int, least: int) -> None:
    # The first cycle of a home creates every file; it is killed at each rename, append and commit in turn, or at some.
    host.cycle()
    rng = repeatable(2)
    kills = 0
    for point in ("files.before_rename", "files.after_rename", "files.after_append", "index.before_commit"):
        for count in range(1, 40, step):
            change_files(host, 1000 * (POINTS.index(point) + 1) + count, rng)
            before = host.intake()
            was_killed = kill_at(host, f"{point}#{count}")
            check_whole(host)
            check_recovery(host, before)
            if not was_killed:
                break
            kills += 1
        assert not was_killed, "there are more writes than this test counts"
    assert kills >= least


def is_killed_within(host: Host, rng: random.Random, seconds: float) -> bool:
    """Start a cycle, change files while it runs, and kill it; return whether it was still running."""
    with host.started("--run-cycle") as process:
        deadline = time.monotonic() + seconds
        turn = rng.randrange(1 << 30)
        while time.monotonic() < deadline and process.poll() is None:
            change_files(host, turn, rng)
            turn += 1
            time.sleep(0.02)
        process.kill()
        return process.wait() == -signal.SIGKILL


def kill_often(host: Host, kills: int) -> dict[str, int]:
    """Kill cycles at random moments until `kills` were killed; check every file after each one."""
    host.set(models__hash_budget_seconds=0)
    rng = repeatable(kills)
    longest = 3.0
    figures = {"rounds": 0, "killed": 0, "acknowledged before the kill": 0, "with a report of its own": 0}
    while figures["killed"] < kills:
        figures["rounds"] += 1
        assert figures["rounds"] < 4 * kills, figures
        change_files(host, figures["rounds"], rng)
        before, reports = host.intake(), report_time(host)
        seconds = rng.uniform(0, longest)
        was_killed = is_killed_within(host, rng, seconds)
        check_whole(host)
        after = host.intake()
        assert after[: len(before)] == before
        figures["killed"] += was_killed
        figures["acknowledged before the kill"] += was_killed and len(after) > len(before)
        figures["with a report of its own"] += was_killed and report_time(host) != reports
        check_recovery(host, after)
        # Cycles take as long as this machine has time for them; most kills shall hit them while they run.
        longest = 1.05 * longest if was_killed else 0.9 * longest
    return figures


def report_time(host: Host) -> int:
    return host.layout.status_json.stat().st_mtime_ns if host.layout.status_json.exists() else 0


@pytest.mark.slow
def test_cycle_recovers_from_random_kills(host: Host) -> None:
    assert kill_often(host, 6)["killed"] == 6


@pytest.mark.torture
@pytest.mark.timeout(3000)
def test_cycle_recovers_from_five_hundred_random_kills(host: Host) -> None:
    figures = kill_often(host, 500)
    print(figures)  # noqa: T201 - figures for whoever runs the torture suite
    assert figures["acknowledged before the kill"] >= 20
    assert figures["with a report of its own"] >= 5


@pytest.mark.slow
def test_second_cycle_is_skipped_while_a_cycle_is_suspended(host: Host) -> None:
    # A cycle that hangs keeps its lock; a killed one releases it.
    with host.started("--run-cycle", COMFYWATCHMAN_FAILPOINTS="cycle.after_intake=sleep:600") as process:
        while not host.layout.intake_log.exists():
            assert process.poll() is None
            time.sleep(0.01)
        assert host.program("--run-cycle").returncode == 75
        process.kill()
        process.wait()
        assert isinstance(process, subprocess.Popen)
    assert host.program("--run-cycle").returncode == 0
