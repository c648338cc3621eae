from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfywatchman.comfyui.install.folders import resolve_folders
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.readiness.models import scan as scan_module
from comfywatchman.readiness.models.scan import ModelListing, scan_models
from tests.model_files import put


def scan(root: Path, yaml: str = "") -> ModelListing:
    if yaml:
        put(root / "extra_model_paths.yaml", yaml.encode())
    folders, problems = resolve_folders(Installation(root, None, root))
    assert problems == ()
    return scan_models(folders)


def names(listing: ModelListing, folder: str) -> list[str]:
    return list(listing.folders[folder])


def reasons(listing: ModelListing) -> list[str]:
    return [problem.reason for problem in listing.problems]


def test_empty_root_lists_nothing(tmp_path: Path) -> None:
    listing = scan(tmp_path)
    assert not any(listing.folders.values())
    assert listing.problems == ()


def test_names_are_relative_with_slashes_and_sorted(tmp_path: Path) -> None:
    for name in ("b.safetensors", "SDXL/a.ckpt", "a.PT", "deep/er/x.Safetensors"):
        put(tmp_path / "models/checkpoints" / name)
    assert names(scan(tmp_path), "checkpoints") == ["SDXL/a.ckpt", "a.PT", "b.safetensors", "deep/er/x.Safetensors"]


def test_only_the_extensions_of_the_folder_count(tmp_path: Path) -> None:
    for name in ("a.safetensors", "a.png", "a.gguf", "a.safetensors.part", "readme", ".safetensors", "..ckpt"):
        put(tmp_path / "models/unet" / name)
    listing = scan(tmp_path)
    assert names(listing, "diffusion_models") == ["a.safetensors"]
    assert names(listing, "unet_gguf") == ["a.gguf"]


def test_folder_for_names_without_extension_lists_only_those(tmp_path: Path) -> None:
    for name in ("weights", ".hidden", "a.safetensors", "put_classifiers_here", "put_away", "is_here"):
        put(tmp_path / "models/classifiers" / name)
    assert names(scan(tmp_path), "classifiers") == [".hidden", "is_here", "put_away", "weights"]


def test_unknown_folder_lists_every_file_except_unfinished_ones(tmp_path: Path) -> None:
    for name in ("a.xyz", "b", "c.safetensors", "d.safetensors.part", "e.TMP", "f.crdownload", ".git/config"):
        put(tmp_path / "stuff" / name)
    listing = scan(tmp_path, f"x:\n  mine: {tmp_path}/stuff\n")
    assert names(listing, "mine") == ["a.xyz", "b", "c.safetensors"]


def test_unfinished_aria2_file_is_broken_and_hides_later_files(tmp_path: Path) -> None:
    first, second = tmp_path / "models/unet", tmp_path / "models/diffusion_models"
    put(first / "in/a.safetensors", b"first")
    put(first / "in/a.safetensors.aria2")
    put(first / "b.safetensors", b"first")
    put(first / "in/b.safetensors.aria2")
    for name in ("in/a", "in/c"):
        put(second / f"{name}.safetensors", b"second")
    entries = scan(tmp_path).folders["diffusion_models"]
    assert [(name, entry.size, entry.problem_code) for name, entry in entries.items()] == [
        ("b.safetensors", 5, None),
        ("in/a.safetensors", 5, "unfinished"),
        ("in/c.safetensors", 6, None),
    ]


def test_the_first_directory_wins_and_all_directories_count(tmp_path: Path) -> None:
    put(tmp_path / "models/unet/a.safetensors", b"first")
    put(tmp_path / "models/diffusion_models/a.safetensors", b"second")
    put(tmp_path / "models/diffusion_models/b.safetensors")
    put(tmp_path / "output/diffusion_models/c.safetensors")
    entries = scan(tmp_path).folders["diffusion_models"]
    assert list(entries) == ["a.safetensors", "b.safetensors", "c.safetensors"]
    assert entries["a.safetensors"].size == 5
    assert entries["a.safetensors"].path == str(tmp_path / "models/unet/a.safetensors")


def test_broken_link_or_fifo_hides_no_file(tmp_path: Path) -> None:
    first, second = tmp_path / "models/unet", tmp_path / "models/diffusion_models"
    first.mkdir(parents=True)
    (first / "a.safetensors").symlink_to(tmp_path / "gone")
    os.mkfifo(first / "b.safetensors")
    for name in ("a", "b"):
        put(second / f"{name}.safetensors", b"real")
    entries = scan(tmp_path).folders["diffusion_models"]
    assert [(entry.size, entry.problem) for entry in entries.values()] == [(4, None), (4, None)]


def test_broken_links_and_fifos_are_listed_as_unreadable(tmp_path: Path) -> None:
    folder = tmp_path / "models/loras"
    folder.mkdir(parents=True)
    (folder / "gone.safetensors").symlink_to(tmp_path / "nowhere\n")
    (folder / "self.safetensors").symlink_to(folder / "self.safetensors")
    os.mkfifo(folder / "fifo.safetensors")
    entries = scan(tmp_path).folders["loras"]
    assert entries["gone.safetensors"].problem == f"a link to {tmp_path}/nowhere\\n, which does not exist"
    assert "cannot be read" in (entries["self.safetensors"].problem or "")
    assert entries["fifo.safetensors"].problem == "not a regular file"
    assert {entry.problem_code for entry in entries.values()} == {"unreadable"}


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    put(tmp_path / "disk/big.safetensors", b"12345")
    put(tmp_path / "disk/more/x.safetensors")
    folder = tmp_path / "models/loras"
    folder.mkdir(parents=True)
    (folder / "one.safetensors").symlink_to(tmp_path / "disk/big.safetensors")
    (folder / "all").symlink_to(tmp_path / "disk")
    entries = scan(tmp_path).folders["loras"]
    assert list(entries) == ["all/big.safetensors", "all/more/x.safetensors", "one.safetensors"]
    assert entries["one.safetensors"].size == 5
    assert entries["one.safetensors"].inode == (tmp_path / "disk/big.safetensors").stat().st_ino


