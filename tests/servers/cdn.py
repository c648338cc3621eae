"""The second origin that both hubs redirect downloads to: signed addresses, Range, and every way to fail."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Literal

from tests.servers.base import Asked, LocalServer, Reply

Fault = Literal["cut", "html", "corrupt", "no_range", "no_length", "changed", "forbidden"]

SIGNATURE = "X-Amz-Signature=0123abcd"
_LOGIN_PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please log in.</body></html>"


@dataclass
class Blob:
    """A file's bytes; `faults` are used up one for each request, then it is served well."""

    content: bytes
    faults: list[Fault] = field(default_factory=list)
    forever: Fault | None = None
    etag: str = ""

    def __post_init__(self) -> None:
        self.etag = self.etag or f'"{hashlib.md5(self.content, usedforsecurity=False).hexdigest()}"'

    def next_fault(self) -> Fault | None:
        return self.faults.pop(0) if self.faults else self.forever


class CdnServer(LocalServer):
    """Serves `/blob/<key>` to whoever has the signature; 400 when an Authorization header comes along."""

    def __init__(self) -> None:
        super().__init__()
        self.blobs: dict[str, Blob] = {}

    def put(self, key: str, content: bytes) -> Blob:
        self.blobs[key] = Blob(content)
        return self.blobs[key]

    def signed_url(self, key: str) -> str:
        return f"{self.url}/blob/{key}?{SIGNATURE}"

    def answer(self, asked: Asked, handler: BaseHTTPRequestHandler) -> Reply | None:
        self.asked.append(asked)
        path, _, query = asked.path.partition("?")
        blob = self.blobs.get(path.removeprefix("/blob/"))
        if "authorization" in asked.headers:
            return _xml("InvalidArgument", "Only one auth mechanism allowed", 400)
        if blob is None:
            return _xml("NoSuchKey", "The specified key does not exist.", 404)
        if SIGNATURE not in query:
            return _xml("AccessDenied", "Request has expired", 403)
        return _served(blob, asked, handler)


def _served(blob: Blob, asked: Asked, handler: BaseHTTPRequestHandler) -> Reply | None:
    fault = blob.next_fault()
    if fault == "forbidden":
        return _xml("AccessDenied", "Request has expired", 403)
    if fault == "html":
        return Reply(_LOGIN_PAGE, 200, {"Content-Type": "text/html; charset=utf-8"})
    if fault == "changed":
        blob.content = bytes(reversed(blob.content))
        blob.etag = '"changed"'
    content = bytes(byte ^ 0x55 for byte in blob.content) if fault == "corrupt" else blob.content
    start, end, partial = _range(asked, blob, len(content)) if fault != "no_range" else (0, len(content), False)
    if start >= len(content) > 0:
        return Reply(b"", 416, {"Content-Range": f"bytes */{len(content)}"})
    headers = {"Content-Type": "application/octet-stream", "ETag": blob.etag}
    if fault != "no_range":
        headers["Accept-Ranges"] = "bytes"
    if partial:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
    body = content[start:end]
    if fault in {"cut", "no_length"}:
        _write_by_hand(handler, 206 if partial else 200, headers, body, fault)
        return None
    return Reply(body, 206 if partial else 200, headers)


def _range(asked: Asked, blob: Blob, size: int) -> tuple[int, int, bool]:
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.headers.get("range", ""))
    same = asked.headers.get("if-range", blob.etag) == blob.etag
    if match is None or not same:
        return 0, size, False
    end = int(match[2]) + 1 if match[2] else size
    return int(match[1]), min(end, size), True


def _write_by_hand(
    handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes, fault: Fault
) -> None:
    """Announce all and send half (`cut`), or send all and announce nothing (`no_length`)."""
    if fault == "cut":
        headers = {**headers, "Content-Length": str(len(body))}
        body = body[: len(body) // 2]
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    handler.wfile.write(f"HTTP/1.1 {status} OK\r\nConnection: close\r\n{head}\r\n".encode() + body)


def _xml(code: str, message: str, status: int) -> Reply:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Reply(body.encode(), status, {"Content-Type": "application/xml"})
