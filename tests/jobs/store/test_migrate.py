from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from shutil import copytree

import pytest
import sqlalchemy as sa

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.records import encode_spec
from comfywatchman.jobs.store.engine import open_engine
from comfywatchman.jobs.store.job_store import JobStore, open_store
from comfywatchman.jobs.store.migrate import SCRIPTS, upgrade_database
from comfywatchman.jobs.store.session import JobDatabase
from tests.jobs.jobs import SPEC, add_jobs, lease, start_worker, try_lease
from tests.jobs.postgresql import PostgresqlServer

pytestmark = pytest.mark.slow

SECOND = '''
"""A column more."""
import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    with op.batch_alter_table("jobs") as batch:
        batch.add_column(sa.Column("note", sa.Text, nullable=False, server_default="-"))
    op.execute("UPDATE queue_state SET schema_version = 3")
'''


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/jobs.db"
    server: PostgresqlServer = request.getfixturevalue("postgresql_server")
    names = iter(range(100))
    while True:
        try:
            return server.create_database(f"empty{next(names)}")
        except Exception as error:
            if type(error).__name__ != "DuplicateDatabase":
                raise


@pytest.fixture
def newer_scripts(tmp_path: Path) -> Path:
    """Return the migrations of a newer version of the program."""
    scripts = tmp_path / "newer"
    copytree(SCRIPTS, scripts)
    (scripts / "versions" / "0003_note.py").write_text(SECOND)
    return scripts


def test_upgrade_keeps_the_jobs_and_stops_older_agents(empty_url: str, newer_scripts: Path) -> None:
    with open_store(empty_url) as old:
        add_jobs(old, [1, 2])
        worker = start_worker(old)
        lease(old, worker)
        with JobStore(JobDatabase(open_engine(empty_url))) as new:
            backup = upgrade_database(new.database, scripts=newer_scripts)
        assert old.is_newer_than_agent()
        with pytest.raises(Failure) as caught:
            try_lease(old, worker)
        assert caught.value.code == "jobs-agent-older"
        assert old.stats().total_jobs == 2
        text = sa.text("SELECT note FROM jobs")
        assert old.database.read(lambda connection: connection.execute(text).scalars().all()) == ["-", "-"]
    with pytest.raises(Failure) as caught, open_store(empty_url):
        pass
    assert caught.value.code == "jobs-agent-older"
    assert (backup is not None) == empty_url.startswith("sqlite")
    if backup is not None:
        with open_store(f"sqlite:///{backup}") as restored:
            assert restored.stats().total_jobs == 2


def test_constraints_outlive_a_table_that_was_copied(empty_url: str, newer_scripts: Path) -> None:
    with open_store(empty_url) as store:
        upgrade_database(store.database, scripts=newer_scripts)
        store.upsert(SPEC)
        with pytest.raises(sa.exc.IntegrityError):
            store.database.write(lambda connection: connection.exec_driver_sql("UPDATE jobs SET priority = 0"))
        names = {index["name"] for index in sa.inspect(store.database.engine).get_indexes("jobs")}
        assert "ix_jobs_pending" in names


def test_agents_that_start_together_upgrade_once(empty_url: str) -> None:
    errors: list[BaseException] = []

    def start() -> None:
        try:
            with open_store(empty_url) as store:
                store.upsert(SPEC)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with open_store(empty_url) as store:
        assert store.stats().total_jobs == 1


def test_failed_upgrade_changes_nothing(empty_url: str, newer_scripts: Path) -> None:
    script = newer_scripts / "versions" / "0003_note.py"
    script.write_text(SECOND + "    raise RuntimeError('broken')\n")
    with open_store(empty_url) as store:
        store.upsert(SPEC)
        with pytest.raises(RuntimeError, match="broken"):
            upgrade_database(store.database, scripts=newer_scripts)
        columns = {column["name"] for column in sa.inspect(store.database.engine).get_columns("jobs")}
        assert "note" not in columns
    with open_store(empty_url) as store:
        assert store.stats().total_jobs == 1


def test_backup_that_was_interrupted_is_made_anew(tmp_path: Path, newer_scripts: Path) -> None:
    path = tmp_path / "jobs.db"
    (tmp_path / "jobs.db.backup-0002.partial").write_bytes(b"half")
    with open_store(f"sqlite:///{path}") as store:
        store.upsert(SPEC)
        backup = upgrade_database(store.database, scripts=newer_scripts)
        assert upgrade_database(store.database, scripts=newer_scripts) is None
    assert backup == tmp_path / "jobs.db.backup-0002"
    assert not (tmp_path / "jobs.db.backup-0002.partial").exists()
    connection = sqlite3.connect(backup)
    assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (1,)
    connection.close()


def test_jobs_of_the_first_version_are_ready_with_their_workflow(empty_url: str, tmp_path: Path) -> None:
    first = tmp_path / "first"
    copytree(SCRIPTS, first)
    (first / "versions" / "0002_readiness_key.py").unlink()
    columns = "config_name, job_type, workflow_id, affinity_key, spec, created_at, updated_at"
    values = {"name": SPEC.config_name, "spec": encode_spec(SPEC)}
    row = sa.text(f"INSERT INTO jobs ({columns}) VALUES (:name, 'T2I', 'sdxl', 'x', :spec, 1, 1)")  # noqa: S608
    with JobStore(JobDatabase(open_engine(empty_url))) as old:
        upgrade_database(old.database, scripts=first)
        old.database.write(lambda connection: connection.execute(row, values))
    with open_store(empty_url) as store:
        worker = start_worker(store)
        assert try_lease(store, worker, ready_workflows=frozenset({"flux"})) is None
        assert lease(store, worker, ready_workflows=frozenset({"sdxl"})).job.config_name == SPEC.config_name
