"""Which Python packages ComfyUI needs to start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from comfywatchman.comfyui.imports.core_start import find_import_blocker, is_unguarded, read_core_start, read_node_files
from comfywatchman.comfyui.imports.environment import PythonEnvironment, read_environment
from comfywatchman.comfyui.install.start_blockers import StartBlocker
from tests.comfyui.imports.hosts import build_core, write_environment

FILES = {
    "main.py": "import os, comfy.options\nfrom app.logger import setup\nif True:\n    import guarded\nimport nodes\n",
    "comfy/options.py": "import torch\n",
    "app/__init__.py": "",
    "app/logger.py": 'TEXT = """\nimport not_an_import\n"""\nfrom . import other  # comment\n',
    "app/other.py": "from aiohttp import (\n    web,\n)\n",
    "nodes.py": "from comfy import late as later\n",
    "comfy/late.py": "import requests as r, torch\nimport nodes\n",
    "unused.py": "import never",
}


def find(tmp_path: Path, packages: dict[str, str]) -> StartBlocker | None:
    start = read_core_start(build_core(tmp_path / "ComfyUI", FILES))
    return find_import_blocker(start, tmp_path / "ComfyUI", [environment(tmp_path, packages)])


def environment(tmp_path: Path, packages: dict[str, str]) -> PythonEnvironment:
    found = read_environment(write_environment(tmp_path / "venv", packages))
    assert found is not None
    return found


def test_packages_are_followed_from_main(tmp_path: Path) -> None:
    start = read_core_start(build_core(tmp_path, FILES))
    assert start.packages == {"os", "torch", "aiohttp", "requests", "not_an_import"}
    assert set(start.files) == {file for file in FILES if file not in {"unused.py", "app/__init__.py"}} | {
        "app/__init__.py"
    }


def test_missing_package_keeps_comfyui_from_starting(tmp_path: Path) -> None:
    blocker = find(tmp_path, {"aiohttp/__init__.py": ""})
    assert blocker is not None
    assert (blocker.path, blocker.line) == (tmp_path / "ComfyUI" / "comfy" / "late.py", 1)
    assert "requests" in blocker.reason
    assert "pip install" in blocker.fix


def test_text_that_looks_like_an_import_is_none(tmp_path: Path) -> None:
    assert find(tmp_path, {"aiohttp/__init__.py": "", "requests.py": ""}) is None


@pytest.mark.parametrize("change", [{"is_guess": True}, {"hook": "x.pth"}])
def test_environment_that_may_not_be_the_one_proves_nothing(tmp_path: Path, change: dict[str, object]) -> None:
    start = read_core_start(build_core(tmp_path / "ComfyUI", FILES))
    found = replace(environment(tmp_path, {}), **change)  # type: ignore[arg-type]
    assert find_import_blocker(start, tmp_path / "ComfyUI", [found]) is None


@pytest.mark.parametrize("count", [0, 2])
def test_only_a_single_environment_proves_something(tmp_path: Path, count: int) -> None:
    start = read_core_start(build_core(tmp_path / "ComfyUI", FILES))
    assert find_import_blocker(start, tmp_path / "ComfyUI", [environment(tmp_path, {})] * count) is None


def test_changed_or_broken_files_prove_nothing(tmp_path: Path) -> None:
    start = read_core_start(build_core(tmp_path / "ComfyUI", FILES))
    for text in ("def (:\n", "try:\n    import requests\nexcept ImportError:\n    pass\n"):
        (tmp_path / "ComfyUI/comfy/late.py").write_text(text)
        found = environment(tmp_path / text[:3].strip(), {"aiohttp.py": ""})
        assert find_import_blocker(start, tmp_path / "ComfyUI", [found]) is None


def test_unreadable_files_are_left_out(tmp_path: Path) -> None:
    core = build_core(tmp_path, {"main.py": "import nodes\nimport x", "nodes.py": ""})
    (tmp_path / "nodes.py").write_bytes(b"#" * (3 << 20))
    assert read_core_start(core).packages == {"x"}


def test_package_behind_a_broken_link_is_no_blocker(tmp_path: Path) -> None:
    start = read_core_start(build_core(tmp_path / "ComfyUI", FILES))
    before = environment(tmp_path, {"aiohttp.py": ""})
    assert find_import_blocker(start, tmp_path / "ComfyUI", [before]) is not None
    (before.paths[0] / "requests").symlink_to("/nowhere/at/all")
    after = read_environment(before.folder)
    assert after is not None
    assert find_import_blocker(start, tmp_path / "ComfyUI", [after]) is None


NODE_FILES = FILES | {
    "comfy_extras/nodes_glsl.py": "import os\nimport torch\nimport comfy_angle\n",
    "comfy_extras/nodes_deep.py": "from comfy_extras import helper\n",
    "comfy_extras/nodes_plain.py": "from comfy import late\nimport torch\nimport late, options\n",
    "comfy_extras/helper.py": "from kornia.filters import canny\n",
}


def test_node_files_are_followed_beyond_the_start(tmp_path: Path) -> None:
    core = build_core(tmp_path, NODE_FILES)
    found = {one.file: one.imports for one in read_node_files(core, read_core_start(core))}
    assert {file: sorted(imports.packages) for file, imports in found.items()} == {
        "comfy_extras/nodes_glsl.py": ["comfy_angle"],
        "comfy_extras/nodes_deep.py": ["kornia"],
        "comfy_extras/nodes_plain.py": [],
    }
    assert found["comfy_extras/nodes_deep.py"].files == ("comfy_extras/nodes_deep.py", "comfy_extras/helper.py")
    (use,) = found["comfy_extras/nodes_deep.py"].uses
    assert use.chain == (("comfy_extras/nodes_deep.py", 1), ("comfy_extras/helper.py", 1))


def test_use_is_guarded_when_any_file_on_the_way_catches_errors(tmp_path: Path) -> None:
    files = NODE_FILES | {
        "comfy_extras/nodes_deep.py": "try:\n    pass\nfinally:\n    pass\nfrom comfy_extras import helper\n"
    }
    core = build_core(tmp_path, files)
    uses = [use for one in read_node_files(core, read_core_start(core)) for use in one.imports.uses]
    assert all(is_unguarded(use, tmp_path) for use in uses)
    (tmp_path / "comfy_extras" / "helper.py").write_text("if True:\n    pass\n")
    assert not all(is_unguarded(use, tmp_path) for use in uses)
