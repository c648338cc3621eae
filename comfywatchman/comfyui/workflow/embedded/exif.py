"""Workflows in Exif: text tags of the form `workflow:{...}`, as ComfyUI writes them into WebP and AVIF.

TIFF 6.0 section 2, Exif 2.32 section 4.6 (JEITA CP-3451). ComfyUI uses tag 0x010F and downwards; other savers use
the user comment of the Exif folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from comfywatchman.comfyui.workflow.embedded.source import BrokenMediaError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comfywatchman.comfyui.workflow.embedded.source import EmbeddedTexts

    ByteOrder = Literal["little", "big"]

PREFIX: Final = b"Exif\0\0"
_ORDERS: Final[dict[bytes, ByteOrder]] = {b"II*\0": "little", b"MM\0*": "big"}
_BYTE_WIDE_TYPES: Final = frozenset({1, 2, 7})
_EXIF_FOLDER: Final = 0x8769
_USER_COMMENT: Final = 0x9286
_LABEL_BYTES: Final = 16
_CHARSETS: Final[dict[bytes, str]] = {b"ASCII\0\0\0": "latin-1", b"\0\0\0\0\0\0\0\0": "latin-1", b"UNICODE\0": "utf-16"}


def offer_exif(block: bytes, texts: EmbeddedTexts) -> None:
    """Offer the text tags of an Exif block (with or without its `Exif` prefix).

    Raises:
        BrokenMediaError: The block is no TIFF structure or points outside itself.
    """
    view = memoryview(block)[len(PREFIX) :] if block.startswith(PREFIX) else memoryview(block)
    order = _ORDERS.get(bytes(view[:4]))
    if order is None:
        raise BrokenMediaError("its Exif block does not start as Exif does")
    folder: int | None = None
    for tag, value in _iterate_entries(view, _read_number(view, 4, 4, order), order):
        if tag == _EXIF_FOLDER:
            folder = int.from_bytes(value[:4], order)
        else:
            _offer_tag(value, texts)
    if folder is not None and not texts.complete:
        comments = (value for tag, value in _iterate_entries(view, folder, order) if tag == _USER_COMMENT)
        _offer_comment(next(comments, memoryview(b"")), order, texts)


def _iterate_entries(view: memoryview, offset: int, order: ByteOrder) -> Iterator[tuple[int, memoryview]]:
    """Walk one folder: the text tags and the link to the Exif folder, each with its bytes."""
    for entry in range(offset + 2, offset + 2 + 12 * _read_number(view, offset, 2, order), 12):
        tag = _read_number(view, entry, 2, order)
        kind = _read_number(view, entry + 2, 2, order)
        count = _read_number(view, entry + 4, 4, order)
        if tag == _EXIF_FOLDER:
            yield tag, view[entry + 8 : entry + 12]
        elif kind in _BYTE_WIDE_TYPES:
            start = entry + 8 if count <= 4 else _read_number(view, entry + 8, 4, order)  # noqa: PLR2004 - fits inline
            if start + count > len(view):
                raise BrokenMediaError(f"its Exif tag {tag:#06x} points outside the block")
            yield tag, view[start : start + count]


def _offer_tag(value: memoryview, texts: EmbeddedTexts) -> None:
    # Many tags may point at the same long text: look at its label before copying it.
    label = bytes(value[:_LABEL_BYTES]).partition(b":")[0].lower()
    if label in {b"workflow", b"prompt"} and texts.wants(label.decode("ascii")):
        texts.offer_labelled(bytes(value))


def _offer_comment(value: memoryview, order: ByteOrder, texts: EmbeddedTexts) -> None:
    charset = _CHARSETS.get(bytes(value[:8]))
    text = bytes(value[8:]) if charset else bytes(value)
    if charset == "utf-16":
        codec = "utf-16-le" if order == "little" else "utf-16-be"
        # piexif and its users write big-endian whatever the block's own order is.
        codec = "utf-16-be" if text[:1] == b"\0" else "utf-16-le" if text[1:2] == b"\0" else codec
        text = text.decode(codec, "replace").encode()
    texts.offer_labelled(text)


def _read_number(view: memoryview, offset: int, width: int, order: ByteOrder) -> int:
    part = view[offset : offset + width]
    if len(part) < width:
        raise BrokenMediaError("its Exif block ends early")
    return int.from_bytes(part, order)
