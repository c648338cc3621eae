"""Odd values in valid state files: no stop, no traceback, and no content lost."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import to_json
from comfywatchman.base.host import SleepMark
from comfywatchman.base.stop import StopEvent
from comfywatchman.readiness.downloads.plan import PlanItem
from comfywatchman.readiness.downloads.queue import DownloadOutcome, QueueEntry
from comfywatchman.readiness.scheduler.due import read_moment
from comfywatchman.readiness.scheduler.loop import CycleCommand, CycleLoop, SchedulePaths, ScheduleSettings
from comfywatchman.readiness.scheduler.state import CycleOutcome, RunningCycle, ScheduleState
from comfywatchman.readiness.search.decisions import Decision, Decisions
from comfywatchman.readiness.search.results import HubIds, SearchCandidate
from tests.hosts import Host
from tests.mutation import repeatable
from tests.odd_values import ODD_VALUES, list_leaves, replace_value

TIME = "2026-11-20T14:00:00Z"
SETTINGS = ScheduleSettings(interval_seconds=7200.0, cycle_deadline_seconds=60.0, resume_grace_seconds=120.0)


def build_host(folder: Path) -> Host:
    """Return a host that has every state file of the readiness area."""
    host = Host(folder, models__hash_budget_seconds=0, search__backend_order=[])
    host.write("lora.json", lora="absent.safetensors")
    host.write("ready.json")
    host.pack("Known")
    host.cycle()
    comfyui = host.cycle().record.comfyui
    state = host.layout.home.state
    candidate = SearchCandidate("huggingface", "a.safetensors", HubIds(repo="o/r"), "https://x", 9, "a" * 64)
    decision = Decision("a.safetensors", "loras", candidate, TIME)
    (state / "decisions.json").write_bytes(to_json(Decisions(decisions={"loras/a.safetensors": decision})))
    item = PlanItem("a.safetensors", "loras", "https://huggingface.co/o/r/resolve/main/a.safetensors", 9, "a" * 64)
    outcome = DownloadOutcome(item.id, item.filename, "/x", code="download-gone", message="gone")
    entry = QueueEntry(item, TIME, TIME, outcome, comfyui)
    (state / "downloads.json").write_bytes(to_json({"entries": {item.id: entry}, "schema_version": 1}))
    moment = read_moment(host.clock)
    running = RunningCycle(2**22 - 1, 1, host.clock.boot_id(), "schedule", moment.wall, moment.wall)
    ran = CycleOutcome("ran", "schedule", moment.wall, moment.wall, moment.wall, "c", None, None)
    schedule = ScheduleState(7200.0, moment, running, (ran,))
    (state / "scheduler.json").write_bytes(to_json(schedule))
    mark = SleepMark(host.clock.boot_id(), 0.0, host.clock.monotonic(), host.clock.monotonic() - 500)
    (state / "awake.json").write_bytes(to_json(mark))
    return host


def list_state_files(host: Host) -> list[Path]:
    """Return every state file and log of lines, and the report."""
    state = host.layout.home.state
    names = [*state.glob("*.json"), *state.glob("*.jsonl"), state / "cycle.lock", host.layout.status_json]
    return sorted(names)


def read_document(path: Path) -> Any:
    """Return the content of a JSON file, or the last line of a log of lines."""
    content = path.read_bytes()
    return orjson.loads(content.splitlines()[-1] if path.suffix == ".jsonl" else content)


def set_value(path: Path, place: tuple[str | int, ...], value: Any) -> bytes:
    """Write a file in which one place has another value; return its new content."""
    content = replace_value(read_document(path), place, value)
    if path.suffix == ".jsonl":
        content = b"\n".join([*path.read_bytes().splitlines()[:-1], content, b""])
    path.write_bytes(content)
    return content


def run_command(host: Host, *arguments: str) -> None:
    """Run a command, which may refuse what it was told, but may not break."""
    result = host.invoke(*arguments)
    assert result.exception is None or isinstance(result.exception, (SystemExit, Failure)), result.exception
    assert "\x1b" not in result.output


def run_cycle(host: Host) -> None:
    assert host.cycle().record.success


def run_skipped_cycle(host: Host) -> None:
    """Run a cycle that a gate skips: it goes on from the last report."""
    host.set(schedule__no_gpu="skip")
    try:
        assert host.cycle().record.skipped_reason in {"no-gpu", "gpu-unknown"}
    finally:
        host.set(schedule__no_gpu="run")
    run_command(host, "status")


def run_downloads_of(host: Host) -> None:
    run_command(host, "download", "--json")
    run_command(host, "download", "--forget")


READERS: dict[str, list[Callable[[Host], None]]] = {
    "awake.json": [run_cycle],
    "decisions.json": [lambda host: run_command(host, "resolve", "--all")],
    "downloads.json": [run_downloads_of],
    "history.jsonl": [lambda host: run_command(host, "history"), lambda host: run_command(host, "status")],
    "intake_log.jsonl": [run_cycle, lambda host: run_command(host, "--list-intake", "5")],
    "cycle.lock": [run_cycle],
    "master_status.json": [lambda host: run_command(host, "status"), run_skipped_cycle, run_cycle],
    "model_cache.json": [run_cycle],
    "custom_nodes_cache.json": [run_cycle],
    "scheduler.json": [lambda host: run_command(host, "status")],
    "workflows.json": [run_cycle],
}
"""What reads each file."""


def run_scheduler(host: Host) -> None:
    """Start a scheduler on the state, let it tick once, and expect that it ran a cycle at once."""
    layout = host.layout
    ran: list[str] = []

    def command(trigger: str) -> CycleCommand:
        ran.append(trigger)
        return CycleCommand(["true"])

    paths = SchedulePaths(layout.scheduler, layout.scheduler_lock, layout.awake)
    with StopEvent() as stop:
        log = logging.getLogger("tests.state_values")
        loop = CycleLoop(SETTINGS, paths=paths, clock=host.clock, command=command, stop=stop, log=log)
        loop.begin()
        loop.tick()
    assert ran == ["first"]


def check_place(host: Host, saved: Path, path: Path, place: tuple[str | int, ...], value: Any) -> None:
    """Set one value, run everything, and expect the file used or set aside; then restore the state."""
    content = set_value(path, place, value)
    try:
        if path.name in {"scheduler.json", "awake.json"}:
            run_scheduler(host)
        for read in READERS[path.name]:
            read(host)
        spare = path.with_name(f"{path.name}.damaged-1")
        assert not spare.exists() or spare.read_bytes() == content
        # Only choices of a person have no other source.
        if path.name == "decisions.json":
            assert spare.exists() or path.read_bytes() == content
    finally:
        for folder in (host.layout.home.state, host.layout.home.output):
            shutil.rmtree(folder)
            shutil.copytree(saved / folder.name, folder, copy_function=shutil.copy2)


def check_values(folder: Path, choose: Callable[[list[tuple[Path, Any, Any]]], list[tuple[Path, Any, Any]]]) -> int:
    """Check chosen places and values; return how many."""
    host = build_host(folder)
    saved = folder / "saved"
    for part in (host.layout.home.state, host.layout.home.output):
        shutil.copytree(part, saved / part.name, copy_function=shutil.copy2)
    cases = [
        (path, place, value)
        for path in list_state_files(host)
        for place in list_leaves(read_document(path))
        for value in ODD_VALUES
    ]
    chosen = choose(cases)
    failures = []
    for path, place, value in chosen:
        try:
            check_place(host, saved, path, place, value)
        except Exception as error:  # noqa: BLE001 - all failures are listed together
            failures.append(f"{path.name} {place} = {value!r}: {type(error).__name__}: {error}"[:400])
    assert not failures, f"{len(failures)} of {len(chosen)} failed:\n" + "\n".join(failures[:100])
    return len(chosen)


@pytest.mark.slow
def test_odd_values_in_state_files_stop_no_cycle_sample(tmp_path: Path) -> None:
    rng = repeatable(20261130)
    check_values(tmp_path, lambda cases: rng.sample(cases, 60))


@pytest.mark.torture
def test_every_odd_value_in_state_files_stops_no_cycle(tmp_path: Path) -> None:
    count = check_values(tmp_path, lambda cases: cases)
    print(f"{count} odd values in state files: 0 stops, 0 tracebacks, 0 lost", file=sys.stderr)  # noqa: T201 - a figure
