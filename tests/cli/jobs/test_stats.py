from __future__ import annotations

import pytest

from tests.cli.jobs.calls import JobsHome

pytestmark = pytest.mark.slow


def test_jobs_are_counted_by_status(home: JobsHome) -> None:
    home.drop("picture", 1)
    home("run")
    home.drop("picture", 2)
    home("monitor")
    home("pause")
    text = home("stats").stdout
    assert "pending:     1\n" in text
    assert "done:        1\n" in text
    assert "A job takes " in text
    assert "The oldest waiting job was queued " in text
    assert "The queue is paused." in text
    assert "pending_warning" not in text


def test_long_queue_is_warned_of(home: JobsHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYWATCHMAN_JOBS__PENDING_WARNING", "2")
    for number in (1, 2):
        home.drop("picture", number)
    home("monitor")
    assert "2 jobs wait" in home("stats").stdout
    assert "2 jobs wait" in home("queue", "ls").stdout
    content = home.json("stats")
    assert (content["is_long"], content["total_jobs"], content["by_status"]["pending"]) == (True, 2, 2)
