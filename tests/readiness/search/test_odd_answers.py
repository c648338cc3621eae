"""Answers of sites with odd fields: the file is found, or nothing is concluded; it is found once the site is right."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final

import pytest

from comfywatchman.readiness.database import open_database
from comfywatchman.readiness.search.chain import search_multiple_models
from comfywatchman.readiness.search.claims import Proposal
from comfywatchman.readiness.search.context import Backend, SearchItem
from comfywatchman.readiness.search.results import HubIds, SearchResult, SearchStatus
from comfywatchman.readiness.states import SearchDoubt
from tests.readiness.search.servers import SearchServers, search_item, search_servers
from tests.servers.base import Asked, Page, Reply
from tests.servers.civitai import file_json, model_json, sha256_of, version_json
from tests.servers.huggingface import COMMIT, HubFile, Repo

NAME: Final = "detail_tweaker.safetensors"
DIGEST: Final = sha256_of(NAME).lower()
HOUR: Final = 3600.0
Json = dict[str, Any]
Change = Callable[[Any], Any]


def on_path(*path: str | int, value: Any) -> Change:
    """Return a change that puts a value at a place of a response."""

    def change(content: Any) -> Any:
        target = content
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value
        return content

    return change


def on_file(field: str, value: Any) -> Change:
    return on_path("items", 0, "modelVersions", 0, "files", 0, field, value=value)


def on_version(field: str, value: Any) -> Change:
    return on_path("items", 0, "modelVersions", 0, field, value=value)


def on_model(field: str, value: Any) -> Change:
    return on_path("items", 0, field, value=value)


# The other fields of the file are readable, and suffice.
HARMLESS_ON_CIVITAI: Final[dict[str, Change]] = {
    "size as text": on_file("sizeKB", "223090.44"),
    "file id as text": on_file("id", "12345"),
    "file type as number": on_file("type", 5),
    "file metadata as list": on_file("metadata", []),
    "file format as number": on_file("metadata", {"format": 5}),
    "one odd hash": on_file("hashes", {"CRC32": 5, "AutoV2": ["x"], "SHA256": DIGEST.upper()}),
    "model id null": on_model("id", None),
    "model id as text": on_model("id", "77"),
    "model id as list": on_model("id", [7]),
    "model name as list": on_model("name", ["Detail"]),
    "model type null": on_model("type", None),
    "model mode odd": on_model("mode", {"x": 1}),
    "version id as text": on_version("id", "4321"),
    "version name as object": on_version("name", {"en": "v1"}),
    "base model as list": on_version("baseModel", ["SDXL"]),
    "paid access as text": on_version("paidAccess", "no"),
    "an odd file before it": lambda content: _insert_file(content, None),
    "an odd version before it": lambda content: _insert_version(content, "v1"),
    "an odd model before it": lambda content: {**content, "items": [None, *content["items"]]},
}

# The file cannot be recognised, or not be trusted.
HARMFUL_ON_CIVITAI: Final[dict[str, Change]] = {
    "file null": on_path("items", 0, "modelVersions", 0, "files", 0, value=None),
    "file as text": on_path("items", 0, "modelVersions", 0, "files", 0, value=NAME),
    "file as list": on_path("items", 0, "modelVersions", 0, "files", 0, value=[]),
    "file name null": on_file("name", None),
    "file name as number": on_file("name", 7),
    "file name as list": on_file("name", [NAME]),
    "file name empty": on_file("name", ""),
    "hashes null": on_file("hashes", None),
    "hashes as list": on_file("hashes", [DIGEST]),
    "hashes as text": on_file("hashes", DIGEST),
    "SHA-256 as number": on_file("hashes", {"SHA256": 5}),
    "SHA-256 cut short": on_file("hashes", {"SHA256": DIGEST[:40]}),
    "size as words": on_file("sizeKB", "218 MB"),
    "size as object": on_file("sizeKB", {"value": 5}),
    "size as boolean": on_file("sizeKB", True),
    "size negative": on_file("sizeKB", -5),
    "scan as object": on_file("pickleScanResult", {"state": "Danger"}),
    "virus scan as list": on_file("virusScanResult", ["Danger"]),
    "files null": on_version("files", None),
    "files as object": on_version("files", {"0": {}}),
    "files as text": on_version("files", "none"),
    "version null": on_path("items", 0, "modelVersions", 0, value=None),
    "version id null": on_version("id", None),
    "version id as list": on_version("id", [1]),
    "versions null": on_model("modelVersions", None),
    "versions as object": on_model("modelVersions", {}),
    "model null": on_path("items", 0, value=None),
    "model as text": on_path("items", 0, value="Detail"),
    "items null": on_path("items", value=None),
    "items as object": on_path("items", value={}),
    "metadata as text": on_path("metadata", value="none"),
    "metadata null without items": lambda content: {**content, "items": [], "metadata": None},
    "cursor as object": lambda _content: {"items": [], "metadata": {"nextCursor": {"a": 1}}},
    "answer null": lambda _content: None,
    "answer as list": lambda content: content["items"],
}


def _insert_file(content: Any, file: Any) -> Any:
    content["items"][0]["modelVersions"][0]["files"].insert(0, file)
    return content


def _insert_version(content: Any, version: Any) -> Any:
    content["items"][0]["modelVersions"].insert(0, version)
    return content


def sample(names: Iterable[str]) -> list[Any]:
    """Return names as parameters of a test, all but the first three of them slow."""
    slow = pytest.mark.slow
    return [pytest.param(name, marks=slow) if number >= 3 else name for number, name in enumerate(names)]


def civitai_page(change: Change | None) -> Page:
    """Return the page of Civitai's search, with a change."""
    model = model_json("Detail Tweaker", [version_json([file_json(NAME)])])
    content: Any = {"items": [model], "metadata": {}}
    body = json.dumps(change(copy.deepcopy(content)) if change else content).encode()

    def page(_asked: Asked, _handler: BaseHTTPRequestHandler) -> Reply:
        return Reply(body, 200, {"Content-Type": "application/json"})

    return page


