from __future__ import annotations

from typing import Any

import msgspec
import pytest

from comfywatchman.base.state.ranges import Count, HexText, Pid, Seconds, UtcTime


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
