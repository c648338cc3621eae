from __future__ import annotations

import pytest

from comfywatchman.supervisor.incidents import Incident, MemorySample, OomCounters, record_incident
from tests.cli.supervise.calls import SupervisedWorkspace

NAME = "20261120T120000Z-crash"


@pytest.fixture
def site(idle: SupervisedWorkspace) -> SupervisedWorkspace:
    log = idle.metadata / "comfyui.log"
    log.write_text("".join(f"line {number}\n" for number in range(60)))
    incident = Incident(
        name=NAME,
        at="2026-11-20T12:00:00Z",
        kind="crash",
        environment="main",
        reason="crash",
        sentence="ComfyUI was killed by SIGKILL.",
        exit_status=-9,
        uptime_seconds=75,
        queue_length=2,
        memory=(MemorySample("2026-11-20T11:59:00Z", 5 << 30), MemorySample("2026-11-20T12:00:00Z", 3 << 30, 21 << 30)),
        oom=(OomCounters(), OomCounters(1, 1)),
    )
    record_incident(idle.metadata, incident, log, max_incidents=20)
    return idle


def test_no_incidents(idle: SupervisedWorkspace) -> None:
    assert idle("incidents").stdout.startswith("No incidents")
    assert idle.json("incidents")["incidents"] == []
    assert "There are no incidents" in str(idle("incidents", "last").exception)


def test_incidents_are_listed(site: SupervisedWorkspace) -> None:
    assert f"{NAME}\tmain\tComfyUI was killed by SIGKILL." in site("incidents").stdout
    assert [incident["name"] for incident in site.json("incidents")["incidents"]] == [NAME]


def test_incident_is_shown_with_its_evidence(site: SupervisedWorkspace) -> None:
    shown = site("incidents", "last").stdout.splitlines()
    assert shown[0] == "ComfyUI was killed by SIGKILL."
    assert "Exit status: -9" in shown
    assert "Ran for:     1 min 15 s" in shown
    assert any(line.startswith("GPU memory:") and "21.00 GiB at the end" in line for line in shown)
    assert any(line.startswith("Memory:") and "memory ran out" in line and "at most 5" in line for line in shown)
    assert "Last 40 of 60 log lines:" in shown
    assert shown[-1] == "  line 59"
    content = site.json("incidents", NAME)
    assert content["incident"]["exit_status"] == -9
    assert len(content["log"]) == 60


def test_unknown_incident_exits_with_1(site: SupervisedWorkspace) -> None:
    assert "There is no incident 'other'" in str(site("incidents", "other").exception)