def search_twice(
    path: Path, servers: SearchServers, repair: Callable[[], object], backend: Backend, item: SearchItem
) -> tuple[SearchResult, SearchResult, SearchResult]:
    """Return the results while the site is odd, an hour after it is right again, and for a person who waits."""
    with closing(open_database(path / "a.sqlite")) as first, closing(open_database(path / "b.sqlite")) as second:
        with servers.search(database=first, backend_order=(backend,)) as search:
            (odd,) = search_multiple_models([item], search)
        with servers.search(database=second, backend_order=(backend,)) as search:
            search_multiple_models([item], search)
        repair()
        with servers.search(database=second, backend_order=(backend,)) as search:
            (retried,) = search_multiple_models([item], search, retry_errors=True)
        servers.clock.advance(asleep=HOUR + 1)
        with servers.search(database=first, backend_order=(backend,)) as search:
            (later,) = search_multiple_models([item], search)
    return odd, later, retried


def test_the_odd_shapes_are_many() -> None:
    assert len(HARMFUL_ON_CIVITAI) >= 20
    assert len(HARMFUL_ON_HUGGING_FACE) + len(HARMLESS_ON_HUGGING_FACE) >= 10


@pytest.mark.parametrize("name", sample(HARMLESS_ON_CIVITAI))
def test_odd_field_of_civitai_does_not_hide_the_file(name: str) -> None:
    with search_servers() as servers, servers.search(backend_order=("civitai",)) as search:
        servers.civitai.pages["/api/v1/models"] = civitai_page(HARMLESS_ON_CIVITAI[name])
        (result,) = search_multiple_models([search_item(NAME)], search)
    assert (result.status, result.sha256) == (SearchStatus.FOUND, DIGEST)


