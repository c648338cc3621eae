from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.files import open_regular
from comfywatchman.comfyui.workflow.embedded.media_file import BrokenMediaError, EmbeddedTexts, MediaFile


def test_file_that_shrinks_while_it_is_read_is_broken(tmp_path: Path) -> None:
    (tmp_path / "shrunk").write_bytes(b"abc")
    with open_regular(tmp_path / "shrunk") as descriptor:
        source = MediaFile(descriptor, 1000)
        assert source.read(1, 2) == b"bc"
        with pytest.raises(BrokenMediaError, match="ends at 3"):
            source.read(1, 5)


def test_reading_the_same_long_part_repeatedly_exceeds_the_budget(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as stream:
        stream.truncate(40 << 20)
    with open_regular(path) as descriptor:
        source = MediaFile(descriptor, 40 << 20)
        for offset in range(5):
            source.read(offset, 30 << 20)
        with pytest.raises(BrokenMediaError, match="more than"):
            source.read(6, 30 << 20)


def test_parts_beyond_four_gigabytes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as stream:
        stream.seek(5 << 30)
        stream.write(b"end")
    with open_regular(path) as descriptor:
        source = MediaFile(descriptor, (5 << 30) + 3)
        assert source.read(5 << 30, 3) == b"end"
        assert source.peek(1 << 63, 8) == b""


def test_first_text_is_not_replaced() -> None:
    texts = EmbeddedTexts()
    texts.offer("Workflow", b'{"a": 1}\0')
    texts.offer("workflow", b'{"b": 2}')
    texts.offer("title", b"A cat")
    assert texts.workflow == b'{"a": 1}'
    assert not texts.is_complete
