"""The header of a safetensors file, which alone says how long the file must be."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import orjson

from comfywatchman.base.json_limits import has_too_many_values

MAX_HEADER_BYTES: Final = 100_000_000
"""The limit of the safetensors library; a longer header is refused by every loader."""

MAX_CHECKED_BYTES: Final = 16 << 20
"""The longest header that is parsed here; real ones end well below 5 MB."""

ITEM_BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
"""Bits of one element by dtype name; a name that is not here is not held against its shape."""

_MAX_DIMENSIONS: Final = 64
_INTEGER: Final = frozenset({int})

ReadBytes = Callable[[int, int], bytes]
"""Read bytes of a file: start and count."""


@dataclass(frozen=True, slots=True)
class HeaderFault:
    """What is wrong with a header: a code for programs and the reason in words."""

    code: str
    reason: str


def check_safetensors(read: ReadBytes, head: bytes, size: int) -> tuple[HeaderFault | None, str]:
    """Hold a header against the file's size.

    Args:
        read: Fetches more of the file when the header is longer than `head`.
        head: The first bytes of the file.
        size: The file's size in bytes.

    Returns:
        The fault, or None; and one fact for people (`12 tensors`).
    """
    length = int.from_bytes(head[:8], "little")
    if length > MAX_HEADER_BYTES:
        return HeaderFault("header-invalid", "not a safetensors file: its header would be longer than 100 MB"), ""
    if 8 + length > size:
        return HeaderFault("truncated", f"cut off inside the header: {size} bytes of at least {8 + length}"), ""
    if length > MAX_CHECKED_BYTES:
        return None, f"header of {length} bytes, not checked"
    try:
        header = read_header(read, head, length)
        end, tensors = measure_data(header)
    except ValueError as error:
        return HeaderFault("header-invalid", f"a damaged safetensors header: {error}"), ""
    return _find_size_fault(8 + length + end, size), f"{tensors} tensors"


def read_header(read: ReadBytes, head: bytes, length: int) -> dict[str, Any]:
    """Return the header's JSON object.

    Raises:
        ValueError: It is no JSON object, or nested deeper than any header.
    """
    raw = head[8 : 8 + length]
    if len(raw) < length:
        raw += read(len(head), 8 + length - len(head))
    if len(raw) < length:
        raise ValueError("it could not be read whole")
    if has_too_many_values(raw):
        raise ValueError("it holds more values than any model has")
    header = orjson.loads(raw)
    if not isinstance(header, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - one kind of error for one kind of fault
    return header


def measure_data(header: dict[str, Any]) -> tuple[int, int]:
    """Return how many bytes the tensors take, and how many tensors there are.

    Raises:
        ValueError: The offsets leave holes or overlap, or an entry is no tensor.
    """
    _validate_metadata(header.get("__metadata__"))
    tensors = {name: tensor for name, tensor in header.items() if name != "__metadata__"}
    end = _measure_valid_data(list(tensors.values()))
    if end is not None:
        return end, len(tensors)
    spans = [parse_tensor_span(name, tensor) for name, tensor in tensors.items()]
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            raise ValueError(f"a hole or an overlap at data byte {min(start, end)}")
        end = stop
    return end, len(spans)


def _measure_valid_data(tensors: list[Any]) -> int | None:
    """Return where the data of a header without any fault ends; None when it must be looked at one by one.

    The same rules as one by one, over all tensors at once: a large library holds hundreds of thousands of them.
    """
    try:
        spans = [tensor["data_offsets"] for tensor in tensors]
        shapes = [tensor["shape"] for tensor in tensors]
        bits = [ITEM_BITS.get(tensor["dtype"]) for tensor in tensors]
        starts, ends = zip(*sorted(spans), strict=True)
        are_whole = {*map(type, starts), *map(type, ends), *map(type, chain.from_iterable(shapes))} <= _INTEGER
        if not are_whole or max(map(len, shapes)) > _MAX_DIMENSIONS or starts != (0, *ends[:-1]):
            return None
        lengths = [stop - start for start, stop in spans]
    except (TypeError, KeyError, ValueError):
        return None
    counts = map(math.prod, shapes)
    fits = all(
        one is None or one * count == length * 8 for one, count, length in zip(bits, counts, lengths, strict=True)
    )
    return ends[-1] if fits and min(lengths) >= 0 else None


def _validate_metadata(metadata: Any) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("__metadata__ holds something else than text")


def parse_tensor_span(name: str, tensor: Any) -> tuple[int, int]:
    """Return where a tensor's data begins and ends.

    Raises:
        ValueError: The entry is no tensor, or its size does not fit its shape.
    """
    try:
        start, stop = tensor["data_offsets"]
        shape, dtype = tensor["shape"], tensor["dtype"]
        fits = _are_integers(start, stop, shape) and _has_shape_size(stop - start, shape, ITEM_BITS.get(dtype))
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{name[:80]!r} is no tensor") from error
    if not fits:
        raise ValueError(f"the size of tensor {name[:80]!r} does not fit its shape")
    return start, stop


def _are_integers(start: Any, stop: Any, shape: Any) -> bool:
    """Say whether these are numbers; the product of texts or of thousands of numbers would take all memory."""
    numbers = len(shape) <= _MAX_DIMENSIONS and {type(start), type(stop), *map(type, shape)} <= _INTEGER
    return numbers and 0 <= start <= stop


def _has_shape_size(length: int, shape: list[int], bits: int | None) -> bool:
    return bits is None or math.prod(shape) * bits == length * 8


def _find_size_fault(expected: int, size: int) -> HeaderFault | None:
    if size < expected:
        return HeaderFault("truncated", f"cut off: {size} of {expected} bytes ({100 * size // expected} %)")
    if size > expected:
        return HeaderFault("trailing-bytes", f"{size - expected} bytes more than its header describes")
    return None
