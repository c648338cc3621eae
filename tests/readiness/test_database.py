from __future__ import annotations

import multiprocessing
import os
import resource
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from comfywatchman.readiness.database import (
    MIGRATIONS,
    Database,
    is_corruption,
    open_database,
    open_memory_database,
    transaction,
)

WRITE = "INSERT INTO note VALUES ('a', 'b')"


def notes(database: Database) -> int:
    return int(database.connection.execute("SELECT count(*) FROM note").fetchone()[0])


def setting(database: Database, name: str) -> object:
    return database.connection.execute(f"PRAGMA {name}").fetchone()[0]


def test_new_database_has_the_latest_version_and_a_busy_timeout(tmp_path: Path) -> None:
    database = open_database(tmp_path / "state/index.sqlite")
    assert setting(database, "user_version") == len(MIGRATIONS)
    assert setting(database, "journal_mode") == "wal"
    assert setting(database, "busy_timeout") == 30_000
    assert setting(database, "synchronous") == 1
    assert database.problems == ()
    database.close()


def test_rows_survive_reopening(tmp_path: Path) -> None:
    for _ in range(2):
        database = open_database(tmp_path / "i")
        with transaction(database.connection) as connection:
            connection.execute("INSERT OR REPLACE INTO note VALUES ('a', 'b')")
        assert notes(database) == 1
        database.close()


def test_an_older_database_is_migrated_and_keeps_its_rows(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "i", isolation_level=None)
    old.execute("CREATE TABLE mine (x)")
    old.execute("INSERT INTO mine VALUES (1)")
    old.close()
    database = open_database(tmp_path / "i")
    assert setting(database, "user_version") == len(MIGRATIONS)
    assert database.connection.execute("SELECT x FROM mine").fetchall() == [(1,)]
    database.close()


def test_transaction_that_raises_is_rolled_back(tmp_path: Path) -> None:
    database = open_database(tmp_path / "i")
    with pytest.raises(sqlite3.IntegrityError), transaction(database.connection) as connection:
        connection.executemany("INSERT INTO note VALUES (?, 'b')", [("a",), ("b",), ("a",)])
    assert notes(database) == 0
    assert not database.connection.in_transaction
    database.close()


@pytest.mark.parametrize("content", [b"this is no database at all", b"SQLite format 3\0" + b"\xee" * 5000])
def test_damaged_file_is_set_aside_and_rebuilt(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "i").write_bytes(content)
    (tmp_path / "i-wal").write_bytes(b"stale")
    database = open_database(tmp_path / "i")
    assert [problem.code for problem in database.problems] == ["index-damaged"]
    assert (tmp_path / "i.damaged-1").read_bytes() == content
    with transaction(database.connection) as connection:
        connection.execute(WRITE)
    database.close()
    assert open_database(tmp_path / "i").problems == ()


def test_a_file_of_a_later_version_is_set_aside(tmp_path: Path) -> None:
    later = sqlite3.connect(tmp_path / "i")
    later.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    later.close()
    database = open_database(tmp_path / "i")
    assert database.problems[0].code == "index-damaged"
    assert "version" in database.problems[0].message
    database.close()


def test_damage_found_while_in_use_rebuilds_the_file(tmp_path: Path) -> None:
    database = open_database(tmp_path / "i")
    with transaction(database.connection) as connection:
        connection.executemany("INSERT INTO note VALUES (?, ?)", [(str(n), "x" * 500) for n in range(500)])
    database.close()
    database = open_database(tmp_path / "i")
    with (tmp_path / "i").open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"\xee" * 200_000)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        database.connection.execute("SELECT * FROM note").fetchall()
    assert is_corruption(caught.value)
    database.rebuild(caught.value)
    assert notes(database) == 0
    assert [problem.code for problem in database.problems] == ["index-damaged"]
    database.close()


def test_unwritable_folder_falls_back_to_memory(tmp_path: Path) -> None:
    for path in (Path("/proc/none/index"), tmp_path, tmp_path / "file/index"):
        (tmp_path / "file").touch()
        database = open_database(path)
        assert [problem.code for problem in database.problems] == ["state-unwritable"]
        with transaction(database.connection) as connection:
            connection.execute(WRITE)
        assert notes(database) == 1
        database.close()


@pytest.mark.slow
def test_damaged_file_that_cannot_be_moved_falls_back_to_memory(tmp_path: Path) -> None:
    (tmp_path / "i").write_bytes(b"no database, but a file")
    for number in range(1, 1000):
        (tmp_path / f"i.damaged-{number}").touch()
    database = open_database(tmp_path / "i")
    assert [problem.code for problem in database.problems] == ["state-unwritable"]
    assert notes(database) == 0
    database.close()


def test_damaged_file_on_a_full_disk_falls_back_to_memory(tmp_path: Path) -> None:
    (tmp_path / "i").write_bytes(b"no database, but a file")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        database = open_database(tmp_path / "i")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [problem.code for problem in database.problems] == ["index-damaged", "state-unwritable"]
    assert notes(database) == 0
    database.close()


def test_memory_database_writes_no_file() -> None:
    database = open_memory_database()
    assert notes(database) == 0
    assert database.problems == ()
    database.close()


def test_a_busy_database_is_not_damaged(tmp_path: Path) -> None:
    database = open_database(tmp_path / "i")
    other = sqlite3.connect(tmp_path / "i", isolation_level=None, timeout=0)
    with transaction(database.connection), pytest.raises(sqlite3.OperationalError) as caught:
        other.execute("BEGIN IMMEDIATE")
    assert not is_corruption(caught.value)
    other.close()
    database.close()


@pytest.mark.slow
def test_two_processes_can_create_the_database_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        assert pool.map(_open_and_count, [str(tmp_path / "i")] * 8) == [0] * 8


def _open_and_count(path: str) -> int:
    return len(open_database(Path(path)).problems)


@pytest.mark.parametrize(("point", "rows"), [("index.before_commit", 0), ("index.after_commit", 1)])
def test_kill_around_the_commit_leaves_all_or_nothing(tmp_path: Path, point: str, rows: int) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from comfywatchman.readiness.database import open_database, transaction\n"
        "database = open_database(Path(sys.argv[1]))\n"
        "import os; armed = sys.argv[2]\n"
        "from comfywatchman.base import failpoints\n"
        "os.environ[failpoints.VARIABLE] = armed; failpoints._parse_actions.cache_clear()\n"
        "with transaction(database.connection) as connection:\n"
        f'    connection.execute("{WRITE}")\n'
    )
    completed = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "i"), f"{point}=kill"], check=False, env=dict(os.environ)
    )
    assert completed.returncode == -9
    database = open_database(tmp_path / "i")
    assert database.problems == ()
    assert notes(database) == rows
    database.close()


@pytest.mark.parametrize("suffix", ["", "-journal", "-wal", "-shm"])
def test_pipe_in_the_place_of_a_database_file_does_not_block(tmp_path: Path, suffix: str) -> None:
    os.mkfifo(tmp_path / f"index.sqlite{suffix}")
    with closing(open_database(tmp_path / "index.sqlite")) as opened:
        assert "is a pipe" in opened.problems[0].message
        assert opened.connection.execute("SELECT count(*) FROM note").fetchone() == (0,)
