from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from comfywatchman.comfyui.imports.environment import PythonEnvironment
from comfywatchman.comfyui.imports.problems import ImportProblem, PackImports, ProblemKind
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.loaders.table import LoaderInput
from comfywatchman.comfyui.loaders.upload_inputs import FileInput
from comfywatchman.comfyui.packs.scan import find_packs
from comfywatchman.readiness.nodes.static_analysis import LastImports, SourceNodes, read_last_imports
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


def last_imports(comfyui: Path, *environments: PythonEnvironment) -> LastImports:
    nodes = SourceNodes(find_packs([comfyui / "custom_nodes"]), (), None, (), environments=environments)
    return read_last_imports(Installation(comfyui, None, comfyui), nodes)


def failed(comfyui: Path) -> dict[str, str]:
    return dict(last_imports(comfyui).failed)


def test_failed_import_is_found_with_the_time_of_the_log(comfyui: Path) -> None:
    assert failed(comfyui) == {"bad": "its import failed at the last start of ComfyUI (log of 1970-01-01T00:33:20Z)"}


def test_pack_that_changed_after_the_start_may_be_repaired(comfyui: Path) -> None:
    os.utime(comfyui / "custom_nodes/bad/__init__.py", (2_000, 2_000))
    assert failed(comfyui) == {}


def test_import_that_succeeded_is_found(comfyui: Path) -> None:
    assert last_imports(comfyui).imported == {"good"}
    os.utime(comfyui / "custom_nodes/good/__init__.py", (2_000, 2_000))
    assert last_imports(comfyui).imported == frozenset()


def test_start_before_an_update_of_comfyui_proves_nothing(comfyui: Path) -> None:
    os.utime(put(comfyui / "main.py", b""), (1_000, 1_000))
    assert failed(comfyui)
    os.utime(put(comfyui / "nodes.py", b""), (3_000, 3_000))
    assert last_imports(comfyui) == LastImports({}, frozenset())


def test_start_before_a_change_of_python_packages_proves_nothing(comfyui: Path, tmp_path: Path) -> None:
    packages = put(tmp_path / "venv" / "site-packages" / "torch.py", b"").parent
    environment = PythonEnvironment(tmp_path / "venv", (3, 12), (packages,), frozenset(), {})
    os.utime(packages, (1_000, 1_000))
    assert last_imports(comfyui, environment).imported
    os.utime(packages, (3_000, 3_000))
    assert last_imports(comfyui, environment) == LastImports({}, frozenset())


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
        for core in (None, CORE, replace(CORE, version="0.34.0"), replace(CORE, signatures=b"X"))
    }
    put(comfyui / "custom_nodes/good/more.py", b"A = 1\n")
    changed = tuple(find_packs([comfyui / "custom_nodes"]))
    fingerprints.add(tuple(SourceNodes(changed, (), None, ()).fingerprints()))
    assert len(fingerprints) == 5


def test_fingerprints_change_with_import_problems() -> None:
    problem = ImportProblem(
        ProblemKind.RAISED, "ValueError", "__init__.py", 1, "", "it raises ValueError", is_certain=True
    )
    with_problem = SourceNodes((), (), None, (), {"/p": PackImports(problem)})
    assert tuple(with_problem.fingerprints()) != tuple(SourceNodes((), (), None, ()).fingerprints())