def test_folder_linked_twice_is_listed_twice(tmp_path: Path) -> None:
    put(tmp_path / "models/loras/a/x.safetensors")
    (tmp_path / "models/loras/b").symlink_to(tmp_path / "models/loras/a")
    assert names(scan(tmp_path), "loras") == ["a/x.safetensors", "b/x.safetensors"]


def test_link_loop_is_cut_and_reported(tmp_path: Path) -> None:
    put(tmp_path / "models/loras/sub/x.safetensors")
    (tmp_path / "models/loras/sub/up").symlink_to(tmp_path / "models/loras")
    (tmp_path / "models/loras/sub/here").symlink_to(".")
    listing = scan(tmp_path)
    assert names(listing, "loras") == ["sub/x.safetensors"]
    assert reasons(listing) == ["is a link to a folder that contains it; it was not followed"] * 2


def test_link_to_an_ancestor_of_the_models_is_entered_once(tmp_path: Path) -> None:
    put(tmp_path / "models/loras/x.safetensors")
    (tmp_path / "models/loras/all").symlink_to(tmp_path)
    listing = scan(tmp_path)
    assert names(listing, "loras") == ["all/models/loras/x.safetensors", "x.safetensors"]
    assert len(listing.problems) == 1


def test_link_to_the_folder_above_is_entered_once(tmp_path: Path) -> None:
    put(tmp_path / "models/loras/x.safetensors")
    (tmp_path / "models/loras/all").symlink_to(tmp_path / "models")
    assert names(scan(tmp_path), "loras") == ["all/loras/x.safetensors", "x.safetensors"]


def test_too_many_folders_are_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_module, "MAX_FOLDERS", 100)
    root = tmp_path / "models/loras"
    for n in range(8):
        put(root / str(n) / "x.safetensors")
    for n in range(8):
        for other in range(8):
            (root / str(n) / f"to{other}").symlink_to(root / str(other))
    listing = scan(tmp_path)
    assert any("more than 100 folders" in reason for reason in reasons(listing))


def test_git_folders_are_not_entered(tmp_path: Path) -> None:
    put(tmp_path / "models/loras/.git/x.safetensors")
    put(tmp_path / "models/loras/.cache/y.safetensors")
    assert names(scan(tmp_path), "loras") == [".cache/y.safetensors"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_folder_is_reported(tmp_path: Path) -> None:
    put(tmp_path / "models/loras/ok.safetensors")
    locked = tmp_path / "models/loras/locked"
    locked.mkdir(mode=0)
    listing = scan(tmp_path)
    assert names(listing, "loras") == ["ok.safetensors"]
    assert reasons(listing) == ["cannot be listed: Permission denied"]


def test_folder_with_too_long_a_path_is_reported(tmp_path: Path) -> None:
    put(tmp_path / "models/loras/ok.safetensors")
    descriptor = os.open(tmp_path / "models/loras", os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=descriptor)
        subfolder = os.open("d" * 250, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = subfolder
    os.close(descriptor)
    listing = scan(tmp_path)
    assert names(listing, "loras") == ["ok.safetensors"]
    assert reasons(listing) == ["cannot be listed: File name too long"]


def test_names_outside_utf8_or_unprintable_are_reported(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "models/loras")
    os.makedirs(folder + b"/bad\xff")
    for name in (b"a\nb.safetensors", b"\xff.safetensors", b"quote\"'.safetensors", "\u00e9.safetensors".encode()):
        Path(os.fsdecode(folder + b"/" + name)).touch()
    Path(os.fsdecode(folder + b"/bad\xff/x.safetensors")).touch()
    listing = scan(tmp_path)
    assert names(listing, "loras") == ["a\nb.safetensors", "quote\"'.safetensors", "\u00e9.safetensors"]
    assert sorted(reasons(listing)) == [
        "has a name that is not UTF-8; no workflow can name it",
        "has a name that is not UTF-8; no workflow can name it",
        "has a name with unprintable characters",
    ]
    assert all(problem.path.isprintable() for problem in listing.problems)


def test_diffusers_are_folders_with_an_index(tmp_path: Path) -> None:
    put(tmp_path / "models/diffusers/sdxl/model_index.json", b"{}")
    put(tmp_path / "models/diffusers/sdxl/unet/config.json", b"{}")
    put(tmp_path / "models/diffusers/org/sd/model_index.json", b"{}")
    put(tmp_path / "models/diffusers/a.safetensors")
    entries = scan(tmp_path).folders["diffusers"]
    assert list(entries) == ["org/sd", "sdxl"]
    assert entries["sdxl"].path == str(tmp_path / "models/diffusers/sdxl")


def test_diffusers_index_at_the_top_is_the_folder_itself(tmp_path: Path) -> None:
    put(tmp_path / "models/diffusers/model_index.json", b"{}")
    assert names(scan(tmp_path), "diffusers") == ["."]


def test_file_in_the_place_of_a_model_folder_is_ignored(tmp_path: Path) -> None:
    put(tmp_path / "models/loras")
    assert names(scan(tmp_path), "loras") == []
