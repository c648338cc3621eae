"""Requests of the handler on a real ComfyUI: what tests/handler/test_handle.py asks of the double."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from comfywatchman.base.errors import Failure
from comfywatchman.handler.handle import HandlerOptions, handle_request
from comfywatchman.handler.request import parse_request
from tests.handler.requests import build_body, build_image

if TYPE_CHECKING:
    from scripts.real_comfyui import Server

pytestmark = [pytest.mark.real_comfyui, pytest.mark.slow]

EMPTY = {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 8, "batch_size": 2, "color": 255}}
SAVE = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "handler"}}
WORKFLOW: dict[str, Any] = {
    "1": EMPTY,
    "2": SAVE,
    "3": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
}


def handle(server: Server, body: bytes, **options: Any) -> dict[str, Any]:
    return handle_request(parse_request(body), HandlerOptions(server.url, **options))


def fail(server: Server, workflow: object, **options: Any) -> Failure:
    with pytest.raises(Failure) as raised:
        handle(server, build_body(workflow), **options)
    return raised.value


def test_all_outputs_come_back_each_time(real_comfyui: Server) -> None:
    for _ in range(2):
        *images, text = handle(real_comfyui, build_body(WORKFLOW))["outputs"]
        assert [image["mime"] for image in images] == ["image/png"] * 2
        for image in images:
            picture = Image.open(io.BytesIO(base64.b64decode(image["data"])))
            assert (picture.size, picture.getpixel((0, 0))) == ((16, 8), (0, 0, 255))
        assert (text["kind"], "tensor" in text["data"]) == ("text", True)


def test_input_picture_is_used(real_comfyui: Server, tmp_path: Path) -> None:
    content = io.BytesIO()
    Image.new("RGB", (5, 7), (1, 2, 3)).save(content, "PNG")
    workflow = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "used"}},
    }
    body = build_body(workflow, images=[build_image("photo.png", content.getvalue())], output="file")
    (output,) = handle(real_comfyui, body, output_folder=tmp_path)["outputs"]
    picture = Image.open(output["data"])
    assert (picture.size, picture.getpixel((0, 0))) == ((5, 7), (1, 2, 3))


def test_requests_that_cannot_run_are_told_apart(real_comfyui: Server) -> None:
    loader = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "none.safetensors"}}
    assert fail(real_comfyui, {"1": {"class_type": "NoSuchNode", "inputs": {}}}).code == "handler-nodes-missing"
    assert fail(real_comfyui, {**WORKFLOW, "4": loader}).code == "handler-models-missing"
    wrong = {**WORKFLOW, "1": {**EMPTY, "inputs": {**EMPTY["inputs"], "width": "wide"}}}  # type: ignore[dict-item]
    refused = fail(real_comfyui, wrong)
    assert refused.code == "handler-prompt-refused"
    assert "width" in refused.message
    missing = {**WORKFLOW, "1": {"class_type": "LoadImage", "inputs": {"image": "none.png"}}}
    assert fail(real_comfyui, missing).code == "handler-prompt-refused"
