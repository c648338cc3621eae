"""The names of what governance keeps: transactions, snapshots, operations."""

from __future__ import annotations

import re
import secrets
from typing import Final

from comfywatchman.base.clock import Clock

SNAPSHOT_ID: Final = re.compile(r"\d{8}T\d{6}Z-snap-[0-9a-f]{6}")
OPERATION_ID: Final = re.compile(r"\d{8}T\d{6}Z-op-[0-9a-f]{6}")
TRANSACTION_ID: Final = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")


def new_transaction_id(clock: Clock) -> str:
    """Return a name for a transaction: `YYYYMMDDTHHMMSSZ-<8 hexadecimal digits>`."""
    return f"{_stamp(clock)}-{secrets.token_hex(4)}"


def new_snapshot_id(clock: Clock) -> str:
    """Return a name for a snapshot: `YYYYMMDDTHHMMSSZ-snap-<6 hexadecimal digits>`."""
    return f"{_stamp(clock)}-snap-{secrets.token_hex(3)}"


def new_operation_id(clock: Clock) -> str:
    """Return a name for an operation: `YYYYMMDDTHHMMSSZ-op-<6 hexadecimal digits>`."""
    return f"{_stamp(clock)}-op-{secrets.token_hex(3)}"


def _stamp(clock: Clock) -> str:
    return clock.now().strftime("%Y%m%dT%H%M%SZ")
