"""A media file as its readers see it: parts by offset, within a budget, and the texts found in it."""

from __future__ import annotations

import json
import os
from typing import Final

from comfywatchman.base.json_limits import has_too_many_values

MAX_TEXT_BYTES: Final = 32 << 20
"""The longest workflow text that is read; real ones stay under 5 MB."""

_MAX_READ_BYTES: Final = 160 << 20
_MAX_STEPS: Final = 400_000
_WINDOW_BYTES: Final = 4096
_KEYS: Final = ("workflow", "prompt")
_EMPTY: Final = frozenset({b"", b"{}", b"null", b'""', b"undefined"})
_COMMENT_KEYS: Final = frozenset({"comment", "\u00a9cmt"})


class BrokenMediaError(ValueError):
    """A container contradicts itself or its limits where a workflow could stand; the text says how."""


class MediaFile:
    """A file read in parts.

    A budget over all reads keeps a hostile file from costing more than a big honest one.

    Args:
        descriptor: An open regular file; stays the caller's.
        size: Its length in bytes.
    """

    __slots__ = ("_bytes_left", "_descriptor", "_steps_left", "_window", "_window_at", "size")

    def __init__(self, descriptor: int, size: int) -> None:
        self.size = size
        self._descriptor = descriptor
        self._bytes_left = _MAX_READ_BYTES
        self._steps_left = _MAX_STEPS
        self._window = b""
        self._window_at = 0

    def peek(self, offset: int, count: int) -> bytes:
        """Return up to `count` bytes at an offset, fewer at the end of the file.

        Raises:
            BrokenMediaError: The budget is spent.
        """
        self._steps_left -= 1
        if self._steps_left < 0:
            raise BrokenMediaError("it has more parts than any real media file")
        start = offset - self._window_at
        if start < 0 or start + count > len(self._window):
            self._refill(offset, count)
            start = 0
        return self._window[start : start + count]

    def read(self, offset: int, count: int) -> bytes:
        """Return exactly `count` bytes at an offset.

        Raises:
            BrokenMediaError: The file ends before that, or the budget is spent.
        """
        if offset + count > self.size:
            raise BrokenMediaError(f"{count} bytes are announced at {offset}, but the file has only {self.size}")
        part = self.peek(offset, count)
        if len(part) < count:
            raise BrokenMediaError(f"the file ends at {offset + len(part)} while it is read")
        return part

    def _refill(self, offset: int, count: int) -> None:
        if count > _WINDOW_BYTES:
            self._bytes_left -= count
            if self._bytes_left < 0:
                raise BrokenMediaError(f"its metadata has more than {_MAX_READ_BYTES} bytes")
        available = max(0, self.size - offset)
        wanted = min(max(count, _WINDOW_BYTES), available)
        self._window = os.pread(self._descriptor, wanted, offset) if available else b""
        self._window_at = offset


class EmbeddedTexts:
    """The texts found under the keys `workflow` and `prompt`.

    Args:
        last_counts: Of several texts under one key, written in lower case, the last counts; else the first.
    """

    __slots__ = ("_last_counts", "prompt", "workflow")

    def __init__(self, *, last_counts: bool = False) -> None:
        self._last_counts = last_counts
        self.workflow: bytes | None = None
        self.prompt: bytes | None = None

    @property
    def complete(self) -> bool:
        """Say whether nothing more needs to be looked for."""
        return not self._last_counts and self.workflow is not None and self.prompt is not None

    def wants(self, key: str) -> bool:
        """Say whether a value under this key (in any letter case) would be kept."""
        name = key.lower()
        if name in _COMMENT_KEYS:
            return not self.complete
        return name in _KEYS and (getattr(self, name) is None or (self._last_counts and key == name))

    def offer(self, key: str, value: bytes) -> None:
        """Keep a value when its key is `workflow`, `prompt` or the comment that video savers put both into.

        Args:
            key: The container's key, in any letter case.
            value: JSON text in UTF-8 or Latin-1.

        Raises:
            BrokenMediaError: The text is too long.
        """
        name = key.lower()
        if not self.wants(key):
            return
        if len(value) > MAX_TEXT_BYTES:
            raise BrokenMediaError(f"its {name} has more than {MAX_TEXT_BYTES} bytes")
        if name in _COMMENT_KEYS:
            self.offer_object(value)
            return
        text = _to_utf8(value.strip(b"\0 \t\r\n"))
        if text not in _EMPTY:
            setattr(self, name, text)

    def offer_labelled(self, value: bytes) -> None:
        """Keep a text of the form `workflow:{...}` or `prompt:{...}`, or an object with those keys."""
        label, colon, rest = value[:16].partition(b":")
        if colon and label.lower() in {b"workflow", b"prompt"}:
            self.offer(label.decode("ascii"), value[len(label) + 1 :] if rest else b"")
        elif value[:16].lstrip().startswith(b"{"):
            self.offer("comment", value)

    def offer_object(self, text: bytes) -> None:
        """Keep `workflow` and `prompt` of a JSON object; any other text is somebody else's and is passed over."""
        if not text.lstrip().startswith(b"{"):
            return
        if has_too_many_values(text):
            raise BrokenMediaError("a text of it holds too many values")
        try:
            found = json.loads(_to_utf8(text.strip(b"\0 \t\r\n")))
        except (ValueError, RecursionError):
            return
        self.offer_members(found)

    def offer_members(self, found: dict[str, object]) -> None:
        """Keep the members `workflow` and `prompt` of a parsed object, which may hold JSON text or the thing itself."""
        for key in _KEYS:
            member = found.get(key)
            if isinstance(member, str):
                self.offer(key, member.encode("utf-8", "surrogatepass"))
            elif isinstance(member, dict):
                self.offer(key, json.dumps(member).encode())


def _to_utf8(text: bytes) -> bytes:
    try:
        text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1").encode()
    return text
