from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from comfywatchman.comfyui.install.folders import resolve_folders
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.models.file import HeaderFacts, check_header
from comfywatchman.readiness.models.inventory import HeaderKey, Inventory, build_inventory
from comfywatchman.readiness.models.scan import scan_models
from tests.model_files import put, safetensors


class MemoryHeaderCache:
    """Header facts in a dictionary."""

    def __init__(self) -> None:
        self.facts: dict[HeaderKey, HeaderFacts] = {}
        self.batches = 0

    def headers(self) -> Mapping[HeaderKey, HeaderFacts]:
        return self.facts

    def remember_headers(self, facts: Mapping[HeaderKey, HeaderFacts]) -> None:
        self.facts.update(facts)
        self.batches += 1


def build(root: Path, cache: MemoryHeaderCache | None = None) -> Inventory:
    folders, _ = resolve_folders(Installation(root, None, root))
    return build_inventory(scan_models(folders), MemoryHeaderCache() if cache is None else cache)


def test_exact_finds_models_by_exact_name_only(tmp_path: Path) -> None:
    put(tmp_path / "models/loras/SDXL/a.safetensors", safetensors())
    inventory = build(tmp_path)
    model = inventory.exact("loras", "SDXL/a.safetensors")
    assert model is not None
    assert (model.folder, model.format, model.problem) == ("loras", "safetensors", None)
    assert model.path == str(tmp_path / "models/loras/SDXL/a.safetensors")
    for folder, name in (
        ("loras", "a.safetensors"),
        ("loras", "sdxl/a.safetensors"),
        ("loras", "SDXL\\a.safetensors"),
        ("vae", "SDXL/a.safetensors"),
        ("nobody", "SDXL/a.safetensors"),
    ):
        assert inventory.exact(folder, name) is None


def test_by_basename_ignores_case_and_searches_all_folders(tmp_path: Path) -> None:
    put(tmp_path / "models/loras/x/AE.safetensors", safetensors())
    put(tmp_path / "models/vae/ae.safetensors", safetensors())
    inventory = build(tmp_path)
    assert {model.folder for model in inventory.by_basename("ae.safetensors")} == {"loras", "vae"}
    assert inventory.by_basename("AE.safetensors") == ()


def test_broken_file_is_listed_with_its_problem(tmp_path: Path) -> None:
    put(tmp_path / "models/vae/a.safetensors", safetensors()[:-1])
    (tmp_path / "models/vae/b.safetensors").symlink_to("gone")
    inventory = build(tmp_path)
    assert [m.problem_code for m in inventory.in_folder("vae").values()] == ["truncated", "link-broken"]


def test_only_new_and_changed_files_are_opened(tmp_path: Path) -> None:
    cache = MemoryHeaderCache()
    path = put(tmp_path / "models/vae/a.safetensors", safetensors())
    put(tmp_path / "models/vae/b.safetensors", safetensors())
    assert build(tmp_path, cache).read_headers == 2
    assert build(tmp_path, cache).read_headers == 0
    assert cache.batches == 1
    path.write_bytes(b"")
    changed = build(tmp_path, cache)
    assert changed.read_headers == 1
    assert [m.problem_code for m in changed.in_folder("vae").values()] == ["empty", None]


def test_file_with_a_new_mtime_is_opened_again(tmp_path: Path) -> None:
    cache = MemoryHeaderCache()
    path = put(tmp_path / "models/vae/a.safetensors", safetensors())
    build(tmp_path, cache)
    path.write_bytes(b"\x80\x04" + safetensors()[2:])
    os.utime(path, ns=(1, 1))
    model = build(tmp_path, cache).exact("vae", "a.safetensors")
    assert model is not None
    assert model.problem_code in {"truncated", "header-invalid", "wrong-container"}


def test_unfinished_download_is_checked_again_each_time(tmp_path: Path) -> None:
    cache = MemoryHeaderCache()
    put(tmp_path / "models/vae/a.safetensors", safetensors())
    control_file = put(tmp_path / "models/vae/a.safetensors.aria2")
    unfinished = build(tmp_path, cache).exact("vae", "a.safetensors")
    control_file.unlink()
    finished = build(tmp_path, cache).exact("vae", "a.safetensors")
    assert unfinished is not None
    assert unfinished.problem_code == "unfinished"
    assert finished is not None
    assert finished.problem is None


def test_hard_links_are_checked_by_their_own_suffix(tmp_path: Path) -> None:
    path = put(tmp_path / "models/vae/a.safetensors", safetensors())
    os.link(path, tmp_path / "models/vae/a.ckpt")
    os.link(path, tmp_path / "models/vae/same.safetensors")
    inventory = build(tmp_path)
    assert [m.problem_code for m in inventory.in_folder("vae").values()] == ["wrong-container", None, None]
    assert inventory.read_headers == 2


def test_unreadable_file_is_read_again_each_time(tmp_path: Path) -> None:
    cache = MemoryHeaderCache()
    put(tmp_path / "models/vae/a.safetensors", safetensors())
    folders, _ = resolve_folders(Installation(tmp_path, None, tmp_path))
    checked_paths: list[str] = []

    def check(path: str, size: int) -> HeaderFacts:
        checked_paths.append(path)
        return check_header(f"{path}/{size}", size)

    for _ in range(2):
        build_inventory(scan_models(folders), cache, check=check)
    assert len(checked_paths) == 2


def test_target_is_the_folder_of_that_name_below_models_by_default() -> None:
    inventory = Inventory({}, targets={"loras": "/disk/loras"})
    assert inventory.target("loras") == "/disk/loras"
    assert inventory.target("vae") == "models/vae"


def test_diffusers_are_models_of_their_own_format(tmp_path: Path) -> None:
    put(tmp_path / "models/diffusers/sd/model_index.json", b"{}")
    model = build(tmp_path).exact("diffusers", "sd")
    assert model is not None
    assert (model.format, model.problem) == ("diffusers", None)


def test_fingerprint_changes_with_any_file_change(tmp_path: Path) -> None:
    a = put(tmp_path / "models/vae/a.safetensors", safetensors())
    first = build(tmp_path).fingerprint
    assert build(tmp_path).fingerprint == first
    seen = {first}
    os.utime(a, ns=(1, 1))
    seen.add(build(tmp_path).fingerprint)
    a.rename(a.with_name("b.safetensors"))
    seen.add(build(tmp_path).fingerprint)
    put(tmp_path / "models/loras/c.safetensors", safetensors())
    seen.add(build(tmp_path).fingerprint)
    assert len(seen) == 4


def test_fingerprint_supports_a_root_that_is_not_utf8(tmp_path: Path) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/us\xe9r"))
    put(root / "models/vae/a.safetensors", safetensors())
    assert len(build(root).fingerprint) == 32


def test_by_basename_ignores_the_unicode_form(tmp_path: Path) -> None:
    put(tmp_path / "models/loras/Cafe\u0301.safetensors", safetensors())
    put(tmp_path / "models/loras/caf\u00e9.pt", safetensors())
    inventory = build(tmp_path)
    for spelling in ("cafe\u0301.safetensors", "caf\u00e9.safetensors"):
        assert [model.name for model in inventory.by_basename(spelling)] == ["Cafe\u0301.safetensors"]
    assert [model.name for model in inventory.by_basename("cafe\u0301.pt")] == ["caf\u00e9.pt"]
    assert inventory.exact("loras", "Caf\u00e9.safetensors") is None
    assert inventory.by_basename("cafe.pt") == ()
