"""Finds in the end of ComfyUI's log why it ended, where a fixed text of Python or CUDA says so. Pure."""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

_TRACEBACK: Final = "Traceback (most recent call last):"
_LOST_CLIENT: Final = re.compile(
    r"^(?:OSError|TimeoutError|ConnectionError|ConnectionResetError|ConnectionAbortedError|BrokenPipeError)"
    r": (?:\[(?:Errno|WinError) (?:32|64|100|101|104|110|112|113|121|10053|10054|10060)\]|Cannot write to closing)"
)
"""Errors of a socket whose other end cannot be reached (errno(3)); ComfyUI does not catch them when it sends events."""
_SENDING: Final = ("send_str", "send_bytes", "send_json", "_send_event", "publish_loop")
_STICKY_CUDA: Final = (
    "CUDA error: an illegal memory access",
    "CUDA error: unspecified launch failure",
    "CUDA error: misaligned address",
    "CUDA error: device-side assert",
    "CUDA error: unknown error",
    "CUDA unknown error",
)
"""Errors after which every later call of CUDA in the same process fails too."""
_OUT_OF_MEMORY: Final = ("torch.OutOfMemoryError", "torch.cuda.OutOfMemoryError", "MemoryError")


class LogClue(Enum):
    """Why ComfyUI ended or fails, by its log."""

    NONE = "none"
    LOST_CLIENT = "lost_client"
    STICKY_CUDA_ERROR = "sticky_cuda_error"
    OUT_OF_MEMORY = "out_of_memory"


def find_clue(log_tail: str) -> LogClue:
    """Return the clue in the last traceback of a log.

    A lost client counts only when the traceback was sending to one: a node may raise the same error while it
    downloads something.
    """
    _before, found, last = log_tail.rpartition(_TRACEBACK)
    if not found:
        return LogClue.NONE
    lines = last.splitlines()
    if any(_LOST_CLIENT.match(line) for line in lines) and any(name in last for name in _SENDING):
        return LogClue.LOST_CLIENT
    if any(text in last for text in _STICKY_CUDA):
        return LogClue.STICKY_CUDA_ERROR
    if any(line.startswith(_OUT_OF_MEMORY) for line in lines):
        return LogClue.OUT_OF_MEMORY
    return LogClue.NONE
