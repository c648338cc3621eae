"""The tables of the job database, the same on SQLite and PostgreSQL.

Times are seconds since 1970 by the clock of the database, texts of several values are JSON. Statuses in indexes and
statements are literals: with a bound status PostgreSQL may choose a plan that ignores the partial indexes.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement

from comfywatchman.jobs.records import JobStatus

SCHEMA_VERSION: Final = 2
"""The version that this code reads and writes. The last migration sets it in `queue_state`."""

_ID: Final = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_HOT: Final = {"fillfactor": 70, "autovacuum_vacuum_scale_factor": 0.02}
"""Free space in each page, so that an update that touches no index stays in its page (PostgreSQL calls it HOT)."""


class DatabaseNow(FunctionElement[float]):
    """The time by the clock of the database, in seconds since 1970."""

    inherit_cache = True
    type = sa.Double()


# unixepoch('subsec') is NULL before SQLite 3.42, and a lease that ends at NULL never ends.
@compiles(DatabaseNow, "sqlite")
def _compile_for_sqlite(*_: Any, **__: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


# Not now(), which is the begin of the transaction: waiting for a lock would age a heartbeat.
@compiles(DatabaseNow, "postgresql")
def _compile_for_postgresql(*_: Any, **__: Any) -> str:
    return "(extract(epoch from statement_timestamp())::double precision)"


metadata: Final = sa.MetaData()

jobs: Final = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("config_name", sa.Text, nullable=False, unique=True),
    sa.Column("job_type", sa.Text, nullable=False),
    sa.Column("workflow_id", sa.Text, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False, server_default="50"),
    sa.Column("status", sa.Text, nullable=False, server_default="pending"),
    sa.Column("run_count", sa.Integer, nullable=False, server_default="0"),
    sa.Column("retries_attempted", sa.Integer, nullable=False, server_default="0"),
    sa.Column("retry_limit", sa.Integer, nullable=False, server_default="2"),
    # What retries_attempted was when a person last granted new retries.
    sa.Column("retries_base", sa.Integer, nullable=False, server_default="0"),
    sa.Column("interruptions", sa.Integer, nullable=False, server_default="0"),
    sa.Column("comfyui_kills", sa.Integer, nullable=False, server_default="0"),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
    sa.Column("start_time", sa.Double),
    sa.Column("end_time", sa.Double),
    sa.Column("duration", sa.Double),
    sa.Column("error_code", sa.Text),
    sa.Column("error_trace", sa.Text),
    sa.Column("metadata", sa.Text, nullable=False, server_default="{}"),
    sa.Column("worker_id", sa.Text),
    sa.Column("host", sa.Text),
    # The end of the lease if its worker never sends a heartbeat. Each heartbeat moves the end in `workers` instead.
    sa.Column("lease_expires_at", sa.Double),
    sa.Column("lease_seconds", sa.Double),
    sa.Column("cancel_requested", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("affinity_key", sa.Text, nullable=False),
    sa.Column("readiness_key", sa.Text, nullable=False, server_default=""),
    sa.Column("passes", sa.Integer, nullable=False, server_default="0"),
    sa.Column("first_passed_at", sa.Double),
    sa.Column("spec", sa.Text, nullable=False),
    sa.Column("source_sha256", sa.Text, nullable=False, server_default=""),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("updated_at", sa.Double, nullable=False),
    sa.CheckConstraint(
        "status IN ('pending', 'processing', 'done', 'failed', 'cancelled', 'quarantined')", name="ck_jobs_status"
    ),
    sa.CheckConstraint("priority BETWEEN 1 AND 999", name="ck_jobs_priority"),
    sa.CheckConstraint("job_type <> '' AND job_type = upper(job_type)", name="ck_jobs_type"),
    sa.CheckConstraint("(status = 'processing') = (lease_expires_at IS NOT NULL)", name="ck_jobs_lease"),
    sqlite_autoincrement=True,
    postgresql_with={"autovacuum_vacuum_scale_factor": 0.02},
)

workers: Final = sa.Table(
    "workers",
    metadata,
    sa.Column("worker_id", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("gpu", sa.Text, nullable=False),
    sa.Column("started_at", sa.Double, nullable=False),
    sa.Column("last_beat", sa.Double, nullable=False),
    sa.Column("lease_seconds", sa.Double, nullable=False),
    sa.Column("progress", sa.Text, nullable=False, server_default="{}"),
    postgresql_with=_HOT,
)

attempts: Final = sa.Table(
    "attempts",
    metadata,
    sa.Column("job_id", _ID, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("worker_id", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("started_at", sa.Double, nullable=False),
    sa.Column("ended_at", sa.Double),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("error_code", sa.Text),
    sa.Column("error_text", sa.Text),
    sa.Column("prompt_ids", sa.Text, nullable=False, server_default="[]"),
    sa.Column("published", sa.Text, nullable=False, server_default="[]"),
    sa.Column("metadata", sa.Text, nullable=False, server_default="{}"),
    postgresql_with=_HOT,
)

hosts: Final = sa.Table(
    "hosts",
    metadata,
    sa.Column("host", sa.Text, primary_key=True),
    sa.Column("published_at", sa.Double, nullable=False),
)

host_workflows: Final = sa.Table(
    "host_workflows",
    metadata,
    sa.Column("host", sa.Text, primary_key=True),
    sa.Column("workflow_id", sa.Text, primary_key=True),
    sa.Column("is_ready", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)

queue_state: Final = sa.Table(
    "queue_state",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("schema_version", sa.Integer, nullable=False),
    sa.Column("is_paused", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.CheckConstraint("id = 1", name="ck_queue_state_single"),
)

audit: Final = sa.Table(
    "audit",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("interface", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("config_name", sa.Text),
    sa.Column("old", sa.Text),
    sa.Column("new", sa.Text),
)


def status_literal(status: JobStatus) -> sa.ColumnElement[str]:
    """Return a status as part of the statement, which a partial index can be matched with."""
    return sa.literal_column(f"'{status.value}'", sa.Text)


def is_status(status: JobStatus) -> sa.ColumnElement[bool]:
    """Return the condition that a job has a status."""
    return jobs.c.status == status_literal(status)


def _add_partial_index(name: str, *columns: sa.Column[Any], status: JobStatus) -> None:
    condition = sa.text(f"status = '{status.value}'")
    sa.Index(name, *columns, sqlite_where=condition, postgresql_where=condition)


_add_partial_index("ix_jobs_pending", jobs.c.priority, jobs.c.id, status=JobStatus.PENDING)
_add_partial_index(
    "ix_jobs_pending_affinity", jobs.c.affinity_key, jobs.c.priority, jobs.c.id, status=JobStatus.PENDING
)
_add_partial_index("ix_jobs_pending_readiness", jobs.c.readiness_key, jobs.c.id, status=JobStatus.PENDING)
_add_partial_index("ix_jobs_processing", jobs.c.id, status=JobStatus.PROCESSING)
# One index for each status. SQLite, which has no statistics, would take an index over the status of all jobs for the
# pending ones too, and sort them.
_add_partial_index("ix_jobs_done", jobs.c.id, status=JobStatus.DONE)
for _ended in (JobStatus.DONE, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.QUARANTINED):
    _add_partial_index(f"ix_jobs_{_ended.value}_ended", jobs.c.end_time, status=_ended)
_add_partial_index("ix_jobs_failed", jobs.c.id, status=JobStatus.FAILED)
_add_partial_index("ix_jobs_cancelled", jobs.c.id, status=JobStatus.CANCELLED)
_add_partial_index("ix_jobs_quarantined", jobs.c.id, status=JobStatus.QUARANTINED)
sa.Index("ix_audit_config_name", audit.c.config_name, audit.c.id)
