from __future__ import annotations

import pytest

from comfywatchman.comfyui.workflow.embedded.jpeg import read
from comfywatchman.comfyui.workflow.embedded.media_file import BrokenMediaError
from tests.comfyui.workflow.embedded import builders as b
from tests.comfyui.workflow.embedded.reading import read_texts


def test_exif_and_comment_segments_are_read() -> None:
    texts = read_texts(read, b.jpeg(b.exif([b"workflow:{1}"]), comment=b"prompt:{2}"))
    assert (texts.workflow, texts.prompt) == (b"{1}", b"{2}")


def test_other_segments_of_the_same_kind_are_skipped() -> None:
    content = b.jpeg(b"").replace(b"Exif\0\0", b"http:/")
    assert read_texts(read, content).workflow is None


def test_segments_behind_the_pixels_are_not_read() -> None:
    content = b"\xff\xd8\xff\xda\xff\xfe\0\x0eworkflow:{1}"
    assert read_texts(read, content).workflow is None


@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0\0\4\0\0\0\0\0\0", b"\xff\xd8\xff\xe0\0\1", b"\xff\xd8"])
def test_broken_chain_of_segments(content: bytes) -> None:
    with pytest.raises(BrokenMediaError):
        read_texts(read, content)
