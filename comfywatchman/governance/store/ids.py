"""The ids of transactions, snapshots and operations.

Their digits count sixteenths of a microsecond within the second, so that ids sort in the order of their creation.
"""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Sequence
from typing import Final

from comfywatchman.base.clock import Clock
from comfywatchman.base.errors import Failure
from comfywatchman.base.text import shorten_list

SNAPSHOT_ID: Final = re.compile(r"\d{8}T\d{6}Z-snap-[0-9a-f]{6}")
OPERATION_ID: Final = re.compile(r"\d{8}T\d{6}Z-op-[0-9a-f]{6}")
TRANSACTION_ID: Final = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")

LATEST: Final = "latest"
"""Names the newest transaction, snapshot or operation on the command line."""

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


def complete_id(text: str, ids: Sequence[str], *, code: str) -> str:
    """Return the id that a text names: the text itself, the newest one for `latest`, or the one that begins with it.

    Args:
        text: The text from the command line.
        ids: The existing ids, oldest first.
        code: The code of the failure.

    Returns:
        The id; the text itself when it names none, for the caller to report.

    Raises:
        Failure: Several ids begin with the text.
    """
    if text == LATEST and ids:
        return ids[-1]
    matching = [known for known in ids if text and known.startswith(text)]
    if text in ids or not matching:
        return text
    if len(matching) > 1:
        raise Failure(
            code, f"{len(matching)} ids begin with {text!r}: {shorten_list(matching)}.", hint="Give more of its digits."
        )
    return matching[0]


def _make_id(clock: Clock, infix: str) -> str:
    now = clock.now()
    # The sequence keeps ids apart that one process creates in the same microsecond.
    digits = (now.microsecond * 16 + next(_sequence)) % (1 << 24)
    return f"{now:%Y%m%dT%H%M%SZ}-{infix}{digits:06x}"
