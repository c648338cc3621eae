"""Workflows in WebP: the `EXIF` chunk of a RIFF file (RFC 9649 section 2.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfywatchman.comfyui.workflow.embedded.exif import offer_exif
from comfywatchman.comfyui.workflow.embedded.source import MAX_TEXT_BYTES, BrokenMediaError

if TYPE_CHECKING:
    from comfywatchman.comfyui.workflow.embedded.source import EmbeddedTexts, MediaFile


def read(source: MediaFile, texts: EmbeddedTexts) -> None:
    """Offer the Exif block of a WebP file.

    Raises:
        BrokenMediaError: The chain of chunks or the Exif block is broken.
    """
    end = int.from_bytes(source.read(4, 4), "little") + 8
    offset = 12
    while offset + 8 <= end:
        header = source.read(offset, 8)
        length = int.from_bytes(header[4:], "little")
        if header[:4] == b"EXIF":
            if length > 2 * MAX_TEXT_BYTES:
                raise BrokenMediaError(f"its EXIF chunk has {length} bytes")
            offer_exif(source.read(offset + 8, length), texts)
            return
        offset += 8 + length + length % 2
    if end > source.size:
        raise BrokenMediaError(f"{end} bytes are announced, but the file has only {source.size}")
