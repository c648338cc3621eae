from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.sources.urls import reason_to_refuse
from comfywatchman.versions.lockfile import LockedCode, LockedModel, VersionLock
from comfywatchman.versions.model_sources import (
    ModelDeclaration,
    check_declared_models,
    find_declared,
    find_source_file,
    read_declared_models,
    resolve_source,
)

SHA = "a" * 64


@pytest.mark.parametrize(
    ("source", "address"),
    [
        ("hf://owner/name/x.safetensors", "https://huggingface.co/owner/name/resolve/main/x.safetensors"),
        ("hf://owner/name@v1/sub/x y.pt", "https://huggingface.co/owner/name/resolve/v1/sub/x%20y.pt"),
        ("civitai://models/128713", "https://civitai.com/api/download/models/128713"),
        ("civitai://model-versions/5?fileId=7", "https://civitai.com/api/download/models/5?fileId=7"),
        ("gs://my-bucket/a/b c.pt", "https://storage.googleapis.com/my-bucket/a/b%20c.pt"),
        ("https://example.org/x", "https://example.org/x"),
        ("file:///srv/x.pt", "file:///srv/x.pt"),
    ],
)
def test_source_becomes_an_address(source: str, address: str) -> None:
    assert resolve_source(source) == address


@pytest.mark.parametrize("source", ["hf://owner/name/x.safetensors", "civitai://models/5"])
def test_addresses_of_hubs_are_those_that_downloads_allow(source: str) -> None:
    assert reason_to_refuse(resolve_source(source)) is None


@pytest.mark.parametrize(
    "source",
    [
        "",
        "x.safetensors",
        "ftp://example.org/x",
        "hf://owner",
        "hf://owner/name",
        "hf://owner/name/../x",
        "hf://owner/na me/x",
        "civitai://models/",
        "civitai://models/0",
        "civitai://models/5/../6",
        "gs://bucket",
        "gs://UPPER/x",
        "file://host/x",
        "https://",
    ],
)
def test_other_sources_are_refused(source: str) -> None:
    with pytest.raises(Failure) as caught:
        resolve_source(source)
    assert caught.value.code == "version-bad-source"


def test_message_holds_no_key() -> None:
    with pytest.raises(Failure) as caught:
        resolve_source("ftp://me:secret@example.org/x?token=secret")
    assert "secret" not in caught.value.message


def test_only_file_addresses_name_a_path() -> None:
    assert find_source_file("file:///srv/my%20models/x.pt") == Path("/srv/my models/x.pt")
    assert find_source_file("https://example.org/x.pt") is None


def write(folder: Path, content: object) -> Path:
    path = folder / "models.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_declared_models_are_read_in_both_notations(tmp_path: Path) -> None:
    entries = [
        {"path": "loras/a.pt", "sources": ["hf://o/n/a.pt", "https://example.org/a.pt"], "sha256": SHA},
        {
            "name": "b",
            "target_path": "$MODELS_DIR/vae/b.pt",
            "source": "gs://bucket/b",
            "checksum": f"sha256:{SHA.upper()}",
        },
        {"target_path": "${COMFY_HOME}/models/c.pt"},
        {"path": "models\\d.pt"},
    ]
    expected = (
        ModelDeclaration("loras/a.pt", ("hf://o/n/a.pt", "https://example.org/a.pt"), SHA),
        ModelDeclaration("vae/b.pt", ("gs://bucket/b",), SHA),
        ModelDeclaration("c.pt", (), None),
        ModelDeclaration("d.pt", (), None),
    )
    assert read_declared_models(write(tmp_path, entries)) == expected
    assert read_declared_models(write(tmp_path, {"models": entries})) == expected


@pytest.mark.parametrize(
    "content",
    [
        "{",
        {"other": []},
        [1],
        [{}],
        [{"path": "a", "sources": [1]}],
        [{"path": "a", "sources": {}, "source": 5}],
        [{"path": "../a"}],
        [{"path": "/a"}],
        [{"path": "$HOME/a"}],
        [{"path": "a", "checksum": "md5:0"}],
        [{"path": "a", "checksum": 5}],
    ],
)
def test_other_lists_are_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(Failure) as caught:
        read_declared_models(write(tmp_path, content))
    assert caught.value.code == "version-bad-models"


@pytest.mark.parametrize(
    ("entry", "problem"),
    [(1, "entry 1 that is not an object"), ({"path": "a", "checksum": "md5:0"}, "is not a SHA-256 hash")],
)
def test_problem_of_an_entry_is_named(tmp_path: Path, entry: object, problem: str) -> None:
    with pytest.raises(Failure, match=problem):
        read_declared_models(write(tmp_path, [entry]))


def test_bad_source_in_a_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Failure) as caught:
        read_declared_models(write(tmp_path, [{"path": "a", "source": "ftp://x/y"}]))
    assert caught.value.message == "'ftp://x/y' is not a valid address of a model."
    assert caught.value.code == "version-bad-source"


def make_lock(sha256: str) -> VersionLock:
    comfyui = LockedCode(name="ComfyUI", source="folder")
    return VersionLock(tag="t", comfyui=comfyui, models=(LockedModel(path="a.pt", size=1, sha256=sha256),))


def test_declared_hash_must_be_that_of_the_file() -> None:
    declared = [ModelDeclaration("a.pt", (), SHA), ModelDeclaration("other.pt", (), "b" * 64)]
    check_declared_models(make_lock(SHA), declared)
    with pytest.raises(Failure, match="was declared") as caught:
        check_declared_models(make_lock("b" * 64), declared)
    assert caught.value.code == "version-model-differs"


def test_files_of_declared_models_are_found(tmp_path: Path) -> None:
    declared = [ModelDeclaration(path, (), None) for path in ("b", "a", "c")]
    found, missing = find_declared(declared, lambda path: tmp_path / path if path == "a" else None)
    assert found == {"a": tmp_path / "a"}
    assert missing == ("b", "c")
