"""A server that speaks Civitai's REST API, with the habits of the real one that have misled other programs.

Shapes follow the field names in tests/sources/recorded_fields.py; the behaviours are listed in
docs/technical/integrations.md.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from itertools import count
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.servers.base import Asked, LocalServer, Reply
from tests.servers.cdn import Blob, CdnServer

Json = dict[str, Any]

_ids = count(10_000)
_BROWSER = re.compile(r"mozilla|chrome|safari|firefox|edge", re.IGNORECASE)
_HEX64 = re.compile(r"[0-9A-Fa-f]{64}")
_ENOUGH = 2


def sha256_of(text: str | bytes) -> str:
    """Give a hash (upper case, as Civitai writes it) that stands for a content."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest().upper()


def file_json(name: str, *, content: bytes | None = None, **changes: Any) -> Json:
    """Give a file as `/model-versions` lists it; hashes follow the content, or the name where there is none."""
    digest = sha256_of(content if content is not None else name)
    pickle = not name.endswith((".safetensors", ".gguf"))
    file: Json = {
        "id": next(_ids),
        "sizeKB": len(content) / 1024 if content is not None else 223090.44,
        "name": name,
        "type": "Model",
        "pickleScanResult": "Success",
        "pickleScanMessage": "No Pickle imports",
        "virusScanResult": "Success",
        "virusScanMessage": None,
        "scannedAt": "2023-05-09T03:12:45.123Z",
        "metadata": {"format": "PickleTensor" if pickle else "SafeTensor", "size": None, "fp": "fp16"},
        "hashes": {
            "AutoV1": digest[10:18],
            "AutoV2": digest[:10],
            "AutoV3": digest[20:32],
            "SHA256": digest,
            "CRC32": digest[32:40],
            "BLAKE3": digest[::-1],
        },
        "downloadUrl": "https://civitai.com/api/download/models/0",
        "primary": True,
    }
    return file | changes


def version_json(files: Iterable[Json], *, name: str = "v1.0", **changes: Any) -> Json:
    """Give a version as a model lists it."""
    version_id = next(_ids)
    version: Json = {
        "id": version_id,
        "index": 0,
        "name": name,
        "baseModel": "SD 1.5",
        "baseModelType": "Standard",
        "createdAt": "2023-05-09T02:57:21.119Z",
        "publishedAt": "2023-05-09T03:20:00.000Z",
        "status": "Published",
        "availability": "Public",
        "nsfwLevel": 1,
        "description": None,
        "trainedWords": [],
        "covered": True,
        "stats": {"downloadCount": 100, "thumbsUpCount": 10, "thumbsDownCount": 0},
        "files": [file | {"primary": place == 0} for place, file in enumerate(files)],
        "images": [],
        "downloadUrl": f"https://civitai.com/api/download/models/{version_id}",
    }
    return version | changes


def model_json(name: str, versions: Iterable[Json], *, type: str = "LORA", **changes: Any) -> Json:  # noqa: A002
    """Give a model as `/models` lists it."""
    model: Json = {
        "id": next(_ids),
        "name": name,
        "description": "<p>..</p>",
        "allowNoCredit": True,
        "allowCommercialUse": ["Image"],
        "allowDerivatives": True,
        "allowDifferentLicense": True,
        "type": type,
        "minor": False,
        "sfwOnly": False,
        "poi": False,
        "nsfw": False,
        "nsfwLevel": 1,
        "availability": "Public",
        "supportsGeneration": True,
        "stats": {"downloadCount": 1},
        "creator": {"username": "somebody", "image": None},
        "tags": ["concept"],
        "modelVersions": list(versions),
    }
    return model | changes


