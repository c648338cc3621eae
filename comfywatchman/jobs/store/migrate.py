"""Creating and upgrading the job database, with a backup before each upgrade of a SQLite file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.store.session import JobDatabase

SCRIPTS: Final = Path(__file__).parent / "migrations"
_ADVISORY_LOCK: Final = 0x636F6D6679
"""The lock that agents take on PostgreSQL so that only one of them upgrades: "comfy" as a number."""


def upgrade_database(database: JobDatabase, *, scripts: Path = SCRIPTS) -> Path | None:
    """Create the tables, or bring them up to date; do nothing when they are.

    Args:
        database: The database.
        scripts: The folder of migrations.

    Returns:
        The backup that was taken first, if any.

    Raises:
        Failure: `jobs-agent-older` when a newer version of this program upgraded the database.
    """
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    known = ScriptDirectory.from_config(config)
    head = known.get_current_head()
    current = database.read(_read_revision)
    if current == head:
        return None
    _check_is_known(known, current)
    backup = _back_up(database, current) if current else None
    database.write(_build_upgrade(config, known), is_durable=True)
    return backup


def _build_upgrade(config: Config, known: ScriptDirectory) -> Callable[[sa.Connection], None]:
    def upgrade(connection: sa.Connection) -> None:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        # Another agent may have upgraded while this one waited.
        _check_is_known(known, _read_revision(connection))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    return upgrade


def _read_revision(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _check_is_known(known: ScriptDirectory, revision: str | None) -> None:
    revisions = {script.revision for script in known.walk_revisions()}
    if revision is not None and revision not in revisions:
        raise agent_older_failure()


def agent_older_failure() -> Failure:
    """Return the failure of an agent that does not know the version of the database."""
    return Failure(
        "jobs-agent-older",
        "A newer version of comfywatchman has upgraded the job database, so this agent takes no more jobs.",
        hint="Upgrade comfywatchman on this host, then start the agent again.",
    )


def _back_up(database: JobDatabase, revision: str) -> Path | None:
    """Copy a SQLite database beside itself. A PostgreSQL is backed up by those who run it."""
    if not database.is_sqlite:
        return None
    path = Path(str(database.engine.url.database))
    backup = path.with_name(f"{path.name}.backup-{revision}")
    partial = path.with_name(f"{backup.name}.partial")
    partial.unlink(missing_ok=True)
    with database.engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None  # noqa: S101 - an open connection has one
        driver.execute("VACUUM INTO ?", (str(partial),))
    os.replace(partial, backup)
    return backup
