from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import copyfile

import pytest
import sqlalchemy as sa

from comfywatchman.jobs.store.job_store import JobStore, open_store
from comfywatchman.jobs.store.tables import SCHEMA_VERSION, metadata, queue_state
from tests.jobs.postgresql import PostgresqlServer

BACKENDS = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """Return a running PostgreSQL; skip, with the reason, where it cannot be had."""
    try:
        server = PostgresqlServer()
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no PostgreSQL: {error}")
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def postgresql_store(postgresql_server: PostgresqlServer) -> Iterator[JobStore]:
    """Return a queue on PostgreSQL, for all tests of this process; connections cost more than the tests."""
    with open_store(postgresql_server.create_database("jobs")) as opened:
        yield opened


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a SQLite file with all tables, to copy."""
    path = tmp_path_factory.mktemp("jobs") / "template.db"
    with open_store(f"sqlite:///{path}"):
        return path


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty job database; each test runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        path = tmp_path / "jobs.db"
        copyfile(request.getfixturevalue("sqlite_template"), path)
        return f"sqlite:///{path}"
    opened: JobStore = request.getfixturevalue("postgresql_store")
    opened.database.write(delete_rows)
    return opened.database.engine.url.render_as_string(hide_password=False)


@pytest.fixture
def store(database_url: str, request: pytest.FixtureRequest) -> Iterator[JobStore]:
    """Return an open queue without jobs."""
    if database_url.startswith("postgresql"):
        yield request.getfixturevalue("postgresql_store")
        return
    with open_store(database_url) as opened:
        yield opened


def delete_rows(connection: sa.Connection) -> None:
    """Delete everything that a test left."""
    for table in reversed(metadata.sorted_tables):
        if table is not queue_state:
            connection.execute(table.delete())
    connection.execute(queue_state.update().values(schema_version=SCHEMA_VERSION, is_paused=False))
