from __future__ import annotations

from comfywatchman.base.clock import SystemClock
from comfywatchman.governance.store import ids
from tests.fakes import FakeClock


def test_ids_sort_in_the_order_of_creation() -> None:
    for clock in (FakeClock(), SystemClock()):
        made = [ids.make_operation_id(clock) for _ in range(100)]
        assert made == sorted(set(made))


def test_ids_match_their_patterns() -> None:
    clock = SystemClock()
    assert ids.SNAPSHOT_ID.fullmatch(ids.make_snapshot_id(clock))
    assert ids.OPERATION_ID.fullmatch(ids.make_operation_id(clock))
    assert ids.TRANSACTION_ID.fullmatch(ids.make_transaction_id(clock))
