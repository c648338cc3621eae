"""Which node classes belong to ComfyUI itself, by version, and which exist only in the editor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

import orjson

_FILE: Final = Path(__file__).with_name("core_classes.json")
_VERSION: Final = re.compile(r"^v?(\d{1,6}(?:\.\d{1,6}){1,3})")

EDITOR_ONLY: Final = frozenset(
    {
        "Note",
        "MarkdownNote",
        "Reroute",
        "PrimitiveNode",
        "GetNode",
        "SetNode",
        "easy getNode",
        "easy setNode",
        "Bookmark (rgthree)",
        "Fast Actions Button (rgthree)",
        "Fast Bypasser (rgthree)",
        "Fast Groups Bypasser (rgthree)",
        "Fast Groups Muter (rgthree)",
        "Fast Muter (rgthree)",
        "Label (rgthree)",
        "Mute / Bypass Relay (rgthree)",
        "Mute / Bypass Repeater (rgthree)",
        "Node Collector (rgthree)",
        "Node Combiner (rgthree)",
        "Random Unmuter (rgthree)",
        "Reroute (rgthree)",
    }
)
"""Nodes that the editor draws and never sends to the server: nothing has to be installed to run without them."""


@cache
def load_core_classes() -> Mapping[str, str]:
    """Return each known class of ComfyUI with the lowest version in which it was seen; it may be older."""
    by_version: dict[str, list[str]] = orjson.loads(_FILE.read_bytes())["classes"]
    return MappingProxyType({name: version for version, names in by_version.items() for name in names})


def parse_version(text: str | None) -> tuple[int, ...] | None:
    """Return what versions are compared by (`0.3.75` is older than `0.33.0`); None for hashes and `unknown`."""
    found = _VERSION.match(text.strip()) if text else None
    return tuple(int(part) for part in found.group(1).split(".")) if found else None
