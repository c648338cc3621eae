from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpSession
from comfywatchman.sources.huggingface import (
    GatedRepo,
    HubNotFound,
    HuggingFace,
    RemoteFile,
    RepoFiles,
    RepoSearchResult,
)
from tests.servers.base import LocalServer, Reply
from tests.servers.cdn import CdnServer
from tests.servers.huggingface import COMMIT, HubFile, HuggingFaceServer, Repo

TOKEN = "hf_s3cret"  # noqa: S105 - looked for in every request
REPO = "Comfy-Org/z_image"


@pytest.fixture
def session() -> Iterator[HttpSession]:
    with HttpSession(timeout_seconds=60) as opened:
        yield opened


@pytest.fixture
def server() -> Iterator[HuggingFaceServer]:
    with CdnServer() as cdn, HuggingFaceServer(cdn=cdn) as running:
        running.repos[REPO] = Repo(
            {
                "split files/ae.safetensors": HubFile(b"bytes of the vae"),
                "big.safetensors": HubFile(kind="xet", size=23 << 30, sha256="c" * 64),
                "config.json": HubFile(b"{}", "small"),
            }
        )
        yield running


def what(answer: object) -> str:
    assert isinstance(answer, HubNotFound)
    return answer.what


def test_head_gives_commit_size_and_hash(session: HttpSession, server: HuggingFaceServer) -> None:
    hub = HuggingFace(session, server.url, TOKEN)
    assert server.cdn is not None
    answer = hub.head_file(REPO, "main", "split files/ae.safetensors")
    digest = hashlib.sha256(b"bytes of the vae").hexdigest()
    assert answer == RemoteFile(REPO, COMMIT, "split files/ae.safetensors", 16, digest)
    assert hub.head_file(REPO, "main", "big.safetensors") == RemoteFile(
        REPO, COMMIT, "big.safetensors", 23 << 30, "c" * 64
    )
    assert {asked.method for asked in server.asked} == {"HEAD"}
    assert server.asked[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert server.cdn.asked == []


def test_small_file_has_a_size_and_no_sha256(session: HttpSession, server: HuggingFaceServer) -> None:
    assert HuggingFace(session, server.url).head_file(REPO, "main", "config.json") == RemoteFile(
        REPO, COMMIT, "config.json", 2, None
    )


def test_renamed_repository_is_followed(session: HttpSession, server: HuggingFaceServer) -> None:
    server.repos["old/name"] = Repo(moved_to=REPO)
    answer = HuggingFace(session, server.url, TOKEN).head_file("old/name", "main", "big.safetensors")
    assert isinstance(answer, RemoteFile)
    assert answer.sha256 == "c" * 64


def test_missing_repo_revision_and_file_are_distinguished(session: HttpSession, server: HuggingFaceServer) -> None:
    server.repos["a/down"] = Repo(disabled=True)
    server.repos["a/private"] = Repo({"x.safetensors": HubFile(b"x")}, private=True)
    server.members = {TOKEN}
    for token in (None, "another"):
        hub = HuggingFace(session, server.url, token)
        assert what(hub.head_file("no/body", "main", "x.safetensors")) == "repo"
        assert what(hub.head_file("a/private", "main", "x.safetensors")) == "repo"
        assert what(hub.head_file(REPO, "v9", "big.safetensors")) == "revision"
        assert what(hub.head_file(REPO, "main", "other.safetensors")) == "entry"
        assert what(hub.head_file("a/down", "main", "x.safetensors")) == "disabled"
        assert what(hub.list_files("no/body")) == "repo"
    inside = HuggingFace(session, server.url, TOKEN).head_file("a/private", "main", "x.safetensors")
    assert isinstance(inside, RemoteFile)


def test_gated_repository_opens_with_a_token(session: HttpSession, server: HuggingFaceServer) -> None:
    server.repos["a/gated"] = Repo({"x.safetensors": HubFile(b"x")}, gated=True)
    server.members = {TOKEN}
    for token in (None, "another"):
        hub = HuggingFace(session, server.url, token)
        answer = hub.head_file("a/gated", "main", "x.safetensors")
        assert isinstance(answer, GatedRepo)
        assert "terms" in answer.message
        assert isinstance(hub.list_files("a/gated"), GatedRepo)
    assert isinstance(HuggingFace(session, server.url, TOKEN).head_file("a/gated", "main", "x.safetensors"), RemoteFile)


@pytest.mark.parametrize(
    ("repo", "revision", "path"),
    [
        ("../api", "main", "x"),
        ("a", "main", "x"),
        ("a/b", "..", "x"),
        ("a/b", "main", "../x"),
        ("a/b", "main", ""),
        ("a/b", "main", "a\\b"),
        ("a/b", "main", "a\nb"),
        ("a/b?x", "main", "x"),
    ],
)
def test_invalid_file_address_sends_no_request(
    session: HttpSession, server: HuggingFaceServer, repo: str, revision: str, path: str
) -> None:
    hub = HuggingFace(session, server.url, TOKEN)
    assert what(hub.head_file(repo, revision, path)) == "address"
    assert server.asked == []


def test_invalid_repository_sends_no_request(session: HttpSession, server: HuggingFaceServer) -> None:
    hub = HuggingFace(session, server.url)
    assert what(hub.list_files("a/b/c")) == "address"
    assert server.asked == []


def test_repositories_are_searched_by_id_only(session: HttpSession, server: HuggingFaceServer) -> None:
    server.repos["other/thing"] = Repo()
    hub = HuggingFace(session, server.url, TOKEN)
    assert [repo.id for repo in hub.search_repos("Z_IMAGE").repos] == [REPO]
    assert hub.search_repos("ae.safetensors") == RepoSearchResult(())
    assert hub.search_repos("&limit=0") == RepoSearchResult(())


def test_all_pages_of_a_repository_are_read(session: HttpSession, server: HuggingFaceServer) -> None:
    server.repos["a/many"] = Repo({f"dir/file_{n}.safetensors": HubFile(b"x%d" % n) for n in range(11)})
    server.repos["a/many"].files["small.txt"] = HubFile(b"x", "small")
    listed = HuggingFace(session, server.url, TOKEN).list_files("a/many")
    assert isinstance(listed, RepoFiles)
    files = listed.files
    assert len(files) == 12
    assert files[0].sha256 == hashlib.sha256(b"x0").hexdigest()
    assert files[-1].sha256 is None
    assert all(asked.headers["authorization"] == f"Bearer {TOKEN}" for asked in server.asked)


def test_endless_or_foreign_pages_are_not_followed(session: HttpSession) -> None:
    with LocalServer({"/x": Reply(b"[]")}) as other, LocalServer() as site:
        hub = HuggingFace(session, site.url, TOKEN)
        path = "/api/models/a/b/tree/main"
        site.pages[path] = Reply(b"[]", headers={"Link": f'<{other.url}/x>; rel="next"'})
        with pytest.raises(Failure) as caught:
            hub.list_files("a/b")
        assert caught.value.code == "http-body"
        assert other.asked == []
        count = iter(range(100))
        site.pages[path] = lambda _asked, _handler: Reply(
            b"[]", headers={"Link": f'<{path}?n={next(count)}>; rel="next"'}
        )
        assert hub.list_files("a/b") == RepoFiles((), is_complete=False)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply(status=404), "http-status"),
        (Reply(b"<html>", 404), "http-status"),
        (Reply(status=401), "source-unauthorized"),
        (Reply(status=403), "source-forbidden"),
        (Reply(status=403, headers={"X-Error-Code": "Unheard"}), "source-forbidden"),
        (Reply(status=500), "source-unavailable"),
        (Reply(status=404, headers={"X-Error-Code": "GatedRepo"}), "http-status"),
        (Reply(status=500, headers={"X-Error-Code": "EntryNotFound"}), "source-unavailable"),
        (Reply(b"portal"), "http-body"),
        (Reply(status=302, headers={"Location": "https://portal.invalid/login"}), "http-body"),
        (Reply(headers={"X-Repo-Commit": "main"}), "http-body"),
    ],
)
def test_failed_request_never_becomes_not_found(session: HttpSession, reply: Reply, code: str) -> None:
    with LocalServer({"/a/b/resolve/main/x.pt": reply}) as site, pytest.raises(Failure) as caught:
        HuggingFace(session, site.url).head_file("a/b", "main", "x.pt")
    assert caught.value.code == code


