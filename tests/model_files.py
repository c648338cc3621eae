"""Model files as tests need them: whole, cut, and things that only carry a model's name."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any


def safetensors(
    tensors: int = 2, *, metadata: dict[str, Any] | None = None, names: tuple[str, ...] = (), extra: bytes = b""
) -> bytes:
    """Return a valid safetensors file with small F16 tensors."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    end = 0
    for name in names or tuple(f"layer.{n}.weight" for n in range(tensors)):
        header[name] = {"dtype": "F16", "shape": [2, 4], "data_offsets": [end, end + 16]}
        end += 16
    return with_header(json.dumps(header).encode(), bytes(range(16)) * (end // 16) + extra)


def with_header(header: bytes, data: bytes = b"") -> bytes:
    """Return a safetensors file with this header, right or wrong."""
    return struct.pack("<Q", len(header)) + header + data


def gguf(tensors: int = 0, *, version: int = 3, pairs: dict[str, str] | None = None) -> bytes:
    """Return the beginning of a GGUF file, padded so that the tensors would fit."""
    written = b"".join(
        struct.pack("<Q", len(k)) + k.encode() + struct.pack("<IQ", 8, len(v)) + v.encode()
        for k, v in (pairs or {}).items()
    )
    return b"GGUF" + struct.pack("<IQQ", version, tensors, len(pairs or {})) + written + bytes(64 * tensors)


def put(path: Path, content: bytes = b"") -> Path:
    """Write a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
