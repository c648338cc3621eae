from __future__ import annotations

import sys
from pathlib import Path

import pytest

from comfywatchman.comfyui.imports.environment import PythonEnvironment, read_environment
from comfywatchman.comfyui.imports.host import ImportHost, PackEffects
from comfywatchman.comfyui.imports.problems import ProblemKind
from comfywatchman.comfyui.static_analysis.import_steps import ApiCallStep
from tests.comfyui.imports.hosts import CORE, build_core, write_environment


def environment(
    folder: Path, name: str = "venv", python: str = "3.11.7", release: str = "2.1", **files: str
) -> PythonEnvironment:
    packages = {f"sample_package-{release}.dist-info/METADATA": f"Name: Sample_Package\nVersion: {release}\n"}
    packages |= {f"{module}/__init__.py": text for module, text in files.items()}
    found = read_environment(write_environment(folder / name, packages, python=python))
    assert found is not None
    return found


def host(folder: Path, *environments: PythonEnvironment, effects: PackEffects | None = None) -> ImportHost:
    core = build_core(folder / "ComfyUI", {**CORE, "custom_nodes/pack/__init__.py": ""})
    return ImportHost(core, "0.3.75", environments, effects or PackEffects(), frozenset({"aiohttp"}))


def test_versions_are_known_only_where_all_environments_agree(tmp_path: Path) -> None:
    old = environment(tmp_path)
    same = environment(tmp_path, "same")
    new = environment(tmp_path, "new", python="3.12.1", release="3.0")
    agreed, mixed, unknown = (
        ImportHost(None, None, environments, PackEffects()) for environments in ([old, same], [old, new], [])
    )
    assert [here.python_version for here in (agreed, mixed, unknown)] == [(3, 11), None, None]
    assert agreed.package_version("Sample.Package") == "2.1"
    assert mixed.package_version("sample-package") is None


def test_only_a_python_that_is_not_newer_has_the_same_syntax(tmp_path: Path) -> None:
    minor = sys.version_info[1]
    assert host(tmp_path, environment(tmp_path, "same", python=f"3.{minor}.0")).has_same_syntax()
    assert not host(tmp_path, environment(tmp_path, "newer", python=f"3.{minor + 1}.0")).has_same_syntax()
    assert not host(tmp_path).has_same_syntax()


def test_unknown_python_leaves_packages_open(tmp_path: Path) -> None:
    effects = PackEffects([["__init__.py", "lib/brought.py"]])
    unknown = host(tmp_path, effects=effects)
    absence = unknown.find_absence("cv2.aruco")
    assert absence is not None
    assert (absence.kind, absence.is_certain) == (ProblemKind.UNRESOLVED, False)
    # ComfyUI itself, Python or a pack brings these.
    for name in ("aiohttp", "json", "brought", "custom_nodes.pack", "folder_paths"):
        assert unknown.find_absence(name) is None
    assert (unknown.has_module("cv2"), unknown.has_module("json"), unknown.has_module("nodes")) == (None, None, True)


@pytest.mark.parametrize(
    ("effects", "doubt"),
    [
        (PackEffects(), None),
        (PackEffects(installer="other-pack"), "unless other-pack installs it when ComfyUI starts"),
        (PackEffects(sets_names=frozenset({"gone"})), "unless one of the packs provides it at run time"),
        (
            PackEffects(sets_names=frozenset({"gone"}), installer="other-pack"),
            "unless other-pack installs it when ComfyUI starts",
        ),
        (PackEffects([["py/gone/x.py"]], installer="other-pack"), "unless one of the packs provides it at run time"),
    ],
)
def test_packs_may_provide_a_package_that_is_absent(effects: PackEffects, doubt: str | None, tmp_path: Path) -> None:
    here = host(tmp_path, environment(tmp_path), effects=effects)
    absence = here.find_absence("gone.part")
    assert absence is not None
    assert absence.kind is ProblemKind.PYTHON_PACKAGE
    assert absence.is_certain is (doubt is None)
    assert absence.explanation.endswith(doubt or " has no module gone")
    assert here.has_module("gone.part") is (False if doubt is None else None)


def test_attributes_of_comfyui(tmp_path: Path) -> None:
    here = host(tmp_path, environment(tmp_path), effects=PackEffects(sets_names=frozenset({"added"})))
    names = ("comfy.samplers.KSampler", "comfy.samplers.Gone", "comfy.samplers.added", "comfy.samplers.KSampler.x")
    assert [here.has_attribute(name) for name in names] == [True, False, None, None]
    assert here.has_attribute("torch.float8") is None
    assert ImportHost(None, None, (), PackEffects()).has_attribute(names[1]) is None


def test_folder_of_the_same_name_elsewhere_weakens_what_comfyui_lacks(tmp_path: Path) -> None:
    plain, mixed = environment(tmp_path), environment(tmp_path, "mixed", comfy="")
    for found, is_certain in ((plain, True), (mixed, False)):
        absence = host(tmp_path, found).find_absence("comfy.gone")
        assert absence is not None
        assert (absence.kind, absence.is_certain) == (ProblemKind.COMFYUI_VERSION, is_certain)


def test_module_in_memory_cannot_be_replaced_by_a_folder(tmp_path: Path) -> None:
    here = host(tmp_path, environment(tmp_path, numpy=""))
    loaded = [here.is_loaded(name) for name in ("json", "aiohttp", "nodes", "numpy", "custom_nodes")]
    assert loaded == [True, True, True, False, False]


def test_pack_that_replaces_the_api_weakens_a_mismatch(tmp_path: Path) -> None:
    step = ApiCallStep(1, "folder_paths.get_filename_list", positional=2)
    for names, is_certain in ((frozenset({"other"}), True), (frozenset({"get_filename_list"}), False)):
        absence = host(tmp_path, effects=PackEffects(sets_names=names)).find_mismatch(step)
        assert absence is not None
        assert absence.is_certain is is_certain
        assert absence.explanation.startswith("ComfyUI 0.3.75 rejects the call: it takes 1 positional arguments")
    assert ImportHost(None, None, (), PackEffects()).find_mismatch(step) is None
