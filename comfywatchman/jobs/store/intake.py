"""Writing job files that were read into the database: the same name is one job, and no end state is undone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import sqlalchemy as sa

from comfywatchman.jobs.records import JobSpec, JobStatus, Upserted, UpsertOutcome, decode_spec, encode_spec
from comfywatchman.jobs.store.session import JobDatabase
from comfywatchman.jobs.store.tables import DatabaseNow, jobs

_FIXED_STATUSES = frozenset({JobStatus.PROCESSING, JobStatus.DONE})
"""A job that runs or is done keeps the description that it ran with."""


def build_upsert(database: JobDatabase, spec: JobSpec) -> Callable[[sa.Connection], Upserted]:
    """Return the transaction that inserts a job, or updates a waiting one whose file changed.

    A failed, cancelled or quarantined job keeps its status and takes the new description, which a retry then runs.
    """

    def upsert(connection: sa.Connection) -> Upserted:
        now = DatabaseNow()
        insert = database.insert(jobs).values(
            config_name=spec.config_name,
            priority=spec.priority,
            status=JobStatus.PENDING.value,
            created_at=now,
            updated_at=now,
            **_description(spec),
        )
        statement = insert.on_conflict_do_nothing(index_elements=["config_name"]).returning(jobs.c.id)
        job_id = connection.execute(statement).scalar_one_or_none()
        if job_id is not None:
            return Upserted(job_id=job_id, outcome=UpsertOutcome.INSERTED)
        return _update(connection, spec)

    return upsert


def find_source_hashes(connection: sa.Connection, config_names: Iterable[str]) -> dict[str, str]:
    """Return the hash of the file that each known job was last read from."""
    hashes: dict[str, str] = {}
    names = list(config_names)
    step = 500
    for start in range(0, len(names), step):
        chunk = names[start : start + step]
        query = sa.select(jobs.c.config_name, jobs.c.source_sha256).where(jobs.c.config_name.in_(chunk))
        hashes.update(connection.execute(query).all())
    return hashes


def _update(connection: sa.Connection, spec: JobSpec) -> Upserted:
    columns = (jobs.c.id, jobs.c.status, jobs.c.spec, jobs.c.source_sha256)
    query = sa.select(*columns).where(jobs.c.config_name == spec.config_name).with_for_update()
    row = connection.execute(query).one()
    known = decode_spec(row.spec)
    status = JobStatus(row.status)
    if known == spec and not status.is_terminal:
        return Upserted(job_id=row.id, outcome=UpsertOutcome.UNCHANGED)
    if status in _FIXED_STATUSES or known == spec:
        return Upserted(job_id=row.id, outcome=UpsertOutcome.IGNORED)
    values = _description(spec)
    # A priority that a person set holds until the file asks for another one than before.
    if spec.priority != known.priority:
        values["priority"] = spec.priority
    connection.execute(jobs.update().where(jobs.c.id == row.id).values(updated_at=DatabaseNow(), **values))
    return Upserted(job_id=row.id, outcome=UpsertOutcome.UPDATED)


def _description(spec: JobSpec) -> dict[str, Any]:
    return {
        "job_type": spec.job_type,
        "workflow_id": spec.workflow_id,
        "retry_limit": spec.retry_limit,
        "affinity_key": spec.affinity_key or spec.workflow_id,
        "readiness_key": spec.readiness_key or spec.workflow_id,
        "spec": encode_spec(spec),
        "source_sha256": spec.source_sha256,
    }
