from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from comfywatchman.comfyui.models.file import HeaderFacts
from comfywatchman.readiness.database import open_database
from comfywatchman.readiness.models.index import FileHashes, ModelIndex
from comfywatchman.readiness.models.inventory import FileKey, HeaderKey

FACTS = HeaderFacts("safetensors", detail="3 tensors")
BROKEN = HeaderFacts("unknown", "empty (0 bytes)", "empty")
HASHES = FileHashes("ab" * 32, "0123456789ab", "cd" * 32)
LARGE = 2**64 - 1


def header(inode: int, *, device: int = 1, mtime_ns: int = 7, suffix: str = ".safetensors") -> HeaderKey:
    return (device, inode, 100, mtime_ns, suffix)


def index(tmp_path: Path) -> ModelIndex:
    return ModelIndex(open_database(tmp_path / "i"))


def test_facts_and_hashes_survive_reopening(tmp_path: Path) -> None:
    facts = {header(1): FACTS, header(LARGE, device=LARGE): BROKEN, header(1, suffix=".pt"): BROKEN}
    hashes: dict[FileKey, FileHashes] = {(1, LARGE, 100, -5): HASHES, (1, 2, 100, 7): FileHashes("a", None, "b")}
    first = index(tmp_path)
    first.remember_headers(facts)
    first.remember_hashes(hashes)
    for known in (first, index(tmp_path)):
        assert known.headers() == facts
        assert known.hashes() == hashes
        assert known.problems == ()


def test_facts_of_an_older_check_version_are_deleted(tmp_path: Path) -> None:
    first = index(tmp_path)
    first.remember_headers({header(1): FACTS, header(2): FACTS})
    first.set_note("header-check", "1")
    later = index(tmp_path)
    assert later.headers() == {}
    later.remember_headers({header(1): BROKEN})
    assert index(tmp_path).headers() == {header(1): BROKEN}


def test_autov2_is_the_beginning_of_the_sha256() -> None:
    assert HASHES.autov2 == "ababababab"


def test_only_hashes_raise_the_hash_revision(tmp_path: Path) -> None:
    known = index(tmp_path)
    assert known.hash_revision() == "0"
    known.remember_headers({header(1): FACTS})
    assert known.hash_revision() == "0"
    known.remember_hashes({(1, 2, 100, 7): HASHES})
    known.remember_hashes({(1, 3, 100, 7): HASHES})
    assert index(tmp_path).hash_revision() == "2"


def test_notes_are_kept(tmp_path: Path) -> None:
    index(tmp_path).set_note("a", "1")
    index(tmp_path).set_note("a", "2")
    assert index(tmp_path).note("a") == "2"
    assert index(tmp_path).note("b") is None


def test_time_too_large_for_sqlite_is_kept_in_memory_only(tmp_path: Path) -> None:
    known = index(tmp_path)
    known.remember_headers({header(1, mtime_ns=2**63): FACTS})
    known.remember_hashes({(1, 1, 100, 2**63): HASHES})
    assert known.headers() == {header(1, mtime_ns=2**63): FACTS}
    again = index(tmp_path)
    assert again.headers() == {}
    assert again.hashes() == {}
    assert again.problems == ()


def test_prune_deletes_only_long_absent_files(tmp_path: Path) -> None:
    stays, away, back = header(1), header(2), header(3)
    first = index(tmp_path)
    first.remember_headers({stays: FACTS, away: FACTS, back: FACTS})
    first.remember_hashes({key[:4]: HASHES for key in (stays, away, back)})
    for seen in ([stays], [stays], [stays, back], [stays]):
        index(tmp_path).prune(seen, keep_cycles=3)
    last = index(tmp_path)
    assert last.headers().keys() == {stays, back}
    assert last.hashes().keys() == {stays[:4], back[:4]}


def test_prune_writes_nothing_when_every_file_was_seen(tmp_path: Path) -> None:
    known = index(tmp_path)
    known.remember_headers({header(1): FACTS})
    before = known._store._database.connection.total_changes
    known.prune([header(1), header(2)], keep_cycles=3)
    assert known._store._database.connection.total_changes == before


def test_database_damaged_while_in_use_is_rebuilt_and_reported(tmp_path: Path) -> None:
    first = index(tmp_path)
    first.remember_headers({header(n): FACTS for n in range(3000)})
    first._store._database.close()
    known = index(tmp_path)
    with (tmp_path / "i").open("r+b") as stream:
        stream.seek(8192)
        stream.write(b"\xee" * 100_000)
    assert known.headers() == {}
    assert len(known.problems) == 1
    known.remember_headers({header(1): FACTS})
    assert index(tmp_path).headers() == {header(1): FACTS}


def test_failed_write_is_reported_and_facts_stay_in_memory(tmp_path: Path) -> None:
    known = index(tmp_path)
    known._store._database.connection.execute("PRAGMA query_only=1")
    known.remember_headers({header(1): FACTS})
    assert known.headers() == {header(1): FACTS}
    assert known.problems[0].startswith("the model index could not be used: ")
    assert index(tmp_path).headers() == {}


def test_full_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from comfywatchman.base import failpoints

    known = index(tmp_path)
    monkeypatch.setenv(failpoints.VARIABLE, "index.before_commit=raise:ENOSPC")
    failpoints._parse_actions.cache_clear()
    known.remember_headers({header(1): FACTS})
    monkeypatch.undo()
    failpoints._parse_actions.cache_clear()
    assert known.problems == ("the model index could not be written: No space left on device",)
    assert index(tmp_path).headers() == {}


def test_reads_continue_while_another_program_holds_a_lock(tmp_path: Path) -> None:
    known = index(tmp_path)
    other = sqlite3.connect(tmp_path / "i", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert known.headers() == {}
    other.execute("COMMIT")
    other.close()
    known.remember_headers({header(1): FACTS})
    assert known.problems == ()
