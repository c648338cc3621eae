"""Workflows in WebM and Matroska: the `SimpleTag` elements of a segment's `Tags` (RFC 8794, RFC 9559 section 5.1.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from comfywatchman.comfyui.workflow.embedded.media_file import MAX_TEXT_BYTES, BrokenMediaError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comfywatchman.comfyui.workflow.embedded.media_file import EmbeddedTexts, MediaFile

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
_MAX_NAME_BYTES: Final = 256
_MAX_HEADER_BYTES: Final = 12
_MAX_ID_BYTES: Final = 4
_MAX_NUMBER_BYTES: Final = 8


class _Element(NamedTuple):
    """One EBML element.

    Attributes:
        id: Its identifier, marker bits included.
        start: Offset of its content.
        end: Offset behind its content; None when its length is unknown (a live recording).
    """

    id: int
    start: int
    end: int | None

    def require_end(self) -> int:
        if self.end is None:
            raise BrokenMediaError(f"the element before {self.start} has no length")
        return self.end


def read(media: MediaFile, texts: EmbeddedTexts) -> None:
    """Offer the tags of the first segment, which are before its clusters or where its index points.

    Raises:
        BrokenMediaError: The elements up to the tags are broken.
    """
    for element in _iterate_elements(media, 0, media.size):
        if element.id == _SEGMENT:
            tags = _find_tags(media, element)
            if tags is not None:
                _offer_tags(media, texts, tags)
            return
    raise BrokenMediaError("it has no segment")


def _find_tags(media: MediaFile, segment: _Element) -> _Element | None:
    """Find the tags of a segment: behind the first cluster by the segment's index if it has one, else step by step."""
    indexed_position: int | None = None
    segment_end = media.size if segment.end is None else segment.end
    for element in _iterate_elements(media, segment.start, segment_end):
        if element.id == _TAGS:
            return element
        if element.id == _SEEK_HEAD:
            indexed_position = _find_indexed_position(media, element)
        elif element.id == _CLUSTER and indexed_position is not None:
            # Positions in the index count from the start of the segment's content.
            tags = _read_element(media, segment.start + indexed_position, media.size)
            if tags.id != _TAGS:
                raise BrokenMediaError("its index does not point at its tags")
            return tags
        elif element.end is None:
            # A live recording: clusters without a length, and no way to find the tags behind them.
            return None
    return None


def _find_indexed_position(media: MediaFile, seek_head: _Element) -> int | None:
    """Return the position of the tags in a segment's index."""
    for seek in _iterate_elements(media, seek_head.start, seek_head.require_end()):
        if seek.id != _SEEK:
            continue
        numbers: dict[int, int] = {}
        for element in _iterate_elements(media, seek.start, seek.require_end()):
            width = min(_MAX_NUMBER_BYTES, element.require_end() - element.start)
            numbers[element.id] = int.from_bytes(media.read(element.start, width))
        if numbers.get(_SEEK_ID) == _TAGS:
            return numbers.get(_SEEK_POSITION, 0)
    return None


def _offer_tags(media: MediaFile, texts: EmbeddedTexts, tags: _Element) -> None:
    for tag in _iterate_elements(media, tags.start, tags.require_end()):
        if tag.id != _TAG:
            continue
        for simple_tag in _iterate_elements(media, tag.start, tag.require_end()):
            if simple_tag.id == _SIMPLE_TAG:
                _offer_simple_tag(media, texts, simple_tag)


def _offer_simple_tag(media: MediaFile, texts: EmbeddedTexts, simple_tag: _Element) -> None:
    elements: dict[int, tuple[int, int]] = {}
    for element in _iterate_elements(media, simple_tag.start, simple_tag.require_end()):
        elements[element.id] = element.start, element.require_end() - element.start
    if _TAG_NAME not in elements or _TAG_STRING not in elements:
        return
    start, length = elements[_TAG_NAME]
    name = media.read(start, min(length, _MAX_NAME_BYTES))
    # EBML strings may be padded with zero bytes.
    key = name.rstrip(b"\0").decode("utf-8", "replace")
    if not texts.wants(key):
        return
    start, length = elements[_TAG_STRING]
    if length > MAX_TEXT_BYTES:
        raise BrokenMediaError(f"its tag {key.lower()} has {length} bytes")
    texts.offer(key, media.read(start, length))


def _iterate_elements(media: MediaFile, start: int, end: int) -> Iterator[_Element]:
    """Yield the elements between two offsets, the last of which may have an unknown length."""
    offset = start
    while offset < end:
        element = _read_element(media, offset, end)
        yield element
        if element.end is None:
            # Nothing behind it can be found.
            return
        offset = element.end


def _read_element(media: MediaFile, offset: int, end: int) -> _Element:
    header = media.peek(offset, _MAX_HEADER_BYTES)
    id_width = _read_width(header[:1], _MAX_ID_BYTES)
    size_field = header[id_width:]
    size_width = _read_width(size_field[:1], _MAX_NUMBER_BYTES)
    start = offset + id_width + size_width
    element_id = int.from_bytes(header[:id_width])
    # The size has seven bits in each byte; the rest marks its width. All ones means unknown.
    unknown_size = (1 << 7 * size_width) - 1
    size = int.from_bytes(size_field[:size_width]) & unknown_size
    if size == unknown_size:
        return _Element(element_id, start, None)
    if start + size > end:
        raise BrokenMediaError(f"the element at {offset} announces {size} bytes, but only {max(0, end - start)} follow")
    return _Element(element_id, start, start + size)


def _read_width(first: bytes, max_bytes: int) -> int:
    """Return the width of a number, which is the position of the highest bit in its first byte."""
    width = 9 - first[0].bit_length() if first else 9
    if width > max_bytes:
        raise BrokenMediaError("an element's header is not a number")
    return width
