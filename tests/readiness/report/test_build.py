"""The report of a cycle that ran and of one that was skipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.gpu.query import GpuDevice, GpuReading
from comfywatchman.readiness.context import CycleContext
from comfywatchman.readiness.gates import SkipReason
from comfywatchman.readiness.host_summary import SupervisorSummary
from comfywatchman.readiness.report.build import build_host_summary, build_skipped_report
from comfywatchman.readiness.status import Environment
from tests.hosts import Host

NO_GPU = GpuReading("none", ())


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_report_is_valid_until_the_next_cycle_and_its_grace(host: Host) -> None:
    host.set(schedule__interval_minutes=30.0, schedule__grace_minutes=5.0)
    status = host.status()
    assert (status.generated_at[11:], status.checked_at) != ("", None)
    begun, until = status.cycle.started_at, status.valid_until
    assert minutes(until) - minutes(begun) in {35, 35 - 24 * 60}


def minutes(text: str) -> int:
    return 60 * int(text[11:13]) + int(text[14:16])


def test_host_summary_holds_gpus_and_version(host: Host) -> None:
    card = GpuDevice(0, "GPU-a", "Card", 24 << 30, 20 << 30, 4 << 30)
    part = GpuDevice(1, "MIG-b", "", None, None, None, mig=True)
    cycle = CycleContext.begin(host.request(sample=True))
    facts = build_host_summary(cycle, GpuReading("ok", (card, part)), None)
    assert [(gpu.index, gpu.name, gpu.memory_free_bytes, gpu.mig) for gpu in facts.gpus] == [
        (0, "Card", 20 << 30, False),
        (1, "", None, True),
    ]
    assert (facts.gpu_status, facts.comfyui_running, facts.sample) == ("ok", False, True)
    assert (facts.comfyui_root, facts.comfyui_version) == (str(host.comfyui), "0.33.0")


def test_cycle_waits_for_the_supervisor_and_reports_its_state(host: Host) -> None:
    switching = SupervisorSummary("switching", "ComfyUI is moving to another environment.", "", is_changing=True)
    result = host.cycle(read_supervisor=lambda: switching)
    assert result.record.skipped_reason == "comfyui-changing"
    assert result.status is not None
    assert (result.status.host.supervisor, result.status.host.comfyui_running) == (switching, False)
    assert "- Supervised: ComfyUI is moving to another environment." in host.layout.status_markdown.read_text()


def test_proved_comfyui_runs_even_where_the_host_was_not_inspected(host: Host) -> None:
    cycle = CycleContext.begin(host.request())
    cycle.supervisor = SupervisorSummary("ready", "ComfyUI is ready.", "", is_working=True)
    assert build_host_summary(cycle, NO_GPU, None).comfyui_running


@pytest.mark.slow
def test_skipped_cycle_keeps_the_verdicts(host: Host) -> None:
    host.write("a.json", lora="x.safetensors")
    last = host.status()
    host.clock.advance(awake=3600)
    run = CycleContext.begin(host.request(trigger="schedule"))
    status = build_skipped_report(run, NO_GPU, SkipReason("vram-low", "Too little."))
    assert (status.workflows, status.summary, status.checked_at) == (last.workflows, last.summary, last.checked_at)
    assert status.generated_at > last.generated_at
    assert status.valid_until == last.valid_until, "a gate that never opens makes no verdict younger"
    assert status.watched_until is not None
    assert last.watched_until is not None
    assert status.watched_until > last.watched_until
    assert (status.cycle.success, status.cycle.skipped_reason, status.cycle.message) == (
        False,
        "vram-low",
        "Too little.",
    )
    assert status.cycle.trigger == "schedule"


@pytest.mark.parametrize(("is_governed", "state"), [(False, "not governed"), (True, "unknown")])
def test_skipped_first_cycle_reports_nothing_as_checked(host: Host, state: str, *, is_governed: bool) -> None:
    checks = (lambda _gpus: Environment("ok")) if is_governed else None
    cycle = CycleContext.begin(host.request(environment_checks=checks))
    status = build_skipped_report(cycle, NO_GPU, SkipReason("vram-low", "Too little."))
    assert (status.checked_at, status.workflows, status.environment.state) == (None, (), state)
    assert status.cycle.skipped_reason == "vram-low"
    assert status.valid_until > status.generated_at


def test_damaged_report_is_a_problem_of_the_skipped_cycle(host: Host) -> None:
    host.cycle()
    host.layout.status_json.write_bytes(b"{")
    cycle = CycleContext.begin(host.request())
    status = build_skipped_report(cycle, NO_GPU, SkipReason("vram-low", "Too little."))
    assert status.checked_at is None
    assert "master_status.json was damaged" in status.problems[0]


def test_acknowledgements_are_limited(host: Host) -> None:
    for n in range(5):
        host.write(f"{n}.json")
    host.set(report__intake_entries=2)
    assert len(host.status().intake) == 2
    host.set(report__intake_entries=0)
    assert host.status().intake == ()
