"""Workflows in the box formats MP4, MOV and AVIF (ISO/IEC 14496-12, 23008-12; QuickTime File Format).

Video: `moov/udta/meta` or `moov/meta` with `keys` and `ilst`. Pictures: the Exif item of the top-level `meta`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from comfywatchman.comfyui.workflow.embedded.exif import offer_exif
from comfywatchman.comfyui.workflow.embedded.media_file import MAX_TEXT_BYTES, BrokenMediaError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from comfywatchman.comfyui.workflow.embedded.media_file import EmbeddedTexts, MediaFile

    Span = tuple[int, int]

PICTURE_BRANDS: Final = frozenset({b"avif", b"avis", b"mif1", b"msf1", b"heic", b"heix"})
_MAX_TABLE_BYTES: Final = 1 << 20
_HEADER_BYTES: Final = 8
_LONG_HEADER_BYTES: Final = 16
_VERSION_BYTES: Final = 4
_DATA_HEADER_BYTES: Final = 8
_KEY_HEADER_BYTES: Final = 8
_NUMBER_WIDTHS: Final = frozenset({0, 4, 8})
_IN_FILE: Final = 0
_IN_IDAT: Final = 1


def read(media: MediaFile, texts: EmbeddedTexts) -> None:
    """Offer the tags of a video's `moov`.

    Raises:
        BrokenMediaError: There is no complete `moov`, or its tags are broken.
    """
    movie = _find_box(media, (0, media.size), b"moov")
    if movie is None:
        raise BrokenMediaError("it has no moov box, so it was never finished")
    # QuickTime has `meta` in `moov` itself, MP4 in its user data.
    containers = [movie]
    containers.extend(span for kind, span in _iterate_boxes(media, movie) if kind == b"udta")
    for container in containers:
        meta = _find_box(media, container, b"meta")
        if meta is not None:
            _offer_tags(media, texts, meta)


def read_picture(media: MediaFile, texts: EmbeddedTexts) -> None:
    """Offer the Exif item of an AVIF or HEIF picture.

    Raises:
        BrokenMediaError: There is no complete `meta`, or its item tables or the Exif block are broken.
    """
    meta = _find_box(media, (0, media.size), b"meta")
    if meta is None:
        raise BrokenMediaError("it has no meta box, so it was never finished")
    children = dict(_iterate_boxes(media, (meta[0] + _VERSION_BYTES, meta[1])))
    if b"iinf" not in children or b"iloc" not in children:
        return
    item_id = _find_exif_item(media, children[b"iinf"])
    if item_id is not None:
        block = _read_item(media, children, item_id)
        # The item starts with the offset of the TIFF header behind this number.
        tiff_offset = int.from_bytes(block[:4])
        offer_exif(block[4 + tiff_offset :], texts)


def _iterate_boxes(media: MediaFile, span: Span) -> Iterator[tuple[bytes, Span]]:
    """Yield kind and content of each box."""
    offset, end = span
    while offset + _HEADER_BYTES <= end:
        header = media.peek(offset, _LONG_HEADER_BYTES)
        size = int.from_bytes(header[:4])
        kind = header[4:8]
        header_bytes = _HEADER_BYTES
        if size == 1:
            # The size follows as a 64-bit number.
            size = int.from_bytes(header[_HEADER_BYTES:_LONG_HEADER_BYTES])
            header_bytes = _LONG_HEADER_BYTES
        elif size == 0:
            # The box extends to the end.
            size = end - offset
        if size < header_bytes or offset + size > end:
            raise BrokenMediaError(f"the box at {offset} announces {size} bytes, but only {end - offset} follow")
        yield kind, (offset + header_bytes, offset + size)
        offset += size


def _find_box(media: MediaFile, span: Span, kind: bytes) -> Span | None:
    for found_kind, content in _iterate_boxes(media, span):
        if found_kind == kind:
            return content
    return None


def _read_table(media: MediaFile, span: Span) -> bytes:
    start, end = span
    if end - start > _MAX_TABLE_BYTES:
        raise BrokenMediaError(f"a table at {start} has {end - start} bytes")
    return media.read(start, end - start)


def _offer_tags(media: MediaFile, texts: EmbeddedTexts, meta: Span) -> None:
    start, end = meta
    # QuickTime's meta box has no version field; ISO's has four bytes of it.
    has_version = media.peek(start + 4, 4) != b"hdlr"
    if has_version:
        start += _VERSION_BYTES
    children = dict(_iterate_boxes(media, (start, end)))
    if b"ilst" not in children:
        return
    names = _parse_keys(_read_table(media, children[b"keys"])) if b"keys" in children else {}
    for kind, span in _iterate_boxes(media, children[b"ilst"]):
        # An entry is named by its number in `keys`, or by a four-letter code of iTunes.
        key = names.get(int.from_bytes(kind), kind.decode("latin-1"))
        if not texts.wants(key):
            continue
        value = _find_box(media, span, b"data")
        if value is not None:
            texts.offer(key, _read_value(media, value))


def _read_value(media: MediaFile, span: Span) -> bytes:
    start, end = span
    # Type and locale precede the text.
    length = end - start - _DATA_HEADER_BYTES
    if length > MAX_TEXT_BYTES:
        raise BrokenMediaError(f"the tag at {start} has {length} bytes")
    return media.read(start + _DATA_HEADER_BYTES, max(0, length))


def _parse_keys(table: bytes) -> dict[int, str]:
    """Return the names in a `keys` box by their number, which counts from 1."""
    names: dict[int, str] = {}
    # The table has a version and a count; each name has its size and a namespace.
    offset = 8
    while offset + _KEY_HEADER_BYTES <= len(table):
        size = int.from_bytes(table[offset : offset + 4])
        if size < _KEY_HEADER_BYTES or offset + size > len(table):
            raise BrokenMediaError("its table of tag names is broken")
        name = table[offset + _KEY_HEADER_BYTES : offset + size]
        names[len(names) + 1] = name.decode("utf-8", "replace")
        offset += size
    return names


def _find_exif_item(media: MediaFile, span: Span) -> int | None:
    """Return the id of the first item of type `Exif` in an `iinf` box."""
    start, end = span
    version = media.read(start, 1)[0]
    # From version 1 on, the number of items has four bytes instead of two.
    entries_start = start + _VERSION_BYTES + (4 if version else 2)
    for kind, (entry_start, _) in _iterate_boxes(media, (entries_start, end)):
        entry = media.peek(entry_start, 14)
        # Version 3 of an entry has an id of four bytes; two bytes of protection index follow.
        id_width = 4 if entry[:1] == b"\3" else 2
        item_type = entry[6 + id_width : 10 + id_width]
        if kind == b"infe" and item_type == b"Exif":
            return int.from_bytes(entry[4 : 4 + id_width])
    return None


def _read_item(media: MediaFile, children: Mapping[bytes, Span], item_id: int) -> bytes:
    """Read an item, whose extents are in the file or in the `idat` box."""
    method, extents = _find_item_location(_read_table(media, children[b"iloc"]), item_id)
    base = 0
    if method == _IN_IDAT and b"idat" in children:
        base = children[b"idat"][0]
    elif method != _IN_FILE:
        raise BrokenMediaError("its Exif item is in a place that is not supported")
    if sum(length for _, length in extents) > 2 * MAX_TEXT_BYTES:
        raise BrokenMediaError("its Exif item is too long")
    return b"".join(media.read(base + offset, length) for offset, length in extents)


def _find_item_location(table: bytes, item_id: int) -> tuple[int, list[Span]]:
    """Find an item in an `iloc` table.

    Returns:
        The construction method (0: offsets into the file, 1: into `idat`), and offset and length of each extent.
    """
    cursor = _TableCursor(table)
    version = cursor.read_number(4) >> 24
    # Four widths of four bits each; versions before 1 have no extent index.
    widths = cursor.read_number(2)
    offset_width, length_width, base_width = widths >> 12, widths >> 8 & 15, widths >> 4 & 15
    index_width = widths & 15 if version else 0
    if not {offset_width, length_width, base_width, index_width} <= _NUMBER_WIDTHS or not length_width:
        raise BrokenMediaError("its item table has invalid number widths")
    id_width = 4 if version > 1 else 2
    for _ in range(cursor.read_number(id_width)):
        entry_id = cursor.read_number(id_width)
        method = cursor.read_number(2) & 15 if version else _IN_FILE
        # The reference to another file, which is always this one.
        cursor.offset += 2
        base = cursor.read_number(base_width)
        extent_count = cursor.read_number(2)
        if entry_id == item_id:
            extents = [cursor.read_extent(base, index_width, offset_width, length_width) for _ in range(extent_count)]
            return method, extents
        cursor.offset += extent_count * (index_width + offset_width + length_width)
    raise BrokenMediaError("its Exif item is not in the item table")


class _TableCursor:
    """Reads big-endian numbers from a table, one after another."""

    __slots__ = ("offset", "table")

    def __init__(self, table: bytes) -> None:
        self.table = table
        self.offset = 0

    def read_number(self, width: int) -> int:
        part = self.table[self.offset : self.offset + width]
        if len(part) < width:
            raise BrokenMediaError("its item table is truncated")
        self.offset += width
        return int.from_bytes(part)

    def read_extent(self, base: int, index_width: int, offset_width: int, length_width: int) -> Span:
        self.offset += index_width
        offset = base + self.read_number(offset_width)
        return offset, self.read_number(length_width)
