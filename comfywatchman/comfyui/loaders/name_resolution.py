"""How node classes turn the name of a model into a file: as the server lists it, or in a way of their own. Pure.

A LoRA Manager finds `sub/y.safetensors` for the bare name `y`, Power Lora Loader also for a part of the path.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Sequence
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.json_values import decode_json

_FILE: Final = Path(__file__).with_name("name_resolution.json")


class NameResolution(StrEnum):
    """How a name finds its file among the names that ComfyUI lists for a folder."""

    LISTED = "listed"
    """By the very name that the server lists."""

    ANY_FOLDER = "any_folder"
    """By the end of the path, whole segments of it: ComfyUI looks for embeddings in each subfolder."""

    BARE_NAME = "bare_name"
    """By the last segment without its suffix, in whatever subfolder (LoRA Manager)."""

    SIMILAR = "similar"
    """By the listed name, with or without its folder and suffix, or by any part of it (rgthree)."""

    ENDING = "ending"
    """By the end of the path, even in the middle of a segment (Impact Pack)."""


class _ResolutionTable(msgspec.Struct, frozen=True):
    """The content of name_resolution.json."""

    about: str
    classes: dict[str, NameResolution]


@cache
def _load_table() -> _ResolutionTable:
    return decode_json(_FILE.read_bytes(), _ResolutionTable)


def get_resolution(class_type: str) -> NameResolution:
    """Return how a class finds the LoRAs that its lists and texts name."""
    return _load_table().classes.get(class_type, NameResolution.LISTED)


def resolve_name(resolution: NameResolution, tries: Sequence[str], names: Collection[str]) -> str | None:
    """Return the listed name that a class opens; None when it finds none.

    Args:
        resolution: How it looks.
        tries: Names that it tries in turn, the name of the workflow first; with `/`.
        names: The names that ComfyUI lists for the folder, in their order; with `/`.
    """
    for name in tries:
        if name and name in names:
            return name
    match resolution:
        case NameResolution.ANY_FOLDER:
            return _find_first(names, lambda listed: any(listed.endswith(f"/{name}") for name in tries))
        case NameResolution.ENDING:
            return _find_first(names, lambda listed: any(listed.endswith(name) for name in tries if _has_suffix(name)))
        case NameResolution.BARE_NAME:
            wanted = {_strip_suffix(posixpath.basename(name)) for name in tries}
            return _find_first(names, lambda listed: _strip_suffix(posixpath.basename(listed)) in wanted)
        case NameResolution.SIMILAR:
            return _find_similar(tries, names)
    return None


def _find_similar(tries: Sequence[str], names: Collection[str]) -> str | None:
    """Return the name that rgthree's `get_lora_by_filename` returns: the closest kind of likeness first."""
    name = tries[0] if tries else ""
    wanted = {_strip_suffix(name), name}
    found = _find_first(names, lambda listed: _strip_suffix(listed) in wanted)
    if found is None:
        wanted = {posixpath.basename(name), name}
        found = _find_first(names, lambda listed: posixpath.basename(listed) in wanted)
    if found is None:
        wanted = {_strip_suffix(posixpath.basename(name)), name}
        found = _find_first(names, lambda listed: _strip_suffix(posixpath.basename(listed)) in wanted)
    if found is None and name:
        found = _find_first(names, lambda listed: name in listed)
    return found


def _find_first(names: Collection[str], matches: Callable[[str], bool]) -> str | None:
    return next((name for name in names if matches(name)), None)


def _strip_suffix(name: str) -> str:
    return posixpath.splitext(name)[0]


def _has_suffix(name: str) -> bool:
    return posixpath.splitext(name)[1] != ""
