from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.install.folders import resolve_folders
from comfywatchman.comfyui.install.identity import ComfyUIIdentity
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.readiness.database import open_database
from comfywatchman.readiness.models.cache_file import build_model_cache, write_model_cache
from comfywatchman.readiness.models.hashing import hash_within_budget
from comfywatchman.readiness.models.index import ModelIndex
from comfywatchman.readiness.models.inventory import Inventory, ModelFile, build_inventory
from comfywatchman.readiness.models.scan import scan_models
from tests.model_files import put, safetensors

COMFYUI = ComfyUIIdentity("c", "/c", "/c", "host")


class Host:
    """A ComfyUI root with a state folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cache = root / "state/model_cache.json"

    def index(self) -> ModelIndex:
        return ModelIndex(open_database(self.root / "state/index.sqlite"))

    def inventory(self, index: ModelIndex) -> Inventory:
        folders, _ = resolve_folders(Installation(self.root, None, self.root))
        return build_inventory(scan_models(folders), index)

    def write(self) -> bool:
        index = self.index()
        return write_model_cache(self.cache, COMFYUI, self.inventory(index), index)

    def read(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.cache.read_bytes())
        return content


@pytest.fixture
def host(tmp_path: Path) -> Host:
    path = put(tmp_path / "models/loras/sub/a.safetensors", safetensors())
    os.utime(path, ns=(0, 1_700_000_000_123_456_789))
    put(tmp_path / "models/vae/b.safetensors")
    return Host(tmp_path)


def test_file_lists_models_by_folder(host: Host) -> None:
    assert host.write()
    assert host.read() == {
        "schema_version": 1,
        "comfyui": msgspec.to_builtins(COMFYUI),
        "folders": {
            "loras": [
                {
                    "name": "sub/a.safetensors",
                    "path": str(host.root / "models/loras/sub/a.safetensors"),
                    "size": len(safetensors()),
                    "mtime": "2023-11-14T22:13:20Z",
                    "format": "safetensors",
                    "problem": None,
                    "sha256": None,
                    "autov2": None,
                    "autov3": None,
                    "blake3": None,
                }
            ],
            "vae": [host.read()["folders"]["vae"][0]],
        },
    }
    assert host.read()["folders"]["vae"][0]["problem"] == "empty (0 bytes)"
    assert host.cache.read_bytes().endswith(b"}\n")


def test_file_contains_hashes_once_known(host: Host) -> None:
    host.write()
    index = host.index()
    inventory = host.inventory(index)
    hash_within_budget(inventory.in_folder("loras").values(), index, budget_seconds=9, monotonic=lambda: 0.0)
    assert write_model_cache(host.cache, COMFYUI, inventory, index)
    model = host.read()["folders"]["loras"][0]
    assert len(model["sha256"]) == 64
    assert model["autov2"] == model["sha256"][:10]
    assert len(model["autov3"]) == 12
    assert len(model["blake3"]) == 64


def test_unchanged_host_neither_builds_nor_writes_the_file(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.write()
    before = host.cache.stat()
    monkeypatch.setattr("comfywatchman.readiness.models.cache_file.build_model_cache", None)
    assert not host.write()
    assert (host.cache.stat().st_ino, host.cache.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_new_model_is_written(host: Host) -> None:
    host.write()
    put(host.root / "models/vae/c.safetensors", safetensors())
    assert host.write()
    assert len(host.read()["folders"]["vae"]) == 2


def test_deleted_or_edited_file_is_rewritten(host: Host) -> None:
    host.write()
    host.cache.unlink()
    assert host.write()
    host.cache.write_bytes(b"{}")
    assert host.write()
    assert host.read()["schema_version"] == 1


def test_lost_database_does_not_rewrite_the_same_file(host: Host) -> None:
    host.write()
    before = host.cache.stat()
    for path in (host.root / "state").glob("index.sqlite*"):
        path.unlink()
    assert not host.write()
    assert host.cache.stat().st_ino == before.st_ino


def test_time_outside_the_calendar_is_null() -> None:
    model = ModelFile("vae", "a", "/a", 1, 10**30, 1, 1, "unknown", None, None)
    assert build_model_cache(COMFYUI, Inventory({"vae": {"a": model}}), {}).folders["vae"][0].mtime is None


def test_unwritable_cache_is_a_failure(host: Host) -> None:
    index = host.index()
    with pytest.raises(Failure) as caught:
        write_model_cache(Path("/proc/none/model_cache.json"), COMFYUI, host.inventory(index), index)
    assert caught.value.code == "state-unwritable"


def test_cache_of_another_comfyui_with_the_same_models_is_written(host: Host) -> None:
    host.write()
    index = host.index()
    other = ComfyUIIdentity("d", "/d", "/d", "host")
    assert write_model_cache(host.cache, other, host.inventory(index), index)
    assert host.read()["comfyui"]["root"] == "/d"
