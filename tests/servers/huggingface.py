"""A server that speaks the part of Hugging Face's API that we use, errors by `X-Error-Code` included."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from tests.servers.base import Asked, LocalServer, Reply
from tests.servers.cdn import Blob, CdnServer

COMMIT = "a" * 40
_PAGE = 3


@dataclass
class HubFile:
    """A file: large ones (LFS or Xet) are known by SHA-256, small ones by a git hash only."""

    content: bytes = b""
    kind: Literal["lfs", "xet", "small"] = "lfs"
    size: int | None = None
    sha256: str | None = None
    safety: str = "safe"

    @property
    def bytes_count(self) -> int:
        return len(self.content) if self.size is None else self.size

    @property
    def digest(self) -> str:
        return self.sha256 or hashlib.sha256(self.content).hexdigest()

    @property
    def git_oid(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content, usedforsecurity=False).hexdigest()


@dataclass
class Repo:
    """A repository; `private` ones are hidden from others, `gated` ones shown and closed."""

    files: dict[str, HubFile] = field(default_factory=dict)
    private: bool = False
    gated: bool = False
    disabled: bool = False
    commit: str = COMMIT
    moved_to: str | None = None


class HuggingFaceServer(LocalServer):
    """Hugging Face, with its repositories by id.

    Attributes:
        repos: What it holds.
        members: Tokens that are let into gated repositories.
        failing: Responses by path (without query) in place of the real ones.
        limited: How many requests are answered with 429 first.
        brown_outs: How many requests are answered with 503 first.
    """

    def __init__(self, repos: Mapping[str, Repo] | None = None, *, cdn: CdnServer | None = None) -> None:
        super().__init__()
        self.repos: dict[str, Repo] = dict(repos or {})
        self.failing: dict[str, Reply] = {}
        self.members: set[str] = set()
        self.limited = 0
        self.brown_outs = 0
        self.cdn = cdn

    def put_content(self, repo: str, path: str) -> Blob:
        """Let the second origin serve a file's bytes."""
        assert self.cdn is not None
        return self.cdn.put(_key(repo, path), self.repos[repo].files[path].content)

    def answer(self, asked: Asked, handler: BaseHTTPRequestHandler) -> Reply | None:
        if self.pages:
            return super().answer(asked, handler)
        self.asked.append(asked)
        return self._trouble() or self._page(asked)

    def _trouble(self) -> Reply | None:
        if self.limited:
            self.limited -= 1
            limits = {
                "RateLimit": '"resolvers";r=0;t=120',
                "RateLimit-Policy": '"fixed window";"resolvers";q=3000;w=300',
            }
            return Reply(b"", 429, limits)
        if self.brown_outs:
            self.brown_outs -= 1
            return Reply(b"upstream", 503)
        return None

    def _page(self, asked: Asked) -> Reply:
        parts = urlsplit(asked.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        path = parts.path
        if path in self.failing:
            return self.failing[path]
        if path == "/api/models":
            return self._search(query)
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            return self._tree(asked, match[1], unquote(match[2]), query)
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._resolve(asked, match[1], unquote(match[2]), unquote(match[3]))
        return _error(404, "", "Not found")

    def _search(self, query: Mapping[str, str]) -> Reply:
        """Match repository ids only: file names are not searched."""
        text = query.get("search", "").lower()
        found = [
            self._about(name, repo) for name, repo in self.repos.items() if text in name.lower() and not repo.private
        ]
        return _json(found[: int(query.get("limit", "100"))])

    def _about(self, name: str, repo: Repo) -> dict[str, Any]:
        return {
            "_id": "65",
            "id": name,
            "modelId": name,
            "author": name.partition("/")[0],
            "sha": repo.commit,
            "lastModified": "2026-01-01T00:00:00.000Z",
            "private": repo.private,
            "gated": "auto" if repo.gated else False,
            "disabled": repo.disabled,
            "downloads": 10,
            "likes": 5,
            "tags": ["comfyui"],
            "siblings": [{"rfilename": path} for path in repo.files],
        }

    def _tree(self, asked: Asked, name: str, revision: str, query: Mapping[str, str]) -> Reply:
        refused = self._refused(asked, name, revision)
        if refused is not None:
            return refused
        repo = self.repos[name]
        folders = sorted({path.rpartition("/")[0] for path in repo.files} - {""})
        listed = [{"type": "directory", "oid": "b" * 40, "size": 0, "path": folder} for folder in folders]
        listed += [_entry(path, file) for path, file in repo.files.items()]
        start = int(query.get("cursor", "0"))
        headers = {}
        if start + _PAGE < len(listed):
            following = f"{self.url}{urlsplit(asked.path).path}?recursive=true&expand=true&cursor={start + _PAGE}"
            headers = {"Link": f'<{following}>; rel="next"'}
        return _json(listed[start : start + _PAGE], headers=headers)

    def _resolve(self, asked: Asked, name: str, revision: str, path: str) -> Reply:
        moved = self.repos[name].moved_to if name in self.repos else None
        if moved:
            return Reply(b"", 307, {"Location": asked.path.replace(name, moved, 1)})
        refused = self._refused(asked, name, revision)
        if refused is not None:
            return refused
        repo = self.repos[name]
        file = repo.files.get(path)
        if file is None:
            return _error(404, "EntryNotFound", "Entry not found")
        headers = {"X-Repo-Commit": repo.commit, "Accept-Ranges": "bytes"}
        if file.kind == "small":
            length = {"Content-Length": str(file.bytes_count)} if asked.method == "HEAD" else {}
            return Reply(file.content, 200, {**headers, "ETag": f'"{file.git_oid}"', **length})
        linked = {"X-Linked-Size": str(file.bytes_count), "X-Linked-Etag": f'"{file.digest}"'}
        if file.kind == "xet":
            linked["X-Xet-Hash"] = "d" * 64
        location = self.cdn.signed_url(_key(name, path)) if self.cdn is not None else "https://cas-bridge.invalid/x"
        return Reply(b"", 302, {**headers, **linked, "Location": location})

    def _refused(self, asked: Asked, name: str, revision: str) -> Reply | None:
        token = asked.headers.get("authorization", "").removeprefix("Bearer ")
        repo = self.repos.get(name)
        if repo is None or (repo.private and token not in self.members):
            # To somebody without an account, a repository that does not exist looks like a private one.
            if not token:
                return _error(401, "RepoNotFound", "Invalid username or password.")
            return _error(404, "RepoNotFound", "Repository not found")
        if repo.disabled:
            return _error(403, "", "Access to this resource is disabled.")
        if repo.gated and token not in self.members:
            said = f"Access to model {name} is restricted."
            return _error(403 if token else 401, "GatedRepo", said)
        if revision not in {"main", repo.commit}:
            return _error(404, "RevisionNotFound", "Invalid rev id")
        return None


def _entry(path: str, file: HubFile) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "type": "file",
        "oid": file.git_oid,
        "size": file.bytes_count,
        "path": path,
        "lastCommit": {"id": COMMIT, "title": "add", "date": "2026-01-01T00:00:00.000Z"},
        "securityFileStatus": {"status": file.safety, "avScan": {"status": file.safety}, "pickleImportScan": None},
    }
    if file.kind != "small":
        entry["lfs"] = {"oid": file.digest, "size": file.bytes_count, "pointerSize": 134}
    if file.kind == "xet":
        entry["xetHash"] = "d" * 64
    return entry


def _key(repo: str, path: str) -> str:
    return f"hf-{repo}-{path}".replace("/", "-")


def _error(status: int, code: str, message: str) -> Reply:
    headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
    return Reply(json.dumps({"error": message}).encode(), status, headers)


def _json(content: Any, *, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(json.dumps(content).encode(), 200, {"Content-Type": "application/json", **(headers or {})})
