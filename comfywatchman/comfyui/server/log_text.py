"""Text that ComfyUI or a node printed, cleaned for messages."""

from __future__ import annotations

import re
from typing import Final

_ESCAPE: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
"""Escape sequences of terminals: CSI, OSC and the short ones (ECMA-48)."""

_USER_INFORMATION: Final = re.compile(r"(?<=://)[^/\s@]+@")
_MAX_CHARS: Final = 300
_MAX_LINES: Final = 200


def clean_line(text: str) -> str:
    """Return a text on one line of at most 300 characters, without colours, control characters and URL credentials."""
    plain = " ".join(_ESCAPE.sub("", text).split())
    # Cut before the characters are replaced, so that a huge line costs nothing; cut again after the credentials are
    # removed, so that a URL is never cut in the middle of them.
    characters = [char if char.isprintable() else ascii(char)[1:-1] for char in plain[: 4 * _MAX_CHARS]]
    shown = _USER_INFORMATION.sub("", "".join(characters))
    if len(shown) <= _MAX_CHARS:
        return shown
    return f"{shown[: _MAX_CHARS - 1]}…"


def find_last_line(log: str) -> str:
    """Return the last line of a log that is not empty; of a traceback that is the error."""
    for line in reversed(log.splitlines()[-_MAX_LINES:]):
        shown = clean_line(line)
        if shown:
            return shown
    return ""
