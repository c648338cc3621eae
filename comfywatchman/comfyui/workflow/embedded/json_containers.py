"""Workflows in files that contain JSON: glTF binaries, safetensors headers (`.latent`) and SVG metadata."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from comfywatchman.base.parsing.json_limits import has_too_many_values
from comfywatchman.comfyui.workflow.embedded.media_file import MAX_TEXT_BYTES, BrokenMediaError

if TYPE_CHECKING:
    from comfywatchman.comfyui.workflow.embedded.media_file import EmbeddedTexts, MediaFile

_MAX_JSON_BYTES: Final = 2 * MAX_TEXT_BYTES
_CDATA_START: Final = b"<![CDATA["
_CDATA_END: Final = b"]]>"
_METADATA_START: Final = b"<metadata"
_METADATA_END: Final = b"</metadata"


def read_gltf(media: MediaFile, texts: EmbeddedTexts) -> None:
    """Offer `asset.extras` of a binary glTF file (glTF 2.0 section 4.4).

    Raises:
        BrokenMediaError: Its first chunk is truncated or is not JSON.
    """
    header = media.read(12, 8)
    length = int.from_bytes(header[:4], "little")
    if header[4:] != b"JSON":
        raise BrokenMediaError("its first chunk is not JSON")
    asset = _read_json_object(media, 20, length).get("asset")
    extras = asset.get("extras") if isinstance(asset, dict) else None
    if isinstance(extras, dict):
        texts.offer_members(extras)


def read_safetensors(media: MediaFile, texts: EmbeddedTexts) -> None:
    """Offer `__metadata__` of a safetensors file, which is the format of `.latent` files.

    Raises:
        BrokenMediaError: Its header is truncated or is not JSON.
    """
    length = int.from_bytes(media.read(0, 8), "little")
    metadata = _read_json_object(media, 8, length).get("__metadata__")
    if isinstance(metadata, dict):
        texts.offer_members(metadata)


def read_svg(media: MediaFile, texts: EmbeddedTexts) -> None:
    """Offer the JSON in the CDATA sections of an SVG file's metadata; the XML itself is not parsed.

    Raises:
        BrokenMediaError: The file is too long or a section does not end.
    """
    if media.size > MAX_TEXT_BYTES:
        raise BrokenMediaError(f"it has {media.size} bytes; at most {MAX_TEXT_BYTES} are read of an SVG file")
    content = media.read(0, media.size)
    metadata_start = content.find(_METADATA_START)
    while metadata_start >= 0 and not texts.is_complete:
        metadata_end = content.find(_METADATA_END, metadata_start)
        if metadata_end < 0:
            metadata_end = len(content)
        start = content.find(_CDATA_START, metadata_start, metadata_end)
        if start < 0:
            # Behind the end: what is nested in these metadata has been searched with them.
            metadata_start = content.find(_METADATA_START, metadata_end)
            continue
        end = content.find(_CDATA_END, start)
        if end < 0:
            raise BrokenMediaError("its metadata is truncated")
        texts.offer_object(content[start + len(_CDATA_START) : end])
        metadata_start = content.find(_METADATA_START, end)


def _read_json_object(media: MediaFile, offset: int, length: int) -> dict[str, object]:
    if length > _MAX_JSON_BYTES:
        raise BrokenMediaError(f"its JSON has {length} bytes")
    content = media.read(offset, length)
    if has_too_many_values(content):
        raise BrokenMediaError("its JSON has too many values")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BrokenMediaError("its JSON cannot be parsed") from error
    if not isinstance(value, dict):
        raise BrokenMediaError("its JSON is not an object")
    return value
