"""Our listing of models equals the server's, folder by folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from comfywatchman.comfyui.install.folders import ModelFolders, resolve_folders
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.readiness.models.inventory import HeaderKey, Inventory, build_inventory
from comfywatchman.readiness.models.scan import scan_models
from scripts.real_comfyui import Installed, Server, start
from tests.real_comfyui.sandbox import fill_model_folders

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from comfywatchman.comfyui.models.file import HeaderFacts

pytestmark = [pytest.mark.real_comfyui, pytest.mark.slow]

NO_MODEL_FOLDERS = {"custom_nodes", "diffusers"}


class NothingKnown:
    def headers(self) -> Mapping[HeaderKey, HeaderFacts]:
        return {}

    def remember_headers(self, facts: Mapping[HeaderKey, HeaderFacts]) -> None:
        pass


@dataclass(frozen=True)
class Host:
    server: Server
    folders: ModelFolders
    inventory: Inventory


@pytest.fixture(scope="module")
def host(real_comfyui_installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    base, elsewhere = tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("elsewhere")
    paths = fill_model_folders(base, elsewhere)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CW_TEST_SHARED", str(elsewhere / "shared"))
        arguments = [f"--extra-model-paths-config={path}" for path in paths]
        server = start(real_comfyui_installed, base, arguments=arguments)
        try:
            installation = Installation(
                real_comfyui_installed.tree, version=None, base=base, extra_model_paths=tuple(paths)
            )
            folders, problems = resolve_folders(installation)
            assert problems == ()
            yield Host(server, folders, build_inventory(scan_models(folders), NothingKnown()))
        finally:
            server.stop()


def test_every_folder_that_the_server_names_lists_the_same_names(host: Host) -> None:
    names = set(host.server.get("/models")[1]) - NO_MODEL_FOLDERS
    theirs = {name: host.server.get(f"/models/{name}")[1] for name in sorted(names)}
    ours = {name: sorted(host.inventory.in_folder(name)) for name in theirs}
    assert ours == theirs
    assert "my_own_folder" in theirs
    assert sum(map(len, theirs.values())) > 250


def test_every_folder_has_the_servers_directories_in_the_same_order(host: Host) -> None:
    theirs = host.server.get("/internal/folder_paths")[1]
    del theirs["custom_nodes"]
    ours = {name: [str(place) for place in host.folders.folders[name].directories] for name in theirs}
    assert ours == theirs


def test_diffusers_folders_are_those_that_the_loader_offers(host: Host) -> None:
    spec = host.server.get("/object_info/DiffusersLoader")[1]["DiffusersLoader"]
    offered = spec["input"]["required"]["model_path"][0]
    assert sorted(host.inventory.in_folder("diffusers")) == sorted(offered)


def test_the_file_behind_a_name_is_the_one_that_the_server_opens(host: Host) -> None:
    places = host.server.get("/internal/folder_paths")[1]
    for folder in ("checkpoints", "loras", "text_encoders", "diffusion_models"):
        names = host.server.get(f"/models/{folder}")[1]
        opened = [next(Path(place, name) for place in places[folder] if Path(place, name).is_file()) for name in names]
        ours = [host.inventory.in_folder(folder)[name].path for name in names]
        assert ours == list(map(str, opened))
