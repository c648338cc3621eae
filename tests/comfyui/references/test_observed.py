from __future__ import annotations

from pathlib import Path

from comfywatchman.comfyui.install.folders import resolve_folders
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.loaders.table import LoaderInput, LoaderTable
from comfywatchman.comfyui.references.observed import ObservedLoaders


def observe(name: str, folder: str, place: int | None = None) -> LoaderInput:
    return LoaderInput("Loader", name, folder, place, "a trial", "high")


def read_statically(name: str, folder: str, place: int | None = None) -> LoaderInput:
    return LoaderInput("Loader", name, folder, place, "its source", "medium", not_files=("mine",))


def test_observed_input_is_added() -> None:
    table = ObservedLoaders((observe("name", "vae", 1),)).extend_table(LoaderTable([]))
    assert table.inputs("Loader") == (observe("name", "vae", 1),)


def test_observed_folder_wins_and_keeps_the_widget_index() -> None:
    table = ObservedLoaders((observe("name", "vae"),)).extend_table(LoaderTable([read_statically("name", "loras", 3)]))
    assert table.inputs("Loader") == (observe("name", "vae", 3),)


def test_known_input_stays_unchanged() -> None:
    table = LoaderTable([read_statically("name", "vae", 3)])
    assert ObservedLoaders((observe("name", "vae", 3),)).extend_table(table) is table


def test_observed_directories_become_folders(tmp_path: Path) -> None:
    folders, _ = resolve_folders(Installation(root=tmp_path, version=None, base=tmp_path))
    tried = ObservedLoaders(directories={"odd_things": ("odd",), "vae": ("elsewhere",)})
    added = tried.extend_folders(folders)
    odd, vae = added.get("odd_things"), added.get("vae")
    assert odd is not None
    assert odd.directories == (tmp_path / "models" / "odd",)
    assert vae == folders.get("vae")
    assert ObservedLoaders().extend_folders(folders) is folders
