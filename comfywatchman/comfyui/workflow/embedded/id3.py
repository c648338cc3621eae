"""Workflows in MP3: the `TXXX` frames of an ID3v2.3 or ID3v2.4 tag (id3.org specifications, sections 3 and 4.2.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from comfywatchman.comfyui.workflow.embedded.png import inflate
from comfywatchman.comfyui.workflow.embedded.source import MAX_TEXT_BYTES, BrokenMediaError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comfywatchman.comfyui.workflow.embedded.source import EmbeddedTexts, MediaFile

_UNSYNCHRONISED: Final = 0x80
_EXTENDED: Final = 0x40
_MAX_FRAMES: Final = 10_000
_NEWEST: Final = 4
_OLDEST: Final = 3
_CODECS: Final = {0: "latin-1", 1: "utf-16", 2: "utf-16-be", 3: "utf-8"}
_TWO_BYTE_CODECS: Final = frozenset({1, 2})


def read(source: MediaFile, texts: EmbeddedTexts) -> None:
    """Offer the user text frames of an MP3 file's tag; ID3v2.2, which nobody writes any more, is passed over.

    Raises:
        BrokenMediaError: The tag is cut off or its frames are broken.
    """
    header = source.read(0, 10)
    version, flags, size = header[3], header[5], _decode_synchsafe(header[6:])
    if not header.startswith(b"ID3") or not _OLDEST <= version <= _NEWEST:
        return
    if size > 2 * MAX_TEXT_BYTES:
        raise BrokenMediaError(f"its ID3 tag has {size} bytes")
    body = source.read(10, size)
    if flags & _UNSYNCHRONISED and version == _OLDEST:
        body = _undo_unsynchronisation(body)
    for frame in _iterate_user_texts(
        body, version, _read_extended_header_size(body, version) if flags & _EXTENDED else 0
    ):
        _offer_frame(frame, texts)


def _read_extended_header_size(body: bytes, version: int) -> int:
    return _decode_synchsafe(body[:4]) if version == _NEWEST else 4 + int.from_bytes(body[:4])


def _iterate_user_texts(body: bytes, version: int, offset: int) -> Iterator[bytes]:
    for _ in range(_MAX_FRAMES):
        header = body[offset : offset + 10]
        if len(header) < 10 or header[0] == 0:  # noqa: PLR2004 - a frame's header; zero: padding
            return
        size = _decode_synchsafe(header[4:8]) if version == _NEWEST else int.from_bytes(header[4:8])
        start, offset = offset + 10, offset + 10 + size
        if offset > len(body):
            raise BrokenMediaError(f"an ID3 frame has {size} bytes, {len(body) - start} are there")
        if header[:4] == b"TXXX":
            yield _undo_frame_flags(body[start:offset], header[9], version)
    raise BrokenMediaError(f"its ID3 tag has more than {_MAX_FRAMES} frames")


def _undo_frame_flags(frame: bytes, flags: int, version: int) -> bytes:
    """Undo what a frame's flags say was done to its content."""
    if version == _OLDEST:
        return inflate(frame[4:]) if flags & 0x80 else frame
    if flags & 0x02:
        frame = _undo_unsynchronisation(frame)
    if flags & 0x01:
        frame = frame[4:]
    return inflate(frame) if flags & 0x08 else frame


def _offer_frame(frame: bytes, texts: EmbeddedTexts) -> None:
    codec = _CODECS.get(frame[0]) if frame else None
    if codec is None:
        return
    wide = frame[0] in _TWO_BYTE_CODECS
    name, text = _split_at_null(frame[1:], 2 if wide else 1)
    key = name.decode(codec, "replace")
    if texts.wants(key):
        texts.offer(key, text.decode(codec, "replace").encode("utf-8", "replace"))


def _split_at_null(content: bytes, width: int) -> tuple[bytes, bytes]:
    """Split at the first zero character, which starts at a multiple of its width."""
    offset = 0
    while (found := content.find(bytes(width), offset)) >= 0:
        if found % width == 0:
            return content[:found], content[found + width :]
        offset = found + 1
    return content, b""


def _decode_synchsafe(number: bytes) -> int:
    total = 0
    for byte in number:
        total = total << 7 | byte & 0x7F
    return total


def _undo_unsynchronisation(content: bytes) -> bytes:
    return content.replace(b"\xff\0", b"\xff")
