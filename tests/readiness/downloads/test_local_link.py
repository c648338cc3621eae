from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.install.folders import resolve_folders
from comfywatchman.readiness.database import open_memory_database
from comfywatchman.readiness.downloads.local_link import link_model
from comfywatchman.readiness.downloads.plan import PlanItem
from comfywatchman.readiness.models.index import ModelIndex
from comfywatchman.readiness.models.inventory import ModelFile, build_inventory
from comfywatchman.readiness.models.scan import scan_models
from tests.hosts import Host

ITEM = PlanItem("sub/ink.safetensors", "loras", "")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    found = Host(tmp_path)
    found.model("vae/ink.safetensors")
    return found


def find(host: Host, name: str) -> ModelFile:
    folders, _blockers = resolve_folders(host.installation)
    inventory = build_inventory(scan_models(folders), ModelIndex(open_memory_database()))
    return next(file for file in inventory.all_models() if file.name == name)


@pytest.mark.parametrize(("method", "is_symlink"), [("hard", False), ("symlink", True), ("off", True)])
def test_file_is_linked_where_the_workflow_expects_it(host: Host, method: str, *, is_symlink: bool) -> None:
    host.set(downloads__link=method)
    folders, _blockers = resolve_folders(host.installation)
    outcome = link_model(ITEM, find(host, "ink.safetensors"), host.request().settings, folders)
    target = host.comfyui / "models/loras/sub/ink.safetensors"
    assert (outcome.how, outcome.target, target.is_symlink()) == ("linked", str(target), is_symlink)
    assert target.samefile(host.comfyui / "models/vae/ink.safetensors")


def test_existing_file_is_not_replaced(host: Host) -> None:
    host.model("loras/sub/ink.safetensors", b"mine")
    folders, _blockers = resolve_folders(host.installation)
    with pytest.raises(Failure) as failed:
        link_model(ITEM, find(host, "ink.safetensors"), host.request().settings, folders)
    assert failed.value.code == "download-target-taken"


def test_file_that_has_changed_is_not_linked(host: Host) -> None:
    source = find(host, "ink.safetensors")
    host.model("vae/ink.safetensors", b"another file")
    folders, _blockers = resolve_folders(host.installation)
    with pytest.raises(Failure) as failed:
        link_model(ITEM, source, host.request().settings, folders)
    assert failed.value.code == "download-no-source"
