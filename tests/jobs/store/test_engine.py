from __future__ import annotations

import builtins
import sqlite3
import subprocess
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.server.listening import find_free_port
from comfywatchman.jobs.store import engine as engine_module
from comfywatchman.jobs.store.engine import open_engine, parse_url
from comfywatchman.jobs.store.job_store import JobStore, open_store
from tests.jobs.jobs import SPEC
from tests.jobs.postgresql import PostgresqlServer


@pytest.mark.parametrize("text", ["", "jobs.db", "mysql://h/db", "oracle://h/db", "sqlite://", "sqlite:///", "x://y"])
def test_url_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(Failure) as caught:
        parse_url(text)
    assert caught.value.code == "jobs-database-url"


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        ("sqlite:////tmp/x.db", "sqlite+pysqlite"),
        ("postgresql://u@h/d", "postgresql+psycopg"),
        ("postgresql+psycopg://u@h/d", "postgresql+psycopg"),
    ],
)
def test_url_gets_the_supported_driver(text: str, driver: str) -> None:
    assert parse_url(text).drivername == driver


def test_password_is_in_no_message() -> None:
    with pytest.raises(Failure) as caught:
        parse_url("mysql+pymysql://u:hunter2@h/db")
    assert "hunter2" not in str(caught.value)
    port = find_free_port()
    with pytest.raises(Failure) as caught, open_store(f"postgresql+psycopg://u:hunter2@127.0.0.1:{port}/db"):
        pass
    assert caught.value.code == "jobs-database-unavailable"
    assert "hunter2" not in str(caught.value)


def test_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import_module = builtins.__import__

    def refuse(name: str, *args: object, **options: object) -> object:
        if name.startswith("psycopg"):
            raise ModuleNotFoundError(name=name)
        return import_module(name, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(Failure) as caught:
        open_engine("postgresql+psycopg://u@h/d")
    assert caught.value.code == "jobs-driver-missing"
    assert "comfywatchman[fleet]" in str(caught.value)


def test_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Failure) as caught:
        open_engine(f"sqlite:///{tmp_path}/file/jobs.db")
    assert caught.value.code == "state-unwritable"


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 4080])
def test_damaged_file_is_reported_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "jobs.db"
    path.write_bytes(content)
    with pytest.raises(Failure) as caught, open_store(f"sqlite:///{path}"):
        pass
    assert caught.value.code == "jobs-database-damaged"
    assert path.read_bytes() == content


def test_sqlite_connections_are_set_up(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path}/jobs.db") as store:

        def read(connection: sa.Connection) -> list[object]:
            names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            return [connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names]

        assert store.database.read(read) == ["wal", 1, 1, 30_000]
        assert store.database.write(read) == ["wal", 1, 1, 30_000]
        assert store.database.write(read, is_durable=True) == ["wal", 2, 1, 30_000]
        assert store.database.read(read) == ["wal", 1, 1, 30_000]


@pytest.mark.slow
def test_writer_waits_for_another_process(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with open_store(f"sqlite:///{path}") as store:
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.05, other.rollback)
        timer.start()
        store.upsert(SPEC)
        timer.join()
        other.close()
        assert store.stats().total_jobs == 1


def test_writer_gives_up_when_another_process_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "jobs.db"
    with open_store(f"sqlite:///{path}") as store:
        monkeypatch.setattr(engine_module, "BUSY_TIMEOUT_SECONDS", 0)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Failure) as caught:
            store.upsert(SPEC)
        other.close()
        assert caught.value.code == "jobs-database-unavailable"
        assert "locked" in caught.value.message
        store.upsert(SPEC)


def test_postgresql_connections_are_set_up(postgresql_store: JobStore) -> None:
    def read(connection: sa.Connection) -> list[object]:
        names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "application_name")
        settings = [connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in names]
        return [*settings, connection.get_isolation_level()]

    assert postgresql_store.database.read(read) == ["1min", "30s", "1min", "comfywatchman", "READ COMMITTED"]


def test_connection_cut_by_the_server_is_replaced(
    postgresql_store: JobStore, postgresql_server: PostgresqlServer
) -> None:
    postgresql_store.stats()
    engine = sa.create_engine(postgresql_server.url())
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'comfywatchman'"
        )
    engine.dispose()
    assert postgresql_store.stats().total_jobs >= 0


@pytest.mark.slow
def test_standby_is_refused() -> None:
    try:
        standby = PostgresqlServer(is_standby=True)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no PostgreSQL: {error}")
    try:
        with pytest.raises(Failure) as caught, open_store(standby.url()):
            pass
    finally:
        standby.stop()
    assert caught.value.code == "jobs-database-unavailable"
    assert "read-only standby" in caught.value.message


def test_read_only_server_is_unavailable_and_its_connection_dropped(
    postgresql_store: JobStore,
) -> None:
    def write_read_only(connection: sa.Connection) -> None:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        connection.exec_driver_sql("UPDATE queue_state SET is_paused = false")

    with pytest.raises(Failure) as caught:
        postgresql_store.database.write(write_read_only)
    assert caught.value.code == "jobs-database-unavailable"
    assert "read-only" in caught.value.message
    assert not postgresql_store.is_paused()
