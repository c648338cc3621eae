from __future__ import annotations

from typing import Any

import pytest

from comfywatchman.sources.civitai.schema import parse_model, parse_version
from tests.servers.civitai import file_json, model_json, version_json


def test_unreadable_entries_are_left_out_and_counted() -> None:
    good = file_json("good_1.safetensors")
    version = version_json([good, {"id": "x"}]) | {"paidAccess": None}
    version["files"] += [5, None, {"id": 1, "hashes": []}, {"hashes": {"SHA256": None}, "sizeKB": None}]
    model = parse_model(model_json("Thing", [version]) | {"modelVersions": [None, {"id": None}, version]})
    assert model is not None
    assert [file.name for file in model.versions[0].files] == ["good_1.safetensors"]
    assert (model.versions[0].unreadable, model.unreadable) == (5, 7)
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


def test_download_address_names_the_version_that_offers_a_file() -> None:
    addresses = [
        ("https://civitai.com/api/download/models/12?type=VAE", 12),
        ("https://civitai.com/api/download/models/0", None),
        ("https://civitai.com/models/12", None),
        ("https://civitai.com/x?y=/api/download/models/12", None),
        (None, None),
    ]
    for address, version_id in addresses:
        version = parse_version(version_json([file_json("a.safetensors", downloadUrl=address)]))
        assert version is not None
        assert version.files[0].download_version == version_id


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ({}, "commercial use: Image"),
        (
            {"allowCommercialUse": "{Image,Rent}", "allowNoCredit": False},
            "commercial use: Image, Rent; credit required",
        ),
        ({"allowCommercialUse": [], "allowDerivatives": False}, "no commercial use; no derivatives"),
        ({"allowCommercialUse": "None"}, "no commercial use"),
        ({"allowCommercialUse": None}, None),
        ({"allowCommercialUse": 5}, None),
    ],
)
def test_licence_is_what_the_author_permits(fields: dict[str, Any], licence: str | None) -> None:
    model = parse_model(model_json("Thing", [], **fields))
    assert model is not None
    assert model.licence == licence
