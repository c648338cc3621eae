from __future__ import annotations

import pytest

from comfywatchman.base.errors import Failure
from tests.cli.jobs.calls import JobsHome

pytestmark = pytest.mark.slow


def test_priority_is_changed_by_its_full_or_short_name(home: JobsHome) -> None:
    name = home.drop()
    home("monitor")
    assert home("queue", "set-priority", name, "7").stdout == f"{name}.yaml has priority 7.\n"
    assert home.json("queue", "set-priority", f"{name}.yaml", "8")["job"]["priority"] == 8
    assert home("god-mode", name).stdout == f"{name}.yaml has priority 1.\n"
    actions = [change["action"] for change in home.json("show", name)["audit"]]
    assert actions == ["god-mode", "set-priority", "set-priority"]


@pytest.mark.parametrize("priority", ["0", "1000", "x"])
def test_priority_out_of_range_is_refused(home: JobsHome, priority: str) -> None:
    name = home.drop()
    home("monitor")
    assert home("queue", "set-priority", name, priority).exit_code == 2
    assert home.json("show", name)["job"]["priority"] == 50


def test_only_failed_jobs_are_retried(home: JobsHome) -> None:
    name = home.drop("fail")
    home("run")
    assert home("retry", name).stdout == f"{name}.yaml is pending.\n"
    assert home("retry", name).stdout == f"{name}.yaml is pending.\n", "asking again changes nothing"
    done = home.drop("picture", 2, "priority: 1\n")
    home("run")
    with pytest.raises(Failure) as caught:
        home("retry", done)
    assert caught.value.code == "jobs-job-status"


def test_waiting_job_is_cancelled_at_once(home: JobsHome) -> None:
    name = home.drop()
    home("monitor")
    assert home("cancel", name).stdout == f"{name}.yaml is cancelled.\n"
    assert home("run").stdout == "There is no job to run.\n"


@pytest.mark.parametrize("command", ["retry", "god-mode", "cancel"])
def test_unknown_job_is_a_failure(home: JobsHome, command: str) -> None:
    with pytest.raises(Failure) as caught:
        home(command, "T2I_20260131093000_9_none")
    assert caught.value.code == "jobs-job-unknown"


def test_queue_is_paused_and_resumed(home: JobsHome) -> None:
    assert home("pause").stdout == f"The queue is paused. Resume it: {home.format_command('resume')}\n"
    assert home.json("stats")["is_paused"]
    assert home("resume").stdout == "The queue is running.\n"
    assert home.json("pause")["paused"]
    assert not home.json("resume")["paused"]
