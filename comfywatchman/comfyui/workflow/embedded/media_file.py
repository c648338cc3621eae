"""Read parts of a media file within a budget, and collect the workflow texts found in it."""

from __future__ import annotations

import json
import os
from typing import Final

from comfywatchman.base.parsing.json_limits import has_too_many_values
from comfywatchman.comfyui.workflow.budget import ReadingBudget

MAX_TEXT_BYTES: Final = 32 << 20
"""The longest workflow text that is read; real ones stay under 5 MB."""

_WINDOW_BYTES: Final = 4096
_PADDING: Final = b"\0 \t\r\n"
_KEYS: Final = ("workflow", "prompt")
_LABELS: Final = frozenset({b"workflow", b"prompt"})
_LABEL_BYTES: Final = 16
_EMPTY: Final = frozenset({b"", b"{}", b"null", b'""', b"undefined"})
_COMMENT_KEYS: Final = frozenset({"comment", "\u00a9cmt"})


class BrokenMediaError(ValueError):
    """A container contradicts itself or exceeds a limit where a workflow could be; the message gives the reason."""


class MediaFile:
    """A file that is read in parts.

    A budget over all reads keeps a malicious file from costing more than a large valid one.

    Args:
        descriptor: Descriptor of a regular file; the caller closes it.
        size: Its length in bytes.
        budget: What reading it may cost.
    """

    __slots__ = ("_descriptor", "_window", "_window_offset", "budget", "size")

    def __init__(self, descriptor: int, size: int, budget: ReadingBudget | None = None) -> None:
        self.size = size
        self.budget = budget or ReadingBudget()
        self._descriptor = descriptor
        self._window = b""
        self._window_offset = 0

    def peek(self, offset: int, count: int) -> bytes:
        """Return up to `count` bytes at an offset, fewer at the end of the file.

        Raises:
            Failure: `workflow-too-large`: the budget is spent.
        """
        self.budget.take_part()
        start = offset - self._window_offset
        if start < 0 or start + count > len(self._window):
            self._refill_window(offset, count)
            start = 0
        return self._window[start : start + count]

    def read(self, offset: int, count: int) -> bytes:
        """Return exactly `count` bytes at an offset.

        Raises:
            BrokenMediaError: The file ends before that.
            Failure: `workflow-too-large`: the budget is spent.
        """
        if offset + count > self.size:
            raise BrokenMediaError(f"it announces {count} bytes at {offset}, but the file has only {self.size}")
        part = self.peek(offset, count)
        if len(part) < count:
            # Another program truncated the file after it was opened.
            raise BrokenMediaError(f"the file ends at {offset + len(part)} while it is read")
        return part

    def _refill_window(self, offset: int, count: int) -> None:
        # Headers of consecutive parts lie close together: one window serves many small reads, which cost no budget.
        if count > _WINDOW_BYTES:
            self.budget.take_read(count)
        available = max(0, self.size - offset)
        window_bytes = min(max(count, _WINDOW_BYTES), available)
        self._window = os.pread(self._descriptor, window_bytes, offset) if available else b""
        self._window_offset = offset


class EmbeddedTexts:
    """Collects the texts under the keys `workflow` and `prompt`.

    Args:
        last_counts: Whether the last of several texts under one lower-case key counts, instead of the first.
    """

    __slots__ = ("_last_counts", "prompt", "workflow")

    def __init__(self, *, last_counts: bool = False) -> None:
        self._last_counts = last_counts
        self.workflow: bytes | None = None
        self.prompt: bytes | None = None

    @property
    def is_complete(self) -> bool:
        """Whether no further text would be kept."""
        return not self._last_counts and self.workflow is not None and self.prompt is not None

    def wants(self, key: str) -> bool:
        """Return whether a value under this key (in any letter case) would be kept."""
        name = key.lower()
        if name in _COMMENT_KEYS:
            return not self.is_complete
        if name not in _KEYS:
            return False
        is_free = getattr(self, name) is None
        return is_free or (self._last_counts and key == name)

    def offer(self, key: str, value: bytes) -> None:
        """Keep a value when its key is `workflow`, `prompt`, or the comment in which video savers store both.

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
        text = _to_utf8(value.strip(_PADDING))
        if text not in _EMPTY:
            setattr(self, name, text)

    def offer_labelled(self, value: bytes) -> None:
        """Keep a text of the form `workflow:{...}` or `prompt:{...}`, or an object with those keys."""
        label, colon, _ = value[:_LABEL_BYTES].partition(b":")
        if colon and label.lower() in _LABELS:
            self.offer(label.decode("ascii"), value[len(label) + 1 :])
        elif value[:_LABEL_BYTES].lstrip().startswith(b"{"):
            self.offer("comment", value)

    def offer_object(self, text: bytes) -> None:
        """Keep `workflow` and `prompt` of a JSON object; any other text belongs to another program and is ignored."""
        if not text.lstrip().startswith(b"{"):
            return
        if has_too_many_values(text):
            raise BrokenMediaError("one of its texts has too many values")
        try:
            content = json.loads(_to_utf8(text.strip(_PADDING)))
        except (ValueError, RecursionError):
            return
        self.offer_members(content)

    def offer_members(self, content: dict[str, object]) -> None:
        """Keep the members `workflow` and `prompt` of a parsed object, which are JSON text or the JSON itself."""
        for key in _KEYS:
            member = content.get(key)
            if isinstance(member, str):
                self.offer(key, member.encode("utf-8", "surrogatepass"))
            elif isinstance(member, dict):
                self.offer(key, json.dumps(member).encode())


def _to_utf8(text: bytes) -> bytes:
    try:
        text.decode()
    except UnicodeDecodeError:
        # PNG text chunks are Latin-1 by the specification, but savers write UTF-8 into them.
        return text.decode("latin-1").encode()
    return text
