"""How sizes and the system's errors are said to people."""

from __future__ import annotations

from typing import Final

_KIB: Final = 1 << 10
_MIB: Final = 1 << 20
_GIB: Final = 1 << 30


def format_size(size_bytes: int) -> str:
    """Return a size in the unit in which it is a number that people can compare: two disks' rooms as two models."""
    if size_bytes >= _GIB // 4:
        return f"{size_bytes / _GIB:.2f} GiB"
    if size_bytes >= _MIB // 10:
        return f"{size_bytes / _MIB:.1f} MiB"
    return f"{size_bytes / _KIB:.0f} KiB" if size_bytes >= _KIB else f"{size_bytes} B"


def os_error_text(error: OSError | ValueError) -> str:
    """Return why a file could not be used, without the path and the number that Python's own text begins with."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def pluralize(number: int, noun: str) -> str:
    """Return a number with its noun, which gets an s unless there is one: `1 package`, `2 packages`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
