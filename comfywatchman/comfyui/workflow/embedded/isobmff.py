"""Workflows in the box family of MP4, MOV and AVIF (ISO/IEC 14496-12, 23008-12; QuickTime File Format).

Video: `moov/udta/meta` or `moov/meta` with `keys` and `ilst`. Pictures: the Exif item of the top-level `meta`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from comfywatchman.comfyui.workflow.embedded.exif import offer_exif
from comfywatchman.comfyui.workflow.embedded.source import MAX_TEXT_BYTES, BrokenMediaError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comfywatchman.comfyui.workflow.embedded.source import EmbeddedTexts, MediaFile

    Span = tuple[int, int]

PICTURE_BRANDS: Final = frozenset({b"avif", b"avis", b"mif1", b"msf1", b"heic", b"heix"})
_MAX_TABLE_BYTES: Final = 1 << 20
_NUMBER_WIDTHS: Final = frozenset({0, 4, 8})


def read(source: MediaFile, texts: EmbeddedTexts) -> None:
    """Offer the tags of a video's `moov`.

    Raises:
        BrokenMediaError: There is no whole `moov`, or its tags are broken.
    """
    movie = _find_box(source, (0, source.size), b"moov")
    if movie is None:
        raise BrokenMediaError("it has no moov box, so it was never finished")
    holders = [movie, *(span for kind, span in _iterate_boxes(source, movie) if kind == b"udta")]
    for holder in holders:
        meta = _find_box(source, holder, b"meta")
        if meta is not None:
            _offer_tags(source, texts, meta)


def read_picture(source: MediaFile, texts: EmbeddedTexts) -> None:
    """Offer the Exif item of an AVIF or HEIF picture.

    Raises:
        BrokenMediaError: There is no whole `meta`, or its item tables or the Exif block are broken.
    """
    meta = _find_box(source, (0, source.size), b"meta")
    if meta is None:
        raise BrokenMediaError("it has no meta box, so it was never finished")
    children = dict(_iterate_boxes(source, (meta[0] + 4, meta[1])))
    if b"iinf" not in children or b"iloc" not in children:
        return
    item = _find_exif_item(source, children[b"iinf"])
    if item is not None:
        block = _read_item(source, children, item)
        offer_exif(block[4 + int.from_bytes(block[:4]) :], texts)


def _iterate_boxes(source: MediaFile, span: Span) -> Iterator[tuple[bytes, Span]]:
    offset, end = span
    while offset + 8 <= end:
        header = source.peek(offset, 16)
        size, kind, head = int.from_bytes(header[:4]), header[4:8], 8
        if size == 1:
            size, head = int.from_bytes(header[8:16]), 16
        elif size == 0:
            size = end - offset
        if size < head or offset + size > end:
            raise BrokenMediaError(f"the box at {offset} has {size} bytes, {end - offset} are there")
        yield kind, (offset + head, offset + size)
        offset += size


def _find_box(source: MediaFile, span: Span, wanted: bytes) -> Span | None:
    return next((found for kind, found in _iterate_boxes(source, span) if kind == wanted), None)


def _read_table(source: MediaFile, span: Span) -> bytes:
    if span[1] - span[0] > _MAX_TABLE_BYTES:
        raise BrokenMediaError(f"a table at {span[0]} has {span[1] - span[0]} bytes")
    return source.read(span[0], span[1] - span[0])


def _offer_tags(source: MediaFile, texts: EmbeddedTexts, meta: Span) -> None:
    # QuickTime's meta box has no version field; ISO's has four bytes of it.
    start = meta[0] if source.peek(meta[0] + 4, 4) == b"hdlr" else meta[0] + 4
    children = dict(_iterate_boxes(source, (start, meta[1])))
    if b"ilst" not in children:
        return
    keys = _parse_keys(_read_table(source, children[b"keys"])) if b"keys" in children else {}
    for kind, span in _iterate_boxes(source, children[b"ilst"]):
        key = keys.get(int.from_bytes(kind), kind.decode("latin-1"))
        if not texts.wants(key):
            continue
        value = _find_box(source, span, b"data")
        if value is not None:
            texts.offer(key, _read_value(source, value))


def _read_value(source: MediaFile, span: Span) -> bytes:
    length = span[1] - span[0] - 8
    if length > MAX_TEXT_BYTES:
        raise BrokenMediaError(f"the tag at {span[0]} has {length} bytes")
    return source.read(span[0] + 8, max(0, length))


def _parse_keys(table: bytes) -> dict[int, str]:
    """Return the names of a `keys` box by their number, which counts from 1."""
    names: dict[int, str] = {}
    offset = 8
    while offset + 8 <= len(table):
        size = int.from_bytes(table[offset : offset + 4])
        if size < 8 or offset + size > len(table):  # noqa: PLR2004 - size and namespace
            raise BrokenMediaError("its table of tag names is broken")
        names[len(names) + 1] = table[offset + 8 : offset + size].decode("utf-8", "replace")
        offset += size
    return names


def _find_exif_item(source: MediaFile, span: Span) -> int | None:
    """Return the id of the first item of type `Exif`."""
    wide_count = source.read(span[0], 1) != b"\0"
    for kind, (start, _) in _iterate_boxes(source, (span[0] + (8 if wide_count else 6), span[1])):
        entry = source.peek(start, 14)
        width = 4 if entry[:1] == b"\3" else 2
        if kind == b"infe" and entry[6 + width : 10 + width] == b"Exif":
            return int.from_bytes(entry[4 : 4 + width])
    return None


def _read_item(source: MediaFile, children: dict[bytes, Span], item: int) -> bytes:
    method, extents = _find_item_location(_read_table(source, children[b"iloc"]), item)
    if method > 1 or (method == 1 and b"idat" not in children):
        raise BrokenMediaError("its Exif item lies in a place that is not read")
    base = children[b"idat"][0] if method == 1 else 0
    if sum(length for _, length in extents) > 2 * MAX_TEXT_BYTES:
        raise BrokenMediaError("its Exif item is too long")
    return b"".join(source.read(base + offset, length) for offset, length in extents)


def _find_item_location(table: bytes, item: int) -> tuple[int, list[Span]]:
    """Find an item in an `iloc` table.

    Returns:
        The construction method (0: offsets into the file, 1: into `idat`), then offset and length of each extent.
    """
    cursor = _TableCursor(table)
    version = cursor.number(4) >> 24
    sizes = cursor.number(2)
    offset_width, length_width, base_width = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_width = sizes & 15 if version else 0
    if not {offset_width, length_width, base_width, index_width} <= _NUMBER_WIDTHS or not length_width:
        raise BrokenMediaError("its item table has impossible number widths")
    id_width = 4 if version > 1 else 2
    for _ in range(cursor.number(id_width)):
        found = cursor.number(id_width)
        method = cursor.number(2) & 15 if version else 0
        cursor.offset += 2
        base = cursor.number(base_width)
        count = cursor.number(2)
        if found == item:
            return method, [cursor.extent(base, index_width, offset_width, length_width) for _ in range(count)]
        cursor.offset += count * (index_width + offset_width + length_width)
    raise BrokenMediaError("its Exif item is not in the item table")


class _TableCursor:
    """Big-endian numbers read one after another from a table."""

    __slots__ = ("offset", "table")

    def __init__(self, table: bytes) -> None:
        self.table = table
        self.offset = 0

    def number(self, width: int) -> int:
        part = self.table[self.offset : self.offset + width]
        if len(part) < width:
            raise BrokenMediaError("its item table ends early")
        self.offset += width
        return int.from_bytes(part)

    def extent(self, base: int, index_width: int, offset_width: int, length_width: int) -> Span:
        self.offset += index_width
        return base + self.number(offset_width), self.number(length_width)
