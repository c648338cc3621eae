"""The header of a GGUF file, which alone says how long the file must at least be.

Format: the specification in ggml's `docs/gguf.md`, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Final

READ_BYTES: Final = (256 << 10, 4 << 20, 16 << 20)
"""How much of a file is read in turn; the vocabularies of text encoders take a few MiB of a header."""

BLOCKS: Final = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66), 17: (256, 74),
    18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1),
    25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66),
    39: (32, 17),
}  # fmt: skip
"""Elements and bytes of one block by tensor type; of a type that is not here only the place of its data counts."""

_SCALAR_BYTES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING: Final = 8
_ARRAY: Final = 9
_UINT32: Final = 4
_ALIGNMENT: Final = b"general.alignment"
_DEFAULT_ALIGNMENT: Final = 32
_MAX_DIMENSIONS: Final = 4
_FIRST_PAIR: Final = 24


def measure_minimum_size(read: Callable[[int, int], bytes], tensors: int, pairs: int) -> int | None:
    """Return how many bytes a file needs to hold all its tensors; None when its header is longer than is read.

    Args:
        read: Fetches bytes of the file: start and count.
        tensors: How many tensors the file announces.
        pairs: How many key-value pairs.

    Raises:
        ValueError: The header is none that any version describes.
    """
    for count in READ_BYTES:
        content = read(0, count)
        try:
            return _measure_content(content, tensors, pairs)
        except (struct.error, IndexError):
            if len(content) < count:
                return len(content) + 1
    return None


def _measure_content(content: bytes, tensors: int, pairs: int) -> int:
    place, alignment = _skip_pairs(content, pairs)
    ends = []
    for _ in range(tensors):
        end, place = _parse_tensor(content, place)
        ends.append(end)
    return -(-place // alignment) * alignment + max(ends) if ends else place


def _skip_pairs(content: bytes, pairs: int) -> tuple[int, int]:
    place, alignment = _FIRST_PAIR, _DEFAULT_ALIGNMENT
    for _ in range(pairs):
        begin = place + 8
        place = _skip_text(content, place)
        name = content[begin:place]
        (kind,) = struct.unpack_from("<I", content, place)
        if name == _ALIGNMENT and kind == _UINT32:
            (alignment,) = struct.unpack_from("<I", content, place + 4)
        place = _skip_value(content, place + 4, kind)
    if alignment == 0:
        raise ValueError("its tensors are aligned to nothing")
    return place, alignment


def _skip_value(content: bytes, place: int, kind: int) -> int:
    if kind == _STRING:
        return _skip_text(content, place)
    if kind != _ARRAY:
        return place + _get_scalar_size(kind)
    inner, count = struct.unpack_from("<IQ", content, place)
    place += 12
    if inner != _STRING:
        return place + int(count) * _get_scalar_size(inner)
    for _ in range(count):
        place = _skip_text(content, place)
    return place


def _skip_text(content: bytes, place: int) -> int:
    (length,) = struct.unpack_from("<Q", content, place)
    end = place + 8 + int(length)
    if end > len(content):
        raise IndexError(end)
    return end


def _get_scalar_size(kind: int) -> int:
    size = _SCALAR_BYTES.get(kind)
    if size is None:
        raise ValueError(f"it holds a value of the unknown kind {kind}")
    return size


def _parse_tensor(content: bytes, place: int) -> tuple[int, int]:
    """Return where a tensor's data ends, counted from the first tensor's, and where its entry does."""
    place = _skip_text(content, place)
    (dimensions,) = struct.unpack_from("<I", content, place)
    if dimensions > _MAX_DIMENSIONS:
        raise ValueError(f"a tensor has {dimensions} dimensions")
    *shape, kind, offset = struct.unpack_from(f"<{dimensions}QIQ", content, place + 4)
    elements, size = BLOCKS.get(kind, (1, 0))
    end = offset + -(-math.prod(shape) // elements) * size
    return end, place + 4 + 8 * dimensions + 12
