"""A long job on a saturated machine: every limit is many times shorter than by default, and nothing is restarted."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from comfywatchman.comfyui.server.prompt_client import PromptClient
from comfywatchman.supervisor.health_policy import HealthLimits
from comfywatchman.supervisor.monitor import MonitorPace
from comfywatchman.supervisor.settings import SupervisorSettings
from tests.supervisor.misbehaving import SETTINGS, MisbehavingWorkspace, supervise

BUSY_MINUTES = int(os.environ.get("BUSY_MINUTES", "30"))
"""Simulated minutes; one lasts a second."""
_DEFAULTS = SupervisorSettings()


def compress(factor: int) -> SupervisorSettings:
    """Divide the limits of a running server by a factor."""
    return replace(
        SETTINGS,
        job_progress_seconds=_DEFAULTS.job_progress_seconds / factor,
        health=HealthLimits(
            # The start is not compressed: it is not what is tested, and takes real seconds.
            startup_progress=60.0,
            startup=300.0,
            steady=0.1,
            proof=_DEFAULTS.health.proof / factor,
            silence=_DEFAULTS.health.silence / factor,
        ),
        pace=MonitorPace(startup=0.1, idle=10 / factor, canary=60 / factor, canary_retry=5 / factor),
    )


@pytest.fixture
def saturated() -> Iterator[None]:
    burners = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _number in range(4)]
    yield
    for burner in burners:
        burner.kill()
        burner.wait()


def work_for(workspace: MisbehavingWorkspace, settings: SupervisorSettings, seconds: int) -> None:
    """Run a prompt for some time, and check that it is left alone."""
    with supervise(workspace, settings) as supervisor:
        supervisor.wait_for_state("ready")
        url = f"http://127.0.0.1:{supervisor.orchestrator.settings.port}"
        with PromptClient(url, timeout_seconds=60) as client:
            client.submit({"1": {"class_type": "TestSleep", "inputs": {"seconds": 36_000}}}, prompt_id="long")
            supervisor.wait_for_state("busy")
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                assert supervisor.status()["state"] in {"busy", "unproven", "ready"}
                time.sleep(0.1)
            client.interrupt("long")
            supervisor.wait_for(lambda: client.read_entry("long") is not None)
    assert len(workspace.starts("main")) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("saturated")
def test_busy_server_is_not_restarted(tmp_path: Path) -> None:
    # The other tests take their part of the machine, too.
    work_for(MisbehavingWorkspace(tmp_path / "ws"), compress(10), 5)


@pytest.mark.torture
@pytest.mark.usefixtures("saturated")
@pytest.mark.timeout(3600)
def test_busy_server_is_not_restarted_for_long(tmp_path: Path) -> None:
    work_for(MisbehavingWorkspace(tmp_path / "ws"), compress(60), BUSY_MINUTES)
