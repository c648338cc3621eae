from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from comfywatchman.base.http import HttpSession
from comfywatchman.sources import huggingface
from comfywatchman.sources.civitai import schema
from comfywatchman.sources.site_responses import UNREADABLE_FIELD
from tests.servers.civitai import CivitaiServer, file_json, image_json, model_json, sha256_of, version_json
from tests.servers.huggingface import HubFile, HuggingFaceServer, Repo
from tests.sources.recorded_fields import (
    CIVITAI_IMAGE,
    CIVITAI_MODEL,
    CIVITAI_SEARCH,
    CIVITAI_VERSION,
    FREE_FORM,
    HF_HEAD,
    HF_SEARCH,
    HF_TREE,
    field_names,
)


@pytest.fixture
def session() -> Iterator[HttpSession]:
    with HttpSession(timeout_seconds=60) as opened:
        yield opened


def fields_read(shape: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(shape)} - {UNREADABLE_FIELD}


def test_every_field_we_read_exists_in_the_recorded_responses() -> None:
    model_files = {name.removeprefix("modelVersions.files.") for name in CIVITAI_MODEL}
    assert fields_read(schema.CivitaiFile) <= model_files
    assert fields_read(schema.FileMetadata) <= {name.removeprefix("metadata.") for name in model_files}
    assert fields_read(schema.CivitaiModel) <= CIVITAI_MODEL
    # Lists alone state `availability`.
    assert fields_read(schema.CivitaiVersion) <= CIVITAI_VERSION | {"availability"}
    assert "modelVersions.availability" in CIVITAI_MODEL
    assert fields_read(schema.VersionModel) <= {name.removeprefix("model.") for name in CIVITAI_VERSION}
    assert fields_read(schema.PaidAccess) <= {name.removeprefix("paidAccess.") for name in CIVITAI_VERSION}
    assert fields_read(huggingface.RepoSummary) <= HF_SEARCH
    assert fields_read(huggingface.TreeFile) <= HF_TREE
    assert fields_read(huggingface.LfsPointer) <= {name.removeprefix("lfs.") for name in HF_TREE}


def answered(session: HttpSession, url: str) -> set[str]:
    content: Any = session.get_json(url)
    return {name for name in field_names(content) if not any(free in name for free in FREE_FORM)}


def test_civitai_test_server_uses_the_real_field_names(session: HttpSession) -> None:
    file = file_json("a_detail.safetensors")
    version = version_json([file], trainedWords=["detail"])
    model = model_json("Detail", [version])
    with CivitaiServer([model, model_json("Detail two", []), model_json("Detail three", [])]) as server:
        api = f"{server.url}/api/v1"
        server.feed = [image_json(5)]
        search = answered(session, f"{api}/models?query=detail&limit=1")
        assert search <= CIVITAI_SEARCH
        assert {"items.modelVersions.files.hashes.SHA256", "metadata.nextCursor"} <= search
        assert answered(session, f"{api}/models/{model['id']}") <= CIVITAI_MODEL
        one = answered(session, f"{api}/model-versions/{version['id']}")
        assert one - CIVITAI_VERSION == {"availability"}
        assert answered(session, f"{api}/model-versions/by-hash/{sha256_of('a_detail.safetensors')}") == one
        assert answered(session, f"{api}/images?imageId=5") <= CIVITAI_IMAGE


def test_hugging_face_test_server_uses_the_real_field_names(session: HttpSession) -> None:
    files = {"split/ae.safetensors": HubFile(b"x", "xet"), "README.md": HubFile(b"y", "small")}
    with HuggingFaceServer({"o/n": Repo(files)}) as server:
        assert answered(session, f"{server.url}/api/models?search=o") == HF_SEARCH
        assert answered(session, f"{server.url}/api/models/o/n/tree/main?recursive=true&expand=true") <= HF_TREE
        head = session.head(f"{server.url}/o/n/resolve/main/split/ae.safetensors")
        ours = {name for name in head.headers if name not in {"server", "date", "content-length"}}
        assert ours <= HF_HEAD
        assert {"x-repo-commit", "x-linked-size", "x-linked-etag", "x-xet-hash", "location"} <= ours