def test_rate_limit_gives_the_time_to_wait(session: HttpSession, server: HuggingFaceServer) -> None:
    server.limited = 1
    with pytest.raises(Failure) as caught:
        HuggingFace(session, server.url).head_file(REPO, "main", "big.safetensors")
    assert caught.value.code == "source-rate-limited"
    assert "120 seconds" in str(caught.value)


@pytest.mark.parametrize(("body", "status", "code"), [(b"{}", 200, "http-body"), (b"", 503, "source-unavailable")])
def test_unexpected_lists_are_failures(session: HttpSession, body: bytes, status: int, code: str) -> None:
    reply = Reply(body, status)
    with LocalServer({"/api/models": reply, "/api/models/a/b/tree/main": reply}) as site:
        hub = HuggingFace(session, site.url)
        for call in (lambda: hub.search_repos("x"), lambda: hub.list_files("a/b")):
            with pytest.raises(Failure) as caught:
                call()
            assert caught.value.code == code


@pytest.mark.parametrize("size", [{}, {"X-Linked-Size": "9" * 5000}, {"X-Linked-Size": "-1"}, {"X-Linked-Size": "²"}])
def test_invalid_size_header_leaves_the_size_unknown(session: HttpSession, size: dict[str, str]) -> None:
    headers = {**size, "X-Repo-Commit": COMMIT, "X-Linked-Etag": '"no hash"', "Location": "https://cdn.invalid/x"}
    with LocalServer({"/a/b/resolve/main/x.pt": Reply(status=302, headers=headers)}) as site:
        answer = HuggingFace(session, site.url).head_file("a/b", "main", "x.pt")
    assert isinstance(answer, RemoteFile)
    assert (answer.size, answer.sha256) == (None, None)
    assert answer.unreadable == (*(["x-linked-size"] if size else []), "x-linked-etag")
