from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.store.job_store import JobStore
from comfywatchman.jobs.store.tables import jobs
from tests.jobs.jobs import add_jobs


def test_failed_transaction_leaves_nothing(store: JobStore) -> None:
    def write(connection: sa.Connection) -> None:
        connection.execute(jobs.update().values(priority=3))
        raise RuntimeError("stop")

    add_jobs(store, [1])
    for is_durable in (False, True):
        with pytest.raises(RuntimeError, match="stop"):
            store.database.write(write, is_durable=is_durable)
    assert store.list_jobs()[0].priority == 50


def test_transaction_that_deadlocks_is_repeated(postgresql_store: JobStore) -> None:
    add_jobs(postgresql_store, [101, 102])
    first, second = [job.id for job in postgresql_store.list_jobs(text="_10")]
    barrier = threading.Barrier(2)
    runs: list[int] = []

    def swap(one: int, other: int) -> None:
        def work(connection: sa.Connection) -> None:
            connection.execute(jobs.update().where(jobs.c.id == one).values(priority=jobs.c.priority + 1))
            runs.append(one)
            if len(runs) <= 2:
                barrier.wait(100)
            connection.execute(jobs.update().where(jobs.c.id == other).values(priority=jobs.c.priority + 1))

        postgresql_store.database.write(work)

    threads = [threading.Thread(target=swap, args=pair) for pair in [(first, second), (second, first)]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(runs) == 3
    assert [job.priority for job in postgresql_store.list_jobs(text="_10")] == [52, 52]


def test_transaction_that_never_fits_is_unavailable(postgresql_store: JobStore) -> None:
    runs: list[int] = []

    def work(connection: sa.Connection) -> None:
        runs.append(1)
        connection.exec_driver_sql("DO $$ BEGIN RAISE EXCEPTION 'no luck' USING ERRCODE = '40001'; END $$")

    with pytest.raises(Failure) as caught:
        postgresql_store.database.write(work)
    assert caught.value.code == "jobs-database-unavailable"
    assert len(runs) == 3
