"""Reading ComfyUI-Manager's map."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.sources.class_map import ClassMap, find_manager_map_folder, load_class_map, read_class_map

MAP: dict[str, Any] = {
    "https://github.com/a/One": [["Shared", "OnlyOne", 5], {"title_aux": "One Nodes"}],
    "https://github.com/b/Two": [["Shared"], {"title_aux": "Two", "nodename_pattern": r" \(two\)$"}],
    "https://github.com/c/Three": [["Claimed"], {}],
    "https://github.com/d/Four": [["Claimed"], {"preemptions": ["Claimed"]}],
    "https://github.com/e/Odd": "not a list",
    "https://github.com/f/Empty": [],
}
LIST = {"custom_nodes": [{"id": "one-nodes", "title": "x", "files": ["https://github.com/A/One.git"]}, 7]}


def folder(tmp_path: Path, mapped: Any = MAP, listed: Any = LIST) -> Path:
    tmp_path.joinpath("extension-node-map.json").write_text(json.dumps(mapped), "utf-8")
    tmp_path.joinpath("custom-node-list.json").write_text(json.dumps(listed), "utf-8")
    return tmp_path


def read(tmp_path: Path, mapped: Any = MAP, listed: Any = LIST) -> ClassMap:
    return read_class_map(folder(tmp_path, mapped, listed), source="the map")


def test_class_of_one_package_has_its_registry_id(tmp_path: Path) -> None:
    (owner,) = read(tmp_path).find_providers("OnlyOne")
    assert (owner.id, owner.url, owner.title) == ("one-nodes", "https://github.com/a/One", "One Nodes")
    assert owner.evidence == "listed in the map"


def test_class_of_several_packages_has_all_of_them(tmp_path: Path) -> None:
    assert [owner.id for owner in read(tmp_path).find_providers("Shared")] == ["one-nodes", "two"]


def test_preferred_package_is_the_only_provider(tmp_path: Path) -> None:
    (owner,) = read(tmp_path).find_providers("Claimed")
    assert (owner.id, owner.evidence) == ("four", "preferred in the map")


def test_two_preferred_packages_are_both_providers(tmp_path: Path) -> None:
    both = {f"https://github.com/x/{name}": [["C"], {"preemptions": ["C"]}] for name in ("P", "Q")}
    assert len(read(tmp_path, both).find_providers("C")) == 2


def test_name_pattern_finds_the_package(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert [owner.id for owner in found.find_providers("Anything (two)")] == ["two"]
    assert found.find_providers("Anything (two) else") == ()
    assert found.find_providers("x" * 1000 + " (two)") == ()


def test_unknown_class_has_no_provider(tmp_path: Path) -> None:
    assert read(tmp_path).find_providers("Nobody's") == ()


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)*$", "[", "a" * 300, "(?=a)b", r"(a)\1", ".*.*.*.*x", "((a*)b)*"])
def test_unsafe_patterns_are_ignored(pattern: str, tmp_path: Path) -> None:
    mapped = {"https://github.com/x/P": [[], {"nodename_pattern": pattern}]}
    found = read(tmp_path, mapped)
    began = time.perf_counter()
    assert found.find_providers("a" * 60 + "!") == ()
    assert time.perf_counter() - began < 100
    assert found.patterns == ()


@pytest.mark.parametrize("listed", [[], {"custom_nodes": 3}, "x", None])
def test_invalid_list_loses_only_the_ids(listed: Any, tmp_path: Path) -> None:
    assert read(tmp_path, listed=listed).find_providers("OnlyOne")[0].id == "one"


def test_missing_list_leaves_the_map_usable(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "custom-node-list.json").unlink()
    assert read_class_map(tmp_path, source="the map").find_providers("OnlyOne")[0].id == "one"


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"'])
def test_invalid_map_is_a_failure(text: str, tmp_path: Path) -> None:
    (tmp_path / "extension-node-map.json").write_text(text, "utf-8")
    with pytest.raises(Failure) as caught:
        read_class_map(tmp_path, source="x")
    assert caught.value.code == "file-unreadable"


def test_cache_is_used_until_the_files_change(tmp_path: Path) -> None:
    cache = tmp_path / "state" / "map.bin"
    source = folder(tmp_path)
    first = load_class_map(source, cache=cache, source="the map")
    stamp = os.stat(source / "extension-node-map.json")
    (source / "extension-node-map.json").write_text("x" * stamp.st_size, "utf-8")
    os.utime(source / "extension-node-map.json", ns=(stamp.st_mtime_ns, stamp.st_mtime_ns))
    assert load_class_map(source, cache=cache, source="the map") == first
    folder(tmp_path, {"https://github.com/n/New": [["Fresh"], {}]})
    assert load_class_map(source, cache=cache, source="the map").find_providers("Fresh")


def test_damaged_cache_is_rebuilt_and_unwritable_cache_is_ignored(tmp_path: Path) -> None:
    source = folder(tmp_path)
    cache = tmp_path / "map.bin"
    cache.write_bytes(b"\xff\x00nonsense")
    assert load_class_map(source, cache=cache, source="x").find_providers("OnlyOne")
    (tmp_path / "file").write_text("", "utf-8")
    assert load_class_map(source, cache=tmp_path / "file" / "map.bin", source="x").find_providers("OnlyOne")


def test_manager_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    assert find_manager_map_folder([tmp_path / "first", folder(tmp_path / "second")]) == tmp_path / "second"
    assert find_manager_map_folder([tmp_path / "first"]) is None
