"""State of one running cycle: its id, its phases and its problems."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.state.state_file import CorruptFile
from comfywatchman.readiness.context import CycleContext
from tests.hosts import Host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_id_consists_of_utc_start_and_process_id(host: Host) -> None:
    cycle = CycleContext.begin(host.request())
    assert cycle.id == f"{host.clock.wall:%Y%m%dT%H%M%SZ}-{os.getpid()}"
    assert cycle.started == host.clock.wall


def test_seconds_of_a_repeated_phase_add_up(host: Host) -> None:
    names: list[str] = []
    cycle = CycleContext.begin(host.request(progress=names.append))
    for seconds in (2.0, 0.5):
        with cycle.phase("report"):
            host.clock.advance(awake=seconds)
    assert cycle.phases == {"report": 2.5}
    assert names == ["report", "report"]


def test_phase_that_raises_is_timed(host: Host) -> None:
    cycle = CycleContext.begin(host.request())
    with contextlib.suppress(ValueError), cycle.phase("models"):
        host.clock.advance(awake=3.0)
        raise ValueError
    assert cycle.phases == {"models": 3.0}


def test_duration_excludes_time_asleep(host: Host) -> None:
    cycle = CycleContext.begin(host.request())
    host.clock.advance(awake=1.5, asleep=600.0)
    assert cycle.seconds() == 1.5


def test_problems_of_every_kind_become_text(host: Host) -> None:
    cycle = CycleContext.begin(host.request())
    cycle.add_problem(None)
    cycle.add_problem("A folder cannot be read.")
    cycle.add_problem(Failure("http-unreachable", "The server did not respond.", hint="Try again."))
    cycle.add_problem(CorruptFile(Path("/s/a.json"), Path("/s/a.json.damaged-1"), "no JSON"))
    cycle.add_problem(CorruptFile(Path("/s/b.json"), None, "no JSON"))
    assert cycle.problems == [
        "A folder cannot be read.",
        "The server did not respond.",
        "/s/a.json was damaged (no JSON); it was moved to /s/a.json.damaged-1",
        "/s/b.json was damaged (no JSON)",
    ]
