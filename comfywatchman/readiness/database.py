"""The SQLite cache of the readiness area: it may be deleted at any time, and damage never goes unnoticed."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.failpoints import failpoint
from comfywatchman.base.files import printable_path
from comfywatchman.base.state.state_file import set_aside

MIGRATIONS: Final[tuple[str, ...]] = (
    """
    CREATE TABLE header (
        device INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
        suffix TEXT NOT NULL, format TEXT NOT NULL, problem TEXT, problem_code TEXT, detail TEXT NOT NULL,
        unseen_cycles INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (device, inode, size, mtime_ns, suffix)
    ) WITHOUT ROWID;
    CREATE TABLE content (
        device INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
        sha256 TEXT NOT NULL, autov3 TEXT, blake3 TEXT NOT NULL,
        unseen_cycles INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (device, inode, size, mtime_ns)
    ) WITHOUT ROWID;
    CREATE TABLE note (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID
    """,
    """
    CREATE TABLE workflow_facts (
        sha256 TEXT NOT NULL, knowledge TEXT NOT NULL, facts BLOB NOT NULL, PRIMARY KEY (sha256, knowledge)
    );
    CREATE TABLE workflow_verdicts (
        sha256 TEXT NOT NULL, context TEXT NOT NULL, judged BLOB NOT NULL, PRIMARY KEY (sha256, context)
    );
    CREATE TABLE plain_media (
        device INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
        PRIMARY KEY (device, inode, size, mtime_ns)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE pack (
        path BLOB PRIMARY KEY, fingerprint TEXT NOT NULL, git_fingerprint TEXT NOT NULL, facts BLOB NOT NULL
    )
    """,
    """
    CREATE TABLE registry_answer (class_type TEXT PRIMARY KEY, asked_at REAL NOT NULL, answer BLOB NOT NULL)
    """,
    """
    CREATE TABLE search_answer (
        model TEXT NOT NULL, context TEXT NOT NULL, asked_at REAL NOT NULL, answer BLOB NOT NULL,
        PRIMARY KEY (model, context)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE import_fact (key BLOB PRIMARY KEY, stamp TEXT NOT NULL, value BLOB NOT NULL)
    """,
    """
    DROP TABLE plain_media;
    CREATE TABLE plain_media (
        device INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
        reader INTEGER NOT NULL, PRIMARY KEY (device, inode, size, mtime_ns)
    ) WITHOUT ROWID
    """,
)
"""Scripts that migrate a database from version N to N + 1 (`PRAGMA user_version`). Add new ones at the end, never
change old ones. Statements are split at `;`, so no statement may contain one."""

BUSY_TIMEOUT_SECONDS: Final = 30.0
_CORRUPTION_CODES: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
_PRIMARY_CODE_MASK: Final = 0xFF
_UINT64_RANGE: Final = 1 << 64


class Database:
    """An open database and the problems met while opening it.

    Args:
        path: The file.
        connection: A connection in autocommit mode; writes go through `transaction`.
        problems: `index-damaged` when the file was set aside and rebuilt, `state-unwritable` when the database is in
            memory only.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, problems: tuple[Failure, ...] = ()) -> None:
        self.path = path
        self.connection = connection
        self.problems = problems

    def rebuild(self, error: sqlite3.DatabaseError) -> None:
        """Set a file aside that turned out to be damaged while in use, and continue with an empty one.

        Args:
            error: The error that showed the damage; see `is_corruption`.
        """
        self.connection.close()
        replacement = _rebuild(self.path, error)
        self.connection = replacement.connection
        self.problems = (*self.problems, *replacement.problems)

    def close(self) -> None:
        """Close the connection; the last one to close folds the write-ahead log into the file."""
        self.connection.close()


def open_database(path: Path) -> Database:
    """Open the database, creating or migrating it as needed; this never fails.

    A damaged file, or one written by a later version of this program, is set aside and rebuilt. When the file cannot
    be used, the database is in memory and `problems` reports it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pipe = _find_pipe(path)
        if pipe is not None:
            return _open_in_memory(path, f"{pipe} is a pipe")
        return Database(path, _connect(path))
    except sqlite3.DatabaseError as error:
        if is_corruption(error):
            return _rebuild(path, error)
        return _open_in_memory(path, str(error))
    except OSError as error:
        return _open_in_memory(path, error.strerror or str(error))


def open_memory_database() -> Database:
    """Open an empty database in memory, for a dry run that must write nothing."""
    return Database(Path(":memory:"), _connect(":memory:"))


def open_memory_copy(path: Path) -> Database:
    """Open a copy of the database in memory; nothing is written to the file, and this never fails.

    The copy is empty when the file does not exist or cannot be read.
    """
    copy = open_memory_database()
    if not os.path.isfile(path):
        return copy
    # Even a read-only connection to a WAL database creates the -wal and -shm files. Without a -wal file there is no
    # writer, so the file may be opened as immutable, which creates nothing (https://sqlite.org/wal.html#readonly).
    option = "mode=ro" if Path(f"{path}-wal").exists() else "immutable=1"
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?{option}", uri=True)) as original:
            original.backup(copy.connection)
        _migrate(copy.connection)
    except sqlite3.DatabaseError:
        copy.close()
        return open_memory_database()
    return copy


class TableStore:
    """Reads and writes the tables of one subject; database errors never stop a cycle.

    A damaged database is rebuilt. Facts that cannot be written are read from their files again in the next cycle.

    Args:
        database: The open database.
        name: Name of this store in `problems`.
    """

    def __init__(self, database: Database, *, name: str) -> None:
        self._database = database
        self._name = name
        self.problems: list[str] = []

    def read(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """Return the rows of a query; none after a database error."""
        try:
            return self._database.connection.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            self._recover(error)
            return []

    def write(self, statements: Iterable[tuple[str, list[tuple[Any, ...]]]]) -> None:
        """Run statements, each once per row, in one transaction."""
        try:
            with transaction(self._database.connection) as connection:
                for statement, rows in statements:
                    connection.executemany(statement, rows)
        except sqlite3.DatabaseError as error:
            self._recover(error)
        except OSError as error:
            self.problems.append(f"the {self._name} could not be written: {error.strerror}")

    def _recover(self, error: sqlite3.DatabaseError) -> None:
        if is_corruption(error):
            self._database.rebuild(error)
            self.problems.append(self._database.problems[-1].message)
        else:
            self.problems.append(f"the {self._name} could not be used: {error}")


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Commit the enclosed writes together, or none of them when the block raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        failpoint("index.before_commit")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    failpoint("index.after_commit")


def is_corruption(error: sqlite3.DatabaseError) -> bool:
    """Return whether an error means that the file itself is damaged, not that it is busy, full or read-only."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, _NewerVersionError) or (
        code is not None and code & _PRIMARY_CODE_MASK in _CORRUPTION_CODES
    )


def to_signed(number: int) -> int:
    """Return an unsigned 64-bit number (a device, an inode) as SQLite can hold it: its integers are signed."""
    if number >= _UINT64_RANGE // 2:
        return number - _UINT64_RANGE
    return number


def to_unsigned(number: int) -> int:
    """Reverse `to_signed`."""
    return number % _UINT64_RANGE


class _NewerVersionError(sqlite3.DatabaseError):
    """The file was written by a later version of this program."""


def _connect(path: Path | str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        _migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _read_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _migrate(connection: sqlite3.Connection) -> None:
    """Run the missing migrations."""
    if _read_version(connection) == len(MIGRATIONS):
        return
    with transaction(connection):
        # Read again inside the transaction: another process may have migrated the file meanwhile.
        version = _read_version(connection)
        if version > len(MIGRATIONS):
            raise _NewerVersionError(f"its version is {version}; this program knows {len(MIGRATIONS)}")
        for script in MIGRATIONS[version:]:
            for statement in script.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={len(MIGRATIONS)}")


def _rebuild(path: Path, error: sqlite3.DatabaseError) -> Database:
    moved_to = set_aside(path)
    if moved_to is None:
        return _open_in_memory(path, str(error))
    for suffix in ("-wal", "-shm"):  # SQLite would replay them into the new file
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}{suffix}")
    problem = Failure(
        "index-damaged",
        f"{printable_path(path)} could not be used ({error}). It was moved to {printable_path(moved_to.name)} and "
        "rebuilt.",
    )
    try:
        return Database(path, _connect(path), (problem,))
    except sqlite3.DatabaseError as second_error:
        memory = _open_in_memory(path, str(second_error))
        memory.problems = (problem, *memory.problems)
        return memory


def _find_pipe(path: Path) -> str | None:
    """Return the name of a FIFO in the place of one of the database's files; None when there is none.

    SQLite opens its files without O_NONBLOCK and would wait forever for the other end of a FIFO.
    """
    for suffix in ("", "-journal", "-wal", "-shm"):
        file = path.with_name(f"{path.name}{suffix}")
        if file.is_fifo():
            return printable_path(file.name)
    return None


def _open_in_memory(path: Path, reason: str) -> Database:
    problem = Failure(
        "state-unwritable",
        f"{printable_path(path)} cannot be used ({reason}), so the results of this run are not cached.",
        hint="Make the state folder writable.",
    )
    return Database(path, _connect(":memory:"), (problem,))
