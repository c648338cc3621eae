"""Workflows in PNG text chunks (`tEXt`, `zTXt`, `iTXt`) and in ComfyUI's own `comf` chunk.

PNG, third edition, W3C 2025, sections 5.3 and 11.3.3; ComfyUI writes `comf` into animated PNGs, after the pixels.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from comfywatchman.comfyui.workflow.embedded.media_file import MAX_TEXT_BYTES, BrokenMediaError

if TYPE_CHECKING:
    from comfywatchman.comfyui.workflow.budget import ReadingBudget
    from comfywatchman.comfyui.workflow.embedded.media_file import EmbeddedTexts, MediaFile

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_TEXT_CHUNKS: Final = frozenset({b"tEXt", b"zTXt", b"iTXt", b"comf"})
_MAX_KEYWORD_BYTES: Final = 79
_ITXT_STRINGS: Final = 3


def read(media: MediaFile, texts: EmbeddedTexts) -> None:
    """Offer the text chunks of a PNG file; pixels are skipped, and checksums are not verified (nor does ComfyUI).

    Raises:
        BrokenMediaError: The chain of chunks does not reach its end, or a workflow cannot be decompressed.
    """
    offset = len(SIGNATURE)
    while not texts.is_complete:
        header = media.read(offset, 8)
        length = int.from_bytes(header[:4])
        kind = header[4:]
        if kind == b"IEND":
            return
        if kind in _TEXT_CHUNKS:
            _offer_chunk(media, texts, kind, offset + 8, length)
        # Length, kind and checksum have four bytes each.
        offset += length + 12


def _offer_chunk(media: MediaFile, texts: EmbeddedTexts, kind: bytes, offset: int, length: int) -> None:
    # The keyword decides whether the rest, which may be megabytes, is read at all.
    start = media.peek(offset, min(length, _MAX_KEYWORD_BYTES + 1))
    keyword, _, _ = start.partition(b"\0")
    key = keyword.decode("latin-1")
    if key.lower() == "comment" or not texts.wants(key):
        return
    if length > MAX_TEXT_BYTES:
        raise BrokenMediaError(f"its {key} chunk has {length} bytes")
    body = media.read(offset, length)[len(keyword) + 1 :]
    texts.offer(key, _decode_text(kind, body, media.budget))


def _decode_text(kind: bytes, body: bytes, budget: ReadingBudget) -> bytes:
    """Return the text of a chunk from the part behind its keyword."""
    if kind == b"zTXt":
        # The first byte names the compression method; there is only one.
        return decompress(body[1:], budget)
    if kind != b"iTXt":
        return body
    # Language, translated keyword and text follow the compression flag and method.
    strings = body[2:].split(b"\0", _ITXT_STRINGS - 1)
    if len(strings) < _ITXT_STRINGS:
        raise BrokenMediaError("an international text chunk is truncated")
    is_compressed = body[0] != 0
    return decompress(strings[-1], budget) if is_compressed else strings[-1]


def decompress(compressed: bytes, budget: ReadingBudget) -> bytes:
    """Decompress a zlib stream to at most `MAX_TEXT_BYTES`.

    Raises:
        Failure: `workflow-too-large`: the file has unpacked to too much already.
        BrokenMediaError: It is damaged, truncated, or decompresses to more.
    """
    decompressor = zlib.decompressobj()
    try:
        # One byte more than allowed shows a larger text without decompressing all of it.
        text = decompressor.decompress(compressed, MAX_TEXT_BYTES + 1)
    except zlib.error as error:
        raise BrokenMediaError(f"a compressed text is damaged: {error}") from error
    budget.take_unpacked(len(text))
    if len(text) > MAX_TEXT_BYTES:
        raise BrokenMediaError(f"a compressed text has more than {MAX_TEXT_BYTES} bytes")
    if not decompressor.eof:
        raise BrokenMediaError("a compressed text is truncated")
    return text
