from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import open_regular
from comfywatchman.comfyui.workflow.embedded.media_file import (
    MAX_TEXT_BYTES,
    BrokenMediaError,
    EmbeddedTexts,
    MediaFile,
)


def test_file_that_shrinks_while_it_is_read_is_broken(tmp_path: Path) -> None:
    (tmp_path / "shrunk").write_bytes(b"abc")
    with open_regular(tmp_path / "shrunk") as descriptor:
        source = MediaFile(descriptor, 1000)
        assert source.read(1, 2) == b"bc"
        with pytest.raises(BrokenMediaError, match="ends at 3"):
            source.read(1, 5)


@pytest.mark.slow
def test_reading_the_same_long_part_repeatedly_exceeds_the_budget(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as stream:
        stream.truncate(40 << 20)
    with open_regular(path) as descriptor:
        source = MediaFile(descriptor, 40 << 20)
        for offset in range(5):
            source.read(offset, 30 << 20)
        with pytest.raises(Failure, match="more than") as caught:
            source.read(6, 30 << 20)
    assert caught.value.code == "workflow-too-large"


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


def test_texts_are_complete_when_both_are_known() -> None:
    texts = EmbeddedTexts()
    texts.offer("workflow", b"{1}")
    assert not texts.is_complete
    texts.offer("prompt", b"{2}")
    assert texts.is_complete


def test_texts_that_may_be_replaced_are_never_complete() -> None:
    texts = EmbeddedTexts(last_counts=True)
    for value in (b"{1}", b"{2}"):
        texts.offer("workflow", value)
        texts.offer("prompt", value)
    assert (texts.workflow, texts.prompt) == (b"{2}", b"{2}")
    assert not texts.is_complete


def test_only_lower_case_keys_replace_a_text() -> None:
    texts = EmbeddedTexts(last_counts=True)
    texts.offer("Workflow", b"{1}")
    texts.offer("WORKFLOW", b"{2}")
    assert texts.workflow == b"{1}"


@pytest.mark.parametrize("key", ["comment", "Comment", "\u00a9cmt"])
def test_comment_with_both_texts_is_read(key: str) -> None:
    texts = EmbeddedTexts()
    texts.offer(key, b'{"workflow": {"a": 1}, "prompt": "{2}"}')
    assert (texts.workflow, texts.prompt) == (b'{"a": 1}', b"{2}")
    assert not texts.wants(key)


@pytest.mark.parametrize("value", [b"", b" {} ", b"null\0", b'""', b"undefined"])
def test_empty_text_is_ignored(value: bytes) -> None:
    texts = EmbeddedTexts()
    texts.offer("workflow", value)
    assert texts.workflow is None


@pytest.mark.parametrize("value", [b"workflow", b"workflow:", b"title:{1}", b"[1]", b'{"a": ', b"\xff"])
def test_other_labelled_text_is_ignored(value: bytes) -> None:
    texts = EmbeddedTexts()
    texts.offer_labelled(value)
    assert (texts.workflow, texts.prompt) == (None, None)


def test_object_with_too_many_values_is_broken() -> None:
    texts = EmbeddedTexts()
    with pytest.raises(BrokenMediaError, match="too many values"):
        texts.offer_object(b'{"a": [' + b"[]," * 3_000_000 + b"0]}")


@pytest.mark.slow
def test_text_beyond_the_limit_is_broken() -> None:
    texts = EmbeddedTexts()
    texts.offer("workflow", b" " * MAX_TEXT_BYTES)
    with pytest.raises(BrokenMediaError, match="more than"):
        texts.offer("workflow", b" " * (MAX_TEXT_BYTES + 1))
