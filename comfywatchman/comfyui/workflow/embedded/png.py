"""Workflows in PNG text chunks (`tEXt`, `zTXt`, `iTXt`) and in ComfyUI's own `comf` chunk.

PNG, third edition, W3C 2025, sections 5.3 and 11.3.3; ComfyUI writes `comf` into animated PNGs, after the pixels.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from comfywatchman.comfyui.workflow.embedded.source import MAX_TEXT_BYTES, BrokenMediaError

if TYPE_CHECKING:
    from comfywatchman.comfyui.workflow.embedded.source import EmbeddedTexts, MediaFile

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_TEXT_CHUNKS: Final = frozenset({b"tEXt", b"zTXt", b"iTXt", b"comf"})
_LONGEST_KEYWORD: Final = 79


def read(source: MediaFile, texts: EmbeddedTexts) -> None:
    """Offer the text chunks of a PNG file; pixels are skipped, checksums are not compared (nor does ComfyUI).

    Raises:
        BrokenMediaError: The chain of chunks does not reach its end, or a workflow cannot be unpacked.
    """
    offset = len(SIGNATURE)
    while not texts.complete:
        header = source.read(offset, 8)
        length = int.from_bytes(header[:4])
        kind = header[4:]
        if kind == b"IEND":
            return
        if kind in _TEXT_CHUNKS:
            _offer_chunk(source, texts, kind, offset + 8, length)
        offset += length + 12


def _offer_chunk(source: MediaFile, texts: EmbeddedTexts, kind: bytes, offset: int, length: int) -> None:
    start = source.peek(offset, min(length, _LONGEST_KEYWORD + 1))
    keyword, _, _ = start.partition(b"\0")
    key = keyword.decode("latin-1")
    if key.lower() == "comment" or not texts.wants(key):
        return
    if length > MAX_TEXT_BYTES:
        raise BrokenMediaError(f"its {key} chunk has {length} bytes")
    body = source.read(offset, length)[len(keyword) + 1 :]
    texts.offer(key, _decode_text(kind, body))


def _decode_text(kind: bytes, body: bytes) -> bytes:
    if kind == b"zTXt":
        return inflate(body[1:])
    if kind != b"iTXt":
        return body
    parts = body[2:].split(b"\0", 2)
    if len(parts) < 3:  # noqa: PLR2004 - language, translated keyword, text
        raise BrokenMediaError("an international text chunk ends early")
    return inflate(parts[2]) if body[0] else parts[2]


def inflate(packed: bytes) -> bytes:
    """Unpack a zlib stream of at most `MAX_TEXT_BYTES`.

    Raises:
        BrokenMediaError: It is damaged, cut off, or unpacks to more.
    """
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(packed, MAX_TEXT_BYTES + 1)
    except zlib.error as error:
        raise BrokenMediaError(f"a packed text is damaged: {error}") from error
    if len(text) > MAX_TEXT_BYTES:
        raise BrokenMediaError(f"a packed text unpacks to more than {MAX_TEXT_BYTES} bytes")
    if not unpacker.eof:
        raise BrokenMediaError("a packed text is cut off")
    return text
