"""A server that speaks CivArchive's one address that we ask."""

from __future__ import annotations

import json
import re
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.servers.base import Asked, LocalServer, Reply


def archived_version(name: str, sha256: str, *, mirrors: int = 1) -> dict[str, Any]:
    """Give a version whose one file lies on mirrors of arbitrary hosts, one of them gone."""
    living = [
        {"url": f"https://mirror{place}.invalid/{name}", "filename": name, "deletedAt": None, "source": "other"}
        for place in range(mirrors)
    ]
    gone = {"url": "https://civitai.com/x", "filename": name, "deletedAt": "2025-01-01T00:00:00Z", "source": "civitai"}
    file = {"id": 1, "name": name, "sha256": sha256.lower(), "sizeKB": 100.0, "mirrors": [*living, gone]}
    return {"id": 7, "modelId": 5, "name": "v1", "baseModel": "SDXL 1.0", "files": [file]}


class CivArchiveServer(LocalServer):
    """CivArchive, with the versions that it remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.versions: list[dict[str, Any]] = []

    def answer(self, asked: Asked, handler: BaseHTTPRequestHandler) -> Reply | None:
        if self.pages:
            return super().answer(asked, handler)
        self.asked.append(asked)
        for version in self.versions:
            digests = {file["sha256"] for file in version["files"]}
            if (match := re.fullmatch(r"/api/sha256/([0-9a-f]{64})", asked.path)) and match[1] in digests:
                return Reply(json.dumps(version).encode())
        return Reply(b'{"error": "Not found"}', 404)
