from __future__ import annotations

import zlib

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.workflow.budget import ReadingBudget
from comfywatchman.comfyui.workflow.embedded.media_file import MAX_TEXT_BYTES, BrokenMediaError
from comfywatchman.comfyui.workflow.embedded.png import decompress, read
from tests.comfyui.workflow.embedded import builders as b
from tests.comfyui.workflow.embedded.reading import read_texts


def test_every_kind_of_text_chunk_is_read() -> None:
    for chunk in (
        b.text_chunk("workflow", b"{1}"),
        b.text_chunk("workflow", b"{1}", b"comf"),
        b.packed_chunk("workflow", b"{1}"),
        b.international_chunk("workflow", b"{1}", packed=False),
        b.international_chunk("workflow", b"{1}", packed=True),
    ):
        assert read_texts(read, b.png(chunk)).workflow == b"{1}"


def test_chunks_of_other_keys_are_skipped() -> None:
    texts = read_texts(read, b.png(b.text_chunk("comment", b'{"workflow": {"a": 1}}'), b.text_chunk("title", b"{1}")))
    assert (texts.workflow, texts.prompt) == (None, None)


def test_reading_ends_when_both_texts_are_known() -> None:
    chunks = b.text_chunk("workflow", b"{1}"), b.text_chunk("prompt", b"{2}")
    truncated = b.png(*chunks)[:-20]
    assert read_texts(read, truncated).prompt == b"{2}"
    with pytest.raises(BrokenMediaError):
        read_texts(read, truncated, last_counts=True)


@pytest.mark.slow
def test_decompression_stops_at_the_limit() -> None:
    assert decompress(zlib.compress(bytes(MAX_TEXT_BYTES)), ReadingBudget()) == bytes(MAX_TEXT_BYTES)
    with pytest.raises(BrokenMediaError, match="more than"):
        decompress(zlib.compress(bytes(MAX_TEXT_BYTES + 1)), ReadingBudget())


def test_damaged_stream_is_broken() -> None:
    with pytest.raises(BrokenMediaError, match="damaged"):
        decompress(b"no zlib stream", ReadingBudget())
    with pytest.raises(BrokenMediaError, match="truncated"):
        decompress(zlib.compress(b"text")[:-1], ReadingBudget())


def test_short_international_chunk_is_broken() -> None:
    with pytest.raises(BrokenMediaError, match="international"):
        read_texts(read, b.png(b.text_chunk("workflow", b"\0\0en\0", b"iTXt")))


def test_all_compressed_texts_together_are_limited() -> None:
    budget = ReadingBudget(unpacked_bytes=100)
    packed = zlib.compress(bytes(60))
    decompress(packed, budget)
    with pytest.raises(Failure, match="unpack to more than"):
        decompress(packed, budget)
