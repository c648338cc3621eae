from __future__ import annotations

import pytest

from comfywatchman.comfyui.workflow.embedded.ebml import read
from comfywatchman.comfyui.workflow.embedded.media_file import BrokenMediaError
from tests.comfyui.workflow.embedded import builders as b
from tests.comfyui.workflow.embedded.reading import read_texts

TAGS = b.webm_tags({"WORKFLOW": b"{1}", "prompt\0": b"{2}"})


@pytest.mark.parametrize("content", [b.webm(TAGS, b.CLUSTER), b.webm(b.CLUSTER, TAGS)])
def test_tags_before_and_behind_clusters_are_read(content: bytes) -> None:
    texts = read_texts(read, content)
    assert (texts.workflow, texts.prompt) == (b"{1}", b"{2}")


def test_index_leads_past_the_clusters() -> None:
    position = len(b.seek_head(0)) + len(b.CLUSTER)
    content = b.webm(b.seek_head(position), b.CLUSTER, TAGS, live=True)
    assert read_texts(read, content).workflow == b"{1}"


def test_wrong_index_is_broken() -> None:
    with pytest.raises(BrokenMediaError, match="index"):
        read_texts(read, b.webm(b.seek_head(0), b.CLUSTER, TAGS))


def test_live_recording_without_index_has_no_text() -> None:
    endless_cluster = b.element(0x1F43B675, b"x", width=0)
    assert read_texts(read, b.webm(endless_cluster, live=True)).workflow is None


def test_file_without_segment_is_broken() -> None:
    with pytest.raises(BrokenMediaError, match="no segment"):
        read_texts(read, b.webm()[:12])


def test_truncated_element_is_broken() -> None:
    with pytest.raises(BrokenMediaError, match="announces"):
        read_texts(read, b.webm(TAGS)[:-3])
