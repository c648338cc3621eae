"""Packs with every way of importing modules, started by a real ComfyUI: our verdict on their classes agrees with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from scripts.real_comfyui import start
from tests.comfyui.imports.hosts import write_files
from tests.readiness.nodes.attacked_packs import ATTACKED_PACKS, FAULTS_AT_RUN_TIME, build_files, name_class
from tests.real_comfyui.import_packs import read_import_packs, write_import_packs
from tests.real_comfyui.truth import HostKind, run_cycle, write_workflows

if TYPE_CHECKING:
    from scripts.real_comfyui import Installed

pytestmark = [pytest.mark.real_comfyui, pytest.mark.slow]

Json = dict[str, Any]

PACKS = read_import_packs()
ALLOWED_DOUBTS = 12
"""Classes that the server lists and that stay UNCERTAIN: each needs code that static analysis cannot follow."""


def build_file(class_type: str, folder: str) -> Json:
    """Return a file of the editor with one node, which names its pack."""
    node = {"id": 1, "type": class_type, "mode": 0, "inputs": [], "outputs": [], "properties": {"cnr_id": folder}}
    return {"nodes": [{**node, "widgets_values": []}], "links": [], "version": 0.4}


ATTACKED = {name_class(fault): fault for fault in ATTACKED_PACKS}


@pytest.fixture(scope="module")
def host(
    real_comfyui_installed: Installed, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, bool], dict[str, Json]]:
    """Whether the server lists each class, and the report on a workflow with it while no server runs."""
    base, home = tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("home")
    owners = {class_type: folder for folder, pack in PACKS.items() for class_type in pack.classes}
    (base / "user" / "default" / "workflows").mkdir(parents=True)
    write_import_packs(base / "custom_nodes", PACKS)
    for class_type, fault in ATTACKED.items():
        write_files(base / "custom_nodes" / fault, build_files(fault))
        owners[class_type] = fault
    write_workflows(base, {f"{name}.json": build_file(name, folder) for name, folder in owners.items()})
    # The first cycle sees no `__pycache__` folder and no log, the second one a log that settles every doubt.
    entries = run_cycle(real_comfyui_installed, base, home / "before", HostKind(models=1.0), url="")
    server = start(real_comfyui_installed, base)
    try:
        listed = server.get("/object_info")[1]
    finally:
        server.stop()
    return {name: name in listed for name in owners}, {name: entries[f"{name}.json"] for name in owners}


def judge(entry: Json) -> str:
    """Return what a report says of the class of a workflow."""
    states = {node["state"] for node in entry["missing_nodes"]}
    if not states:
        assert entry["status"] == "READY"
        assert entry["unconfirmed_packs"]
        return "imports"
    return "doubtful" if states == {"unknown"} else "cannot be imported"


def test_no_class_that_the_server_lacks_is_ready(host: tuple[dict[str, bool], dict[str, Json]]) -> None:
    listed, entries = host
    lies = [name for name, entry in entries.items() if judge(entry) == "imports" and not listed[name]]
    assert [name for name in lies if ATTACKED.get(name) not in FAULTS_AT_RUN_TIME] == []


def test_no_attacked_pack_has_a_class(host: tuple[dict[str, bool], dict[str, Json]]) -> None:
    listed, _ = host
    assert [name for name in ATTACKED if listed[name]] == []


def test_no_class_that_the_server_lists_is_missing(host: tuple[dict[str, bool], dict[str, Json]]) -> None:
    listed, entries = host
    wrong = {
        name: entry["missing_nodes"]
        for name, entry in entries.items()
        if judge(entry) == "cannot be imported" and listed[name]
    }
    assert wrong == {}


def test_few_classes_that_the_server_lists_are_doubtful(host: tuple[dict[str, bool], dict[str, Json]]) -> None:
    listed, entries = host
    doubtful = [name for name, entry in entries.items() if judge(entry) == "doubtful" and listed[name]]
    assert sum(listed.values()) > len(PACKS) * 2 // 3
    assert len(doubtful) <= ALLOWED_DOUBTS, doubtful
