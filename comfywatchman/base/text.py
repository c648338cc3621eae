"""Sizes, counts, lists and system errors as text for messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_KIB: Final = 1 << 10
_MIB: Final = 1 << 20
_GIB: Final = 1 << 30


def format_size(size_bytes: int) -> str:
    """Format a size with a binary unit.

    The unit changes well below its own size, so that sizes of the same kind (two models, two disks) usually share one
    and can be compared at a glance: 300 MiB is shown as 0.29 GiB.
    """
    if size_bytes >= _GIB // 4:
        return f"{size_bytes / _GIB:.2f} GiB"
    if size_bytes >= _MIB // 10:
        return f"{size_bytes / _MIB:.1f} MiB"
    if size_bytes >= _KIB:
        return f"{size_bytes / _KIB:.0f} KiB"
    return f"{size_bytes} B"


def os_error_text(error: OSError | ValueError) -> str:
    """Return why a file could not be used, without the errno and the path that Python's own text includes."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)


def pluralize(number: int, noun: str) -> str:
    """Return a number with its noun, plural unless the number is one: `1 package`, `2 packages`."""
    suffix = "" if number == 1 else "s"
    return f"{number} {noun}{suffix}"


def shorten_list(names: Sequence[str], *, most: int = 2, conjunction: str = "and") -> str:
    """Return the first names of a list, and the number of the others: `a, b and 3 more`."""
    text = ", ".join(names[:most])
    if len(names) > most:
        text += f" {conjunction} {len(names) - most} more"
    return text
