"""The intake with the database of jobs, on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from comfywatchman.jobs.files.intake import IntakeMemory, ScanResult, ScanStatus, scan_once
from comfywatchman.jobs.records import AttemptOutcome, JobStatus, Lease, UpsertOutcome
from comfywatchman.jobs.store.job_store import JobStore
from tests.jobs.files.job_folder import JOB, NAME, FixedClock, JobFolder

LATER = FixedClock(FixedClock().moment.replace(year=2100))
CHANGED = JOB + "priority: 3\n"


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return JobFolder.create(tmp_path)


def scan(folder: JobFolder, store: JobStore, memory: IntakeMemory | None = None) -> list[ScanResult]:
    return scan_once(folder.settings, folder.workflows, store, memory=memory, clock=LATER)


def lease(store: JobStore) -> Lease:
    worker_id = store.register_worker("host", version="1")
    leased = store.lease_next(worker_id, lease_seconds=60, host="host")
    assert leased is not None
    return leased


def test_job_file_is_queued_and_leased(folder: JobFolder, store: JobStore) -> None:
    folder.write(JOB + "seeds: [5, 6]\n")
    (result,) = scan(folder, store)
    assert result.outcome is UpsertOutcome.INSERTED
    job = lease(store).job
    assert (job.config_name, job.priority, job.spec.output_path) == (NAME, 50, "image/fox.png")
    assert [dict(repeat) for repeat in job.spec.repeats] == [{"seed": 5}, {"seed": 6}]


def test_running_job_is_not_queued_again(folder: JobFolder, store: JobStore) -> None:
    folder.write()
    scan(folder, store)
    leased = lease(store)
    folder.write(CHANGED)
    (result,) = scan(folder, store)
    assert (result.status, result.outcome) == (ScanStatus.ACCEPTED, UpsertOutcome.IGNORED)
    assert "has no effect" in result.reason
    assert store.is_lease_held(leased)
    assert store.get(NAME).status is JobStatus.PROCESSING


@pytest.mark.parametrize("success", [True, False])
def test_ended_job_stays_ended(folder: JobFolder, store: JobStore, *, success: bool) -> None:
    folder.write(JOB + "retry_limit: 0\n")
    scan(folder, store)
    outcome = AttemptOutcome(success=success, error_code=None if success else "x")
    status = store.complete(lease(store), outcome).status
    assert status is (JobStatus.DONE if success else JobStatus.FAILED)
    for text in (CHANGED, JOB):
        folder.write(text)
        scan(folder, store, IntakeMemory())
        assert store.get(NAME).status is status
    assert len(store.list_jobs()) == 1


def test_waiting_job_takes_the_change_of_its_file(folder: JobFolder, store: JobStore) -> None:
    folder.write()
    scan(folder, store)
    folder.write(CHANGED)
    (result,) = scan(folder, store)
    assert result.outcome is UpsertOutcome.UPDATED
    assert store.get(NAME).priority == 3


def test_restart_changes_nothing(folder: JobFolder, store: JobStore) -> None:
    folder.write()
    scan(folder, store)
    before = store.get(NAME)
    (result,) = scan(folder, store)
    assert (result.status, result.outcome) == (ScanStatus.ACCEPTED, None)
    assert store.get(NAME) == before


def test_file_that_waited_is_the_job_that_is_queued_already(folder: JobFolder, store: JobStore) -> None:
    path = folder.write()
    scan(folder, store)
    memory = IntakeMemory()
    written = FixedClock(datetime.fromtimestamp(path.stat().st_mtime, UTC))
    (result,) = scan_once(folder.settings, folder.workflows, store, memory=memory, clock=written)
    assert result.status is ScanStatus.WAITING
    (result,) = scan(folder, store, memory)
    assert (result.status, result.outcome, result.reason) == (ScanStatus.ACCEPTED, None, "")


def test_touched_file_of_a_waiting_job_is_unchanged(folder: JobFolder, store: JobStore) -> None:
    memory = IntakeMemory()
    path = folder.write()
    scan(folder, store, memory)
    os.utime(path, (1, 1))
    (result,) = scan(folder, store, memory)
    assert (result.status, result.outcome, result.reason) == (ScanStatus.ACCEPTED, None, "")