@pytest.mark.parametrize("name", sample(HARMFUL_ON_CIVITAI))
def test_unreadable_answer_of_civitai_is_asked_again_soon(tmp_path: Path, name: str) -> None:
    with search_servers() as servers:
        servers.civitai.pages["/api/v1/models"] = civitai_page(HARMFUL_ON_CIVITAI[name])

        def repair() -> None:
            servers.civitai.pages["/api/v1/models"] = civitai_page(None)

        odd, later, retried = search_twice(tmp_path, servers, repair, "civitai", search_item(NAME))
    assert odd.status in {SearchStatus.ERROR, SearchStatus.UNCERTAIN}
    assert odd.doubt is SearchDoubt.UNREADABLE_ANSWER
    assert [(one.status, one.sha256) for one in (later, retried)] == [(SearchStatus.FOUND, DIGEST)] * 2


@pytest.mark.parametrize(
    "name", sample(name for name in HARMFUL_ON_CIVITAI if not name.startswith(("m", "items", "cursor", "versions")))
)
def test_unreadable_version_proves_no_absence_of_a_declared_file(name: str) -> None:
    content: Any = {"items": [model_json("Detail", [version_json([file_json(NAME)])])]}
    version_id = content["items"][0]["modelVersions"][0]["id"]
    changed = HARMFUL_ON_CIVITAI[name](content)
    version = changed["items"][0]["modelVersions"][0] if isinstance(changed, dict) else changed
    declared = Proposal("workflow", "node 3", HubIds(civitai_version=version_id), NAME)
    with search_servers() as servers, servers.search(backend_order=("civarchive",)) as search:
        servers.civitai.pages[f"/api/v1/model-versions/{version_id}"] = Reply(json.dumps(version).encode())
        (result,) = search_multiple_models([search_item(NAME, "loras", declared)], search)
    assert result.doubt is SearchDoubt.UNREADABLE_ANSWER


@pytest.mark.parametrize("odd", [None, 5, [], {"SHA256": 5}, {"SHA256": "beef"}])
def test_unreadable_hash_proves_no_absence_by_hash(odd: Any) -> None:
    version = version_json([file_json("other.safetensors", hashes=odd)])
    with search_servers() as servers, servers.search(backend_order=("civitai",)) as search:
        servers.civitai.pages[f"/api/v1/model-versions/by-hash/{DIGEST.upper()}"] = Reply(json.dumps(version).encode())
        servers.civitai.pages["/api/v1/models"] = Reply(b'{"items": [], "metadata": {}}')
        (result,) = search_multiple_models([search_item(NAME, sha256=DIGEST)], search)
    assert (result.status, result.doubt) == (SearchStatus.ERROR, SearchDoubt.UNREADABLE_ANSWER)


REPO: Final = "owner/detail-tweaker"


def on_entry(field: str, value: Any) -> Change:
    return on_path(0, field, value=value)


HARMLESS_ON_HUGGING_FACE: Final[dict[str, tuple[str, Change]]] = {
    "tags null": ("search", on_entry("tags", None)),
    "tags with null": ("search", on_entry("tags", [None, 5])),
    "id null beside modelId": ("search", on_entry("id", None)),
    "file type null": ("tree", on_entry("type", None)),
    "size as text": ("tree", on_entry("size", "5")),
    "lfs null": ("tree", on_entry("lfs", None)),
    "lfs as list": ("tree", on_entry("lfs", [])),
    "git hash as number": ("tree", on_entry("oid", 5)),
    "an odd file before it": ("tree", lambda content: [None, *content]),
    "an odd repository before it": ("search", lambda content: [5, *content]),
}
HARMFUL_ON_HUGGING_FACE: Final[dict[str, tuple[str, Change]]] = {
    "repository null": ("search", lambda _content: [None]),
    "repository as text": ("search", lambda _content: [REPO]),
    "repository without id": ("search", lambda _content: [{"id": None, "tags": []}]),
    "repository id as number": ("search", lambda _content: [{"id": 5, "modelId": []}]),
    "repositories as object": ("search", lambda content: {"items": content}),
    "repositories null": ("search", lambda _content: None),
    "file null": ("tree", lambda _content: [None]),
    "file as text": ("tree", lambda _content: [NAME]),
    "path null": ("tree", on_entry("path", None)),
    "path as number": ("tree", on_entry("path", 5)),
    "path as list": ("tree", on_entry("path", [NAME])),
    "files as object": ("tree", lambda content: {"files": content}),
    "files null": ("tree", lambda _content: None),
    "hash odd": ("head", lambda headers: {**headers, "X-Linked-Etag": '"odd"'}),
    "size odd": ("head", lambda headers: {**headers, "X-Linked-Size": "5 GB"}),
    "commit odd": ("head", lambda headers: {**headers, "X-Repo-Commit": "main"}),
}


