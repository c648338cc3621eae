from __future__ import annotations

from comfywatchman.sources.civitai.schema import parse_model, parse_version
from tests.servers.civitai import file_json, model_json, version_json


def test_malformed_entries_are_skipped() -> None:
    good = file_json("good_1.safetensors")
    version = version_json([good, {"id": "x"}]) | {"paidAccess": None}
    version["files"] += [5, None, {"id": 1, "hashes": []}, {"hashes": {"SHA256": None}, "sizeKB": None}]
    model = parse_model(model_json("Thing", [version]) | {"modelVersions": [None, {"id": None}, version]})
    assert model is not None
    assert [file.name for file in model.versions[0].files] == ["good_1.safetensors", ""]
    assert model.versions[0].files[1].sha256 is None
    assert model.versions[0].files[1].size_bytes is None
    assert parse_model({"id": 1, "modelVersions": 7}) is not None
    assert parse_model([]) is None
    assert parse_model({"name": "no id"}) is None
    assert parse_version(5) is None
    assert parse_version({"id": 5, "unheardOf": {}}) is not None


def test_impossible_sizes_and_hashes_are_none() -> None:
    version = parse_version(
        version_json(
            [
                file_json("a1.pt", sizeKB=1.5),
                file_json("b1.pt", sizeKB=-1, hashes={"SHA256": "beef"}),
                file_json("c1.pt", sizeKB=1e30, hashes={}),
            ]
        )
    )
    assert version is not None
    assert [file.size_bytes for file in version.files] == [1536, None, None]
    assert [file.sha256 is None for file in version.files] == [False, True, True]
    assert version.model_type is None


def test_version_has_name_and_type_of_its_model() -> None:
    model = parse_model(model_json("Thing", [version_json([])], type="LORA", id=7))
    assert model is not None
    version = model.versions[0]
    assert (version.model_id, version.model_type) == (7, "LORA")
    assert version.model is not None
    assert version.model.name == "Thing"


def test_any_hash_of_a_file_is_compared_without_case() -> None:
    version = parse_version(version_json([file_json("a1.pt", hashes={"AutoV2": "ABCDEF0123", "SHA256": None})]))
    assert version is not None
    (file,) = version.files
    assert file.has_hash("abcdef0123")
    assert not file.has_hash("abcdef0124")
    assert not file.has_hash("none")
