"""Ranges of values in state files, as types for their shapes: a value out of range makes the file a damaged one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

from msgspec import Meta

from comfywatchman.base.clock import parse_utc

_MAX_SECONDS: Final = 1e10
"""Three hundred years: no clock of a machine, no interval and no duration reaches it."""

_MAX_PID: Final = 1 << 22
"""PID_MAX_LIMIT of Linux on 64-bit machines (proc_sys_kernel(5))."""

_FIRST_TIME: Final = datetime(1, 1, 2, tzinfo=UTC)
_LAST_TIME: Final = datetime(9999, 12, 30, 23, 59, 59, tzinfo=UTC)
"""A day from either end of the calendar, so that a time can be shown in every time zone."""

_MAX_INTEGER: Final = (1 << 63) - 1
Seconds = Annotated[float, Meta(ge=0, le=_MAX_SECONDS)]
Pid = Annotated[int, Meta(ge=1, le=_MAX_PID)]
Count = Annotated[int, Meta(ge=0, le=_MAX_INTEGER)]
HexText = Annotated[str, Meta(pattern=r"^([0-9a-f]{2})*$")]
UtcTime = Annotated[datetime, Meta(tz=True)]


def check_times(*texts: str | None) -> None:
    """Check the times of a record; None stands for a time that is not known.

    Call it in `__post_init__` of the record: msgspec then reports a bad time as it does a value of another type.

    Raises:
        ValueError: A text is not a UTC time that can be compared and shown.
    """
    for text in texts:
        if text is not None and not _FIRST_TIME <= parse_utc(text) <= _LAST_TIME:
            raise ValueError(f"time out of range: {text!r}")
