"""Workflows in WebP: the `EXIF` chunk of a RIFF file (RFC 9649 section 2.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfywatchman.comfyui.workflow.embedded.exif import offer_exif
from comfywatchman.comfyui.workflow.embedded.media_file import MAX_TEXT_BYTES, BrokenMediaError

if TYPE_CHECKING:
    from comfywatchman.comfyui.workflow.embedded.media_file import EmbeddedTexts, MediaFile


def read(media: MediaFile, texts: EmbeddedTexts) -> None:
    """Offer the Exif block of a WebP file.

    Raises:
        BrokenMediaError: The chain of chunks or the Exif block is broken.
    """
    # The announced size counts neither `RIFF` nor itself.
    end = int.from_bytes(media.read(4, 4), "little") + 8
    offset = 12
    while offset + 8 <= end:
        header = media.read(offset, 8)
        length = int.from_bytes(header[4:], "little")
        if header[:4] == b"EXIF":
            if length > 2 * MAX_TEXT_BYTES:
                raise BrokenMediaError(f"its EXIF chunk has {length} bytes")
            offer_exif(media.read(offset + 8, length), texts)
            return
        # A chunk of odd length is followed by a padding byte.
        offset += 8 + length + length % 2
    if end > media.size:
        raise BrokenMediaError(f"it announces {end} bytes, but the file has only {media.size}")
