from __future__ import annotations

from typing import Any

import msgspec
import pytest

from comfywatchman.base.state.ranges import Count, HexText, Pid, Seconds, UtcTime, check_times


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        (Seconds, -0.001),
        (Seconds, 1e18),
        (Pid, 0),
        (Pid, 2**63),
        (Count, -1),
        (Count, 2**63),
        (HexText, "abc"),
        (HexText, "zz"),
        (UtcTime, "2026-11-20T14:00:00"),
    ],
)
def test_value_out_of_range_is_refused(shape: Any, value: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(value, shape)


@pytest.mark.parametrize(
    ("shape", "value"),
    [(Seconds, 0), (Pid, 2**22), (Count, 2**63 - 1), (HexText, ""), (HexText, "0aff"), (UtcTime, "2026-11-20T14:00:00Z")],
)
def test_value_within_range_is_accepted(shape: Any, value: object) -> None:
    msgspec.convert(value, shape)


@pytest.mark.parametrize("text", ["2026-11-20T14:00:00Z", "0001-01-02T00:00:00Z", "9999-12-30T23:59:59Z", None])
def test_times_that_can_be_compared_and_shown_are_accepted(text: str | None) -> None:
    check_times(text)


@pytest.mark.parametrize(
    "text",
    ["", "x", "2026-11-20", "2026-11-20T14:00:00", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "2026-02-30"],
)
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|isoformat|day"):
        check_times(text)
