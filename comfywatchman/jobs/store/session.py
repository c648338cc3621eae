"""Transactions of the job database: begun as each database needs it, and repeated after a deadlock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql, sqlite

from comfywatchman.jobs.store.engine import BEGIN_OPTION, translate_errors

ResultT = TypeVar("ResultT")

_TRIES: Final = 3
_REPEATABLE_STATES: Final = frozenset({"40001", "40P01"})
"""Serialization failure and deadlock: PostgreSQL rolled the transaction back, and it may run again."""


class JobDatabase:
    """The engine of a job database, and its transactions.

    A SQLite transaction that must survive a power cut is written with `synchronous = FULL`, the others with NORMAL: of
    these a power cut may undo the last ones, which a restart repeats (a lease, a heartbeat, a job file that was read).
    """

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._writer = engine.execution_options(**{BEGIN_OPTION: "BEGIN IMMEDIATE"})

    def read(self, work: Callable[[sa.Connection], ResultT]) -> ResultT:
        """Run a function in a transaction that only reads.

        Raises:
            Failure: `jobs-database-unavailable` or `jobs-database-damaged`.
        """
        with translate_errors(self.engine), self.engine.begin() as connection:
            return work(connection)

    def write(self, work: Callable[[sa.Connection], ResultT], *, is_durable: bool = False) -> ResultT:
        """Run a function in a transaction and commit it; it may run several times.

        Args:
            work: The statements; it must have no other effect.
            is_durable: Whether the commit must survive a power cut.

        Raises:
            Failure: `jobs-database-unavailable` or `jobs-database-damaged`.
        """
        with translate_errors(self.engine):
            for _ in range(_TRIES - 1):
                try:
                    return self._run(work, is_durable=is_durable)
                except exc.OperationalError as error:
                    if getattr(error.orig, "sqlstate", None) not in _REPEATABLE_STATES:
                        raise
            return self._run(work, is_durable=is_durable)

    def insert(self, table: sa.Table) -> Any:
        """Return an INSERT of this database with `on_conflict_do_nothing` and `on_conflict_do_update`."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def _run(self, work: Callable[[sa.Connection], ResultT], *, is_durable: bool) -> ResultT:
        if not (self.is_sqlite and is_durable):
            with self._writer.begin() as connection:
                return work(connection)
        with self._writer.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.execute("PRAGMA synchronous = FULL")
            try:
                with connection.begin():
                    return work(connection)
            finally:
                driver.execute("PRAGMA synchronous = NORMAL")
