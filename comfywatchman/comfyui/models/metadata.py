"""What a model file says of itself: tensors, types, metadata. Only headers are read."""

from __future__ import annotations

import math
import os
import struct
from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import msgspec

from comfywatchman.comfyui.models.safetensors import MAX_CHECKED_BYTES, parse_tensor_span, read_header

MAX_ENTRIES: Final = 100
"""How many metadata entries are returned; trainers write thousands of tag counts."""

MAX_TEXT: Final = 500
"""Characters kept of one metadata value."""

_GGUF_READ_BYTES: Final = 1 << 20
_GGUF_SCALARS: Final = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_GGUF_STRING: Final = 8
_GGUF_ARRAY: Final = 9
_FAMILY_KEYS: Final = ("modelspec.architecture", "ss_base_model_version", "general.architecture")
_TENSOR_PREFIXES: Final = (
    ("Stable Diffusion XL checkpoint", ("model.diffusion_model.", "conditioner.embedders.1.model.")),
    ("Stable Diffusion 1 checkpoint", ("model.diffusion_model.", "cond_stage_model.transformer.text_model.")),
    ("Stable Diffusion 2 checkpoint", ("model.diffusion_model.", "cond_stage_model.model.transformer.")),
)
_LORA_SUFFIXES: Final = (".lora_down.weight", ".lora_A.weight", ".lora.down.weight")


class ModelMetadata(msgspec.Struct, frozen=True):
    """What a header says.

    Attributes:
        tensors: How many there are.
        parameters: Sum of their elements; None where the header does not tell.
        dtypes: Tensors by dtype.
        metadata: What the maker wrote, cut to `MAX_ENTRIES` entries of `MAX_TEXT` characters.
        metadata_entries: How many entries there were.
        family: The architecture that the file declares or that its tensor names leave no doubt about; else None.
    """

    tensors: int
    parameters: int | None
    dtypes: dict[str, int]
    metadata: dict[str, str]
    metadata_entries: int
    family: str | None


def read_metadata(path: str | os.PathLike[str]) -> ModelMetadata | None:
    """Read what a safetensors or GGUF file says of itself; None for every other format, and for a broken header."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            head = stream.read(8)
            return _read_gguf(stream) if head.startswith(b"GGUF") else _read_safetensors(stream, head)
    except (OSError, ValueError, TypeError, KeyError, struct.error):
        return None


def _read_safetensors(stream: BinaryIO, head: bytes) -> ModelMetadata | None:
    length = int.from_bytes(head, "little")
    if length > MAX_CHECKED_BYTES:
        return None
    header = read_header(lambda start, count: os.pread(stream.fileno(), count, start), head, length)
    written = header.pop("__metadata__", None) or {}
    if not header:
        return None
    return ModelMetadata(
        tensors=len(header),
        parameters=sum(_count_elements(name, tensor) for name, tensor in header.items()),
        dtypes=dict(sorted(Counter(str(tensor["dtype"]) for tensor in header.values()).items())),
        metadata=_truncate_entries(written),
        metadata_entries=len(written),
        family=_find_declared_family(written) or _detect_family(header),
    )


def _count_elements(name: str, tensor: Any) -> int:
    parse_tensor_span(name, tensor)
    return math.prod(tensor["shape"])


def _read_gguf(stream: BinaryIO) -> ModelMetadata:
    """Read as many key-value pairs as stand in the first MiB (little-endian, versions 2 and 3)."""
    tensors, pairs = struct.unpack("<QQ", stream.read(16))
    written = dict(_parse_gguf_pairs(stream.read(_GGUF_READ_BYTES), pairs))
    return ModelMetadata(
        tensors=tensors,
        parameters=None,
        dtypes={},
        metadata=_truncate_entries(written),
        metadata_entries=pairs,
        family=_find_declared_family(written),
    )


def _parse_gguf_pairs(content: bytes, pairs: int) -> Iterator[tuple[str, Any]]:
    place = 0
    for _ in range(pairs):
        try:
            name, place = _parse_gguf_text(content, place)
            (kind,) = struct.unpack_from("<I", content, place)
            value, place = _parse_gguf_value(content, place + 4, kind)
        except (struct.error, IndexError, KeyError, OverflowError):
            return
        yield name, value


def _parse_gguf_value(content: bytes, place: int, kind: int) -> tuple[Any, int]:
    if kind == _GGUF_STRING:
        return _parse_gguf_text(content, place)
    if kind != _GGUF_ARRAY:
        form = _GGUF_SCALARS[kind]
        return struct.unpack_from(form, content, place)[0], place + struct.calcsize(form)
    inner, count = struct.unpack_from("<IQ", content, place)
    place += 12
    if inner == _GGUF_STRING:
        for _ in range(count):
            _, place = _parse_gguf_text(content, place)
    else:
        place += count * struct.calcsize(_GGUF_SCALARS[inner])
    return f"list of {count}", place


def _parse_gguf_text(content: bytes, place: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<Q", content, place)
    end = place + 8 + length
    if end > len(content):
        raise IndexError(end)
    return content[place + 8 : end].decode("utf-8", "replace"), end


def _truncate_entries(written: dict[str, Any]) -> dict[str, str]:
    return {name[:MAX_TEXT]: str(written[name])[:MAX_TEXT] for name in sorted(written)[:MAX_ENTRIES]}


def _find_declared_family(written: dict[str, Any]) -> str | None:
    found = next((written[name] for name in _FAMILY_KEYS if isinstance(written.get(name), str)), None)
    return found[:MAX_TEXT] if found else None


def _detect_family(header: dict[str, Any]) -> str | None:
    if any(name.endswith(_LORA_SUFFIXES) for name in header):
        return "LoRA"
    for family, signs in _TENSOR_PREFIXES:
        if all(any(name.startswith(sign) for name in header) for sign in signs):
            return family
    return None
