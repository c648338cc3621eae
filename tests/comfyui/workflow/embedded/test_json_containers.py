from __future__ import annotations

import pytest

from comfywatchman.comfyui.workflow.embedded.json_containers import read_gltf, read_safetensors, read_svg
from comfywatchman.comfyui.workflow.embedded.media_file import BrokenMediaError
from tests.comfyui.workflow.embedded import builders as b
from tests.comfyui.workflow.embedded.reading import read_texts


def test_gltf_extras_are_text_or_json() -> None:
    texts = read_texts(read_gltf, b.glb({"asset": {"extras": {"workflow": '{"a":1}', "prompt": {"b": 2}}}}))
    assert (texts.workflow, texts.prompt) == (b'{"a":1}', b'{"b": 2}')


@pytest.mark.parametrize("document", [{}, {"asset": 5}, {"asset": {"extras": 5}}])
def test_gltf_without_extras_has_no_text(document: object) -> None:
    assert read_texts(read_gltf, b.glb(document)).workflow is None


def test_safetensors_metadata_is_read() -> None:
    assert read_texts(read_safetensors, b.safetensors({"workflow": "{1}"})).workflow == b"{1}"
    assert read_texts(read_safetensors, b.safetensors(None)).workflow is None


def test_svg_metadata_is_read_from_the_first_cdata_section() -> None:
    content = b"<svg><metadata/><metadata><![CDATA[" + b'{"workflow": {"a": 1}}' + b"]]></metadata></svg>"
    assert read_texts(read_svg, content).workflow == b'{"a": 1}'


def test_cdata_outside_the_metadata_is_ignored() -> None:
    content = b'<svg><metadata></metadata><style><![CDATA[{"workflow": {"a": 1}}]]></style></svg>'
    assert read_texts(read_svg, content).workflow is None


@pytest.mark.parametrize("content", [b.glb([]), b.glb({}).replace(b"{}", b"{]"), b"glTF" + bytes(16)])
def test_other_json_is_broken(content: bytes) -> None:
    with pytest.raises(BrokenMediaError):
        read_texts(read_gltf, content)


def test_open_cdata_section_is_broken() -> None:
    with pytest.raises(BrokenMediaError, match="truncated"):
        read_texts(read_svg, b"<svg><metadata><![CDATA[{")
