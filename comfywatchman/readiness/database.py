"""The SQLite file behind the cycle: a cache that may be lost, never one that may lie."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.failpoints import failpoint
from comfywatchman.base.files import printable_path, set_aside

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
)
"""Scripts that bring a database from version N to N + 1 (`PRAGMA user_version`); statements end with `;`, and no
statement holds one inside. New ones are added at the end, old ones never change."""

BUSY_TIMEOUT_SECONDS: Final = 30.0
_CORRUPTION_CODES: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
_PRIMARY_CODE_MASK: Final = 0xFF
_UINT64_RANGE: Final = 1 << 64


class Database:
    """An open database and what went wrong while opening it.

    Args:
        path: The file.
        connection: Autocommit mode; writes go through `transaction`.
        problems: What a person should hear: `index-damaged` when the file was set aside and begun anew,
            `state-unwritable` when everything is kept in memory only.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, problems: tuple[Failure, ...] = ()) -> None:
        self.path = path
        self.connection = connection
        self.problems = problems

    def rebuild(self, error: sqlite3.DatabaseError) -> None:
        """Set a file aside that turned out to be damaged while in use, and go on with an empty one.

        Args:
            error: What showed the damage; see `is_damage`.
        """
        self.connection.close()
        renewed = _rebuild(self.path, error)
        self.connection = renewed.connection
        self.problems = (*self.problems, *renewed.problems)

    def close(self) -> None:
        """Close the connection; the last one to close folds the write-ahead log into the file."""
        self.connection.close()


def open_database(path: Path) -> Database:
    """Open the database, making or migrating it as needed; this never fails.

    A damaged file, or one of a later version of this program, is set aside and begun anew; where nothing can be
    written the work goes on in memory, and `problems` says so.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pipe = _find_pipe(path)
        return Database(path, _connect(path)) if pipe is None else _open_in_memory(path, f"{pipe} is a pipe")
    except sqlite3.DatabaseError as error:
        return _rebuild(path, error) if is_corruption(error) else _open_in_memory(path, str(error))
    except OSError as error:
        return _open_in_memory(path, error.strerror or str(error))


def open_memory_database() -> Database:
    """Open an empty database in memory, for looks at a host that must leave no trace."""
    return Database(Path(":memory:"), _connect(":memory:"))


def open_memory_copy(path: Path) -> Database:
    """Open a copy in memory of what earlier cycles kept; nothing is written, and this never fails.

    It is empty where there is no such file, or none that can be read.
    """
    copy = open_memory_database()
    if not os.path.isfile(path):
        return copy
    # Without a log beside it nobody is writing; SQLite would make one even to read.
    how = "mode=ro" if Path(f"{path}-wal").exists() else "immutable=1"
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)) as kept:
            kept.backup(copy.connection)
        _migrate(copy.connection)
    except sqlite3.DatabaseError:
        copy.close()
        return open_memory_database()
    return copy


class TableStore:
    """Reading and writing of one area's tables; trouble with the database never stops a cycle.

    A damaged database is begun anew; a full disk means that what was learned is learned again next time.

    Args:
        database: The open database.
        name: What a person calls this store, for `problems`.
    """

    def __init__(self, database: Database, *, name: str) -> None:
        self._database = database
        self._name = name
        self.problems: list[str] = []

    def read(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """Return the rows of a query; none after trouble."""
        try:
            return self._database.connection.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            self._recover(error)
            return []

    def write(self, work: Iterable[tuple[str, list[tuple[Any, ...]]]]) -> None:
        """Run statements, each for its rows, in one transaction."""
        try:
            with transaction(self._database.connection) as connection:
                for statement, rows in work:
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
    """Make the enclosed writes happen as one, or not at all when the block raises."""
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
    """Say whether an error means that the file itself is broken, not that it is busy, full or read-only."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, _NewerVersionError) or (
        code is not None and code & _PRIMARY_CODE_MASK in _CORRUPTION_CODES
    )


def to_signed(number: int) -> int:
    """Return an unsigned 64-bit number (a device, an inode) as SQLite can hold it: its integers are signed."""
    return number - _UINT64_RANGE if number >= _UINT64_RANGE // 2 else number


def to_unsigned(number: int) -> int:
    """Return what `signed` was given."""
    return number % _UINT64_RANGE


class _NewerVersionError(sqlite3.DatabaseError):
    """A file whose version this program does not know."""


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
    """Apply what is missing; the version is read again inside, since another process may have been first."""
    if _read_version(connection) == len(MIGRATIONS):
        return
    with transaction(connection):
        version = _read_version(connection)
        if version > len(MIGRATIONS):
            raise _NewerVersionError(f"its version is {version}; this program knows {len(MIGRATIONS)}")
        for script in MIGRATIONS[version:]:
            for statement in script.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={len(MIGRATIONS)}")


def _rebuild(path: Path, error: sqlite3.DatabaseError) -> Database:
    kept = set_aside(path)
    if kept is None:
        return _open_in_memory(path, str(error))
    for suffix in ("-wal", "-shm"):  # left alone they would be replayed into the new file
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}{suffix}")
    problem = Failure(
        "index-damaged",
        f"{printable_path(path)} could not be used ({error}); it is kept as "
        f"{printable_path(kept.name)} and begun anew.",
    )
    try:
        return Database(path, _connect(path), (problem,))
    except sqlite3.DatabaseError as again:
        memory = _open_in_memory(path, str(again))
        memory.problems = (problem, *memory.problems)
        return memory


def _find_pipe(path: Path) -> str | None:
    """Return the name of a pipe in the place of one of the database's files; SQLite would wait for its other end."""
    files = (path.with_name(f"{path.name}{suffix}") for suffix in ("", "-journal", "-wal", "-shm"))
    return next((printable_path(file.name) for file in files if file.is_fifo()), None)


def _open_in_memory(path: Path, reason: str) -> Database:
    problem = Failure(
        "state-unwritable",
        f"{printable_path(path)} cannot be used ({reason}); what is learned in this run is forgotten after it.",
        hint="Make the state folder writable.",
    )
    return Database(path, _connect(":memory:"), (problem,))
