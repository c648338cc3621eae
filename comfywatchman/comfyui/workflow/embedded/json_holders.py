"""Workflows in files that hold JSON themselves: glTF binaries, safetensors headers (`.latent`) and SVG metadata."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from comfywatchman.base.json_limits import has_too_many_values
from comfywatchman.comfyui.workflow.embedded.source import MAX_TEXT_BYTES, BrokenMediaError

if TYPE_CHECKING:
    from comfywatchman.comfyui.workflow.embedded.source import EmbeddedTexts, MediaFile

_MAX_JSON_BYTES: Final = 2 * MAX_TEXT_BYTES


def read_gltf(source: MediaFile, texts: EmbeddedTexts) -> None:
    """Offer `asset.extras` of a binary glTF file (glTF 2.0 section 4.4).

    Raises:
        BrokenMediaError: Its first chunk is cut off or is no JSON.
    """
    header = source.read(12, 8)
    length = int.from_bytes(header[:4], "little")
    if header[4:] != b"JSON":
        raise BrokenMediaError("its first chunk is not its JSON")
    asset = _read_json_object(source, 20, length).get("asset")
    extras = asset.get("extras") if isinstance(asset, dict) else None
    if isinstance(extras, dict):
        texts.offer_members(extras)


def read_safetensors(source: MediaFile, texts: EmbeddedTexts) -> None:
    """Offer `__metadata__` of a safetensors file, which is what a `.latent` file is.

    Raises:
        BrokenMediaError: Its header is cut off or is no JSON.
    """
    length = int.from_bytes(source.read(0, 8), "little")
    metadata = _read_json_object(source, 8, length).get("__metadata__")
    if isinstance(metadata, dict):
        texts.offer_members(metadata)


def read_svg(source: MediaFile, texts: EmbeddedTexts) -> None:
    """Offer the JSON in the CDATA sections of an SVG file's metadata; the XML itself is not interpreted.

    Raises:
        BrokenMediaError: The file is too long or a section does not end.
    """
    if source.size > MAX_TEXT_BYTES:
        raise BrokenMediaError(f"it has {source.size} bytes; at most {MAX_TEXT_BYTES} are read of an SVG file")
    content = source.read(0, source.size)
    place = content.find(b"<metadata")
    while place >= 0 and not texts.complete:
        end = content.find(b"</metadata", place)
        start = content.find(b"<![CDATA[", place, end if end >= 0 else len(content))
        if start < 0:
            place = content.find(b"<metadata", place + 1)
            continue
        stop = content.find(b"]]>", start)
        if stop < 0:
            raise BrokenMediaError("its metadata is cut off")
        texts.offer_object(content[start + 9 : stop])
        place = content.find(b"<metadata", stop)


def _read_json_object(source: MediaFile, offset: int, length: int) -> dict[str, object]:
    if length > _MAX_JSON_BYTES:
        raise BrokenMediaError(f"its JSON has {length} bytes")
    content = source.read(offset, length)
    if has_too_many_values(content):
        raise BrokenMediaError("its JSON holds too many values")
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        if isinstance(error, BrokenMediaError):
            raise
        raise BrokenMediaError("its JSON cannot be parsed") from error
    if not isinstance(found, dict):
        raise BrokenMediaError("its JSON is no object")
    return found
