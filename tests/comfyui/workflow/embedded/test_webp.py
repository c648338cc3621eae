from __future__ import annotations

import pytest

from comfywatchman.comfyui.workflow.embedded.media_file import BrokenMediaError
from comfywatchman.comfyui.workflow.embedded.webp import read
from tests.comfyui.workflow.embedded import builders as b
from tests.comfyui.workflow.embedded.reading import read_texts

EXIF = b.exif([b"workflow:{1}"])


def test_exif_chunk_is_read_behind_a_chunk_of_odd_length() -> None:
    content = b.riff((b"VP8L", b"odd"), (b"EXIF", EXIF))
    assert read_texts(read, content).workflow == b"{1}"


def test_file_without_exif_chunk_has_no_text() -> None:
    assert read_texts(read, b.webp(None)).workflow is None


def test_truncated_file_is_broken() -> None:
    with pytest.raises(BrokenMediaError, match="announces"):
        read_texts(read, b.webp(None)[:-3])
