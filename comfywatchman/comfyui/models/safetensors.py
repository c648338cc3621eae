"""Check the header of a safetensors file, which alone shows the exact size of the file.

Format: u64 length N, N bytes of JSON, then the tensors without gaps. The rules are those of the safetensors library
(`SafeTensors::read_metadata` and `Metadata::validate`), which ComfyUI loads with: a file that the library refuses is
unusable.
"""

from __future__ import annotations

import math
from itertools import chain
from typing import Any, Final

import orjson

from comfywatchman.base.parsing.json_limits import has_too_many_values
from comfywatchman.comfyui.models.header import HeaderFault, ReadBytes

MAX_HEADER_BYTES: Final = 100_000_000
"""The limit of the safetensors library; every loader refuses a longer header."""

MAX_CHECKED_BYTES: Final = 16 << 20
"""The longest header that is parsed here; real ones stay well below 5 MB."""

LENGTH_BYTES: Final = 8
"""Size of the number in front of the header."""

ITEM_BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
"""Bits of one element by dtype; safetensors 0.8 refuses every other name, lower case included."""

_METADATA: Final = "__metadata__"
_MAX_DIMENSIONS: Final = 64
_BYTE_BITS: Final = 8


def check_safetensors(read: ReadBytes, head: bytes, size: int) -> tuple[HeaderFault | None, str]:
    """Compare the size that a header implies with the file's size.

    Args:
        read: Reads more of the file when the header is longer than `head`.
        head: The first bytes of the file.
        size: The file's size in bytes.

    Returns:
        The fault or None, and a detail for people (`12 tensors`).
    """
    length = int.from_bytes(head[:LENGTH_BYTES], "little")
    if length > MAX_HEADER_BYTES:
        return HeaderFault("header-invalid", "not a safetensors file: its header would be longer than 100 MB"), ""
    header_end = LENGTH_BYTES + length
    if header_end > size:
        return HeaderFault("truncated", f"cut off inside the header: {size} bytes of at least {header_end}"), ""
    if length > MAX_CHECKED_BYTES:
        return None, f"header of {length} bytes, not checked"

    try:
        header = read_header(read, head, length)
        data_bytes, tensors = measure_data(header)
    except ValueError as error:
        return HeaderFault("header-invalid", f"a damaged safetensors header: {error}"), ""
    return _find_size_fault(header_end + data_bytes, size), f"{tensors} tensors"


def read_header(read: ReadBytes, head: bytes, length: int) -> dict[str, Any]:
    """Return the header's JSON object.

    Raises:
        ValueError: The header is not a JSON object, or holds more values than any model has.
    """
    raw = head[LENGTH_BYTES : LENGTH_BYTES + length]
    if len(raw) < length:
        raw += read(len(head), LENGTH_BYTES + length - len(head))
    if len(raw) < length:
        raise ValueError("it could not be read whole")
    # Parsing multiplies the memory of a header; one made of a million brackets must not reach the parser.
    if has_too_many_values(raw):
        raise ValueError("it holds more values than any model has")
    header = orjson.loads(raw)
    if not isinstance(header, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - one kind of error for one kind of fault
    return header


def measure_data(header: dict[str, Any]) -> tuple[int, int]:
    """Return how many bytes the tensors take, and how many tensors there are.

    Raises:
        ValueError: The offsets leave holes or overlap, or an entry does not describe a tensor.
    """
    _validate_metadata(header.get(_METADATA))
    tensors = {name: tensor for name, tensor in header.items() if name != _METADATA}
    data_bytes = _measure_valid_data(list(tensors.values()))
    if data_bytes is None:
        data_bytes = _measure_one_by_one(tensors)
    return data_bytes, len(tensors)


def _measure_valid_data(tensors: list[Any]) -> int | None:
    """Return where the data of a faultless header ends; None when a tensor may be faulty.

    Applies the rules of `parse_tensor_span` to all tensors at once, which is several times as fast: a library of
    models holds hundreds of thousands of tensors.
    """
    try:
        spans = [tensor["data_offsets"] for tensor in tensors]
        shapes = [tensor["shape"] for tensor in tensors]
        item_bits = [ITEM_BITS[tensor["dtype"]] for tensor in tensors]
        starts, ends = zip(*sorted(spans), strict=True)
        number_types = {*map(type, starts), *map(type, ends), *map(type, chain.from_iterable(shapes))}
        longest_shape = max(map(len, shapes))
        shortest_side = min(chain.from_iterable(shapes), default=0)
    except (TypeError, KeyError, ValueError):
        return None
    if number_types != {int} or {*map(type, shapes)} != {list}:
        return None
    if longest_shape > _MAX_DIMENSIONS or shortest_side < 0:
        return None
    # Each tensor begins where the one before it ends.
    if starts != (0, *ends[:-1]):
        return None
    for (start, end), shape, bits in zip(spans, shapes, item_bits, strict=True):
        if end < start or math.prod(shape) * bits != (end - start) * _BYTE_BITS:
            return None
    last_end: int = ends[-1]
    return last_end


def _measure_one_by_one(tensors: dict[str, Any]) -> int:
    spans = [parse_tensor_span(name, tensor) for name, tensor in tensors.items()]
    data_bytes = 0
    for start, end in sorted(spans):
        if start != data_bytes:
            raise ValueError(f"a hole or an overlap at data byte {min(start, data_bytes)}")
        data_bytes = end
    return data_bytes


def _validate_metadata(metadata: Any) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("__metadata__ is not a map of texts")


def parse_tensor_span(name: str, tensor: Any) -> tuple[int, int]:
    """Return where a tensor's data begins and ends.

    Raises:
        ValueError: The entry does not describe a tensor, its dtype is unknown, or its size does not fit its shape.
    """
    label = repr(name[:80])
    try:
        start, end = tensor["data_offsets"]
        shape, dtype = tensor["shape"], tensor["dtype"]
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{label} does not describe a tensor") from error
    if not _has_valid_numbers(start, end, shape) or not isinstance(dtype, str):
        raise ValueError(f"{label} does not describe a tensor")
    if dtype not in ITEM_BITS:
        raise ValueError(f"tensor {label} has the unknown dtype {dtype[:20]!r}")
    if math.prod(shape) * ITEM_BITS[dtype] != (end - start) * _BYTE_BITS:
        raise ValueError(f"the size of tensor {label} does not fit its shape")
    return start, end


def _has_valid_numbers(start: Any, end: Any, shape: Any) -> bool:
    """Check the types before any arithmetic: a product of texts or of thousands of numbers would take all memory."""
    if not isinstance(shape, list) or len(shape) > _MAX_DIMENSIONS:
        return False
    # JSON's true and false are instances of int too, so the exact type is compared.
    if any(type(number) is not int for number in (start, end, *shape)):
        return False
    return bool(0 <= start <= end) and all(length >= 0 for length in shape)


def _find_size_fault(expected: int, size: int) -> HeaderFault | None:
    if size < expected:
        return HeaderFault("truncated", f"cut off: {size} of {expected} bytes ({100 * size // expected} %)")
    if size > expected:
        return HeaderFault("trailing-bytes", f"{size - expected} bytes more than its header describes")
    return None
