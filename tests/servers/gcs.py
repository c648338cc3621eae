"""A Google Cloud Storage on 127.0.0.1 (`STORAGE_EMULATOR_HOST`), with preconditions and faults."""

from __future__ import annotations

import base64
import email
import email.policy
import hashlib
import json
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c

from tests.servers.base import Asked, LocalServer, Reply

BUCKET = "pictures"
GRAIN = 256 << 10
"""What the service persists of a chunk that ends early is a multiple of this."""


@dataclass
class UploadSession:
    """A resumable upload: what was persisted of an object that is not there yet."""

    name: str
    media_type: str
    is_new_only: bool
    crc32c: str | None
    content: bytearray = field(default_factory=bytearray)
    is_finished: bool = False


class GcsServer(LocalServer):
    """One bucket.

    Attributes:
        objects: Content by name.
        types: Media type by name.
        faults: Used up one for each upload: a status, `cut` (stored, and the answer is lost) or `early` (not stored,
            and the connection closes).
        uploads: How many uploads arrived; a resumable one counts once, when it begins.
        chunk_faults: Used up one for each chunk of a resumable upload: a status; `early`; `cut`; `half` (stored, and
            the connection closes within the answer); `none` or `part` (nothing or `GRAIN` bytes are persisted, which a
            308 states); `part-cut` (the same, and the answer is lost); `expired` (404 for the session from now on) or
            `gone` (410); `corrupt` (other bytes are stored); `raced` (another upload of the same bytes ends first).
        chunks: The range of each chunk that arrived.
        may_delete: Whether the account may delete objects.
        permissions: What the account may do.
        iam_status: The status of the answer about that.
    """

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, bytes] = {}
        self.types: dict[str, str] = {}
        self.faults: list[int | str] = []
        self.chunk_faults: list[int | str] = []
        self.sessions: dict[str, UploadSession] = {}
        self.chunks: list[str] = []
        self.may_delete = True
        self.uploads = 0
        self.permissions = ["storage.objects.create"]
        self.iam_status = 200

    def answer(self, asked: Asked, handler: BaseHTTPRequestHandler) -> Reply | None:
        parts = urlsplit(asked.path)
        query = parse_qs(parts.query)
        path = parts.path
        if path == f"/storage/v1/b/{BUCKET}/iam/testPermissions":
            return _reply({"permissions": self.permissions}, self.iam_status)
        if path == f"/upload/storage/v1/b/{BUCKET}/o" and asked.method == "POST":
            is_resumable = query.get("uploadType") == ["resumable"]
            return self._begin(asked, query) if is_resumable else self._upload(asked, query, handler)
        if asked.method == "PUT":
            return self._take_chunk(asked, query["upload_id"][0], handler)
        name = unquote(path.removeprefix(f"/storage/v1/b/{BUCKET}/o/"))
        return self._answer_object(asked.method, name)

    def _answer_object(self, method: str, name: str) -> Reply:
        if name not in self.objects or method not in {"GET", "DELETE"}:
            return _fail(404)
        if method == "GET":
            return _reply(self._describe(name))
        if not self.may_delete:
            return _fail(403)
        del self.objects[name]
        return Reply(status=204)

    def _begin(self, asked: Asked, query: dict[str, list[str]]) -> Reply | None:
        """Open a session (https://cloud.google.com/storage/docs/performing-resumable-uploads)."""
        self.uploads += 1
        fault = self.faults.pop(0) if self.faults else None
        if fault == "early":
            return None
        if isinstance(fault, int):
            return _fail(fault)
        metadata = json.loads(asked.body)
        is_new_only = query.get("ifGenerationMatch") == ["0"]
        if is_new_only and metadata["name"] in self.objects:
            return _fail(412)
        media_type = asked.headers.get("x-upload-content-type", "")
        number = str(len(self.sessions))
        self.sessions[number] = UploadSession(metadata["name"], media_type, is_new_only, metadata.get("crc32c"))
        if fault == "cut":
            return None
        location = f"{self.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&upload_id={number}"
        return Reply(headers={"location": location})

    def _take_chunk(self, asked: Asked, number: str, handler: BaseHTTPRequestHandler) -> Reply | None:
        fault = self.chunk_faults.pop(0) if self.chunk_faults else ""
        self.chunks.append(asked.headers["content-range"])
        if fault in {"expired", "gone"}:
            self.sessions.pop(number, None)
        session = self.sessions.get(number)
        if fault == "early":
            return None
        if isinstance(fault, int) or session is None:
            return _fail(fault if isinstance(fault, int) else 410 if fault == "gone" else 404)
        return self._keep_chunk(asked, session, fault, handler)

    def _keep_chunk(
        self, asked: Asked, session: UploadSession, fault: str, handler: BaseHTTPRequestHandler
    ) -> Reply | None:
        if session.is_finished:
            return _reply(self._describe(session.name))
        part = {"none": 0, "part": GRAIN, "part-cut": GRAIN}.get(fault, len(asked.body))
        start, total = _read_range(asked.headers["content-range"])
        if start > len(session.content):
            return _fail(400)
        # Bytes that are persisted already are ignored.
        session.content += asked.body[:part][len(session.content) - start :]
        if fault == "raced":
            self.objects[session.name] = bytes(session.content)
        reply = self._finish(session, is_corrupt=fault == "corrupt") if len(session.content) == total else None
        if reply is None:
            last = len(session.content) - 1
            reply = Reply(status=308, headers={"range": f"bytes=0-{last}"} if last >= 0 else {})
        if fault == "half":
            _write_half(handler, reply)
        return None if fault in {"cut", "half", "part-cut"} else reply

    def _finish(self, session: UploadSession, *, is_corrupt: bool) -> Reply:
        if session.is_new_only and session.name in self.objects:
            return _fail(412)
        session.is_finished = True
        content = bytes(session.content)
        if not is_corrupt and session.crc32c not in {None, _hash_crc32c(content)}:
            return _fail(400)
        self.objects[session.name] = b"x" + content[1:] if is_corrupt else content
        self.types[session.name] = session.media_type
        return _reply(self._describe(session.name))

    def _upload(self, asked: Asked, query: dict[str, list[str]], handler: BaseHTTPRequestHandler) -> Reply | None:
        self.uploads += 1
        fault = self.faults.pop(0) if self.faults else None
        if fault == "early":
            return None
        if isinstance(fault, int):
            return _fail(fault)
        message = email.message_from_bytes(
            b"Content-Type: " + asked.headers["content-type"].encode() + b"\r\n\r\n" + asked.body,
            policy=email.policy.HTTP,
        )
        metadata, content = message.iter_parts()
        name = json.loads(bytes(metadata.get_payload(decode=True)))["name"]
        if query.get("ifGenerationMatch") == ["0"] and name in self.objects:
            return _fail(412)
        # The parser changes line ends; the bytes are cut out as they are.
        boundary = message.get_boundary("").encode()
        part = asked.body.split(b"--" + boundary)[2]
        self.objects[name] = part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        self.types[name] = content.get_content_type()
        reply = _reply(self._describe(name))
        if fault == "half":
            _write_half(handler, reply)
        return None if fault in {"cut", "half"} else reply

    def _describe(self, name: str) -> dict[str, Any]:
        content = self.objects[name]
        return {
            "name": name,
            "bucket": BUCKET,
            "generation": "1",
            "size": str(len(content)),
            "crc32c": _hash_crc32c(content),
            "md5Hash": base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode(),
        }


def _reply(content: object, status: int = 200) -> Reply:
    return Reply(json.dumps(content).encode(), status, {"content-type": "application/json"})


def _fail(status: int) -> Reply:
    return _reply({"error": {"code": status, "message": "fault"}}, status)


def _hash_crc32c(content: bytes) -> str:
    return base64.b64encode(google_crc32c.Checksum(content).digest()).decode()


def _read_range(text: str) -> tuple[int, int]:
    """Return the first byte of a chunk, and the size of the object: `bytes 0-9/20`, or `bytes */20` for no bytes."""
    span, _, total = text.removeprefix("bytes ").partition("/")
    return (0 if span == "*" else int(span.partition("-")[0])), int(total)


def _write_half(handler: BaseHTTPRequestHandler, reply: Reply) -> None:
    """Announce a whole answer, and send a part of it."""
    handler.send_response(reply.status)
    for name, value in reply.headers.items():
        handler.send_header(name, value)
    handler.send_header("content-length", str(len(reply.body) + 10))
    handler.end_headers()
    handler.wfile.write(reply.body[: len(reply.body) // 2])
