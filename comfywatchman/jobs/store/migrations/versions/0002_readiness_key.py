"""Which hosts can run a job depends on the models that it names, too."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the key; jobs that are there have that of their workflow."""
    op.add_column("jobs", sa.Column("readiness_key", sa.Text, nullable=False, server_default=""))
    op.execute("UPDATE jobs SET readiness_key = workflow_id")
    pending = sa.text("status = 'pending'")
    op.create_index(
        "ix_jobs_pending_readiness",
        "jobs",
        ["readiness_key", "id"],
        sqlite_where=pending,
        postgresql_where=pending,
    )
    op.execute("UPDATE queue_state SET schema_version = 2")
