from __future__ import annotations

import pytest

from tests.cli.jobs.calls import JobsHome

pytestmark = pytest.mark.slow


def test_finished_job_shows_its_outputs_and_runs(home: JobsHome) -> None:
    name = home.drop()
    home("run")
    text = home("show", name).stdout
    assert "Status:      done\n" in text
    assert f"Outputs:     {home.finished / 'image' / name}\n             cat.png (9 B)\n" in text
    assert "1\tdone\t" in text
    content = home.json("show", f"{name}.yaml")
    assert content["attempts"][0]["outcome"] == "done"
    assert content["spec"]["workflow_id"] == "picture"
    assert content["waits_for"] is None


def test_failed_job_shows_its_error_and_changes(home: JobsHome) -> None:
    name = home.drop("fail")
    home("run")
    home("retry", name)
    home("run")
    text = home("show", name).stdout
    assert "Error:       jobs-node-failed\n             TestFail: RuntimeError: made to fail\n" in text
    assert "retry: failed -> pending" in text


def test_waiting_job_shows_why(home: JobsHome) -> None:
    name = home.drop()
    home("monitor")
    assert "Waits for:   No agent is running" in home("show", name).stdout
    assert home.json("show", name)["waits_for"]["code"] == "no-worker"


def test_step_has_the_options_of_the_call(home: JobsHome) -> None:
    name = home.drop()
    home("monitor")
    assert f"Start one: {home.format_command('start')}" in home("show", name).stdout
