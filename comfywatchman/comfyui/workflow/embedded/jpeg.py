"""Workflows in JPEG: the Exif segment and the comment segment, where custom savers put them (ISO 10918-1, B.1.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from comfywatchman.comfyui.workflow.embedded.exif import PREFIX, offer_exif
from comfywatchman.comfyui.workflow.embedded.media_file import BrokenMediaError

if TYPE_CHECKING:
    from comfywatchman.comfyui.workflow.embedded.media_file import EmbeddedTexts, MediaFile

_START_OF_SCAN: Final = 0xDA
_END_OF_IMAGE: Final = 0xD9
_APP1: Final = 0xE1
_COMMENT: Final = 0xFE
_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_FILL: Final = 0xFF
_LENGTH_BYTES: Final = 2


def read(media: MediaFile, texts: EmbeddedTexts) -> None:
    """Offer the Exif and comment segments before the pixels.

    Raises:
        BrokenMediaError: The chain of segments breaks before the pixels.
    """
    offset = 2
    while True:
        marker, code = media.read(offset, 2)
        if marker != _FILL:
            raise BrokenMediaError(f"no JPEG segment starts at {offset}")
        if code in {_START_OF_SCAN, _END_OF_IMAGE}:
            return
        if code == _FILL:
            # Any number of fill bytes may precede a marker.
            offset += 1
        elif code in _WITHOUT_LENGTH:
            offset += 2
        else:
            offset += 2 + _offer_segment(media, texts, code, offset + 2)


def _offer_segment(media: MediaFile, texts: EmbeddedTexts, code: int, offset: int) -> int:
    """Offer one segment and return its length, which includes the length field."""
    length = int.from_bytes(media.read(offset, _LENGTH_BYTES))
    if length < _LENGTH_BYTES:
        raise BrokenMediaError(f"a JPEG segment at {offset} has no length")
    start, body_bytes = offset + _LENGTH_BYTES, length - _LENGTH_BYTES
    # Other programs use APP1 too, for example for XMP.
    if code == _APP1 and media.read(start, min(len(PREFIX), body_bytes)) == PREFIX:
        offer_exif(media.read(start, body_bytes), texts)
    elif code == _COMMENT:
        texts.offer_labelled(media.read(start, body_bytes))
    return length
