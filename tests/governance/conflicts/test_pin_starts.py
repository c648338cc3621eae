"""Starts with suggested pins: their order, and the time that they may take."""

from __future__ import annotations

import pytest

from comfywatchman.governance.conflicts.pin_starts import rank_pins, start_with_pins
from comfywatchman.governance.conflicts.suggestions import PinSuggestion
from comfywatchman.governance.store.conflict_records import PinStart
from comfywatchman.governance.store.records import Transaction
from tests.governance.contexts import KeptSite


def test_pins_that_started_come_first_and_those_that_failed_last() -> None:
    starts = [PinStart(pin="a==1", has_started=False), PinStart(pin="c==1", has_started=True)]
    assert rank_pins(["a==1", "b==1", "c==1", "d==1"], starts) == ("c==1", "b==1", "d==1", "a==1")


@pytest.mark.slow
def test_starts_end_with_the_time_for_them(kept_root: KeptSite) -> None:
    site = kept_root.restore()
    tried = Transaction(txid="20261121T120000Z-0123abcd", node_id="b", started_at="")
    suggestion = PinSuggestion("corelet==1.0", site.layout.pyproject.read_text())
    with site.opened() as context:
        assert start_with_pins(context, tried, [suggestion], max_seconds=0) == ()
        assert start_with_pins(context, tried, [suggestion]) == (PinStart(pin="corelet==1.0", has_started=True),)
        unknown = PinSuggestion("nolet==1", site.layout.pyproject.read_text().replace("corelet==1.0", "nolet==1"))
        (start,) = start_with_pins(context, tried, [unknown])
    assert (start.has_started, "nolet" in start.reason) == (False, True)
