from __future__ import annotations

import pytest

from comfywatchman.comfyui.workflow.embedded.id3 import read
from comfywatchman.comfyui.workflow.embedded.media_file import BrokenMediaError
from tests.comfyui.workflow.embedded import builders as b
from tests.comfyui.workflow.embedded.reading import read_texts


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("encoding", [0, 1, 2, 3])
def test_every_text_encoding_is_read(version: int, encoding: int) -> None:
    frame = b.text_frame("workflow", '{"a":1}', version=version, encoding=encoding)
    assert read_texts(read, b.mp3(frame, version=version)).workflow == b'{"a":1}'


def test_zero_bytes_across_two_characters_do_not_end_the_name() -> None:
    # In UTF-16-BE, U+0100 U+0041 has two neighbouring zero bytes, which belong to different characters.
    frame = b.frame(b"TXXX", b"\2" + "workflowĀA".encode("utf-16-be") + b"\0\0" + "{1}".encode("utf-16-be"))
    assert read_texts(read, b.mp3(frame)).workflow is None
    frame = b.frame(b"TXXX", b"\2" + "workflow".encode("utf-16-be") + b"\0\0" + "{Ā}".encode("utf-16-be"))
    assert read_texts(read, b.mp3(frame)).workflow == "{Ā}".encode()


def test_frame_without_a_known_encoding_is_skipped() -> None:
    frames = b.frame(b"TXXX", b""), b.frame(b"TXXX", b"\x09workflow\0{1}"), b.text_frame("workflow", "{2}")
    assert read_texts(read, b.mp3(*frames)).workflow == b"{2}"


def test_obsolete_version_is_skipped() -> None:
    assert read_texts(read, b.mp3(b.text_frame("workflow", "{1}"), version=2)).workflow is None


def test_frames_behind_padding_are_not_read() -> None:
    content = b.mp3(bytes(20), b.text_frame("workflow", "{1}"))
    assert read_texts(read, content).workflow is None


def test_truncated_frame_is_broken() -> None:
    with pytest.raises(BrokenMediaError, match="ID3 frame"):
        read_texts(read, b.mp3(b"TXXX\0\0\x7f\x7f\0\0"))
