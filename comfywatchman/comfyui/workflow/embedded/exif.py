"""Workflows in Exif: text tags of the form `workflow:{...}`, as ComfyUI writes them into WebP and AVIF.

TIFF 6.0 section 2, Exif 2.32 section 4.6 (JEITA CP-3451). ComfyUI uses tag 0x010F and downwards; other savers use
the user comment of the Exif directory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from comfywatchman.comfyui.workflow.embedded.media_file import BrokenMediaError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comfywatchman.comfyui.workflow.embedded.media_file import EmbeddedTexts

    ByteOrder = Literal["little", "big"]

PREFIX: Final = b"Exif\0\0"
_BYTE_ORDERS: Final[dict[bytes, ByteOrder]] = {b"II*\0": "little", b"MM\0*": "big"}
_ENTRY_BYTES: Final = 12
_INLINE_BYTES: Final = 4
_BYTE_WIDE_TYPES: Final = frozenset({1, 2, 7})
_EXIF_DIRECTORY: Final = 0x8769
_USER_COMMENT: Final = 0x9286
_LABEL_BYTES: Final = 16
_CHARSET_BYTES: Final = 8
_CHARSETS: Final[dict[bytes, str]] = {b"ASCII\0\0\0": "latin-1", b"\0\0\0\0\0\0\0\0": "latin-1", b"UNICODE\0": "utf-16"}


def offer_exif(block: bytes, texts: EmbeddedTexts) -> None:
    """Offer the text tags of an Exif block (with or without its `Exif` prefix).

    Raises:
        BrokenMediaError: The block is not a TIFF structure or points outside itself.
    """
    view = memoryview(block.removeprefix(PREFIX))
    order = _BYTE_ORDERS.get(bytes(view[:4]))
    if order is None:
        raise BrokenMediaError("its Exif block does not start as Exif does")
    exif_directory: int | None = None
    for tag, value in _iterate_entries(view, _read_number(view, 4, 4, order), order):
        if tag == _EXIF_DIRECTORY:
            exif_directory = int.from_bytes(value[:4], order)
        else:
            _offer_tag(value, texts)
    # Only one level is followed, so that directories which point at each other end.
    if exif_directory is not None and not texts.is_complete:
        for tag, value in _iterate_entries(view, exif_directory, order):
            if tag == _USER_COMMENT:
                _offer_comment(value, texts)
                return


def _iterate_entries(view: memoryview, offset: int, order: ByteOrder) -> Iterator[tuple[int, memoryview]]:
    """Yield the text tags of one directory and the pointer to the Exif directory, each with its bytes."""
    first = offset + 2
    end = first + _ENTRY_BYTES * _read_number(view, offset, 2, order)
    for entry in range(first, end, _ENTRY_BYTES):
        tag = _read_number(view, entry, 2, order)
        data_type = _read_number(view, entry + 2, 2, order)
        count = _read_number(view, entry + 4, 4, order)
        if tag == _EXIF_DIRECTORY:
            yield tag, view[entry + 8 : entry + _ENTRY_BYTES]
        elif data_type in _BYTE_WIDE_TYPES:
            # Up to four bytes stand in the entry itself, longer values elsewhere.
            start = entry + 8
            if count > _INLINE_BYTES:
                start = _read_number(view, entry + 8, 4, order)
            if start + count > len(view):
                raise BrokenMediaError(f"its Exif tag {tag:#06x} points outside the block")
            yield tag, view[start : start + count]


def _offer_tag(value: memoryview, texts: EmbeddedTexts) -> None:
    # Many tags may point at the same long text: its label is checked before it is copied.
    label = bytes(value[:_LABEL_BYTES]).partition(b":")[0].lower()
    if label in {b"workflow", b"prompt"} and texts.wants(label.decode("ascii")):
        texts.offer_labelled(bytes(value))


def _offer_comment(value: memoryview, texts: EmbeddedTexts) -> None:
    charset = _CHARSETS.get(bytes(value[:_CHARSET_BYTES]))
    if charset is None:
        # Some savers omit the eight bytes that name the character set.
        texts.offer_labelled(bytes(value))
        return
    text = bytes(value[_CHARSET_BYTES:])
    if charset == "utf-16":
        text = text.decode(_guess_utf16_codec(text), "replace").encode()
    texts.offer_labelled(text)


def _guess_utf16_codec(text: bytes) -> str:
    # piexif and its users write big-endian text whatever the block's own order is. A label and JSON start with ASCII
    # characters, of which one byte is zero.
    return "utf-16-be" if text[:1] == b"\0" else "utf-16-le"


def _read_number(view: memoryview, offset: int, width: int, order: ByteOrder) -> int:
    part = view[offset : offset + width]
    if len(part) < width:
        raise BrokenMediaError("its Exif block is truncated")
    return int.from_bytes(part, order)
