"""`state/custom_nodes_cache.json`."""

from __future__ import annotations

import json
from pathlib import Path

from comfywatchman.comfyui.install.identity import ComfyUIIdentity
from comfywatchman.comfyui.packs.metadata import NodePack
from comfywatchman.readiness.nodes.cache_file import write_pack_cache

ONE = NodePack(
    folder="one",
    path="/c/one",
    id="one-nodes",
    enabled=True,
    version="1.0",
    url="https://github.com/a/one",
    git_commit="c" * 40,
    dirty=False,
    requirements=("scipy",),
    classes=frozenset({"A", "B"}),
)
COMFYUI = ComfyUIIdentity("c", "/c", "/c", "host")
TWO = NodePack(folder="two", path="/c/two", id="two", enabled=False, complete=False, problems=("broken",))


def test_packs_are_sorted_by_path(tmp_path: Path) -> None:
    path = tmp_path / "custom_nodes_cache.json"
    assert write_pack_cache(path, COMFYUI, [TWO, ONE])
    content = json.loads(path.read_bytes())
    assert content["schema_version"] == 1
    assert content["comfyui"]["id"] == "c"
    first, second = content["packs"]
    assert first == {
        "folder": "one",
        "path": "/c/one",
        "id": "one-nodes",
        "version": "1.0",
        "publisher": None,
        "git_url": "https://github.com/a/one",
        "git_commit": "c" * 40,
        "dirty": False,
        "enabled": True,
        "requirements": ["scipy"],
        "classes_count": 2,
        "complete": True,
        "problems": [],
    }
    assert (second["enabled"], second["dirty"], second["problems"]) == (False, None, ["broken"])


def test_unchanged_file_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "custom_nodes_cache.json"
    write_pack_cache(path, COMFYUI, [ONE, TWO])
    before = path.stat().st_mtime_ns
    assert not write_pack_cache(path, COMFYUI, [TWO, ONE])
    assert path.stat().st_mtime_ns == before
