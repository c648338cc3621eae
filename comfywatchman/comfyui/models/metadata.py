"""Read what the header of a model file states: tensors, dtypes, metadata. The tensors themselves are never read."""

from __future__ import annotations

import math
import os
import struct
from collections import Counter
from typing import Any, BinaryIO, Final

import msgspec

from comfywatchman.comfyui.models import gguf
from comfywatchman.comfyui.models.safetensors import LENGTH_BYTES, MAX_CHECKED_BYTES, parse_tensor_span, read_header

MAX_ENTRIES: Final = 100
"""How many metadata entries are returned; trainers write thousands of tag counts."""

MAX_TEXT: Final = 500
"""Characters kept of one metadata value."""

_GGUF_READ_BYTES: Final = 1 << 20
_FAMILY_KEYS: Final = ("modelspec.architecture", "ss_base_model_version", "general.architecture")
_TENSOR_PREFIXES: Final = (
    ("Stable Diffusion XL checkpoint", ("model.diffusion_model.", "conditioner.embedders.1.model.")),
    ("Stable Diffusion 1 checkpoint", ("model.diffusion_model.", "cond_stage_model.transformer.text_model.")),
    ("Stable Diffusion 2 checkpoint", ("model.diffusion_model.", "cond_stage_model.model.transformer.")),
)
"""Families that are certain when tensors with all of these prefixes exist."""

_LORA_SUFFIXES: Final = (".lora_down.weight", ".lora_A.weight", ".lora.down.weight")


class ModelMetadata(msgspec.Struct, frozen=True):
    """The contents of a header.

    Attributes:
        tensors: Number of tensors.
        parameters: Sum of their elements; None where the header does not give it.
        dtypes: Number of tensors by dtype.
        metadata: The author's metadata, cut to `MAX_ENTRIES` entries of `MAX_TEXT` characters.
        metadata_entries: Number of entries before the cut.
        family: The architecture that the file declares or that its tensor names prove; None otherwise.
    """

    tensors: int
    parameters: int | None
    dtypes: dict[str, int]
    metadata: dict[str, str]
    metadata_entries: int
    family: str | None


def read_metadata(path: str | os.PathLike[str]) -> ModelMetadata | None:
    """Read the header of a safetensors or GGUF file; None for every other format, and for a broken header."""
    try:
        # A FIFO under a model's name must not block the caller.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            head = stream.read(LENGTH_BYTES)
            if head.startswith(gguf.MAGIC):
                return _read_gguf(stream)
            return _read_safetensors(stream, head)
    except (OSError, ValueError, TypeError, KeyError, struct.error):
        return None


def _read_safetensors(stream: BinaryIO, head: bytes) -> ModelMetadata | None:
    length = int.from_bytes(head, "little")
    if length > MAX_CHECKED_BYTES:
        return None
    header = read_header(lambda start, count: os.pread(stream.fileno(), count, start), head, length)
    entries = header.pop("__metadata__", None) or {}
    if not header:
        return None
    dtypes = Counter(str(tensor["dtype"]) for tensor in header.values())
    return ModelMetadata(
        tensors=len(header),
        parameters=sum(_count_elements(name, tensor) for name, tensor in header.items()),
        dtypes=dict(sorted(dtypes.items())),
        metadata=_truncate_entries(entries),
        metadata_entries=len(entries),
        family=_find_declared_family(entries) or _detect_family(header),
    )


def _count_elements(name: str, tensor: Any) -> int:
    # Validates the shape: the product of texts, or of thousands of numbers, would take all memory.
    parse_tensor_span(name, tensor)
    return math.prod(tensor["shape"])


def _read_gguf(stream: BinaryIO) -> ModelMetadata:
    """Read the key-value pairs of the first MiB (little-endian, versions 2 and 3)."""
    content = os.pread(stream.fileno(), _GGUF_READ_BYTES, 0)
    tensors, pairs = gguf.read_counts(content)
    entries = _read_gguf_entries(content, pairs)
    return ModelMetadata(
        tensors=tensors,
        parameters=None,
        dtypes={},
        metadata=_truncate_entries(entries),
        metadata_entries=pairs,
        family=_find_declared_family(entries),
    )


def _read_gguf_entries(content: bytes, pairs: int) -> dict[str, Any]:
    """Return the pairs up to the first that is cut off or has an unknown type."""
    entries: dict[str, Any] = {}
    try:
        for pair in gguf.parse_pairs(content, pairs):
            entries[pair.name] = pair.value
    except (*gguf.HEADER_TOO_SHORT, ValueError):
        pass
    return entries


def _truncate_entries(entries: dict[str, Any]) -> dict[str, str]:
    names = sorted(entries)[:MAX_ENTRIES]
    return {name[:MAX_TEXT]: str(entries[name])[:MAX_TEXT] for name in names}


def _find_declared_family(entries: dict[str, Any]) -> str | None:
    for key in _FAMILY_KEYS:
        family = entries.get(key)
        if isinstance(family, str):
            return family[:MAX_TEXT] or None
    return None


def _detect_family(header: dict[str, Any]) -> str | None:
    if any(name.endswith(_LORA_SUFFIXES) for name in header):
        return "LoRA"
    for family, prefixes in _TENSOR_PREFIXES:
        if all(_has_prefix(header, prefix) for prefix in prefixes):
            return family
    return None


def _has_prefix(header: dict[str, Any], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in header)
