"""Opening the job database: URLs, settings of each connection, and errors of the database as failures."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine import URL, make_url

from comfywatchman.base.errors import Failure
from comfywatchman.base.text import os_error_text

BEGIN_OPTION: Final = "jobs_begin"
"""Execution option: how SQLite begins the transaction (see `open_engine`)."""

BUSY_TIMEOUT_SECONDS: Final = 30
_DRIVERS: Final = frozenset({"sqlite+pysqlite", "postgresql+psycopg"})
_CONNECT_TIMEOUT_SECONDS: Final = 10
_POSTGRESQL_SETTINGS: Final = (
    "SET statement_timeout = '60s'",
    "SET lock_timeout = '30s'",
    # A transaction that is left open keeps VACUUM from removing dead rows, and the queue slows down.
    "SET idle_in_transaction_session_timeout = '60s'",
)
_POSTGRESQL_CONNECT: Final = {
    "connect_timeout": _CONNECT_TIMEOUT_SECONDS,
    "application_name": "comfywatchman",
    # A worker whose network was cut must notice it before its lease ends.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
_POLL_SECONDS: Final = 0.002
_SQLITE_BUSY: Final = 5
_PRIMARY_CODE_MASK: Final = 0xFF
_DAMAGED: Final = ("malformed", "not a database", "disk image")
_READ_ONLY_STATE: Final = "25006"


def parse_url(text: str) -> URL:
    """Parse the URL of a job database.

    Raises:
        Failure: `jobs-database-url`.
    """
    hint = 'Write "sqlite:////absolute/path.db" or "postgresql+psycopg://USER@HOST/NAME".'
    try:
        url = make_url(text)
        name = url.drivername if "+" in url.drivername else f"{url.drivername}+{url.get_dialect().driver}"
    except (exc.ArgumentError, exc.NoSuchModuleError, ImportError, ValueError) as error:
        raise Failure("jobs-database-url", "The URL of the job database cannot be read.", hint=hint) from error
    if url.drivername in {"postgresql", "postgres"}:
        name = "postgresql+psycopg"
    if name not in _DRIVERS or not url.database:
        raise Failure(
            "jobs-database-url",
            f"Jobs cannot be kept in {url.render_as_string()}: only a file or PostgreSQL.",
            hint=hint,
        )
    return url.set(drivername=name)


def open_engine(text: str) -> sa.Engine:
    """Return an engine whose connections are set up for the queue; it connects on first use.

    On SQLite a transaction begins as the execution option `BEGIN_OPTION` says. A transaction that reads first and
    writes later fails at once when another process wrote in between, so every writing one begins with BEGIN IMMEDIATE.

    Raises:
        Failure: `jobs-database-url`, `jobs-driver-missing`, or `state-unwritable` when the folder of a SQLite database
            cannot be created.
    """
    url = parse_url(text)
    if url.get_backend_name() == "sqlite":
        _create_folder(Path(str(url.database)))
        engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_SECONDS}, pool_size=5, max_overflow=5)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    try:
        engine = sa.create_engine(
            url,
            pool_pre_ping=True,
            pool_size=3,
            max_overflow=5,
            isolation_level="READ COMMITTED",
            connect_args={**_POSTGRESQL_CONNECT, **url.query},
        )
    except ImportError as error:
        raise Failure(
            "jobs-driver-missing",
            "The job database is a PostgreSQL, and its driver psycopg is not installed.",
            hint='Run: pip install "comfywatchman[fleet]"',
        ) from error
    event.listen(engine, "connect", _set_up_postgresql)
    event.listen(engine, "handle_error", _drop_read_only_connections)
    return engine


@contextmanager
def translate_errors(engine: sa.Engine) -> Iterator[None]:
    """Turn errors of the database and its connection into failures.

    Raises:
        Failure: `jobs-database-unavailable` or `jobs-database-damaged`.
    """
    place = engine.url.render_as_string(hide_password=True)
    try:
        yield
    except (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError) as error:
        reason = _describe_error(error)
        raise Failure(
            "jobs-database-unavailable",
            f"The job database {place} cannot be used: {reason}.",
            hint="Check that it runs and accepts this host; the agent tries again by itself.",
        ) from error
    except exc.DatabaseError as error:
        # IntegrityError, DataError and ProgrammingError are our own mistakes and stay as they are.
        if not any(word in str(error.orig) for word in _DAMAGED):
            raise
        raise Failure(
            "jobs-database-damaged",
            f"The job database {place} is damaged: {_describe_error(error)}.",
            hint="Stop all agents, then restore a backup (jobs.db.backup-*), or move the file away for a new queue.",
        ) from error


def _describe_error(error: exc.SQLAlchemyError) -> str:
    # The driver's own text: that of SQLAlchemy holds the statement and its values.
    text = str(getattr(error, "orig", None) or error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__


def _create_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(
            "state-unwritable",
            f"The folder of the job database {path} cannot be created: {os_error_text(error)}.",
            hint="Check its permissions, or set [jobs] database to another place.",
        ) from error


def _set_up_sqlite(connection: Any, _: Any) -> None:
    # The driver must begin no transactions of its own: `_begin_sqlite` does.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: sa.Connection) -> None:
    driver: Any = connection.connection.driver_connection
    how = connection.get_execution_options().get(BEGIN_OPTION, "BEGIN")
    if how == "BEGIN":
        driver.execute(how)
        return
    # SQLite's own waiting sleeps ever longer: with eight processes one of them waits for many seconds.
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        _wait_for_write_lock(driver, how)
    finally:
        driver.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_SECONDS * 1000}")


def _wait_for_write_lock(driver: Any, how: str) -> None:
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            driver.execute(how)
        except driver.OperationalError as error:
            if error.sqlite_errorcode & _PRIMARY_CODE_MASK != _SQLITE_BUSY or time.monotonic() >= deadline:
                raise exc.OperationalError(how, None, error) from error
        else:
            return
        time.sleep(random.uniform(0.0005, _POLL_SECONDS))  # noqa: S311 - spreads the waiting processes


def _set_up_postgresql(connection: Any, _: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_is_in_recovery()")
        if cursor.fetchone()[0]:
            # After a failover a reconnect may reach the old primary, on which nothing can be leased or finished.
            raise exc.OperationalError("connect", None, RuntimeError("this PostgreSQL server is a read-only standby"))
        for statement in _POSTGRESQL_SETTINGS:
            cursor.execute(statement)
    connection.commit()


def _drop_read_only_connections(context: sa.engine.ExceptionContext) -> None:
    if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY_STATE:
        context.is_disconnect = True
