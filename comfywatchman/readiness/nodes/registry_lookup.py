"""Looks up providers of node classes in the Comfy Registry; answers are stored for later cycles."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import msgspec

from comfywatchman.base.clock import Clock
from comfywatchman.base.json_values import decode_json
from comfywatchman.base.settings import NodesSection
from comfywatchman.readiness.database import Database, TableStore
from comfywatchman.sources.class_map import PackageRef

if TYPE_CHECKING:
    from comfywatchman.base.http import HttpSession

DAY_SECONDS: Final = 86400.0
_MAX_RESPONSE_BYTES: Final = 1 << 20
_SELECT: Final = "SELECT class_type, asked_at, answer FROM registry_answer ORDER BY class_type"
_INSERT: Final = "INSERT OR REPLACE INTO registry_answer VALUES (?, ?, ?)"
_ANY_CLASS: Final = ""
"""Key under which a failed request is stored. While it counts no class is looked up, so that a registry that is down
costs one request an hour and not one for each class."""


class StoredRegistryAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """An answer of the registry.

    Attributes:
        package: The package that provides the class; None when the registry lists none, or could not be reached.
        failed: Why the registry could not be reached, for people; None when it was.
    """

    package: PackageRef | None = None
    failed: str | None = None

    @property
    def lifetime_seconds(self) -> float:
        """How long the answer counts: a package 30 days, no package 7 days, a failure one hour."""
        if self.failed:
            return DAY_SECONDS / 24
        if self.package is None:
            return 7 * DAY_SECONDS
        return 30 * DAY_SECONDS


class RegistryLookup:
    """The Comfy Registry of one cycle.

    Args:
        section: The settings: URL and time budget.
        clock: The clock.
        database: Stores the answers.
    """

    def __init__(self, section: NodesSection, clock: Clock, database: Database) -> None:
        self._section = section
        self._clock = clock
        self._store = TableStore(database, name="memory of the Comfy Registry")
        self._now = clock.now().timestamp()
        self._answers: dict[str, StoredRegistryAnswer] | None = None
        self._stack = ExitStack()
        self._session: HttpSession | None = None
        self._deadline: float | None = None

    @property
    def problems(self) -> tuple[str, ...]:
        """Problems of the store, for people."""
        return tuple(self._store.problems)

    def fingerprint_parts(self) -> Iterator[str]:
        """Yield texts that change with the stored answers, and when one of them becomes too old."""
        for class_type, asked_at, answer in self._store.read(_SELECT):
            yield f"{class_type} {answer!r}"
            if self._is_too_old(asked_at, _decode_answer(answer)):
                yield f"{class_type} outdated"

    def find(self, class_type: str) -> StoredRegistryAnswer | None:
        """Return the stored answer for a class, else that of the registry; None when the time budget is spent."""
        answers = self._read_answers()
        stored = answers.get(class_type) or answers.get(_ANY_CLASS)
        if stored is not None:
            return stored
        from comfywatchman.sources.registry import find_registry_provider

        is_first = self._deadline is None
        if self._deadline is None:
            self._deadline = self._clock.monotonic() + self._section.registry_budget_seconds
        seconds_left = self._deadline - self._clock.monotonic()
        if seconds_left <= 0:
            return None
        result = find_registry_provider(self._open_session(seconds_left), self._section.registry_url, class_type)
        answer = StoredRegistryAnswer(result.package)
        if result.failure is not None:
            answer = StoredRegistryAnswer(failed=result.failure.message)
        if answer.failed and not is_first and self._clock.monotonic() >= self._deadline:
            # Earlier requests succeeded and this one had too little time: that is no sign of trouble at the registry.
            return None
        self._store_answer(_ANY_CLASS if answer.failed else class_type, answer)
        return answer

    def close(self) -> None:
        """Close the connection to the registry, if one was opened."""
        self._stack.close()

    def _read_answers(self) -> dict[str, StoredRegistryAnswer]:
        if self._answers is None:
            self._answers = {}
            for class_type, asked_at, encoded in self._store.read(_SELECT):
                answer = _decode_answer(encoded)
                if answer is not None and not self._is_too_old(asked_at, answer):
                    self._answers[class_type] = answer
        return self._answers

    def _store_answer(self, key: str, answer: StoredRegistryAnswer) -> None:
        self._read_answers()[key] = answer
        self._store.write([(_INSERT, [(key, self._now, msgspec.json.encode(answer))])])

    def _open_session(self, budget_seconds: float) -> HttpSession:
        if self._session is None:
            # Imported here, because the HTTP client is slow to load and few hosts lack a class.
            from comfywatchman.base.http import HttpSession

            session = HttpSession(
                timeout_seconds=budget_seconds, budget_seconds=budget_seconds, max_bytes=_MAX_RESPONSE_BYTES
            )
            self._session = self._stack.enter_context(session)
        return self._session

    def _is_too_old(self, asked_at: float, answer: StoredRegistryAnswer | None) -> bool:
        # A negative age means that the clock was set back; the age of such an answer is not known.
        return answer is None or not 0 <= self._now - asked_at <= answer.lifetime_seconds


def _decode_answer(encoded: bytes) -> StoredRegistryAnswer | None:
    try:
        return decode_json(encoded, StoredRegistryAnswer)
    except msgspec.MsgspecError:
        return None
