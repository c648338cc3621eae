from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfywatchman.sources.catalogue import (
    CatalogueEntry,
    build_catalogue_stamp,
    find_model_list,
    find_template_folders,
    load_catalogue,
    read_catalogue,
)
from comfywatchman.sources.urls import HuggingFaceFile, parse_hub_url
from tests.accuracy.templates import template_files

AE = "https://huggingface.co/o/n/resolve/main/ae.safetensors"
DIGEST = "ab" * 32


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    folder = tmp_path / "site-packages" / "comfyui_workflow_templates_json" / "templates"
    folder.mkdir(parents=True)
    models = [
        {"name": "ae.safetensors", "url": AE, "directory": "vae", "hash": DIGEST.upper(), "hash_type": "SHA256"},
        {"name": "no_address.safetensors"},
        {"url": AE},
        5,
    ]
    inner = {"definitions": {"subgraphs": [{"nodes": [{"properties": {"models": models}}]}]}}
    write(folder / "one.json", inner)
    write(folder / "two.json", {"models": [{"name": "AE.safetensors", "url": AE + "?download=true"}], "nodes": 5})
    return folder


@pytest.fixture
def model_list(tmp_path: Path) -> Path:
    path = tmp_path / "ComfyUI-Manager" / "model-list.json"
    path.parent.mkdir()
    entry = {"name": "VAE", "base": "FLUX", "save_path": "vae/FLUX", "filename": "flux_vae.safetensors", "url": AE}
    odd = {"filename": "x1.pth", "url": "<huggingface>", "save_path": "default"}
    write(path, {"models": [entry, odd, {"filename": "y1.pth", "url": "https://github.com/a/y1.pth"}, None]})
    return path


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def test_models_are_found_at_any_depth_of_a_template(templates: Path) -> None:
    catalogue = read_catalogue([templates], None)
    found = catalogue.find_by_name(["ae.SAFETENSORS", "ae.safetensors"])
    assert [(one.name, one.url, one.directory, one.sha256) for one in found] == [
        ("ae.safetensors", AE, "vae", DIGEST),
        ("AE.safetensors", AE + "?download=true", None, None),
    ]
    assert list(catalogue.entries) == ["ae.safetensors"]
    assert catalogue.find_by_name(["other.safetensors"]) == ()


def test_manager_list_is_parsed(model_list: Path) -> None:
    catalogue = read_catalogue([], model_list)
    (entry,) = catalogue.find_by_name(["flux_vae.safetensors"])
    assert (entry.url, entry.directory, entry.base_model) == (AE, "vae", "FLUX")
    assert catalogue.find_by_name(["x1.pth"]) == ()
    assert catalogue.find_by_name(["y1.pth"])[0].directory is None


def test_damaged_file_is_reported_and_hides_no_other(templates: Path, tmp_path: Path) -> None:
    (templates / "broken.json").write_text("{")
    write(templates / "list.json", [])
    catalogue = read_catalogue([templates, tmp_path / "absent"], tmp_path / "absent.json")
    assert len(catalogue.problems) == 2
    assert catalogue.find_by_name(["ae.safetensors"])
    contents: list[Any] = [[], {"models": 5}, 5]
    for content in contents:
        write(tmp_path / "list.json", content)
        assert read_catalogue([], tmp_path / "list.json").entries == {}


def test_deeply_nested_template_is_read(templates: Path) -> None:
    (templates / "deep.json").write_text("[" * 900 + "]" * 900)
    assert read_catalogue([templates], None).problems == ()


def test_cache_is_used_until_a_file_changes(templates: Path, model_list: Path, tmp_path: Path) -> None:
    cache = tmp_path / "catalogue.msgpack"
    first = load_catalogue([templates], model_list, cache=cache)
    written = cache.stat().st_mtime_ns
    assert load_catalogue([templates], model_list, cache=cache) == first
    assert cache.stat().st_mtime_ns == written
    write(templates / "three.json", {"models": [{"name": "new_1.safetensors", "url": AE}]})
    assert load_catalogue([templates], model_list, cache=cache).find_by_name(["new_1.safetensors"])
    assert load_catalogue([templates], None, cache=cache).stamp != first.stamp


@pytest.mark.parametrize("content", [b"", b"\x81\xa1x\x01", b"\xff" * 20])
def test_damaged_cache_is_rebuilt_and_unwritable_cache_is_ignored(
    templates: Path, tmp_path: Path, content: bytes
) -> None:
    cache = tmp_path / "catalogue.msgpack"
    cache.write_bytes(content)
    assert load_catalogue([templates], None, cache=cache).find_by_name(["ae.safetensors"])
    (tmp_path / "file").write_text("in the way")
    assert load_catalogue([templates], None, cache=tmp_path / "file" / "c").find_by_name(["ae.safetensors"])


def test_stamp_changes_when_the_list_is_deleted(templates: Path, model_list: Path) -> None:
    before = build_catalogue_stamp([templates], model_list)
    model_list.unlink()
    assert build_catalogue_stamp([templates], model_list) != before


def test_installed_catalogues_are_found(templates: Path, model_list: Path, tmp_path: Path) -> None:
    assert find_template_folders([tmp_path, tmp_path / "site-packages"]) == (templates,)
    assert find_model_list([tmp_path, model_list.parent]) == model_list
    assert find_model_list([tmp_path]) is None


@pytest.mark.slow
def test_every_url_of_the_official_templates_is_parsed(tmp_path: Path) -> None:
    for name, content in template_files().items():
        (tmp_path / name).write_bytes(content)
    catalogue = read_catalogue([tmp_path], None)
    entries: list[CatalogueEntry] = [one for same in catalogue.entries.values() for one in same]
    assert len(catalogue.entries) > 250
    assert all(isinstance(parse_hub_url(entry.url), HuggingFaceFile) for entry in entries)
    assert catalogue.problems == ()
