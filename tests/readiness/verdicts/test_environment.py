from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.gpu.query import GpuReading
from comfywatchman.readiness.states import WorkflowStatus
from comfywatchman.readiness.status import Environment, EnvironmentCheck
from comfywatchman.readiness.verdicts.environment import apply_environment
from tests.hosts import Host
from tests.readiness.report.test_write import entry

BROKEN = Environment("fail", (EnvironmentCheck("production", "fail", "numpy is not there.", "gov init", vital=True),))
ODD = Environment("fail", (EnvironmentCheck("deny-list", "fail", "x 1.0: steals keys", "gov node remove x"),))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_ready_is_taken_away_where_the_environment_may_not_run_it() -> None:
    ready, missing = entry("/w/a.json"), entry("/w/b.json", WorkflowStatus.MISSING, models=1)
    first, second = apply_environment((ready, missing), BROKEN, is_running=False)
    assert (first.status, first.uncertain_count) == (WorkflowStatus.UNCERTAIN, 1)
    assert first.problems[-1].code == "environment-failed"
    assert "numpy is not there." in first.problems[-1].message
    assert second == missing


@pytest.mark.parametrize(("environment", "is_running"), [(BROKEN, True), (ODD, False)])
def test_a_running_server_or_a_check_that_says_nothing_of_starting_leaves_ready(
    environment: Environment,
    is_running: bool,  # noqa: FBT001 - a case of the table
) -> None:
    entries = (entry("/w/a.json"),)
    assert apply_environment(entries, environment, is_running=is_running) == entries


def test_a_cycle_shows_the_checks_and_calls_nothing_ready_that_they_make_doubtful(host: Host) -> None:
    host.write("plain.json")
    before = host.status()
    after = host.status(environment_checks=lambda _gpus: BROKEN)
    assert (before.environment.state, before.summary.ready) == ("not governed", 1)
    assert (after.environment, after.summary.ready, after.summary.uncertain) == (BROKEN, 0, 1)


@pytest.mark.parametrize("error", [Failure("state-unwritable", "It cannot be read."), PermissionError(13, "Denied")])
def test_checks_that_cannot_be_made_are_unknown_and_end_no_cycle(host: Host, error: Exception) -> None:
    def broken(_gpus: GpuReading) -> Environment:
        raise error

    result = host.cycle(environment_checks=broken)
    assert result.record.success
    assert result.status is not None
    assert result.status.environment.state == "unknown"
    assert "environment" in result.record.phases
