"""Sizes, counts, lists and system errors as text for messages."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Final

MAX_SHOWN_TEXT: Final = 4_096
"""Characters of a text that are shown: as many as a path may have (PATH_MAX)."""

_KIB: Final = 1 << 10
_MIB: Final = 1 << 20
_GIB: Final = 1 << 30
_MAX_DIGITS: Final = 10
_KB: Final = 10**3
_MB: Final = 10**6
_GB: Final = 10**9


def format_size(size_bytes: int, *, digits: int = 2) -> str:
    """Format a size with a binary unit.

    The unit changes well below its own size, so that sizes of the same kind (two models, two disks) usually share one
    and can be compared at a glance: 300 MiB is shown as 0.29 GiB.

    Args:
        size_bytes: The size.
        digits: Digits after the point of a size in GiB.
    """
    if size_bytes >= _GIB // 4:
        return f"{size_bytes / _GIB:.{digits}f} GiB"
    if size_bytes >= _MIB // 10:
        return f"{size_bytes / _MIB:.1f} MiB"
    if size_bytes >= _KIB:
        return f"{size_bytes / _KIB:.0f} KiB"
    return f"{size_bytes} B"


def format_beside(value: float, limit: float, *, digits: int) -> str:
    """Format a value with as many digits as it takes to differ from a limit: 5.9999 beside 6, not 6.00."""
    for more in range(digits, _MAX_DIGITS):
        text = f"{value:.{more}f}"
        if value == limit or float(text) != limit:
            return text
    return repr(value)


def format_decimal_size(size_bytes: int) -> str:
    """Format the size of a download with a decimal unit, as model sites state it: `335 MB`, `2.5 GB`."""
    if size_bytes >= _GB:
        return f"{size_bytes / _GB:.1f} GB"
    if size_bytes >= _MB:
        return f"{size_bytes / _MB:.0f} MB"
    if not size_bytes:
        return "0 kB"
    return f"{max(size_bytes // _KB, 1)} kB"


OS_REMEDIES: Final[dict[int, str]] = {
    errno.EISDIR: "A folder is in the place of that file: move it away.",
    errno.ENOTDIR: "A file is in the place of one of its folders: move it away.",
    errno.EMFILE: "This process has too many files open: raise its limit (ulimit -n).",
    errno.ENFILE: "The system has too many files open: stop programs, or raise fs.file-max.",
    errno.ENOSPC: "The disk is full: free space on it.",
    errno.EDQUOT: "The disk quota of this user is used up: free space on it.",
    errno.EROFS: "The disk is mounted read-only: mount it for writing, or choose another home with --home.",
    errno.EIO: "The disk reports errors: check it, and the system's log.",
}
"""What to do about an error of the system, by its number."""


def describe_os_remedy(error: OSError) -> str:
    """Return what to do about an error of the system, as a sentence."""
    return OS_REMEDIES.get(error.errno or 0, "Fix the permissions of that folder.")


def os_error_text(error: OSError | ValueError) -> str:
    """Return why a file could not be used, without the errno and the path that Python's own text includes."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)


def pluralize(number: int, noun: str) -> str:
    """Return a number with its noun, plural unless the number is one: `1 package`, `2 packages`."""
    if number == 1:
        return f"1 {noun}"
    suffix = "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{suffix}"


def shorten_text(text: str, *, most: int = MAX_SHOWN_TEXT) -> str:
    """Return a text, or its beginning with its length: `abc… (100000 characters)`."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"


def shorten_list(names: Sequence[str], *, most: int = 2, conjunction: str = "and") -> str:
    """Return the first names of a list, and the number of the others: `a, b and 3 more`."""
    text = ", ".join(names[:most])
    if len(names) > most:
        text += f" {conjunction} {len(names) - most} more"
    return text


def escape_unprintable(text: str, *, but: str = "") -> str:
    """Return text with control and other invisible characters as escapes, so that names cannot manipulate a display.

    Args:
        text: The text.
        but: Characters to keep.
    """
    if text.isprintable():
        return text
    return "".join(char if char in but else _escape_char(char) for char in text)


def _escape_char(char: str) -> str:
    if char.isprintable():
        return char
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")
