from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from comfywatchman.app.jobs import JobAgent
from comfywatchman.app.pages.live_status import list_running_tasks, read_live_status
from comfywatchman.app.pages.page_host import PageHost
from comfywatchman.app.session import Session
from comfywatchman.base.errors import Failure
from comfywatchman.cli.text.live_status_text import format_live_status
from comfywatchman.jobs.store.job_store import JobStore, open_store
from tests.jobs.jobs import add_jobs, build_name, lease, start_worker

LEASE_SECONDS = 36_000.0


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PageHost]:
    monkeypatch.setenv("HOME", str(tmp_path))
    session = Session(tmp_path / "home", None)
    with open_store(f"sqlite:///{tmp_path / 'jobs.db'}") as store:
        yield PageHost(session, JobAgent(session), store)


@pytest.mark.slow
def test_jobs_are_shown_with_step_and_reason_to_wait(host: PageHost) -> None:
    store = host.store
    worker = start_worker(store, lease_seconds=LEASE_SECONDS)
    add_jobs(store, [1, 2])
    lease(store, worker, lease_seconds=LEASE_SECONDS)
    store.beat(worker, progress={"running": True, "node": "5", "value": 3, "maximum": 12})
    now = datetime.now(UTC)
    status = read_live_status(host, now)
    (run,) = status.running
    assert (run.node, run.step, run.steps) == ("5", 3, 12)
    (waiting,) = status.waiting
    lines = format_live_status(status, now, width=60, height=40)
    text = "\n".join(lines)
    assert "node 5, step 3 of 12 (25 %)" in text
    assert build_name(2).removesuffix(".yaml") in text
    assert waiting.reason.sentence[:40] in text


@pytest.mark.slow
def test_unreadable_queue_hides_nothing_else(host: PageHost, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_store: JobStore) -> None:
        raise Failure("jobs-database-unavailable", "The database cannot be used.")

    monkeypatch.setattr(JobStore, "list_hosts", fail)
    monkeypatch.setattr(JobStore, "stats", fail)
    status = read_live_status(host, datetime.now(UTC))
    assert (status.running, status.sentence.queue_error) == ((), "The database cannot be used.")


def test_no_task_runs_at_first(host: PageHost) -> None:
    assert list_running_tasks(host) == ()
