from __future__ import annotations

import pytest

from comfywatchman.comfyui.workflow.embedded.media_file import BrokenMediaError
from comfywatchman.comfyui.workflow.embedded.vorbis_comments import read_flac, read_ogg
from tests.comfyui.workflow.embedded import builders as b
from tests.comfyui.workflow.embedded.reading import read_texts

TAGS = {"title": b"A=B", "WORKFLOW": b"{1}", "prompt": b"{2}"}


def test_comments_of_flac_are_read() -> None:
    texts = read_texts(read_flac, b.flac(TAGS))
    assert (texts.workflow, texts.prompt) == (b"{1}", b"{2}")


@pytest.mark.parametrize(
    ("first", "label"),
    [
        (b"OpusHead", b"OpusTags"),
        (b"\1vorbis", b"\3vorbis"),
        (b"\x80theora", b"\x81theora"),
        (b"\x7fFLAC\1\0", b"\4\0\0\0"),
    ],
)
def test_comments_of_every_ogg_codec_are_read(first: bytes, label: bytes) -> None:
    assert read_texts(read_ogg, b.ogg(TAGS, first, label)).workflow == b"{1}"


def test_packet_that_ends_with_a_page_is_complete() -> None:
    for length in (254, 255, 256, 509, 510, 511, 255 * 200):
        assert read_texts(read_ogg, b.ogg({"art": b"x" * length, **TAGS})).workflow == b"{1}"


def test_unknown_codec_has_no_text() -> None:
    assert read_texts(read_ogg, b.ogg(TAGS, b"Speex   ", b"")).workflow is None


@pytest.mark.parametrize("block", [b"", b"\0\0\0\0", b"\0\0\0\0\1\0\0\0", b"\0\0\0\0\1\0\0\0\x09\0\0\0workflow"])
def test_truncated_comments_are_broken(block: bytes) -> None:
    with pytest.raises(BrokenMediaError, match="truncated"):
        read_texts(read_flac, b"fLaC\x84" + len(block).to_bytes(3) + block)


def test_absurd_number_of_comments_is_broken() -> None:
    block = b"\0\0\0\0" + (10_001).to_bytes(4, "little")
    with pytest.raises(BrokenMediaError, match="10001 comments"):
        read_texts(read_flac, b"fLaC\x84" + len(block).to_bytes(3) + block)
