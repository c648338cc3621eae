"""Approximations of a VAE that a VAE loader offers from the folder `vae_approx`, which holds others as well."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular

_MAX_SOURCE_BYTES: Final = 2 << 20
"""The largest `nodes.py` that is read, as for all source files."""

CORE_LOADER: Final = "VAELoader"
"""ComfyUI's own VAE loader."""


class TinyVaes(msgspec.Struct, frozen=True):
    """The approximations that one loader class knows.

    Attributes:
        images: Choices that stand for two files, `NAME_encoder.*` and `NAME_decoder.*`.
        videos: Beginnings of the names of files that are choices themselves.
    """

    images: tuple[str, ...] = ()
    videos: tuple[str, ...] = ()


NO_TINY_VAES: Final = TinyVaes()

BUILTIN_TINY_VAES: Final[Mapping[str, TinyVaes]] = {
    CORE_LOADER: TinyVaes(
        ("taesd", "taesdxl", "taesd3", "taef1", "taef2"),
        ("taehv", "lighttaew2_2", "lighttaew2_1", "lighttaehy1_5", "taeltx_2", "taeh3"),
    ),
    "VAELoaderKJ": TinyVaes(
        ("taesd", "taesdxl", "taesd3", "taef1"), ("taehv", "lighttaew2_2", "lighttaew2_1", "lighttaehy1_5")
    ),
}
"""As in ComfyUI 0.33.0 and in the source of ComfyUI-KJNodes; older versions of ComfyUI know fewer."""

_IMAGES, _VIDEOS = "image_taes", "video_taes"


def read_tiny_vaes(comfyui_root: Path) -> TinyVaes | None:
    """Return the approximations that the VAE loader of a ComfyUI knows, from `nodes.py`; None if it does not show."""
    try:
        tree = ast.parse(read_regular(comfyui_root / "nodes.py", max_bytes=_MAX_SOURCE_BYTES))
    except (Failure, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == CORE_LOADER:
            return _read_class(node)
    return None


def _read_class(loader: ast.ClassDef) -> TinyVaes | None:
    lists: dict[str, tuple[str, ...]] = {}
    for statement in loader.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            lists[statement.targets[0].id] = _read_texts(statement.value)
    if not lists.get(_IMAGES) or not lists.get(_VIDEOS):
        return None
    return TinyVaes(lists[_IMAGES], lists[_VIDEOS])


def _read_texts(value: ast.expr) -> tuple[str, ...]:
    if not isinstance(value, ast.List | ast.Tuple):
        return ()
    return tuple(item.value for item in value.elts if isinstance(item, ast.Constant) and isinstance(item.value, str))
