from __future__ import annotations

import pytest

from comfywatchman.base.errors import Failure
from tests.cli.jobs.calls import JobsHome


def test_waiting_jobs_are_changed_when_their_number_is_confirmed(home: JobsHome) -> None:
    first, second = home.drop(), home.drop("picture", 2)
    home("monitor")
    assert home("bulk", "set-priority", "7", "--expected", "2").stdout == "2 jobs with priority 7.\n"
    assert home.json("show", second)["job"]["priority"] == 7
    assert home("bulk", "cancel", "--search", first, "--expected", "1").stdout == "1 job cancelled.\n"
    assert home.json("show", first)["job"]["status"] == "cancelled"
    assert home.json("show", second)["job"]["status"] == "pending"


def test_failed_jobs_are_retried_by_their_cause(home: JobsHome) -> None:
    name = home.drop("fail")
    home("run")
    code = home.json("show", name)["job"]["error_code"]
    assert home.json("bulk", "retry", "--code", "none", "--expected", "0")["changed"] == 0
    error = home.json("show", name)["job"]["error_trace"]
    assert home.json("bulk", "retry", "--error", "none", "--expected", "0")["changed"] == 0
    assert home("bulk", "retry", "--code", code, "--error", error, "--expected", "1").stdout == "1 job queued again.\n"
    assert home.json("show", name)["job"]["status"] == "pending"


def test_unconfirmed_change_names_the_number_and_changes_nothing(home: JobsHome) -> None:
    name = home.drop()
    home("monitor")
    result = home("bulk", "cancel")
    assert result.exit_code == 2
    assert "1 job would change. Confirm it: --expected 1" in result.stderr
    with pytest.raises(Failure) as caught:
        home("bulk", "cancel", "--expected", "3")
    assert caught.value.code == "jobs-count-changed"
    assert home.json("show", name)["job"]["status"] == "pending"


def test_no_match_is_said(home: JobsHome) -> None:
    assert home("bulk", "retry").stdout == "No job matches.\n"
