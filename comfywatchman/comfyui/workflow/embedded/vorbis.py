"""Workflows in Vorbis comments: FLAC metadata blocks (RFC 9639 section 8.6) and Ogg header packets (RFC 3533, 7845)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from comfywatchman.comfyui.workflow.embedded.source import MAX_TEXT_BYTES, BrokenMediaError

if TYPE_CHECKING:
    from comfywatchman.comfyui.workflow.embedded.source import EmbeddedTexts, MediaFile

_COMMENT_BLOCK: Final = 4
_MAX_COMMENTS: Final = 10_000
_LONGEST_KEY: Final = 64
_PACKET_LABELS: Final = (b"OpusTags", b"\x03vorbis", b"\x81theora")
_FLAC_IN_OGG: Final = b"\x7fFLAC"
_PAGE_HEADER_BYTES: Final = 27
_CONTINUED: Final = 255


def read_flac(source: MediaFile, texts: EmbeddedTexts) -> None:
    """Offer the comment block of a FLAC file.

    Raises:
        BrokenMediaError: The chain of metadata blocks or the comments are broken.
    """
    offset, last = 4, False
    while not last:
        header = source.read(offset, 4)
        last, kind, length = header[0] > 127, header[0] & 127, int.from_bytes(header[1:])  # noqa: PLR2004 - top bit
        if kind == _COMMENT_BLOCK:
            _offer_comments(source.read(offset + 4, length), texts)
        offset += 4 + length


def read_ogg(source: MediaFile, texts: EmbeddedTexts) -> None:
    """Offer the comment packet of the first stream of an Ogg file.

    Raises:
        BrokenMediaError: The pages up to that packet or the comments are broken.
    """
    first, comments = _read_header_packets(source)
    if first.startswith(_FLAC_IN_OGG):
        _offer_comments(comments[4:], texts)
        return
    label = next((label for label in _PACKET_LABELS if comments.startswith(label)), None)
    if label is not None:
        _offer_comments(comments[len(label) :], texts)


def _read_header_packets(source: MediaFile) -> tuple[bytes, bytes]:
    """Put together the first two packets of the first stream."""
    packets: list[bytes] = []
    parts: list[bytes] = []
    offset, total, stream = 0, 0, source.read(14, 4)
    while True:
        header = source.read(offset, _PAGE_HEADER_BYTES)
        if not header.startswith(b"OggS"):
            raise BrokenMediaError(f"no Ogg page starts at {offset}")
        lacing = source.read(offset + _PAGE_HEADER_BYTES, header[26])
        offset += _PAGE_HEADER_BYTES + len(lacing)
        if header[14:18] == stream:
            page, start = source.read(offset, sum(lacing)), 0
            for width in lacing:
                parts.append(page[start : start + width])
                start += width
                if width < _CONTINUED:
                    packets.append(b"".join(parts))
                    parts.clear()
                if len(packets) > 1:
                    return packets[0], packets[1]
            total += start
            if total > 2 * MAX_TEXT_BYTES:
                raise BrokenMediaError("its comments do not end")
        offset += sum(lacing)


def _offer_comments(block: bytes, texts: EmbeddedTexts) -> None:
    offset = 4 + _read_length(block, 0)
    count = _read_length(block, offset)
    if count > _MAX_COMMENTS:
        raise BrokenMediaError(f"it announces {count} comments")
    offset += 4
    for _ in range(count):
        length = _read_length(block, offset)
        start, offset = offset + 4, offset + 4 + length
        if offset > len(block):
            raise BrokenMediaError("its comments end early")
        key = block[start : min(offset, start + _LONGEST_KEY)].partition(b"=")[0]
        name = key.decode("latin-1")
        if texts.wants(name):
            texts.offer(name, block[start + len(key) + 1 : offset])


def _read_length(block: bytes, offset: int) -> int:
    part = block[offset : offset + 4]
    if len(part) < 4:  # noqa: PLR2004 - a 32-bit number
        raise BrokenMediaError("its comments end early")
    return int.from_bytes(part, "little")
