"""The files of the fake ComfyUI: uploads, outputs, and the cache that answers an unchanged prompt."""

from __future__ import annotations

import email
import email.policy
import json
from typing import Any


class FakeFiles:
    """What the input folder and the cache hold.

    Attributes:
        uploads: Content by name.
    """

    def __init__(self) -> None:
        self.uploads: dict[str, bytes] = {}
        self._cache: dict[str, dict[str, Any]] = {}

    def upload(self, body: Any) -> tuple[int, Any]:
        """Store the file of a form, as `/upload/image` does."""
        content_type, raw = body
        message = email.message_from_bytes(
            b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + raw, policy=email.policy.HTTP
        )
        fields = {part.get_param("name", header="content-disposition"): part for part in message.iter_parts()}
        image = fields["image"]
        name, content = str(image.get_filename()), image.get_payload(decode=True)
        if not isinstance(content, bytes):
            return 400, "400: Bad Request"
        if name in self.uploads and self.uploads[name] != content and "overwrite" not in fields:
            name = f"{name} (1)"
        self.uploads[name] = content
        return 200, {"name": name, "subfolder": "", "type": "input"}

    def find_cached(self, prompt: dict[str, Any], node_id: str) -> dict[str, Any] | None:
        """Return the earlier output of an unchanged node; None for a changed one."""
        return self._cache.get(self._sign(prompt, node_id))

    def remember(self, prompt: dict[str, Any], node_id: str, output: dict[str, Any]) -> None:
        """Keep the output of a node."""
        self._cache[self._sign(prompt, node_id)] = output

    def list_cached(self, prompt: dict[str, Any]) -> list[str]:
        """Return the nodes that the cache answers."""
        return [node_id for node_id in prompt if self.find_cached(prompt, node_id) is not None]

    def forget(self) -> None:
        """Empty the cache."""
        self._cache.clear()

    def _sign(self, prompt: dict[str, Any], node_id: str) -> str:
        """Return a text for a node and everything before it, as the signatures of `comfy_execution.caching`."""
        node = prompt[node_id]
        inputs = {
            name: self._sign(prompt, value[0]) if isinstance(value, list) and value and value[0] in prompt else value
            for name, value in sorted(node["inputs"].items())
        }
        return json.dumps([node["class_type"], inputs])
