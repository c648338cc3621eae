"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_HOT = {"fillfactor": 70, "autovacuum_vacuum_scale_factor": 0.02}
_STATUSES = "'pending', 'processing', 'done', 'failed', 'cancelled', 'quarantined'"


def upgrade() -> None:
    """Create the tables, indexes and the row of the queue."""
    _create_jobs()
    _create_runs()
    _create_hosts()
    op.create_table(
        "queue_state",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("schema_version", sa.Integer, nullable=False),
        sa.Column("is_paused", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.CheckConstraint("id = 1", name="ck_queue_state_single"),
    )
    op.execute("INSERT INTO queue_state (id, schema_version) VALUES (1, 1)")
    op.create_table(
        "audit",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("interface", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("config_name", sa.Text),
        sa.Column("old", sa.Text),
        sa.Column("new", sa.Text),
    )
    op.create_index("ix_audit_config_name", "audit", ["config_name", "id"])


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("config_name", sa.Text, nullable=False, unique=True),
        sa.Column("job_type", sa.Text, nullable=False),
        sa.Column("workflow_id", sa.Text, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False, server_default="50"),
        sa.Column("status", sa.Text, nullable=False, server_default="pending"),
        sa.Column("run_count", sa.Integer, nullable=False, server_default="0"),
        sa.Column("retries_attempted", sa.Integer, nullable=False, server_default="0"),
        sa.Column("retry_limit", sa.Integer, nullable=False, server_default="2"),
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
        sa.Column("lease_expires_at", sa.Double),
        sa.Column("lease_seconds", sa.Double),
        sa.Column("cancel_requested", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("affinity_key", sa.Text, nullable=False),
        sa.Column("passes", sa.Integer, nullable=False, server_default="0"),
        sa.Column("first_passed_at", sa.Double),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("source_sha256", sa.Text, nullable=False, server_default=""),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.CheckConstraint(f"status IN ({_STATUSES})", name="ck_jobs_status"),
        sa.CheckConstraint("priority BETWEEN 1 AND 999", name="ck_jobs_priority"),
        sa.CheckConstraint("job_type <> '' AND job_type = upper(job_type)", name="ck_jobs_type"),
        sa.CheckConstraint("(status = 'processing') = (lease_expires_at IS NOT NULL)", name="ck_jobs_lease"),
        sqlite_autoincrement=True,
        postgresql_with={"autovacuum_vacuum_scale_factor": 0.02},
    )
    _create_partial_index("ix_jobs_pending", ["priority", "id"], "pending")
    _create_partial_index("ix_jobs_pending_affinity", ["affinity_key", "priority", "id"], "pending")
    _create_partial_index("ix_jobs_processing", ["id"], "processing")
    _create_partial_index("ix_jobs_done_ended", ["end_time"], "done")
    for status in ("done", "failed", "cancelled", "quarantined"):
        _create_partial_index(f"ix_jobs_{status}", ["id"], status)


def _create_partial_index(name: str, columns: list[str], status: str) -> None:
    condition = sa.text(f"status = '{status}'")
    op.create_index(name, "jobs", columns, sqlite_where=condition, postgresql_where=condition)


def _create_runs() -> None:
    op.create_table(
        "workers",
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
    op.create_table(
        "attempts",
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


def _create_hosts() -> None:
    op.create_table(
        "hosts",
        sa.Column("host", sa.Text, primary_key=True),
        sa.Column("published_at", sa.Double, nullable=False),
    )
    op.create_table(
        "host_workflows",
        sa.Column("host", sa.Text, primary_key=True),
        sa.Column("workflow_id", sa.Text, primary_key=True),
        sa.Column("is_ready", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
