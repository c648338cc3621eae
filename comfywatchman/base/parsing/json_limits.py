"""The largest JSON text that is parsed, counted in values before parsing.

A parsed value takes up to thirty times the memory of its text: 64 MiB of empty lists become 2 GB.
"""

from __future__ import annotations

from typing import Final

MAX_JSON_VALUES: Final = 1_000_000
"""About 200 MB when parsed; the largest real workflow and the longest list of nodes stay below 300,000."""


def has_too_many_values(content: bytes | bytearray) -> bool:
    """Return whether a JSON text may hold more than `MAX_JSON_VALUES` values.

    The count is an upper bound: brackets and commas inside strings count too.
    """
    # No text holds more values than bytes, so small texts need no counting.
    if len(content) <= MAX_JSON_VALUES:
        return False
    return content.count(b",") + content.count(b"[") + content.count(b"{") > MAX_JSON_VALUES
