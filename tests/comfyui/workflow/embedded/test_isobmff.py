from __future__ import annotations

import pytest

from comfywatchman.comfyui.workflow.embedded.isobmff import read, read_picture
from comfywatchman.comfyui.workflow.embedded.media_file import BrokenMediaError
from tests.comfyui.workflow.embedded import builders as b
from tests.comfyui.workflow.embedded.reading import read_texts

TAGS = {"workflow": b"{1}", "prompt": b"{2}"}
EXIF = b.exif([b"workflow:{1}"])


@pytest.mark.parametrize("content", [b.mp4(b.ilst(TAGS)), b.mp4(b.ilst(TAGS), media_first=True), b.mov(TAGS)])
def test_tags_of_videos_are_read(content: bytes) -> None:
    texts = read_texts(read, content)
    assert (texts.workflow, texts.prompt) == (b"{1}", b"{2}")


def test_tag_without_value_is_skipped() -> None:
    keys = b.ilst({"workflow": b""})
    assert read_texts(read, b.mp4(keys.replace(b"data", b"free"))).workflow is None


def test_unfinished_video_is_broken() -> None:
    with pytest.raises(BrokenMediaError, match="no moov box"):
        read_texts(read, b.box(b"ftyp", b"isom"))


def test_box_beyond_the_end_is_broken() -> None:
    with pytest.raises(BrokenMediaError, match="announces"):
        read_texts(read, b.mp4(b.ilst(TAGS), media_first=True)[:-5])


@pytest.mark.parametrize("in_idat", [True, False])
def test_exif_item_of_a_picture_is_read(in_idat: bool) -> None:  # noqa: FBT001 - parametrized
    assert read_texts(read_picture, b.avif(EXIF, in_idat=in_idat)).workflow == b"{1}"


def test_picture_without_exif_item_has_no_text() -> None:
    assert read_texts(read_picture, b.avif(None)).workflow is None


def test_item_in_another_place_is_broken() -> None:
    elsewhere = b.avif(EXIF, in_idat=True).replace(b"\0\2\0\1\0\0", b"\0\2\0\2\0\0")
    with pytest.raises(BrokenMediaError, match="not supported"):
        read_texts(read_picture, elsewhere)


def test_key_without_a_name_keeps_the_numbers_of_the_others() -> None:
    assert read_texts(read, b.mp4(b.ilst({"": b"x", "workflow": b"{1}"}))).workflow == b"{1}"


@pytest.mark.parametrize("size", [b"\0\0\0\7", b"\0\0\0\x11"])
def test_broken_key_table(size: bytes) -> None:
    tags = b.ilst({"workflow": b"{1}"}).replace(b"\0\0\0\x10mdta", size + b"mdta")
    with pytest.raises(BrokenMediaError, match="tag names"):
        read_texts(read, b.mp4(tags))
