from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.gpu.query import GpuReading
from comfywatchman.readiness.status import Environment, EnvironmentCheck
from tests.hosts import Host

BROKEN = Environment("fail", (EnvironmentCheck("production", "fail", "numpy is not there.", "gov init", vital=True),))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_cycle_reports_the_checks_and_counts_them(host: Host) -> None:
    host.write("plain.json")
    before = host.status()
    after = host.status(environment_checks=lambda _gpus: BROKEN)
    assert (before.environment.state, before.summary.ready) == ("not governed", 1)
    assert (after.environment, after.summary.ready, after.summary.uncertain) == (BROKEN, 0, 1)


@pytest.mark.parametrize("error", [Failure("state-unwritable", "It cannot be read."), PermissionError(13, "Denied")])
def test_checks_that_fail_are_unknown_and_end_no_cycle(host: Host, error: Exception) -> None:
    def broken(_gpus: GpuReading) -> Environment:
        raise error

    result = host.cycle(environment_checks=broken)
    assert result.record.success
    assert result.status is not None
    assert result.status.environment.state == "unknown"
    assert "environment" in result.record.phases
