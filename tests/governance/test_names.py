from __future__ import annotations

from comfywatchman.base.clock import SystemClock
from comfywatchman.governance import names
from tests.fakes import FakeClock


def test_names_say_when_and_sort_in_the_order_of_their_making() -> None:
    for clock in (FakeClock(), SystemClock()):
        made = [names.new_operation_id(clock) for _ in range(100)]
        assert made == sorted(set(made))


def test_names_have_the_shapes_that_are_looked_for() -> None:
    clock = SystemClock()
    assert names.SNAPSHOT_ID.fullmatch(names.new_snapshot_id(clock))
    assert names.OPERATION_ID.fullmatch(names.new_operation_id(clock))
    assert names.TRANSACTION_ID.fullmatch(names.new_transaction_id(clock))
