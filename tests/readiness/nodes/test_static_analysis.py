from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.loaders.table import LoaderInput
from comfywatchman.comfyui.loaders.upload_inputs import FileInput
from comfywatchman.comfyui.packs.scan import find_packs
from comfywatchman.readiness.nodes.static_analysis import SourceNodes, find_failed_imports
from tests.model_files import put
from tests.readiness.nodes.test_classify import CORE, pack

LOG = b"""Import times for custom nodes:
   0.0 seconds: /c/custom_nodes/good
   0.1 seconds (IMPORT FAILED): /c/custom_nodes/bad
"""


@pytest.fixture
def comfyui(tmp_path: Path) -> Path:
    for name in ("good", "bad"):
        source = put(tmp_path / "custom_nodes" / name / "__init__.py", b"NODE_CLASS_MAPPINGS = {}\n")
        os.utime(source, (1_000, 1_000))
    log = put(tmp_path / "user/comfyui.log", LOG)
    os.utime(log, (2_000, 2_000))
    return tmp_path


def failed(comfyui: Path) -> dict[str, str]:
    return find_failed_imports(Installation(comfyui, None, comfyui), tuple(find_packs([comfyui / "custom_nodes"])))


def test_failed_import_is_found_with_the_time_of_the_log(comfyui: Path) -> None:
    assert failed(comfyui) == {"bad": "its import failed at the last start of ComfyUI (log of 1970-01-01T00:33:20Z)"}


def test_pack_that_changed_after_the_start_may_be_repaired(comfyui: Path) -> None:
    os.utime(comfyui / "custom_nodes/bad/__init__.py", (2_000, 2_000))
    assert failed(comfyui) == {}


def test_host_without_a_log_has_no_failed_imports(comfyui: Path) -> None:
    (comfyui / "user/comfyui.log").unlink()
    assert failed(comfyui) == {}


def test_disabled_packs_are_left_out() -> None:
    enabled, disabled = pack("On"), pack("Off", enabled=False)
    assert list(SourceNodes((), (enabled, disabled), CORE, ()).enabled()) == [CORE, enabled]
    assert list(SourceNodes((), (enabled, disabled), None, ()).enabled()) == [enabled]


def test_inputs_of_enabled_packs_are_collected() -> None:
    loader = LoaderInput("Load", "name", "loras", 0, "static analysis", "medium")
    picture = FileInput("Show", "image", "picture")
    enabled = pack("On", loader_inputs=(loader,), file_inputs=(picture,))
    nodes = SourceNodes((), (enabled, pack("Off", enabled=False, loader_inputs=(loader,))), CORE, ())
    assert (nodes.loader_inputs, nodes.file_inputs) == ((loader,), (picture,))


def test_fingerprints_change_with_packs_and_core(comfyui: Path) -> None:
    listings = tuple(find_packs([comfyui / "custom_nodes"]))
    fingerprints = {
        tuple(SourceNodes(listings, (), core, ()).fingerprints())
        for core in (None, CORE, replace(CORE, version="0.34.0"), replace(CORE, own_checks=frozenset({"X"})))
    }
    put(comfyui / "custom_nodes/good/more.py", b"A = 1\n")
    changed = tuple(find_packs([comfyui / "custom_nodes"]))
    fingerprints.add(tuple(SourceNodes(changed, (), None, ()).fingerprints()))
    assert len(fingerprints) == 5
