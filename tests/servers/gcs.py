"""A Google Cloud Storage on 127.0.0.1 (`STORAGE_EMULATOR_HOST`), with preconditions and faults."""

from __future__ import annotations

import base64
import email
import email.policy
import hashlib
import json
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c

from tests.servers.base import Asked, LocalServer, Reply

BUCKET = "pictures"


class GcsServer(LocalServer):
    """One bucket.

    Attributes:
        objects: Content by name.
        types: Media type by name.
        faults: Used up one for each upload: a status, `cut` (stored, and the answer is lost) or `early` (not stored,
            and the connection closes).
        uploads: How many uploads arrived.
        permissions: What the account may do.
        iam_status: The status of the answer about that.
    """

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, bytes] = {}
        self.types: dict[str, str] = {}
        self.faults: list[int | str] = []
        self.uploads = 0
        self.permissions = ["storage.objects.create"]
        self.iam_status = 200

    def answer(self, asked: Asked, handler: BaseHTTPRequestHandler) -> Reply | None:  # noqa: ARG002 - the base class's signature
        parts = urlsplit(asked.path)
        query = parse_qs(parts.query)
        path = parts.path
        if path == f"/storage/v1/b/{BUCKET}/iam/testPermissions":
            return _reply({"permissions": self.permissions}, self.iam_status)
        if path == f"/upload/storage/v1/b/{BUCKET}/o" and asked.method == "POST":
            return self._upload(asked, query)
        name = unquote(path.removeprefix(f"/storage/v1/b/{BUCKET}/o/"))
        if asked.method == "GET" and name in self.objects:
            return _reply(self._describe(name))
        return _reply({"error": {"code": 404, "message": "Not Found"}}, 404)

    def _upload(self, asked: Asked, query: dict[str, list[str]]) -> Reply | None:
        self.uploads += 1
        fault = self.faults.pop(0) if self.faults else None
        if fault == "early":
            return None
        if isinstance(fault, int):
            return _reply({"error": {"code": fault, "message": "fault"}}, fault)
        message = email.message_from_bytes(
            b"Content-Type: " + asked.headers["content-type"].encode() + b"\r\n\r\n" + asked.body,
            policy=email.policy.HTTP,
        )
        metadata, content = message.iter_parts()
        name = json.loads(bytes(metadata.get_payload(decode=True)))["name"]
        if query.get("ifGenerationMatch") == ["0"] and name in self.objects:
            return _reply({"error": {"code": 412, "message": "exists"}}, 412)
        # The parser changes line ends; the bytes are cut out as they are.
        boundary = message.get_boundary("").encode()
        part = asked.body.split(b"--" + boundary)[2]
        self.objects[name] = part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        self.types[name] = content.get_content_type()
        return None if fault == "cut" else _reply(self._describe(name))

    def _describe(self, name: str) -> dict[str, Any]:
        content = self.objects[name]
        crc = google_crc32c.Checksum(content).digest()
        return {
            "name": name,
            "bucket": BUCKET,
            "generation": "1",
            "size": str(len(content)),
            "crc32c": base64.b64encode(crc).decode(),
            "md5Hash": base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode(),
        }


def _reply(content: object, status: int = 200) -> Reply:
    return Reply(json.dumps(content).encode(), status, {"content-type": "application/json"})
