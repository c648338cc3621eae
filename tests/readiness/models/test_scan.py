from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from comfywatchman.comfyui.install.folders import resolve_folders
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.install.reachability import ObstacleKind
from comfywatchman.readiness.models import scan as scan_module
from comfywatchman.readiness.models.entry import LINK_BROKEN, NOT_REGULAR, UNREADABLE
from comfywatchman.readiness.models.scan import ModelListing, scan_models
from tests.closed_paths import close_paths
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


def test_root_without_models_lists_nothing(tmp_path: Path) -> None:
    put(tmp_path / "main.py")
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


def test_broken_links_and_fifos_are_listed_with_their_problem(tmp_path: Path) -> None:
    folder = tmp_path / "models/loras"
    folder.mkdir(parents=True)
    (folder / "gone.safetensors").symlink_to(tmp_path / "nowhere\n")
    (folder / "self.safetensors").symlink_to(folder / "self.safetensors")
    os.mkfifo(folder / "fifo.safetensors")
    entries = scan(tmp_path).folders["loras"]
    assert entries["gone.safetensors"].problem == f"a link to {tmp_path}/nowhere\\n, which does not exist"
    assert entries["self.safetensors"].problem == f"a link to {folder}/self.safetensors, which does not exist"
    assert entries["fifo.safetensors"].problem == "not a regular file"
    codes = {name: entry.problem_code for name, entry in entries.items()}
    assert codes == {"fifo.safetensors": NOT_REGULAR, "gone.safetensors": LINK_BROKEN, "self.safetensors": LINK_BROKEN}


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


@pytest.mark.slow
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


def gaps(listing: ModelListing, folder: str) -> list[tuple[str, ObstacleKind, str]]:
    return [(gap.prefix, gap.obstacle.kind, gap.obstacle.path) for gap in listing.listings[folder].gaps]


def test_listing_of_whole_folders_has_no_gap(tmp_path: Path) -> None:
    put(tmp_path / "models/loras/a.safetensors")
    listing = scan(tmp_path)
    assert not any(listing.listings[folder].gaps for folder in listing.folders)
    assert listing.listings["loras"].directories == (str(tmp_path / "models/loras"), str(tmp_path / "output/loras"))


@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO, errno.ENOTCONN, errno.ESTALE])
def test_folder_that_cannot_be_listed_is_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    put(tmp_path / "models/loras/ok.safetensors")
    put(tmp_path / "models/vae/locked/a.safetensors")
    close_paths(monkeypatch, tmp_path / "models/loras", tmp_path / "models/vae/locked", error=error)
    listing = scan(tmp_path)
    assert gaps(listing, "loras") == [("", ObstacleKind.UNREADABLE, str(tmp_path / "models/loras"))]
    assert gaps(listing, "vae") == [("locked/", ObstacleKind.UNREADABLE, str(tmp_path / "models/vae/locked"))]
    assert set(reasons(listing)) == {f"cannot be listed: {os.strerror(error)}"}


def test_broken_link_in_the_place_of_a_folder_is_a_gap(tmp_path: Path) -> None:
    (tmp_path / "models/loras").mkdir(parents=True)
    (tmp_path / "models/checkpoints").symlink_to(tmp_path / "mnt/checkpoints")
    (tmp_path / "models/loras/far").symlink_to(tmp_path / "mnt/loras")
    (tmp_path / "models/loras/loop").symlink_to("loop")
    (tmp_path / "models/loras/notes").symlink_to(put(tmp_path / "notes.txt"))
    listing = scan(tmp_path)
    assert gaps(listing, "checkpoints") == [("", ObstacleKind.BROKEN_LINK, str(tmp_path / "models/checkpoints"))]
    assert gaps(listing, "loras") == [("far/", ObstacleKind.BROKEN_LINK, str(tmp_path / "models/loras/far"))]


