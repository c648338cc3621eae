"""What a node or ComfyUI printed, made fit for a summary."""

from __future__ import annotations

import re
from typing import Final

_ESCAPE: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_USER_INFORMATION: Final = re.compile(r"(?<=://)[^/\s@]+@")
_MAX_CHARS: Final = 300


def clean_line(text: str) -> str:
    """Return a text on one line, without colours, control characters and the user information of addresses."""
    plain = " ".join(_ESCAPE.sub("", text).split())
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in plain[: 4 * _MAX_CHARS])
    shown = _USER_INFORMATION.sub("", shown)
    return shown if len(shown) <= _MAX_CHARS else f"{shown[: _MAX_CHARS - 1]}…"


def find_last_line(log: str) -> str:
    """Return the last line of a log that says something; of a traceback that is the error."""
    return next((line for line in map(clean_line, reversed(log.splitlines()[-200:])) if line), "")
