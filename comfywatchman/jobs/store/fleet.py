"""Workers and hosts: registering, heartbeats, and which workflows are ready on which host."""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from comfywatchman.jobs.records import HostRecord, JobStatus, WorkerRecord
from comfywatchman.jobs.store.rows import encode_json, read_known_time
from comfywatchman.jobs.store.session import JobDatabase
from comfywatchman.jobs.store.tables import DatabaseNow, host_workflows, hosts, is_status, jobs, workers


def build_registration(
    host: str, *, version: str, gpu: str, lease_seconds: float, worker_id: str | None = None
) -> Callable[[sa.Connection], str]:
    """Return the transaction that registers a worker, under a new identity unless one is given."""
    # A new one at each start: a reused identity would revive the leases of its last life.
    identity = worker_id or str(uuid.uuid4())

    def register(connection: sa.Connection) -> str:
        now = DatabaseNow()
        connection.execute(
            workers.insert().values(
                worker_id=identity,
                host=host,
                version=version,
                gpu=gpu,
                started_at=now,
                last_beat=now,
                lease_seconds=lease_seconds,
            )
        )
        return identity

    return register


def build_beat(worker_id: str, progress: Mapping[str, Any] | None) -> Callable[[sa.Connection], bool]:
    """Return the transaction of a heartbeat; False when the worker is no longer registered."""
    values: dict[str, Any] = {"last_beat": DatabaseNow()}
    if progress is not None:
        values["progress"] = encode_json(progress)

    def beat(connection: sa.Connection) -> bool:
        update = workers.update().where(workers.c.worker_id == worker_id).values(**values)
        return connection.execute(update).rowcount == 1

    return beat


def build_farewell(worker_id: str) -> Callable[[sa.Connection], None]:
    """Return the transaction that removes a worker which ends. A job that it still holds is recovered at once."""

    def unregister(connection: sa.Connection) -> None:
        connection.execute(workers.delete().where(workers.c.worker_id == worker_id))
        held = jobs.update().where(jobs.c.worker_id == worker_id, is_status(JobStatus.PROCESSING))
        connection.execute(held.values(lease_expires_at=DatabaseNow()))

    return unregister


def build_publication(
    database: JobDatabase, host: str, ready: Mapping[str, bool], reasons: Mapping[str, str]
) -> Callable[[sa.Connection], None]:
    """Return the transaction that replaces what a host has published about its workflows, writing changes only."""
    wanted = {}
    for workflow_id, is_ready in ready.items():
        wanted[workflow_id] = (is_ready, "" if is_ready else reasons.get(workflow_id, ""))

    def publish(connection: sa.Connection) -> None:
        columns = (host_workflows.c.workflow_id, host_workflows.c.is_ready, host_workflows.c.reason)
        known = {}
        for workflow_id, is_ready, reason in connection.execute(
            sa.select(*columns).where(host_workflows.c.host == host)
        ):
            known[workflow_id] = (is_ready, reason)
        gone = sorted(known.keys() - wanted.keys())
        if gone:
            is_gone = sa.and_(host_workflows.c.host == host, host_workflows.c.workflow_id.in_(gone))
            connection.execute(host_workflows.delete().where(is_gone))
        for workflow_id, state in sorted(wanted.items()):
            if known.get(workflow_id) != state:
                _write_state(connection, database, host, workflow_id, state)
        upsert = database.insert(hosts).values(host=host, published_at=DatabaseNow())
        connection.execute(upsert.on_conflict_do_update(index_elements=["host"], set_={"published_at": DatabaseNow()}))

    return publish


def _write_state(
    connection: sa.Connection, database: JobDatabase, host: str, workflow_id: str, state: tuple[bool, str]
) -> None:
    values = {"is_ready": state[0], "reason": state[1]}
    upsert = database.insert(host_workflows).values(host=host, workflow_id=workflow_id, **values)
    connection.execute(upsert.on_conflict_do_update(index_elements=["host", "workflow_id"], set_=values))


def read_workers(connection: sa.Connection) -> tuple[WorkerRecord, ...]:
    """Return all registered workers with the job that each one runs."""
    # Not joined: SQLite would read all jobs to build an index for it.
    held = sa.select(jobs.c.worker_id, jobs.c.id).where(is_status(JobStatus.PROCESSING))
    job_of = dict(connection.execute(held).all())
    query = sa.select(workers, DatabaseNow().label("now")).order_by(
        workers.c.host, workers.c.started_at, workers.c.worker_id
    )
    records = []
    for row in connection.execute(query):
        record = WorkerRecord(
            worker_id=row.worker_id,
            host=row.host,
            version=row.version,
            gpu=row.gpu,
            started_at=read_known_time(row.started_at),
            last_beat=read_known_time(row.last_beat),
            is_alive=row.last_beat + row.lease_seconds >= row.now,
            job_id=job_of.get(row.worker_id),
            progress=json.loads(row.progress),
        )
        records.append(record)
    return tuple(records)


def read_hosts(connection: sa.Connection) -> tuple[HostRecord, ...]:
    """Return all hosts that have a worker or have published which workflows are ready."""
    workers_of: dict[str, list[WorkerRecord]] = defaultdict(list)
    for worker in read_workers(connection):
        workers_of[worker.host].append(worker)
    ready_of: dict[str, list[str]] = defaultdict(list)
    reasons_of: dict[str, dict[str, str]] = defaultdict(dict)
    for row in connection.execute(sa.select(host_workflows).order_by(host_workflows.c.workflow_id)):
        if row.is_ready:
            ready_of[row.host].append(row.workflow_id)
        else:
            reasons_of[row.host][row.workflow_id] = row.reason
    published_at = dict(connection.execute(sa.select(hosts.c.host, hosts.c.published_at)).all())
    records = []
    for host in sorted(workers_of.keys() | published_at.keys()):
        record = HostRecord(
            host=host,
            published_at=read_known_time(published_at[host]) if host in published_at else None,
            ready=tuple(ready_of[host]),
            reasons=reasons_of[host],
            workers=tuple(workers_of[host]),
        )
        records.append(record)
    return tuple(records)
