"""Workflows in WebM and Matroska: the `SimpleTag` elements of a segment's `Tags` (RFC 8794, RFC 9559 section 5.1.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from comfywatchman.comfyui.workflow.embedded.source import MAX_TEXT_BYTES, BrokenMediaError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comfywatchman.comfyui.workflow.embedded.source import EmbeddedTexts, MediaFile

    Element = tuple[int, int, int | None]

_SEGMENT: Final = 0x18538067
_SEEK_HEAD: Final = 0x114D9B74
_SEEK: Final = 0x4DBB
_SEEK_ID: Final = 0x53AB
_SEEK_POSITION: Final = 0x53AC
_CLUSTER: Final = 0x1F43B675
_TAGS: Final = 0x1254C367
_TAG: Final = 0x7373
_SIMPLE_TAG: Final = 0x67C8
_TAG_NAME: Final = 0x45A3
_TAG_STRING: Final = 0x4487
_LONGEST_NAME: Final = 256


def read(source: MediaFile, texts: EmbeddedTexts) -> None:
    """Offer the tags of the first segment, before its clusters or wherever its index says they are.

    Raises:
        BrokenMediaError: The elements up to the tags are broken.
    """
    segment = next((found for found in _iterate_elements(source, 0, source.size) if found[0] == _SEGMENT), None)
    if segment is None:
        raise BrokenMediaError("it has no segment")
    tags = _find_tags(source, segment[1], segment[2])
    if tags is not None:
        _offer_tags(source, texts, tags)


def _find_tags(source: MediaFile, start: int, end: int | None) -> tuple[int, int] | None:
    """Find the tags of a segment; past the first cluster by the segment's index if it has one, else step by step."""
    indexed: int | None = None
    for kind, begin, stop in _iterate_elements(source, start, source.size if end is None else end):
        if kind == _TAGS:
            return begin, _require_end(begin, stop)
        if kind == _SEEK_HEAD:
            indexed = _find_indexed_tags(source, begin, _require_end(begin, stop))
        elif kind == _CLUSTER and indexed is not None:
            found, begin_there, stop_there = _read_element(source, start + indexed, source.size)
            if found != _TAGS:
                raise BrokenMediaError("its index points at something else than its tags")
            return begin_there, _require_end(begin_there, stop_there)
        elif stop is None:
            # A live recording: clusters without a length, and nobody knows where the tags would be.
            return None
    return None


def _find_indexed_tags(source: MediaFile, start: int, end: int) -> int | None:
    for kind, begin, stop in _iterate_elements(source, start, end):
        if kind != _SEEK:
            continue
        fields = {
            field: source.read(a, min(8, _require_end(a, b) - a))
            for field, a, b in _iterate_elements(source, begin, stop)
        }
        if int.from_bytes(fields.get(_SEEK_ID, b"")) == _TAGS:
            return int.from_bytes(fields.get(_SEEK_POSITION, b""))
    return None


def _offer_tags(source: MediaFile, texts: EmbeddedTexts, span: tuple[int, int]) -> None:
    for tag, tag_start, tag_end in _iterate_elements(source, *span):
        if tag != _TAG:
            continue
        for kind, start, end in _iterate_elements(source, tag_start, tag_end):
            if kind == _SIMPLE_TAG:
                _offer_simple_tag(source, texts, start, end)


def _offer_simple_tag(source: MediaFile, texts: EmbeddedTexts, start: int, end: int | None) -> None:
    fields = {kind: (begin, _require_end(begin, stop)) for kind, begin, stop in _iterate_elements(source, start, end)}
    if _TAG_NAME not in fields or _TAG_STRING not in fields:
        return
    begin, stop = fields[_TAG_NAME]
    key = source.read(begin, min(stop - begin, _LONGEST_NAME)).rstrip(b"\0").decode("utf-8", "replace")
    begin, stop = fields[_TAG_STRING]
    if not texts.wants(key):
        return
    if stop - begin > MAX_TEXT_BYTES:
        raise BrokenMediaError(f"its tag {key.lower()} has {stop - begin} bytes")
    texts.offer(key, source.read(begin, stop - begin))


def _iterate_elements(source: MediaFile, start: int, end: int | None) -> Iterator[Element]:
    """Walk the elements between two offsets, ending after the first whose length is unknown.

    Yields:
        The identifier, where the content begins, and where it ends (None: unknown).
    """
    offset, end = start, _require_end(start, end)
    while offset < end:
        found = _read_element(source, offset, end)
        yield found
        if found[2] is None:
            return
        offset = found[2]


def _read_element(source: MediaFile, offset: int, end: int) -> Element:
    header = source.peek(offset, 12)
    id_width = _read_width(header[:1], 4)
    size_width = _read_width(header[id_width : id_width + 1], 8)
    begin = offset + id_width + size_width
    number = int.from_bytes(header[id_width : id_width + size_width])
    size = number & ((1 << 7 * size_width) - 1)
    if size == (1 << 7 * size_width) - 1:
        return int.from_bytes(header[:id_width]), begin, None
    if begin + size > end:
        raise BrokenMediaError(f"the element at {offset} has {size} bytes, {max(0, end - begin)} are there")
    return int.from_bytes(header[:id_width]), begin, begin + size


def _read_width(first: bytes, longest: int) -> int:
    width = 9 - first[0].bit_length() if first else 9
    if width > longest:
        raise BrokenMediaError("an element's header is no number")
    return width


def _require_end(start: int, end: int | None) -> int:
    if end is None:
        raise BrokenMediaError(f"the element before {start} has no length")
    return end