def image_json(image_id: int, *, nsfw_level: str = "None", meta: Json | None = None) -> Json:
    """Give a picture as `/images` lists it; `meta` stands nested, as the older path answers."""
    return {
        "id": image_id,
        "url": f"https://image.civitai.com/x/original=true/{image_id}.jpeg",
        "hash": "USHeF1",
        "width": 1024,
        "height": 1024,
        "nsfwLevel": nsfw_level,
        "type": "image",
        "nsfw": nsfw_level != "None",
        "browsingLevel": 1,
        "createdAt": "2023-05-07T14:53:04.154Z",
        "postId": 196084,
        "stats": {"likeCount": 4},
        "meta": {"id": image_id, "meta": meta or {"prompt": ".."}},
        "username": "u",
        "baseModel": "SD 1.5",
        "modelVersionIds": [],
    }


@dataclass
class Access:
    """What stands in the way of downloading a version: an HTTP status and its JSON, or nothing."""

    status: int = 0
    body: Json = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


LOGIN_NEEDED = Access(
    401,
    {"error": "Unauthorized", "message": "The creator of this asset requires you to be logged in to download it"},
)
DISABLED = Access(
    401, {"error": "Unauthorized", "message": "The creator of this asset has disabled downloads on this file"}
)
EARLY_ACCESS = Access(
    403,
    {
        "error": "Early Access",
        "deadline": "2026-12-01T00:00:00.000Z",
        "message": "This asset is in Early Access. You can use Buzz access it now!",
    },
)
NO_ACCESS = Access(403, {"error": "You do not have access to download this file"})
DELETED = Access(404, {"error": "File not found"})
ARCHIVED = Access(410, {"error": "Model archived, not available for download"})
QUOTA = Access(
    429,
    {"error": "We've noticed an unusual amount of downloading from your account."},
    {"Retry-After": "7"},
)


