from __future__ import annotations

import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.errors import Failure
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


IDS = ("20261120T120000Z-0000000a", "20261120T120000Z-0000000b", "20261121T120000Z-0000000a")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (IDS[1], IDS[1]),
        ("20261121", IDS[2]),
        ("latest", IDS[2]),
        ("2027", "2027"),
        ("", ""),
    ],
)
def test_id_is_named_by_its_beginning(text: str, found: str) -> None:
    assert ids.complete_id(text, IDS, code="gov-transaction-unknown") == found


def test_beginning_of_several_ids_is_refused() -> None:
    with pytest.raises(Failure, match="2 ids begin with '20261120'") as caught:
        ids.complete_id("20261120", IDS, code="gov-transaction-unknown")
    assert caught.value.code == "gov-transaction-unknown"
    assert ids.complete_id("latest", (), code="gov-transaction-unknown") == "latest"
