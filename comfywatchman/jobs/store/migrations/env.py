"""Run by Alembic for each upgrade; `jobs.store.migrate` passes the open connection in."""

from alembic import context

from comfywatchman.jobs.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite can change most properties of a table only by copying it.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
