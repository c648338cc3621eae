from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from comfywatchman.readiness.database import Database, open_database
from comfywatchman.readiness.search.cache import RESULT_SCHEMA_VERSION, CachedSearch, SearchCache, cache_key
from comfywatchman.readiness.search.claims import Proposal, build_query
from comfywatchman.readiness.search.lifetimes import lifetime_seconds
from comfywatchman.readiness.search.results import HubIds, SearchCandidate, SearchResult, SearchStatus
from tests.search_results import reasons

NOW = datetime(2026, 11, 20, 14, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WANTED = build_query("a.safetensors", "loras")


def answer(status: SearchStatus) -> SearchResult:
    candidate = SearchCandidate(
        "civitai", "a.safetensors", HubIds(civitai_model=1, civitai_version=2), differences=("4 ≠ 8",)
    )
    at = "2026-11-20T14:00:00Z"
    return SearchResult(status, "a.safetensors", "loras", at, candidates=(candidate,), **reasons(status))


def memory(database: Database, later: timedelta = timedelta()) -> SearchCache:
    return SearchCache(database, now=NOW + later)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


@pytest.mark.parametrize(
    ("status", "age", "counts"),
    [
        (SearchStatus.FOUND, 6 * DAY, True),
        (SearchStatus.FOUND, 300 * DAY, True),
        (SearchStatus.NOT_FOUND, 7 * DAY, True),
        (SearchStatus.NOT_FOUND, 7 * DAY + HOUR, False),
        (SearchStatus.UNCERTAIN, DAY, True),
        (SearchStatus.UNCERTAIN, DAY + HOUR, False),
        (SearchStatus.ERROR, HOUR, True),
        (SearchStatus.ERROR, 2 * HOUR, False),
        (SearchStatus.NOT_FOUND, -HOUR, False),
    ],
)
def test_each_kind_of_answer_counts_for_its_own_time(
    path: Path, status: SearchStatus, age: timedelta, *, counts: bool
) -> None:
    with closing(open_database(path)) as database:
        memory(database).store("k", "c", answer(status))
    with closing(open_database(path)) as database:
        recalled = memory(database, age).look_up("k", "c")
    assert recalled.result == (answer(status) if counts else None)
    assert recalled.outdated == (None if counts else answer(status))


def test_a_found_file_is_held_against_its_hub_again_after_a_week(path: Path) -> None:
    with closing(open_database(path)) as database:
        memory(database).store("k", "c", answer(SearchStatus.FOUND))
        assert [memory(database, age).look_up("k", "c").needs_recheck for age in (6 * DAY, 8 * DAY, -DAY)] == [
            False,
            True,
            True,
        ]


def test_only_a_found_has_no_lifetime() -> None:
    assert [status for status in SearchStatus if lifetime_seconds(answer(status)) is None] == [SearchStatus.FOUND]


def test_what_other_backends_found_counts_and_what_they_did_not_find_does_not(path: Path) -> None:
    with closing(open_database(path)) as database:
        kept = memory(database)
        kept.store("k", "others", answer(SearchStatus.NOT_FOUND))
        assert kept.look_up("k", "c") == CachedSearch()
        kept.store("k", "others", answer(SearchStatus.UNCERTAIN))
        assert kept.look_up("k", "c") == CachedSearch(doubts=(answer(SearchStatus.UNCERTAIN),))
        kept.store("k", "c", answer(SearchStatus.NOT_FOUND))
        recalled = kept.look_up("k", "c")
        assert (recalled.result, recalled.doubts) == (
            answer(SearchStatus.NOT_FOUND),
            (answer(SearchStatus.UNCERTAIN),),
        )
        kept.store("k", "others", answer(SearchStatus.FOUND))
        assert kept.look_up("k", "c") == CachedSearch(answer(SearchStatus.FOUND))
        assert kept.look_up("another", "c") == CachedSearch()


def test_a_later_answer_replaces_the_earlier_and_forgetting_drops_all(path: Path) -> None:
    with closing(open_database(path)) as database:
        kept = memory(database)
        kept.store("k", "c", answer(SearchStatus.FOUND))
        kept.store("k", "c", answer(SearchStatus.UNCERTAIN))
        assert kept.look_up("k", "c").result == answer(SearchStatus.UNCERTAIN)
        kept.store("k", "d", answer(SearchStatus.FOUND))
        kept.forget("k")
        assert kept.look_up("k", "c") == CachedSearch()


def test_a_damaged_row_is_as_if_it_were_not_there(path: Path) -> None:
    with closing(open_database(path)) as database:
        kept = memory(database)
        kept.write([("INSERT INTO search_answer VALUES ('k', 'c', 0, ?)", [(b"{broken",)])])
        kept.write([("INSERT INTO search_answer VALUES ('k', 'd', 0, ?)", [(b'{"status": "PERHAPS"}',)])])
        assert kept.look_up("k", "c") == CachedSearch()


def test_what_is_older_than_a_year_is_dropped_in_time(path: Path) -> None:
    with closing(open_database(path)) as database:
        memory(database).store("old", "c", answer(SearchStatus.FOUND))
        memory(database, 500 * DAY).store("new", "c", answer(SearchStatus.FOUND))
        assert memory(database, 500 * DAY).read("SELECT model FROM search_answer") == [("new",)]


def test_a_models_key_follows_what_is_said_of_it() -> None:
    claim = Proposal("workflow", "node 1", HubIds(repo="a/b"), "a.safetensors")
    again = Proposal("workflow", "node 2", HubIds(repo="a/b"), "a.safetensors")
    keys = {
        cache_key(WANTED),
        cache_key(build_query("a.safetensors", "vae")),
        cache_key(build_query("b.safetensors", "loras")),
        cache_key(build_query("a.safetensors", "loras", sha256="a" * 64)),
        cache_key(WANTED, [claim]),
    }
    assert len(keys) == 5
    assert cache_key(WANTED, [claim]) == cache_key(WANTED, [again, claim])


def insert_row(database: Database, encoded: bytes) -> None:
    memory(database).write([("INSERT INTO search_answer VALUES ('k', 'c', ?, ?)", [(NOW.timestamp(), encoded)])])


def test_unversioned_result_is_dropped_unless_found(path: Path) -> None:
    with closing(open_database(path)) as database:
        for status in SearchStatus:
            memory(database).forget("k")
            insert_row(database, msgspec.json.encode(answer(status)))
            expected = answer(status) if status is SearchStatus.FOUND else None
            assert memory(database).look_up("k", "c").result == expected


def test_result_of_the_version_before_doubts_is_dropped_unless_found(path: Path) -> None:
    with closing(open_database(path)) as database:
        for status in SearchStatus:
            memory(database).forget("k")
            result = msgspec.to_builtins(answer(status))
            for field in ("doubt", "absence"):
                result.pop(field, None)
            insert_row(database, msgspec.json.encode({"schema_version": 2, "result": result}))
            expected = answer(status) if status is SearchStatus.FOUND else None
            assert memory(database).look_up("k", "c").result == expected


@pytest.mark.parametrize("version", [RESULT_SCHEMA_VERSION - 2, RESULT_SCHEMA_VERSION + 1])
def test_result_of_another_schema_version_is_dropped(path: Path, version: int) -> None:
    row = {"schema_version": version, "result": answer(SearchStatus.FOUND)}
    with closing(open_database(path)) as database:
        insert_row(database, msgspec.json.encode(row))
        assert memory(database).look_up("k", "c") == CachedSearch()
        assert memory(database).read_results() == []
