from __future__ import annotations

import pytest

from comfywatchman.comfyui.workflow.embedded.exif import offer_exif
from comfywatchman.comfyui.workflow.embedded.media_file import BrokenMediaError, EmbeddedTexts
from tests.comfyui.workflow.embedded import builders as b


def offered(block: bytes) -> EmbeddedTexts:
    texts = EmbeddedTexts()
    offer_exif(block, texts)
    return texts


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_labelled_tags_are_read_in_both_byte_orders(order: str, prefix: bytes) -> None:
    texts = offered(prefix + b.exif([b"workflow:{1}", b"prompt:{2}"], order=order))
    assert (texts.workflow, texts.prompt) == (b"{1}", b"{2}")


def test_values_of_up_to_four_bytes_are_skipped() -> None:
    assert offered(b.exif([b"wor"])).workflow is None


@pytest.mark.parametrize(
    "comment",
    [
        b"ASCII\0\0\0workflow:{1}",
        bytes(8) + b"workflow:{1}",
        b"workflow:{1}",
        b"UNICODE\0" + "workflow:{1}".encode("utf-16-le"),
        b"UNICODE\0" + "workflow:{1}".encode("utf-16-be"),
    ],
)
def test_user_comment_of_any_character_set_is_read(comment: bytes) -> None:
    assert offered(b.exif([], comment=comment)).workflow == b"{1}"


def test_user_comment_is_not_read_when_both_texts_are_known() -> None:
    block = b.exif([b"workflow:{1}", b"prompt:{2}"], comment=b"workflow:{3}")
    assert offered(block[:-4]).workflow == b"{1}"


@pytest.mark.parametrize(
    "block", [b"", b"II*", b"II*\0\x08\0\0\0", b"XX*\0\x08\0\0\0\0\0", b.exif([b"workflow:{1}"])[:-3]]
)
def test_truncated_or_foreign_block_is_broken(block: bytes) -> None:
    with pytest.raises(BrokenMediaError):
        offered(block)
