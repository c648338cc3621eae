"""File name suffixes of model weights: safetensors, GGUF, ONNX, and pickles such as .ckpt and .pt."""

from __future__ import annotations

from typing import Final

TORCH_SUFFIXES: Final = frozenset({".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl"})
SAFETENSORS_SUFFIXES: Final = frozenset({".safetensors", ".sft"})
MODEL_SUFFIXES: Final = TORCH_SUFFIXES | SAFETENSORS_SUFFIXES | {".gguf", ".onnx"}
"""Suffixes of files that hold a model's weights."""


def get_suffix(name: str) -> str:
    """Return a file name's suffix as ComfyUI compares it: lower-case, with the dot, empty for `.hidden`."""
    stem, dot, ending = name.rpartition(".")
    if not dot or "/" in ending:
        return ""
    # Like os.path.splitext, a name of leading dots only (`..hidden`) has no suffix.
    base_name = stem.rpartition("/")[2]
    return f".{ending}".lower() if base_name.strip(".") else ""
