from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpSession
from comfywatchman.sources.civarchive import CivArchive
from tests.servers.base import Reply
from tests.servers.civarchive import CivArchiveServer, archived_version

DIGEST = "ab" * 32


@pytest.fixture
def server() -> Iterator[CivArchiveServer]:
    with CivArchiveServer() as running:
        running.versions = [archived_version("gone.safetensors", DIGEST)]
        yield running


@pytest.fixture
def archive(server: CivArchiveServer) -> Iterator[CivArchive]:
    with HttpSession(timeout_seconds=60) as session:
        yield CivArchive(session, server.url)


def test_deleted_file_is_found_by_its_hash(archive: CivArchive) -> None:
    version = archive.find_by_sha256(DIGEST.upper())
    assert version is not None
    assert (version.model_id, version.base_model) == (5, "SDXL 1.0")
    assert [mirror.deleted_at is None for mirror in version.files[0].mirrors] == [True, False]


def test_unknown_or_invalid_hash_is_none(archive: CivArchive, server: CivArchiveServer) -> None:
    assert archive.find_by_sha256("0" * 64) is None
    assert archive.find_by_sha256("../x") is None
    assert len(server.asked) == 1


def test_version_without_the_hash_has_no_files(archive: CivArchive, server: CivArchiveServer) -> None:
    other = archived_version("other.safetensors", "cd" * 32)
    server.pages[f"/api/sha256/{DIGEST}"] = Reply(json.dumps(other).encode())
    found = archive.find_by_sha256(DIGEST)
    assert found is not None
    assert found.files == ()


@pytest.mark.parametrize("sha256", [None, 5, "ab", ["ab" * 32]])
def test_unreadable_hash_is_no_absence(archive: CivArchive, server: CivArchiveServer, sha256: object) -> None:
    version = archived_version("gone.safetensors", DIGEST)
    version["files"][0]["sha256"] = sha256
    server.pages[f"/api/sha256/{DIGEST}"] = Reply(json.dumps(version).encode())
    with pytest.raises(Failure) as caught:
        archive.find_by_sha256(DIGEST)
    assert caught.value.code == "http-body"


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"files": 5}', b"<html>", b'{"version": {"files": []}, "id": []'])
def test_unexpected_response_is_a_failure(archive: CivArchive, server: CivArchiveServer, body: bytes) -> None:
    server.pages[f"/api/sha256/{DIGEST}"] = Reply(body)
    with pytest.raises(Failure) as caught:
        archive.find_by_sha256(DIGEST)
    assert caught.value.code == "http-body"


def test_malformed_files_are_skipped(archive: CivArchive, server: CivArchiveServer) -> None:
    version = archived_version("gone.safetensors", DIGEST)
    version["files"] = [5, {"sha256": 5}, *version["files"]]
    server.pages[f"/api/sha256/{DIGEST}"] = Reply(json.dumps(version).encode())
    found = archive.find_by_sha256(DIGEST)
    assert found is not None
    assert [file.name for file in found.files] == ["gone.safetensors"]
