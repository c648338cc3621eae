from __future__ import annotations

from pathlib import Path

from comfywatchman.comfyui.install.folders import resolve_folders
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.loaders.table import LoaderInput, LoaderTable
from comfywatchman.comfyui.references.observed import ObservedLoaders


def seen(name: str, folder: str, place: int | None = None) -> LoaderInput:
    return LoaderInput("Loader", name, folder, place, "a trial", "high")


def read(name: str, folder: str, place: int | None = None) -> LoaderInput:
    return LoaderInput("Loader", name, folder, place, "its source", "medium", not_files=("mine",))


def test_what_was_seen_fills_what_was_not_known() -> None:
    table = ObservedLoaders((seen("name", "vae", 1),)).extend_table(LoaderTable([]))
    assert table.inputs("Loader") == (seen("name", "vae", 1),)


def test_what_was_seen_wins_over_another_folder_and_keeps_the_place() -> None:
    table = ObservedLoaders((seen("name", "vae"),)).extend_table(LoaderTable([read("name", "loras", 3)]))
    assert table.inputs("Loader") == (seen("name", "vae", 3),)


def test_what_was_known_already_stays_as_it_is() -> None:
    table = LoaderTable([read("name", "vae", 3)])
    assert ObservedLoaders((seen("name", "vae", 3),)).extend_table(table) is table


def test_folders_that_only_packs_have_are_where_they_were_seen(tmp_path: Path) -> None:
    folders, _ = resolve_folders(Installation(root=tmp_path, version=None, base=tmp_path))
    tried = ObservedLoaders(directories={"odd_things": ("odd",), "vae": ("elsewhere",)})
    added = tried.extend_folders(folders)
    odd, vae = added.get("odd_things"), added.get("vae")
    assert odd is not None
    assert odd.directories == (tmp_path / "models" / "odd",)
    assert vae == folders.get("vae")
    assert ObservedLoaders().extend_folders(folders) is folders