def put_hugging_face(servers: SearchServers, changes: dict[str, Change]) -> None:
    """Let the server answer with one repository that holds the file, with changes by kind of response."""

    def keep(content: Any) -> Any:
        return content

    headers = {
        "X-Repo-Commit": COMMIT,
        "X-Linked-Size": str(5 << 20),
        "X-Linked-Etag": f'"{DIGEST}"',
        "Location": "https://cas-bridge.invalid/x",
    }
    listed = [{"id": REPO, "modelId": REPO, "tags": ["comfyui"]}]
    tree = [{"type": "file", "oid": "b" * 40, "size": 5 << 20, "path": NAME, "lfs": {"oid": DIGEST, "size": 5 << 20}}]
    search_body = json.dumps(changes.get("search", keep)(listed)).encode()
    tree_body = json.dumps(changes.get("tree", keep)(tree)).encode()
    servers.hugging_face.pages.update(
        {
            "/api/models": Reply(search_body),
            f"/api/models/{REPO}/tree/main": Reply(tree_body),
            f"/{REPO}/resolve/main/{NAME}": Reply(b"", 302, changes.get("head", keep)(headers)),
        }
    )


@pytest.mark.parametrize("name", sample(HARMLESS_ON_HUGGING_FACE))
def test_odd_field_of_hugging_face_does_not_hide_the_file(name: str) -> None:
    kind, change = HARMLESS_ON_HUGGING_FACE[name]
    with search_servers() as servers, servers.search(backend_order=("huggingface",)) as search:
        put_hugging_face(servers, {kind: change})
        (result,) = search_multiple_models([search_item(NAME)], search)
    assert (result.status, result.sha256) == (SearchStatus.FOUND, DIGEST)


@pytest.mark.parametrize("name", sample(HARMFUL_ON_HUGGING_FACE))
def test_unreadable_answer_of_hugging_face_is_asked_again_soon(tmp_path: Path, name: str) -> None:
    kind, change = HARMFUL_ON_HUGGING_FACE[name]
    with search_servers() as servers:
        put_hugging_face(servers, {kind: change})
        odd, later, retried = search_twice(
            tmp_path, servers, lambda: put_hugging_face(servers, {}), "huggingface", search_item(NAME)
        )
    assert odd.doubt is SearchDoubt.UNREADABLE_ANSWER
    assert [(one.status, one.sha256) for one in (later, retried)] == [(SearchStatus.FOUND, DIGEST)] * 2


@pytest.mark.parametrize(
    "name", sample(name for name, (kind, _change) in HARMFUL_ON_HUGGING_FACE.items() if kind == "tree")
)
def test_unreadable_list_proves_no_absence_from_the_declared_repository(name: str) -> None:
    declared = Proposal("workflow", "node 3", HubIds(repo=REPO, revision="main", path=f"old/{NAME}"), NAME)
    with search_servers() as servers, servers.search(backend_order=("civarchive",)) as search:
        put_hugging_face(servers, {"tree": HARMFUL_ON_HUGGING_FACE[name][1]})
        gone = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
        servers.hugging_face.pages[f"/{REPO}/resolve/main/old/{NAME}"] = Reply(b"", 404, gone)
        (result,) = search_multiple_models([search_item(NAME, "loras", declared)], search)
    assert result.doubt is SearchDoubt.UNREADABLE_ANSWER


def test_the_server_that_these_answers_stand_for_finds_the_file() -> None:
    with search_servers() as servers, servers.search(backend_order=("huggingface",)) as search:
        servers.hugging_face.repos = {REPO: Repo({NAME: HubFile(size=5 << 20, sha256=DIGEST)})}
        (result,) = search_multiple_models([search_item(NAME)], search)
    assert (result.status, result.sha256) == (SearchStatus.FOUND, DIGEST)
