"""Workflows in JPEG: the Exif segment and the comment segment, where custom savers put them (ISO 10918-1, B.1.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from comfywatchman.comfyui.workflow.embedded.exif import PREFIX, offer_exif
from comfywatchman.comfyui.workflow.embedded.source import BrokenMediaError

if TYPE_CHECKING:
    from comfywatchman.comfyui.workflow.embedded.source import EmbeddedTexts, MediaFile

_PIXELS: Final = 0xDA
_END: Final = 0xD9
_APP1: Final = 0xE1
_COMMENT: Final = 0xFE
_BARE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_FILL: Final = 0xFF


def read(source: MediaFile, texts: EmbeddedTexts) -> None:
    """Offer the Exif and comment segments before the pixels.

    Raises:
        BrokenMediaError: The chain of segments breaks before the pixels.
    """
    offset = 2
    while True:
        mark, code = source.read(offset, 2)
        if mark != _FILL:
            raise BrokenMediaError(f"no JPEG segment starts at {offset}")
        if code in {_PIXELS, _END}:
            return
        if code == _FILL:
            offset += 1
        elif code in _BARE:
            offset += 2
        else:
            offset += 2 + _offer_segment(source, texts, code, offset + 2)


def _offer_segment(source: MediaFile, texts: EmbeddedTexts, code: int, offset: int) -> int:
    """Offer one segment and return its length."""
    length = int.from_bytes(source.read(offset, 2))
    if length < 2:  # noqa: PLR2004 - the length counts its own two bytes
        raise BrokenMediaError(f"a JPEG segment at {offset} has no length")
    if code == _APP1 and source.read(offset + 2, min(6, length - 2)) == PREFIX:
        offer_exif(source.read(offset + 2, length - 2), texts)
    elif code == _COMMENT:
        texts.offer_labelled(source.read(offset + 2, length - 2))
    return length
