"""Jobs, workers and clocks for the tests of the job store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from comfywatchman.jobs.records import Actor, AttemptOutcome, Interface, JobSpec, Lease
from comfywatchman.jobs.store.job_store import JobStore
from comfywatchman.jobs.store.tables import attempts, audit, jobs, workers

ACTOR = Actor("ann", Interface.CLI)
DONE = AttemptOutcome(success=True)
FAILED = AttemptOutcome(success=False, error_code="node-error", error_text="boom")
LEASE_SECONDS = 60.0

SPEC = JobSpec(
    config_name="T2I_20261130120000_1_cat.yaml",
    job_type="T2I",
    media="image",
    workflow_id="empty-image",
    output_path="image",
    source_sha256="aa",
)


def build_spec(number: int, **changes: Any) -> JobSpec:
    """Return the description of a job of its own name."""
    return replace(SPEC, config_name=build_name(number), source_sha256=f"{number:02x}", **changes)


def build_name(number: int) -> str:
    """Return the name of the job with a number."""
    return f"T2I_20261130120000_{number}_cat.yaml"


def add_jobs(store: JobStore, numbers: Iterable[int], **changes: Any) -> list[str]:
    """Add waiting jobs and return their names."""
    names = []
    for number in numbers:
        store.upsert(build_spec(number, **changes))
        names.append(build_name(number))
    return names


def start_worker(store: JobStore, host: str = "one", *, lease_seconds: float = LEASE_SECONDS) -> str:
    """Register a worker."""
    return store.register_worker(host, version="1", gpu="none", lease_seconds=lease_seconds)


def lease(store: JobStore, worker_id: str, **changes: Any) -> Lease:
    """Lease a job, which must be there."""
    taken = try_lease(store, worker_id, **changes)
    assert taken is not None
    return taken


def try_lease(store: JobStore, worker_id: str, **changes: Any) -> Lease | None:
    """Lease a job, if there is one."""
    return store.lease_next(worker_id, **{"lease_seconds": LEASE_SECONDS, "host": "one", **changes})


def move_clock(store: JobStore, seconds: float) -> None:
    """Let the clock of the database go on, or back, by moving all times that it wrote the other way."""
    columns = {
        workers: ("started_at", "last_beat"),
        jobs: ("start_time", "end_time", "lease_expires_at", "first_passed_at", "created_at", "updated_at"),
        attempts: ("started_at", "ended_at"),
        audit: ("at",),
    }

    def move(connection: sa.Connection) -> None:
        for table, names in columns.items():
            connection.execute(table.update().values({name: table.c[name] - seconds for name in names}))

    store.database.write(move)


def silence(store: JobStore, worker_id: str, seconds: float) -> None:
    """Let the last heartbeat of a worker, and its leases, be older."""

    def age(connection: sa.Connection) -> None:
        is_worker = workers.c.worker_id == worker_id
        connection.execute(workers.update().where(is_worker).values(last_beat=workers.c.last_beat - seconds))
        is_held = jobs.c.worker_id == worker_id
        connection.execute(jobs.update().where(is_held).values(lease_expires_at=jobs.c.lease_expires_at - seconds))

    store.database.write(age)