class CivitaiServer(LocalServer):
    """Civitai, with what it knows in plain lists that a test may change at any time.

    Attributes:
        models: As `model_json` makes them.
        feed: Pictures of the public feed, newest first; also those that can be asked for by id.
        access: What stands in the way of a version's download.
        preferences: File metadata that an account prefers, by token (`{"fp": "fp32"}`).
        brown_outs: How many searches are answered with 503 first.
        limited: How many requests of any kind are answered with 429 first.
        hidden_files: Files that lists show, but not their versions.
        hidden_versions: Versions that lists show, but that are not shown by themselves.
        linked: The version that offers a file, for files that other versions list as well.
        by_hash_lies: Hashes whose version is answered without the file that bears them.
    """

    def __init__(self, models: Iterable[Json] = (), *, cdn: CdnServer | None = None) -> None:
        super().__init__()
        self.models: list[Json] = list(models)
        self.feed: list[Json] = [image_json(99_000_001), image_json(99_000_002)]
        self.access: dict[int, Access] = {}
        self.preferences: dict[str, Json] = {}
        self.brown_outs = 0
        self.limited = 0
        self.hidden_files: set[int] = set()
        self.hidden_versions: set[int] = set()
        self.linked: dict[int, int] = {}
        self.by_hash_lies: set[str] = set()
        self.cdn = cdn
        self._texts: dict[int, str] = {}

    def put_content(self, file: Json, content: bytes) -> Blob:
        """Give a file its bytes, which the second origin serves."""
        assert self.cdn is not None
        return self.cdn.put(f"civitai-{file['id']}", content)

    def answer(self, asked: Asked, handler: BaseHTTPRequestHandler) -> Reply | None:
        if self.pages:
            return super().answer(asked, handler)
        self.asked.append(asked)
        if self.limited:
            self.limited -= 1
            return _json({"error": "Too many requests"}, 429, {"Retry-After": "0"})
        parts = urlsplit(asked.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        path = unquote(parts.path)
        if download := re.fullmatch(r"/api/download/models/(\d+)", path):
            return self._download(asked, int(download[1]), query)
        return self._api(asked, path.removeprefix("/api/v1"), query)

    def _api(self, asked: Asked, path: str, query: Mapping[str, str]) -> Reply:
        routes: dict[str, Callable[[str], Reply]] = {
            r"/models": lambda _: self._search(query),
            r"/images": lambda _: self._images(query),
            r"/models/(\d+)": lambda one: _found(next((m for m in self.models if m["id"] == int(one)), None)),
            r"/model-versions/(\d+)": lambda one: _found(self._version(int(one))),
            r"/model-versions/by-hash": lambda _: self._batch(asked),
            r"/model-versions/by-hash/([^/]+)": lambda one: self._by_hash(one.upper()),
        }
        for pattern, page in routes.items():
            match = re.fullmatch(pattern, path)
            if match:
                return page(match[1] if match.groups() else "")
        return Reply(b"<!DOCTYPE html><html><title>404</title></html>", 404, {"Content-Type": "text/html"})

    def _search(self, query: Mapping[str, str]) -> Reply:
        limit = int(query.get("limit", "100"))
        if self.brown_outs:
            self.brown_outs -= 1
            body = {"error": "Model search is temporarily overloaded — please retry."}
            return _json(body, 503, {"Retry-After": "0", "Cache-Control": "no-store"})
        if limit > 100:
            return _json({"error": {"name": "ZodError", "message": "limit"}}, 400)
        if "query" in query and "page" in query:
            return _json({"error": "Cannot use page param with query search. Use cursor-based pagination."}, 400)
        page = int(query.get("page", "1"))
        if page * limit > 1000:
            return _json({"error": "You've requested too many pages, please use cursors instead"}, 429)
        shown = [model for model in self.models if query.get("nsfw") == "true" or model["nsfwLevel"] <= 1]
        if "query" in query:
            shown = self._ranked(shown, query["query"])
        start = int(query.get("cursor", (page - 1) * limit))
        metadata: Json = {}
        if start + limit < len(shown):
            following = str(start + limit)
            metadata = {"nextCursor": following, "nextPage": f"{self.url}/api/v1/models?cursor={following}"}
        return _json({"items": shown[start : start + limit], "metadata": metadata})

    def _ranked(self, models: Iterable[Json], query: str) -> list[Json]:
        """Search name, user, hashes and trigger words, never file names; words are given up from the last on."""
        words = re.findall(r"[^\W_]+", query.lower())
        for model in self.models:
            if model["id"] not in self._texts:
                self._texts[model["id"]] = _searchable(model)
        for kept in range(len(words), 0, -1):
            matching = [m for m in models if all(word in self._texts[m["id"]] for word in words[:kept])]
            if len(matching) >= _ENOUGH or (matching and kept == 1):
                return matching
        return []

    def _images(self, query: Mapping[str, str]) -> Reply:
        """Answer as the real one: parameters it does not know (`ids`, `id`) are dropped, and the feed comes."""
        mature = query.get("nsfw") in {"X", "true"}
        shown = [image for image in self.feed if mature or image["nsfwLevel"] == "None"]
        if "imageId" in query:
            shown = [image for image in shown if str(image["id"]) == query["imageId"]]
        if query.get("withMeta") != "true":
            shown = [image | {"meta": None} for image in shown]
        return _json({"items": shown, "metadata": {}})

    def _batch(self, asked: Asked) -> Reply:
        hashes = json.loads(asked.body)
        if len(hashes) > 100 or not all(_HEX64.fullmatch(one) for one in hashes):
            return _json({"error": {"name": "ZodError"}}, 400)
        wanted = {one.upper() for one in hashes}
        bearing = {v["id"] for _, v, file in self._files() if file["hashes"].get("SHA256") in wanted}
        return _json([self._version(version_id) for version_id in sorted(bearing)])

    def _by_hash(self, digest: str) -> Reply:
        for _, version, file in self._files():
            if digest in file["hashes"].values():
                answer = self._version(version["id"])
                assert answer is not None
                if digest in self.by_hash_lies:
                    answer["files"] = [one for one in answer["files"] if one["id"] != file["id"]]
                return _json(answer)
        return _json({"error": "Model not found"}, 404)

    def _download(self, asked: Asked, version_id: int, query: Mapping[str, str]) -> Reply:
        access = self.access.get(version_id, Access())
        if access.status:
            return _refused(asked, access)
        version = self._version(version_id)
        if version is not None and version["usageControl"] != "Download":
            return _refused(asked, DISABLED)
        if version is not None and version["paidAccess"] is not None:
            return _refused(asked, EARLY_ACCESS)
        if version is None or (self.cdn is None and asked.method != "HEAD"):
            return _refused(asked, DELETED)
        file = self._chosen(self.own_files(version), asked, query)
        key = f"civitai-{file['id']}" if file is not None else ""
        is_stored = self.cdn is None or key in self.cdn.blobs or asked.method == "HEAD"
        if file is None or not is_stored:
            return _refused(asked, DELETED)
        location = self.cdn.signed_url(key) if self.cdn is not None else f"https://storage.invalid/{key}"
        return Reply(b"", 307, {"Location": location, "Cache-Control": "no-store"})

    def own_files(self, version: Json) -> list[Json]:
        """Give the files that a version offers itself; a VAE of another version is only listed in it."""
        return [file for file in version["files"] if self.linked.get(file["id"], version["id"]) == version["id"]]

    def _chosen(self, files: list[Json], asked: Asked, query: Mapping[str, str]) -> Json | None:
        """Choose as the real one: by id, else by score, into which the account's preferences go."""
        if "fileId" in query:
            return next((file for file in files if str(file["id"]) == query["fileId"]), None)
        token = asked.headers.get("authorization", "").removeprefix("Bearer ")
        liked = self.preferences.get(token, {})
        scores = [sum(file["metadata"].get(key) == value for key, value in liked.items()) for file in files]
        best = max(range(len(files)), key=lambda place: (scores[place], bool(files[place]["primary"])), default=None)
        return None if best is None else files[best]

    def _version(self, version_id: int) -> Json | None:
        """Give a version as `/model-versions` does: with its model's name and type, without its place."""
        for model in self.models:
            for version in model["modelVersions"]:
                if version["id"] == version_id and version_id not in self.hidden_versions:
                    own = {name: value for name, value in version.items() if name not in {"index", "covered"}}
                    about = {name: model[name] for name in ("name", "type", "nsfw", "poi", "mode") if name in model}
                    access = {"usageControl": "Download", "paidAccess": None, "updatedAt": version["createdAt"]}
                    files = [file for file in version["files"] if file["id"] not in self.hidden_files]
                    return {"modelId": model["id"], **access, **own, "model": about, "files": files}
        return None

    def _files(self) -> Iterable[tuple[Json, Json, Json]]:
        for model in self.models:
            for version in model["modelVersions"]:
                for file in version["files"]:
                    yield model, version, file


def _searchable(model: Json) -> str:
    parts = [model["name"], model["creator"]["username"]]
    for version in model["modelVersions"]:
        parts.extend(version["trainedWords"])
        parts.extend(digest for file in version["files"] for digest in file["hashes"].values() if digest)
    return " ".join(re.findall(r"[^\W_]+", " ".join(parts).lower()))


def _refused(asked: Asked, access: Access) -> Reply:
    if _BROWSER.search(asked.headers.get("user-agent", "")):
        if access.status == 401:
            return Reply(b"", 302, {"Location": "/login"})
        return Reply(b"<!DOCTYPE html><html><body>Sorry</body></html>", access.status, {"Content-Type": "text/html"})
    return _json(access.body, access.status, access.headers)


def _found(content: Json | None) -> Reply:
    return _json({"error": "Model not found"}, 404) if content is None else _json(content)


def _json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    body = json.dumps(content).encode()
    return Reply(body, status, {"Content-Type": "application/json", **(headers or {})})
