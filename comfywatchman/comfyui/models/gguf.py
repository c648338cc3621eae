"""Read the header of a GGUF file, which alone shows the minimum size of the file.

Format: the specification in ggml's `docs/gguf.md`, versions 2 and 3, little-endian. A header holds the magic, the
version, two counts, that many key-value pairs, and one entry for each tensor; the aligned tensor data follows.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from comfywatchman.comfyui.models.header import HeaderFault, ReadBytes

MAGIC: Final = b"GGUF"
BIG_ENDIAN_MAGIC: Final = b"FUGG"

READ_BYTES: Final = (256 << 10, 4 << 20, 16 << 20)
"""How much of a file is read in turn; the vocabularies of text encoders take a few MiB of a header."""

BLOCKS: Final = {
    0: (1, 4),  # F32
    1: (1, 2),  # F16
    2: (32, 18),  # Q4_0
    3: (32, 20),  # Q4_1
    6: (32, 22),  # Q5_0
    7: (32, 24),  # Q5_1
    8: (32, 34),  # Q8_0
    9: (32, 40),  # Q8_1
    10: (256, 84),  # Q2_K
    11: (256, 110),  # Q3_K
    12: (256, 144),  # Q4_K
    13: (256, 176),  # Q5_K
    14: (256, 210),  # Q6_K
    15: (256, 292),  # Q8_K
    16: (256, 66),  # IQ2_XXS
    17: (256, 74),  # IQ2_XS
    18: (256, 98),  # IQ3_XXS
    19: (256, 50),  # IQ1_S
    20: (32, 18),  # IQ4_NL
    21: (256, 110),  # IQ3_S
    22: (256, 82),  # IQ2_S
    23: (256, 136),  # IQ4_XS
    24: (1, 1),  # I8
    25: (1, 2),  # I16
    26: (1, 4),  # I32
    27: (1, 8),  # I64
    28: (1, 8),  # F64
    29: (256, 56),  # IQ1_M
    30: (1, 2),  # BF16
    34: (256, 54),  # TQ1_0
    35: (256, 66),  # TQ2_0
    39: (32, 17),  # MXFP4
    40: (64, 36),  # NVFP4
    41: (128, 18),  # Q1_0
}
"""Elements and bytes of one block by tensor type (`GGML_QUANT_SIZES` of the gguf library)."""

HEADER_TOO_SHORT: Final = (struct.error, IndexError, OverflowError)
"""Raised by the parsers here when a header goes on behind the content, or announces a length beyond any file."""

_VERSIONS: Final = range(1, 5)
_FIRST_PAIR: Final = 24
"""Where the key-value pairs begin: behind the magic, the version and the two counts."""

_LEAST_TENSOR_BYTES: Final = 24
_LEAST_PAIR_BYTES: Final = 13
_SCALAR_FORMATS: Final = {
    0: "<B",  # UINT8
    1: "<b",  # INT8
    2: "<H",  # UINT16
    3: "<h",  # INT16
    4: "<I",  # UINT32
    5: "<i",  # INT32
    6: "<f",  # FLOAT32
    7: "<?",  # BOOL
    10: "<Q",  # UINT64
    11: "<q",  # INT64
    12: "<d",  # FLOAT64
}
"""How a value is stored, by value type."""

_UINT32: Final = 4
_STRING: Final = 8
_ARRAY: Final = 9
_ALIGNMENT: Final = "general.alignment"
_DEFAULT_ALIGNMENT: Final = 32
_MAX_DIMENSIONS: Final = 4


class GgufPair(NamedTuple):
    """One key-value pair.

    Attributes:
        name: Its key.
        value_type: The number of its type.
        value: Its value; arrays are skipped and stand as `list of N`.
        end: Where the next pair begins.
    """

    name: str
    value_type: int
    value: Any
    end: int


def check_gguf(read: ReadBytes, head: bytes, size: int) -> tuple[HeaderFault | None, str]:
    """Compare the size that a header implies with the file's size.

    Version 1 and big-endian files pass unchecked: their layout differs.

    Args:
        read: Reads more of the file.
        head: The first bytes of the file, beginning with one of the two magics.
        size: The file's size in bytes.

    Returns:
        The fault or None, and a detail for people (`GGUF version 3, 723 tensors`).
    """
    if len(head) < _FIRST_PAIR:
        return HeaderFault("truncated", f"cut off after {size} bytes"), ""
    is_big_endian = head.startswith(BIG_ENDIAN_MAGIC)
    version = int.from_bytes(head[4:8], "big" if is_big_endian else "little")
    if version not in _VERSIONS:
        return HeaderFault("header-invalid", f"GGUF version {version} does not exist"), ""
    if version == 1 or is_big_endian:
        return None, f"GGUF version {version}"

    tensors, pairs = read_counts(head)
    return _find_fault(read, size, tensors, pairs), f"GGUF version {version}, {tensors} tensors"


def _find_fault(read: ReadBytes, size: int, tensors: int, pairs: int) -> HeaderFault | None:
    # Counts beyond any file would make the loops of the parser run for hours.
    if _FIRST_PAIR + tensors * _LEAST_TENSOR_BYTES + pairs * _LEAST_PAIR_BYTES > size:
        return HeaderFault("truncated", f"cut off: {tensors} tensors do not fit into {size} bytes")
    try:
        needed = measure_minimum_size(read, tensors, pairs)
    except ValueError as error:
        return HeaderFault("header-invalid", f"a damaged GGUF header: {error}")
    if needed is not None and needed > size:
        return HeaderFault("truncated", f"cut off: {size} of at least {needed} bytes")
    return None


def read_counts(head: bytes) -> tuple[int, int]:
    """Return the numbers of tensors and of key-value pairs.

    Raises:
        struct.error: The file ends before them.
    """
    tensors, pairs = struct.unpack_from("<QQ", head, 8)
    return tensors, pairs


def measure_minimum_size(read: ReadBytes, tensors: int, pairs: int) -> int | None:
    """Return how many bytes a file needs to hold all its tensors; None when its header is too long to be read.

    Raises:
        ValueError: No version of the format allows this header.
    """
    for count in READ_BYTES:
        content = read(0, count)
        try:
            return _measure_content(content, tensors, pairs)
        except HEADER_TOO_SHORT:
            # The header continues after the bytes read. At the end of the file that means: it is cut off.
            if len(content) < count:
                return len(content) + 1
    return None


def parse_pairs(content: bytes, count: int) -> Iterator[GgufPair]:
    """Yield the key-value pairs of a header.

    Raises:
        ValueError: A value has a type that does not exist.
        Exception: One of `HEADER_TOO_SHORT`.
    """
    position = _FIRST_PAIR
    for _ in range(count):
        name, position = _parse_text(content, position)
        (value_type,) = struct.unpack_from("<I", content, position)
        value, position = _parse_value(content, position + 4, value_type)
        yield GgufPair(name, value_type, value, position)


def _measure_content(content: bytes, tensors: int, pairs: int) -> int:
    position, alignment = _FIRST_PAIR, _DEFAULT_ALIGNMENT
    for pair in parse_pairs(content, pairs):
        position = pair.end
        if pair.name == _ALIGNMENT and pair.value_type == _UINT32:
            alignment = pair.value
    if alignment == 0 or alignment & (alignment - 1):
        raise ValueError(f"its alignment {alignment} is not a power of two")

    data_bytes = 0
    for _ in range(tensors):
        data_end, position = _parse_tensor(content, position)
        data_bytes = max(data_bytes, data_end)
    if not tensors:
        return position
    return _round_up(position, alignment) + data_bytes


def _parse_value(content: bytes, position: int, value_type: int) -> tuple[Any, int]:
    """Return a value and where it ends."""
    if value_type == _STRING:
        return _parse_text(content, position)
    if value_type == _ARRAY:
        return _skip_array(content, position)
    scalar = _get_scalar_format(value_type)
    (value,) = struct.unpack_from(scalar, content, position)
    return value, position + struct.calcsize(scalar)


def _skip_array(content: bytes, position: int) -> tuple[str, int]:
    """Return a summary of an array, and where it ends; vocabularies have hundreds of thousands of elements."""
    element_type, count = struct.unpack_from("<IQ", content, position)
    position += 12
    if element_type == _STRING:
        for _ in range(count):
            position = _find_text_end(content, position)
    else:
        position += count * struct.calcsize(_get_scalar_format(element_type))
    return f"list of {count}", position


def _parse_text(content: bytes, position: int) -> tuple[str, int]:
    end = _find_text_end(content, position)
    return content[position + 8 : end].decode("utf-8", "replace"), end


def _find_text_end(content: bytes, position: int) -> int:
    (length,) = struct.unpack_from("<Q", content, position)
    end: int = position + 8 + length
    if end > len(content):
        raise IndexError(end)
    return end


def _get_scalar_format(value_type: int) -> str:
    scalar = _SCALAR_FORMATS.get(value_type)
    if scalar is None:
        raise ValueError(f"it holds a value of the unknown type {value_type}")
    return scalar


def _parse_tensor(content: bytes, position: int) -> tuple[int, int]:
    """Return where a tensor's data ends, counted from the first tensor's, and where the next entry begins."""
    position = _find_text_end(content, position)
    (dimensions,) = struct.unpack_from("<I", content, position)
    if dimensions > _MAX_DIMENSIONS:
        raise ValueError(f"a tensor has {dimensions} dimensions")
    *shape, tensor_type, offset = struct.unpack_from(f"<{dimensions}QIQ", content, position + 4)
    # The data of a type that is not in the table counts as empty: newer versions of ggml add types.
    block_elements, block_bytes = BLOCKS.get(tensor_type, (1, 0))
    blocks = _round_up(math.prod(shape), block_elements) // block_elements
    entry_end = position + 4 + 8 * dimensions + 12
    return offset + blocks * block_bytes, entry_end


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
