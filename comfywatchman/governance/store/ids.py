"""The ids of transactions, snapshots and operations.

Their digits count sixteenths of a microsecond within the second, so that ids sort in the order of their creation.
"""

from __future__ import annotations

import itertools
import re
import secrets
from typing import Final

from comfywatchman.base.clock import Clock

SNAPSHOT_ID: Final = re.compile(r"\d{8}T\d{6}Z-snap-[0-9a-f]{6}")
OPERATION_ID: Final = re.compile(r"\d{8}T\d{6}Z-op-[0-9a-f]{6}")
TRANSACTION_ID: Final = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")

_sequence = itertools.count()


def make_transaction_id(clock: Clock) -> str:
    """Return a new transaction id: `YYYYMMDDTHHMMSSZ-<8 hexadecimal digits>`."""
    return _make_id(clock, "") + secrets.token_hex(1)


def make_snapshot_id(clock: Clock) -> str:
    """Return a new snapshot id: `YYYYMMDDTHHMMSSZ-snap-<6 hexadecimal digits>`."""
    return _make_id(clock, "snap-")


def make_operation_id(clock: Clock) -> str:
    """Return a new operation id: `YYYYMMDDTHHMMSSZ-op-<6 hexadecimal digits>`."""
    return _make_id(clock, "op-")


def _make_id(clock: Clock, infix: str) -> str:
    now = clock.now()
    # The sequence keeps ids apart that one process creates in the same microsecond.
    digits = (now.microsecond * 16 + next(_sequence)) % (1 << 24)
    return f"{now:%Y%m%dT%H%M%SZ}-{infix}{digits:06x}"
