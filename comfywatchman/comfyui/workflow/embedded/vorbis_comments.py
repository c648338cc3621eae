"""Workflows in Vorbis comments: FLAC metadata blocks (RFC 9639 section 8.6) and Ogg header packets (RFC 3533, 7845)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from comfywatchman.comfyui.workflow.embedded.media_file import MAX_TEXT_BYTES, BrokenMediaError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comfywatchman.comfyui.workflow.embedded.media_file import EmbeddedTexts, MediaFile

_LAST_BLOCK_BIT: Final = 0x80
_COMMENT_BLOCK: Final = 4
_MAX_COMMENTS: Final = 10_000
_MAX_KEY_BYTES: Final = 64
_PACKET_LABELS: Final = (b"OpusTags", b"\x03vorbis", b"\x81theora")
_FLAC_IN_OGG: Final = b"\x7fFLAC"
_NUMBER_BYTES: Final = 4
_PAGE_HEADER_BYTES: Final = 27
_CONTINUED: Final = 255


def read_flac(media: MediaFile, texts: EmbeddedTexts) -> None:
    """Offer the comment block of a FLAC file.

    Raises:
        BrokenMediaError: The chain of metadata blocks or the comments are broken.
    """
    offset = 4
    is_last = False
    while not is_last:
        header = media.read(offset, 4)
        is_last = bool(header[0] & _LAST_BLOCK_BIT)
        kind = header[0] & ~_LAST_BLOCK_BIT
        length = int.from_bytes(header[1:])
        if kind == _COMMENT_BLOCK:
            _offer_comments(media.read(offset + 4, length), texts)
        offset += 4 + length


def read_ogg(media: MediaFile, texts: EmbeddedTexts) -> None:
    """Offer the comment packet of the first stream of an Ogg file.

    Raises:
        BrokenMediaError: The pages up to that packet or the comments are broken.
    """
    packets = _iterate_packets(media)
    identification, comments = next(packets), next(packets)
    if identification.startswith(_FLAC_IN_OGG):
        # The packet is a FLAC metadata block with its four-byte header.
        _offer_comments(comments[4:], texts)
        return
    for label in _PACKET_LABELS:
        if comments.startswith(label):
            _offer_comments(comments[len(label) :], texts)
            return


def _iterate_packets(media: MediaFile) -> Iterator[bytes]:
    """Yield the packets of the first stream, which may be spread over pages between those of other streams."""
    packet = bytearray()
    total_bytes = 0
    offset = 0
    serial_number = media.read(14, 4)
    while True:
        header = media.read(offset, _PAGE_HEADER_BYTES)
        if not header.startswith(b"OggS"):
            raise BrokenMediaError(f"no Ogg page starts at {offset}")
        lacing = media.read(offset + _PAGE_HEADER_BYTES, header[26])
        offset += _PAGE_HEADER_BYTES + len(lacing)
        page_bytes = sum(lacing)
        if header[14:18] == serial_number:
            page = media.read(offset, page_bytes)
            start = 0
            for width in lacing:
                packet += page[start : start + width]
                start += width
                # A lacing value of 255 is continued by the next one, also on the next page.
                if width < _CONTINUED:
                    yield bytes(packet)
                    packet.clear()
            total_bytes += page_bytes
            if total_bytes > 2 * MAX_TEXT_BYTES:
                raise BrokenMediaError("its comments do not end")
        offset += page_bytes


def _offer_comments(block: bytes, texts: EmbeddedTexts) -> None:
    """Offer the comments of a block: the vendor's name, their number, then `KEY=value` each with its length."""
    offset = _NUMBER_BYTES + _read_length(block, 0)
    count = _read_length(block, offset)
    if count > _MAX_COMMENTS:
        raise BrokenMediaError(f"it announces {count} comments")
    offset += _NUMBER_BYTES
    for _ in range(count):
        start = offset + _NUMBER_BYTES
        end = start + _read_length(block, offset)
        if end > len(block):
            raise BrokenMediaError("its comments are truncated")
        # Cover images are comments of megabytes: only the beginning is searched for the key.
        key = block[start : min(end, start + _MAX_KEY_BYTES)].partition(b"=")[0]
        name = key.decode("latin-1")
        if texts.wants(name):
            texts.offer(name, block[start + len(key) + 1 : end])
        offset = end


def _read_length(block: bytes, offset: int) -> int:
    part = block[offset : offset + _NUMBER_BYTES]
    if len(part) < _NUMBER_BYTES:
        raise BrokenMediaError("its comments are truncated")
    return int.from_bytes(part, "little")
