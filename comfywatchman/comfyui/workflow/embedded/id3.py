"""Workflows in MP3: the `TXXX` frames of an ID3v2.3 or ID3v2.4 tag (id3.org specifications, sections 3 and 4.2.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from comfywatchman.comfyui.workflow.embedded.media_file import MAX_TEXT_BYTES, BrokenMediaError
from comfywatchman.comfyui.workflow.embedded.png import decompress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comfywatchman.comfyui.workflow.budget import ReadingBudget
    from comfywatchman.comfyui.workflow.embedded.media_file import EmbeddedTexts, MediaFile

_HEADER_BYTES: Final = 10
_TAG_UNSYNCHRONISED: Final = 0x80
_TAG_EXTENDED: Final = 0x40
_MAX_FRAMES: Final = 10_000
_V2_4: Final = 4
_V2_3: Final = 3
_V2_3_COMPRESSED: Final = 0x80
_V2_4_COMPRESSED: Final = 0x08
_V2_4_UNSYNCHRONISED: Final = 0x02
_V2_4_HAS_LENGTH: Final = 0x01
_CODECS: Final = {0: "latin-1", 1: "utf-16", 2: "utf-16-be", 3: "utf-8"}
_TWO_BYTE_CODECS: Final = frozenset({1, 2})


def read(media: MediaFile, texts: EmbeddedTexts) -> None:
    """Offer the user text frames of an MP3 file's tag; the obsolete ID3v2.2 is skipped.

    Raises:
        BrokenMediaError: The tag is truncated or its frames are broken.
    """
    header = media.read(0, _HEADER_BYTES)
    version, flags, size = header[3], header[5], _decode_synchsafe(header[6:])
    if version not in {_V2_3, _V2_4}:
        return
    if size > 2 * MAX_TEXT_BYTES:
        raise BrokenMediaError(f"its ID3 tag has {size} bytes")
    body = media.read(_HEADER_BYTES, size)
    if version == _V2_3 and flags & _TAG_UNSYNCHRONISED:
        # In version 2.4, every frame has this flag for itself.
        body = _undo_unsynchronisation(body)
    offset = _read_extended_header_size(body, version) if flags & _TAG_EXTENDED else 0
    for frame in _iterate_user_texts(body, version, offset, media.budget):
        _offer_frame(frame, texts)


def _read_extended_header_size(body: bytes, version: int) -> int:
    if version == _V2_4:
        return _decode_synchsafe(body[:4])
    # In version 2.3, the size does not count itself.
    return 4 + int.from_bytes(body[:4])


def _iterate_user_texts(body: bytes, version: int, offset: int, budget: ReadingBudget) -> Iterator[bytes]:
    """Yield the content of every `TXXX` frame."""
    for _ in range(_MAX_FRAMES):
        header = body[offset : offset + _HEADER_BYTES]
        if len(header) < _HEADER_BYTES or header[0] == 0:
            # The rest of the tag is padding.
            return
        size = _decode_synchsafe(header[4:8]) if version == _V2_4 else int.from_bytes(header[4:8])
        start = offset + _HEADER_BYTES
        offset = start + size
        if offset > len(body):
            raise BrokenMediaError(f"an ID3 frame announces {size} bytes, but only {len(body) - start} follow")
        if header[:4] == b"TXXX":
            yield _undo_frame_flags(body[start:offset], header[9], version, budget)
    raise BrokenMediaError(f"its ID3 tag has more than {_MAX_FRAMES} frames")


def _undo_frame_flags(frame: bytes, flags: int, version: int, budget: ReadingBudget) -> bytes:
    """Return the plain content of a frame."""
    if version == _V2_3:
        # Four bytes with the decompressed size precede compressed content.
        return decompress(frame[4:], budget) if flags & _V2_3_COMPRESSED else frame
    if flags & _V2_4_UNSYNCHRONISED:
        frame = _undo_unsynchronisation(frame)
    if flags & _V2_4_HAS_LENGTH:
        frame = frame[4:]
    return decompress(frame, budget) if flags & _V2_4_COMPRESSED else frame


def _offer_frame(frame: bytes, texts: EmbeddedTexts) -> None:
    if not frame or frame[0] not in _CODECS:
        return
    encoding = frame[0]
    codec = _CODECS[encoding]
    name, text = _split_at_null(frame[1:], 2 if encoding in _TWO_BYTE_CODECS else 1)
    key = name.decode(codec, "replace")
    if texts.wants(key):
        texts.offer(key, text.decode(codec, "replace").encode("utf-8", "replace"))


def _split_at_null(content: bytes, width: int) -> tuple[bytes, bytes]:
    """Split at the first zero character, which starts at a multiple of its width."""
    null = bytes(width)
    offset = content.find(null)
    while offset >= 0 and offset % width != 0:
        # Two zero bytes of neighbouring characters.
        offset = content.find(null, offset + 1)
    if offset < 0:
        return content, b""
    return content[:offset], content[offset + width :]


def _decode_synchsafe(number: bytes) -> int:
    """Decode a number with seven bits in each byte, which cannot be mistaken for an audio frame."""
    total = 0
    for byte in number:
        total = total << 7 | byte & 0x7F
    return total


def _undo_unsynchronisation(content: bytes) -> bytes:
    return content.replace(b"\xff\0", b"\xff")
