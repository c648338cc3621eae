"""Requests and a ComfyUI for tests of the handler."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.servers.comfyui import CLASSES, FakeComfyUI

WORKFLOW: dict[str, Any] = {
    "1": {"class_type": "EmptyImage", "inputs": {}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "made"}},
}
TEXT_WORKFLOW: dict[str, Any] = {"1": {"class_type": "PreviewAny", "inputs": {"source": "a text"}}}


class DescribedComfyUI(FakeComfyUI):
    """Describes the inputs of its classes, one of which lists models.

    Attributes:
        saved: What each saved file holds.
        suffix: The suffix of saved files.
        is_silent: Whether nodes report no outputs.
    """

    saved = b"\x89PNG made"
    suffix = ".png"
    is_silent = False

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        if path == "/object_info":
            entries: dict[str, Any] = {name: {"input": {"required": {}}} for name in CLASSES}
            entries["EmptyImage"]["input"]["required"] = {"model": [["a.safetensors", "none"], {}]}
            return 200, entries
        return super().answer(method, path, query, body)

    def _run_node(self, node_id: str, node: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        ending, outputs = super()._run_node(node_id, node)
        for output in outputs.get("images", []):
            name = output["filename"].replace(".png", self.suffix)
            output["filename"] = name
            self.files[name] = self.saved
        return ending, {} if self.is_silent else outputs


def build_body(workflow: object = WORKFLOW, **fields: object) -> bytes:
    return json.dumps({"input": {"workflow": workflow, **fields}}).encode()


def build_image(name: str, content: bytes = b"content") -> dict[str, str]:
    return {"name": name, "image": base64.b64encode(content).decode()}
