"""The functions that run jobs, and the loop around them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.execution.services import WorkerServices
from comfywatchman.jobs.execution.worker_loop import execute_job, run_loop, run_once, run_worker
from comfywatchman.jobs.files.workflows import load_workflows
from comfywatchman.jobs.records import JobStatus, WaitCode, WaitReason
from tests.jobs.execution.sites import LIMIT_SECONDS, Site, build_name, open_site, wait_for

pytestmark = pytest.mark.slow

CYCLE, SUPERVISOR = WaitCode.CYCLE_RUNNING, WaitCode.SUPERVISOR_NOT_READY


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_site(tmp_path) as site:
        yield site


def test_functions_of_the_seed_run_jobs(site: Site) -> None:
    workflows = load_workflows(site.cfg.workflows)
    for number in (1, 2, 3):
        site.add("picture", number)
    assert run_once(site.cfg, workflows, site.store, site.worker_id)
    lease = site.store.lease_next(site.worker_id, lease_seconds=60, host="here")
    assert lease is not None
    completion = execute_job(lease, site.cfg, workflows, site.store)
    assert completion is not None
    assert completion.status is JobStatus.DONE
    stop_event = threading.Event()
    thread = threading.Thread(target=run_loop, args=(site.cfg, workflows, site.store, site.worker_id, stop_event))
    thread.start()
    wait_for(lambda: site.store.get(build_name(3)).status is JobStatus.DONE)
    stop_event.set()
    thread.join(LIMIT_SECONDS)
    assert not thread.is_alive()


def test_loop_survives_a_database_that_is_away(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_event = threading.Event()
    passes = iter(range(3))

    def recover(**_arguments: object) -> int:
        if next(passes, None) is None:
            stop_event.set()
        raise Failure("jobs-database-unavailable", "The database does not answer.")

    monkeypatch.setattr(site.store, "recover_orphans", recover)
    run_loop(site.cfg, load_workflows(site.cfg.workflows), site.store, site.worker_id, stop_event)


def test_reason_to_wait_is_reported_when_it_changes(site: Site) -> None:
    stop_event = threading.Event()
    reported: list[WaitCode] = []

    def report_wait(reason: WaitReason) -> None:
        reported.append(reason.code)

    def find_reason() -> WaitReason | None:
        # One pass for each: the reason stays for two passes, changes, and comes back after a pass without one.
        number = next(passes, None)
        if number is None:
            stop_event.set()
        code = codes[number or 0]
        return None if code is None else WaitReason(code, "It waits.")

    codes = (CYCLE, CYCLE, SUPERVISOR, None, SUPERVISOR)
    passes = iter(range(len(codes)))
    with site.work(services=WorkerServices(reason_to_wait=find_reason), stop_event=stop_event) as worker:
        cfg = replace(site.cfg, poll_interval_seconds=0.001)
        run_worker(worker, cfg, stop_event, report_wait=report_wait)
    assert reported[:3] == [CYCLE, SUPERVISOR, SUPERVISOR]
