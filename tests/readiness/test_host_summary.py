from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from comfywatchman.readiness.host_summary import CycleSummary, GpuSummary, HostSummary
from comfywatchman.readiness.report.render import render_markdown
from comfywatchman.readiness.report.write import to_json
from comfywatchman.readiness.status import MasterStatus
from tests.readiness.report.sample_reports import TIME, status


def build_host(*gpus: GpuSummary, gpu_status: str = "ok", **changes: Any) -> HostSummary:
    facts: dict[str, Any] = {
        "comfyui_root": "/c",
        "comfyui_version": None,
        "comfyui_running": False,
        "sample": False,
        **changes,
    }
    return HostSummary(gpus, gpu_status, **facts)


def test_unknown_facts_are_null_in_the_report() -> None:
    host = build_host(GpuSummary(0, None, None, None))
    parsed = json.loads(to_json(status(host=host)))["host"]
    assert parsed["gpus"] == [
        {"index": 0, "name": None, "memory_total_bytes": None, "memory_free_bytes": None, "mig": False}
    ]
    assert {name for name, value in parsed.items() if value is None} == {
        "comfyui_version",
        "ignored_server",
        "supervisor",
    }


def test_report_of_an_older_version_is_read() -> None:
    parsed = json.loads(to_json(status(host=build_host(GpuSummary(3, "Card", 2, 1, mig=True)))))
    del parsed["host"]["ignored_server"], parsed["host"]["gpus"][0]["mig"], parsed["cycle"]["message"]
    old = msgspec.convert(parsed, MasterStatus)
    assert old.host == build_host(GpuSummary(3, "Card", 2, 1))
    assert old.cycle == CycleSummary("c1", "manual", TIME, 0.25, success=True, skipped_reason=None)


def list_gpu_lines(host: HostSummary) -> list[str]:
    return [line for line in render_markdown(status(host=host)).splitlines() if line.startswith("- GPU")]


def test_each_gpu_has_a_line_with_its_index() -> None:
    gib = 1 << 30
    lines = list_gpu_lines(build_host(GpuSummary(0, "Big", 24 * gib, gib // 2), GpuSummary(7, None, None, None)))
    assert lines == ["- GPU 0 Big: 0.5 of 24.0 GiB free", "- GPU 7 : ? of ? GiB free"]


def test_driver_that_does_not_respond_differs_from_no_gpu() -> None:
    (unknown,) = list_gpu_lines(build_host(gpu_status="unknown"))
    (none,) = list_gpu_lines(build_host(gpu_status="none"))
    assert unknown != none


@pytest.mark.parametrize("field", ["id", "success", "skipped_reason"])
def test_cycle_without_a_required_field_is_refused(field: str) -> None:
    parsed = json.loads(to_json(status()))
    del parsed["cycle"][field]
    with pytest.raises(msgspec.ValidationError, match=field):
        msgspec.convert(parsed, MasterStatus)
