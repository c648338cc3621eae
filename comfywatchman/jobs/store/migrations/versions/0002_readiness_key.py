"""Which hosts can run a job depends on the models that it names, too; when jobs ended is read by status."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the key, which for jobs that are there is that of their workflow, and the indexes."""
    op.add_column("jobs", sa.Column("readiness_key", sa.Text, nullable=False, server_default=""))
    op.execute("UPDATE jobs SET readiness_key = workflow_id")
    _create_partial_index("ix_jobs_pending_readiness", ["readiness_key", "id"], "pending")
    for status in ("failed", "cancelled", "quarantined"):
        _create_partial_index(f"ix_jobs_{status}_ended", ["end_time"], status)
    op.execute("UPDATE queue_state SET schema_version = 2")


def _create_partial_index(name: str, columns: list[str], status: str) -> None:
    condition = sa.text(f"status = '{status}'")
    op.create_index(name, "jobs", columns, sqlite_where=condition, postgresql_where=condition)
