from __future__ import annotations

import pytest

from tests.cli.jobs.calls import JobsHome

pytestmark = pytest.mark.slow


def test_jobs_are_listed_in_the_order_in_which_they_run(home: JobsHome) -> None:
    names = [home.drop("picture", 1), home.drop("picture", 2, "priority: 7\n")]
    home("monitor")
    lines = home("queue", "ls").stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["Job", names[1], names[0]]
    assert lines[1].split("\t")[1:5] == ["pending", "7", "picture", "0"]
    content = home.json("queue", "ls")
    assert [job["config_name"] for job in content["jobs"]] == [f"{names[1]}.yaml", f"{names[0]}.yaml"]
    assert (content["total"], content["paused"]) == (2, False)


def test_list_is_filtered_by_status_and_text(home: JobsHome) -> None:
    home.drop("picture", 1)
    failed = home.drop("fail", 2, "priority: 1\n")
    home("run")
    assert failed in home("queue", "ls", "failed").stdout
    assert "made to fail" in home("queue", "ls", "failed").stdout
    assert home("queue", "ls", "done").stdout == "No job is done.\n"
    assert [job["workflow_id"] for job in home.json("queue", "ls", "--search", "fail")["jobs"]] == ["fail"]


def test_long_list_is_cut_with_a_hint(home: JobsHome) -> None:
    for number in (1, 2, 3):
        home.drop("picture", number)
    home("monitor")
    home("pause")
    lines = home("queue", "ls", "--limit", "2").stdout.splitlines()
    paused = f"The queue is paused. Resume it: {home.format_command('resume')}"
    assert lines[-2:] == ["1 more: raise --limit.", paused]


def test_empty_queue_says_so(home: JobsHome) -> None:
    assert home("queue", "ls").stdout == "There is no job.\n"


def test_unknown_status_is_a_usage_error(home: JobsHome) -> None:
    assert home("queue", "ls", "lost").exit_code == 2
