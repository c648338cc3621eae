"""Node classes of ComfyUI itself, by version, and classes that exist only in the editor."""

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
"""Nodes that the editor never sends to the server: a workflow runs without them."""


@cache
def load_core_classes() -> Mapping[str, str]:
    """Return the known classes of ComfyUI, each with the lowest version in which it was seen; it may be older."""
    by_version: dict[str, list[str]] = orjson.loads(_FILE.read_bytes())["classes"]
    versions: dict[str, str] = {}
    for version, names in by_version.items():
        versions.update(dict.fromkeys(names, version))
    return MappingProxyType(versions)


def parse_version(text: str | None) -> tuple[int, ...] | None:
    """Return the numbers of a version, for comparisons (`0.3.75` < `0.33.0`); None for hashes and `unknown`."""
    match = _VERSION.match((text or "").strip())
    if match is None:
        return None
    return tuple(int(part) for part in match.group(1).split("."))
