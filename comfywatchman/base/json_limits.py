"""How many values a JSON text holds at most, counted before it is parsed.

A parsed value takes up to thirty times the memory of its text: 64 MiB of empty lists become 2 GB.
"""

from __future__ import annotations

from typing import Final

MAX_JSON_VALUES: Final = 4_000_000
"""Most that is parsed, about 300 MB; the largest real workflow and the longest list of nodes stay below 300,000."""


def has_too_many_values(content: bytes | bytearray) -> bool:
    """Say whether a JSON text may hold more than `MAX_VALUES` values; brackets and commas in its texts count too."""
    if len(content) <= MAX_JSON_VALUES:
        return False
    return content.count(b",") + content.count(b"[") + content.count(b"{") > MAX_JSON_VALUES