@pytest.mark.parametrize("entry", ["models/checkpoints", ".", "{disk}/checkpoints"])
@pytest.mark.parametrize("has_mount_point", [False, True])
def test_folder_of_a_disk_that_is_not_mounted_is_a_gap(tmp_path: Path, entry: str, *, has_mount_point: bool) -> None:
    disk = tmp_path / "mnt/disk"
    if has_mount_point:
        disk.mkdir(parents=True)
    listing = scan(tmp_path, f"far:\n  base_path: {disk}\n  checkpoints: {entry.format(disk=disk)}\n")
    assert gaps(listing, "checkpoints") == [("", ObstacleKind.NOT_MOUNTED, str(disk))]
    assert gaps(listing, "loras") == []
    assert len(listing.problems) == 1


def test_folder_that_a_mounted_disk_lacks_is_no_gap(tmp_path: Path) -> None:
    put(tmp_path / "mnt/disk/other/a.safetensors")
    yaml = f"far:\n  base_path: {tmp_path}/mnt/disk\n  checkpoints: none\nnear:\n  loras: nowhere/loras\n"
    listing = scan(tmp_path, yaml)
    assert gaps(listing, "checkpoints") == gaps(listing, "loras") == []


def test_missing_base_directory_is_a_gap_of_all_its_folders(tmp_path: Path) -> None:
    base = tmp_path / "mnt/base"
    listing = scan_models(resolve_folders(Installation(tmp_path, None, base))[0])
    assert gaps(listing, "loras") == gaps(listing, "sams") == [("", ObstacleKind.NOT_MOUNTED, str(base))]
    models = scan_models(resolve_folders(Installation(tmp_path, None, tmp_path, models=base))[0])
    assert gaps(models, "loras") == gaps(models, "unet_gguf")[:1] == [("", ObstacleKind.NOT_MOUNTED, str(base))]


def test_mount_point_without_its_disk_is_a_gap(tmp_path: Path) -> None:
    put(tmp_path / "models/loras/local.safetensors")
    folders, _ = resolve_folders(Installation(tmp_path, None, tmp_path))
    models = tmp_path / "models"
    listing = scan_models(folders, unmounted=[str(models / "checkpoints"), str(models / "loras/far")])
    assert gaps(listing, "checkpoints") == [("", ObstacleKind.NOT_MOUNTED, str(models / "checkpoints"))]
    assert gaps(listing, "loras") == [("far/", ObstacleKind.NOT_MOUNTED, str(models / "loras/far"))]
    assert gaps(listing, "vae") == []


def test_rest_of_too_many_folders_is_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_module, "MAX_FOLDERS", 3)
    for n in range(8):
        put(tmp_path / "models/loras" / str(n) / "x.safetensors")
    assert ("", ObstacleKind.TOO_MANY_FOLDERS, str(tmp_path / "models/loras")) in gaps(scan(tmp_path), "loras")


def test_link_to_a_file_is_broken_only_when_its_folder_lacks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models/loras"
    for directory in (folder, tmp_path / "near", tmp_path / "locked"):
        directory.mkdir(parents=True)
    for name in ("near", "far", "locked"):
        (folder / f"{name}.safetensors").symlink_to(tmp_path / name / "a.safetensors")
    close_paths(monkeypatch, tmp_path / "locked")
    entries = scan(tmp_path).folders["loras"]
    codes = {name: (entry.problem_code, entry.obstacle and entry.obstacle.kind) for name, entry in entries.items()}
    assert codes == {
        "far.safetensors": (UNREADABLE, ObstacleKind.BROKEN_LINK),
        "locked.safetensors": (UNREADABLE, ObstacleKind.UNREADABLE),
        "near.safetensors": (LINK_BROKEN, None),
    }


def test_file_that_nobody_may_read_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "models/unet/a.safetensors", tmp_path / "models/diffusion_models/a.safetensors"
    put(first).chmod(0)
    put(second)
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    entry = scan(tmp_path).folders["diffusion_models"]["a.safetensors"]
    assert (entry.path, entry.problem_code) == (str(first), UNREADABLE)
    monkeypatch.setattr(os, "access", lambda _path, _mode: True)
    assert scan(tmp_path).folders["diffusion_models"]["a.safetensors"].problem is None
