"""Ranges of values in state files, as types for their shapes: a value out of range makes the file a damaged one."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta

_MAX_SECONDS: Final = 1e10
"""Three hundred years: no clock of a machine, no interval and no duration reaches it."""

_MAX_PID: Final = 1 << 22
"""PID_MAX_LIMIT of Linux on 64-bit machines (proc_sys_kernel(5))."""

_MAX_INTEGER: Final = (1 << 63) - 1
Seconds = Annotated[float, Meta(ge=0, le=_MAX_SECONDS)]
Pid = Annotated[int, Meta(ge=1, le=_MAX_PID)]
Count = Annotated[int, Meta(ge=0, le=_MAX_INTEGER)]
HexText = Annotated[str, Meta(pattern=r"^([0-9a-f]{2})*$")]
UtcTime = Annotated[datetime, Meta(tz=True)]
