"""The host snapshot: its fingerprint changes with each input of a verdict, and with nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from comfywatchman.comfyui.install.install import Installation
from comfywatchman.readiness.assessment.host_snapshot import HostSnapshot, inspect_host
from comfywatchman.readiness.context import CycleContext
from comfywatchman.readiness.database import open_database
from comfywatchman.readiness.workflow_facts import ClassUse
from tests.hosts import CHECKPOINT, Host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@contextmanager
def open_snapshot(host: Host) -> Iterator[HostSnapshot]:
    with closing(open_database(host.layout.database)) as database:
        snapshot = inspect_host(CycleContext.begin(host.request()), database)
        with closing(snapshot.providers):
            yield snapshot


def fingerprint(host: Host) -> str:
    with open_snapshot(host) as snapshot:
        return snapshot.fingerprint


def test_an_unchanged_host_has_the_same_fingerprint(host: Host) -> None:
    first = fingerprint(host)
    host.write("a.json")
    (host.comfyui / "output").mkdir()
    assert fingerprint(host) == first


@pytest.mark.slow
def test_model_pack_version_or_class_map_changes_the_fingerprint(host: Host) -> None:
    seen = [fingerprint(host)]
    host.model("loras/a.safetensors")
    seen.append(fingerprint(host))
    host.model(f"checkpoints/{CHECKPOINT}", b"")
    seen.append(fingerprint(host))
    pack = host.pack("MyNode")
    seen.append(fingerprint(host))
    pack.rename(pack.with_name("pack-MyNode.disabled"))
    seen.append(fingerprint(host))
    (host.comfyui / "comfyui_version.py").write_text('__version__ = "0.34.0"\n')
    seen.append(fingerprint(host))
    host.set(nodes__class_map=host.folder / "map")
    seen.append(fingerprint(host))
    host.set(nodes__ask_registry=True)
    seen.append(fingerprint(host))
    assert len(set(seen)) == len(seen)


@pytest.mark.slow
def test_target_folder_changes_the_fingerprint(host: Host) -> None:
    yaml = host.comfyui / "extra_model_paths.yaml"
    (host.folder / "disk").mkdir()
    seen = set()
    for line in ("", "  is_default: true\n"):
        yaml.write_text(f"x:\n  base_path: {host.folder / 'disk'}\n{line}  loras: l\n")
        seen.add(fingerprint(host))
    assert len(seen) == 2


@pytest.mark.slow
def test_model_folders_of_pack_loaders_are_scanned(host: Host) -> None:
    folder = host.pack("MyNode")
    source = (
        "import folder_paths\n"
        "class MyLoader:\n"
        "    @classmethod\n"
        "    def INPUT_TYPES(cls):\n"
        '        return {"required": {"name": (folder_paths.get_filename_list("my_models"),)}}\n'
        'NODE_CLASS_MAPPINGS = {"MyLoader": MyLoader}\n'
    )
    (folder / "__init__.py").write_text(source)
    host.model("my_models/a.safetensors")
    with open_snapshot(host) as snapshot:
        assert "a.safetensors" in snapshot.inventory.folders["my_models"]
        assert snapshot.table.fingerprint
    folder.rename(folder.with_name("x.disabled"))
    with open_snapshot(host) as snapshot:
        assert "my_models" not in snapshot.inventory.folders


def test_base_directory_without_nodes_py_has_no_core_classes(host: Host) -> None:
    request = host.request(installation=Installation(root=host.comfyui, version=None, base=host.comfyui))
    for name in ("main.py", "nodes.py"):
        os.unlink(host.comfyui / name)
    with closing(open_database(host.layout.database)) as database:
        snapshot = inspect_host(CycleContext.begin(request), database)
        with closing(snapshot.providers):
            assert (snapshot.comfyui_version, snapshot.comfyui_running) == (None, False)
            node = snapshot.judge_node("KSampler", ClassUse(node_paths=("1",))).missing
            assert snapshot.fingerprint
    assert node is None or node.state == "unknown"


@pytest.mark.slow
def test_unreadable_folders_are_problems(host: Host) -> None:
    (host.comfyui / "extra_model_paths.yaml").write_text("a: [\n")
    (host.comfyui / "models" / "loras").symlink_to("loras")
    with open_snapshot(host) as snapshot:
        (problem,) = snapshot.start_problems
        assert (problem.path, problem.line) == (str(host.comfyui / "extra_model_paths.yaml"), 2)
