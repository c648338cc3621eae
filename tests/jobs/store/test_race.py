from __future__ import annotations

import pytest

from comfywatchman.jobs.records import JobStatus
from comfywatchman.jobs.store.job_store import JobStore
from tests.jobs.racing import add_many_jobs, run_race

RACERS = 4
SAMPLE = 120


def assert_each_job_ran_once(store: JobStore, url: str, *, racers: int, number: int) -> None:
    add_many_jobs(store, number)
    race = run_race(url, racers=racers)
    assert race.doubled == 0
    assert len(race.leased) == number
    assert store.stats().by_status[JobStatus.DONE] == number
    jobs = store.list_jobs(JobStatus.DONE, limit=number)
    assert {(job.run_count, job.attempt) for job in jobs} == {(1, 1)}


@pytest.mark.slow
def test_racing_processes_lease_each_job_once(store: JobStore, database_url: str) -> None:
    assert_each_job_ran_once(store, database_url, racers=RACERS, number=SAMPLE)


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_eight_processes_lease_each_of_80000_jobs_once(store: JobStore, database_url: str) -> None:
    assert_each_job_ran_once(store, database_url, racers=8, number=80_000)
