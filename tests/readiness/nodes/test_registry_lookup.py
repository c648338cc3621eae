from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from comfywatchman.base.settings import NodesSection
from comfywatchman.readiness.database import Database, open_memory_database
from comfywatchman.readiness.nodes.registry_lookup import DAY_SECONDS, RegistryLookup, StoredRegistryAnswer
from comfywatchman.sources.class_map import PackageRef
from tests.fakes import FakeClock
from tests.servers.base import LocalServer, Reply


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as running:
        running.pages["/"] = Reply(b"oops", 500)
        running.pages["/comfy-nodes/Known/node"] = Reply(b'{"id": "pack", "name": "A pack"}')
        running.pages["/comfy-nodes/Unknown/node"] = Reply(b'{"message": "not found"}', 404)
        yield running


@pytest.fixture
def database() -> Iterator[Database]:
    with closing(open_memory_database()) as opened:
        yield opened


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def settings(url: str) -> NodesSection:
    return NodesSection(
        ask_registry=True,
        registry_url=url,
        registry_budget_seconds=10,
        class_map="",
        class_map_url="",
        class_map_days=7,
    )


def look_up(server: LocalServer, clock: FakeClock, database: Database, *class_types: str) -> list[str | None]:
    """Look classes up in one cycle; return the package of each, `failed` or `none`."""
    found: list[str | None] = []
    with closing(RegistryLookup(settings(server.url), clock, database)) as registry:
        for class_type in class_types:
            answer = registry.find(class_type)
            assert answer is not None
            found.append(answer.package.id if answer.package else "failed" if answer.failed else "none")
    return found


@pytest.mark.parametrize(
    ("answer", "days"),
    [
        (StoredRegistryAnswer(PackageRef("pack")), 30),
        (StoredRegistryAnswer(), 7),
        (StoredRegistryAnswer(failed="down"), 1 / 24),
    ],
)
def test_lifetime_depends_on_the_answer(answer: StoredRegistryAnswer, days: float) -> None:
    assert answer.lifetime_seconds == days * DAY_SECONDS


def test_answers_are_stored_for_later_cycles(server: LocalServer, clock: FakeClock, database: Database) -> None:
    expected = ["pack", "none"]
    assert look_up(server, clock, database, "Known", "Unknown") == expected
    count = len(server.asked)
    assert look_up(server, clock, database, "Known", "Unknown") == expected
    assert len(server.asked) == count


def test_failure_stands_for_all_classes(server: LocalServer, clock: FakeClock, database: Database) -> None:
    assert look_up(server, clock, database, "Failing") == ["failed"]
    count = len(server.asked)
    assert look_up(server, clock, database, "Known", "Other") == ["failed", "failed"]
    assert len(server.asked) == count


def test_fingerprint_changes_when_an_answer_becomes_outdated(
    server: LocalServer, clock: FakeClock, database: Database
) -> None:
    def fingerprint() -> list[str]:
        return list(RegistryLookup(settings(server.url), clock, database).fingerprint_parts())

    assert fingerprint() == []
    look_up(server, clock, database, "Unknown")
    fresh = fingerprint()
    clock.advance(awake=6 * DAY_SECONDS)
    assert fingerprint() == fresh
    clock.advance(awake=2 * DAY_SECONDS)
    assert fingerprint() not in (fresh, [])


def test_answer_from_the_future_is_outdated(server: LocalServer, clock: FakeClock, database: Database) -> None:
    assert look_up(server, clock, database, "Unknown") == ["none"]
    server.pages["/comfy-nodes/Unknown/node"] = Reply(b'{"id": "late", "name": "Late"}')
    clock.shift_wall(-60.0)
    assert look_up(server, clock, database, "Unknown") == ["late"]
