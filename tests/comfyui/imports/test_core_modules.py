from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.comfyui.imports.core_modules import CoreModules
from tests.closed_paths import close_paths
from tests.comfyui.imports.hosts import build_core

FILES = {
    "comfy/samplers.py": "from .stars import *\nimport comfy.stars as other\nSAME = other",
    "comfy/stars.py": "from comfy.inner import deep\nfrom torch import *\n_hidden = 1\npublic = 2",
    "comfy/inner/__init__.py": "from . import deep\nif x:\n    maybe = 1\nelse:\n    maybe = 2",
    "comfy/inner/deep.py": "def f(): pass\nclass A:\n    attribute = 1",
    "comfy/loop_a.py": "from comfy.loop_b import *",
    "comfy/loop_b.py": "from comfy.loop_a import *",
    "comfy/own_loader/__init__.py": "import sys\nsys.modules[__name__ + '.x'] = sys\nglobals()['y'] = 1",
    "nodes.py": "def f():\n    global late\n    late = 1\n[walrus := 1]",
    "new_updater.py": "",
}


@pytest.fixture
def core(tmp_path: Path) -> CoreModules:
    return build_core(tmp_path, FILES)


@pytest.mark.parametrize(
    ("dotted", "expected"),
    [
        ("comfy", True),
        ("comfy.inner.deep", True),
        ("comfy.inner.gone", False),
        ("comfy.samplers.more", False),
        ("comfy.own_loader.x", True),
        ("torch", None),
        ("execution", None),
        ("new_updater", None),
    ],
)
def test_modules(core: CoreModules, dotted: str, *, expected: bool | None) -> None:
    assert core.has_module(dotted) is expected


@pytest.mark.parametrize(
    ("module", "name", "expected"),
    [
        ("comfy", "samplers", True),
        ("comfy", "gone", False),
        ("comfy.inner", "maybe", True),
        ("comfy.inner", "gone", False),
        ("comfy.inner.deep", "__file__", True),
        ("comfy.samplers", "public", True),
        ("comfy.samplers", "_hidden", False),
        ("comfy.samplers", "anything", True),
        ("comfy.loop_a", "gone", True),
        ("nodes", "late", True),
        ("nodes", "walrus", True),
        ("nodes", "gone", False),
        ("comfy.own_loader", "y", True),
    ],
)
def test_names(core: CoreModules, module: str, name: str, *, expected: bool) -> None:
    assert core.has_name(module, name) is expected


@pytest.mark.parametrize(
    ("dotted", "missing"),
    [
        ("comfy.samplers.other.public", None),
        ("comfy.samplers.SAME.public.x", None),
        ("comfy.inner.deep.A.gone", None),
        ("comfy.inner.deep.B.x", "comfy.inner.deep.B"),
        ("comfy.inner.deep", None),
        ("comfy.gone.x", "comfy.gone"),
        ("torch.gone", None),
    ],
)
def test_attributes(core: CoreModules, dotted: str, missing: str | None) -> None:
    assert core.find_missing_attribute(dotted) == missing


def test_longest_module_is_found(core: CoreModules) -> None:
    assert core.find_module("comfy.inner.deep.A") == "comfy.inner.deep"
    assert core.find_module("new_updater") == "new_updater"
    assert core.find_module("torch.nn") is None


def test_unreadable_root_has_no_modules(tmp_path: Path) -> None:
    assert CoreModules(tmp_path / "gone", lambda _path: pytest.fail("nothing to read")).has_module("comfy") is None


def test_folder_that_cannot_be_listed_may_hold_any_module(
    core: CoreModules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close_paths(monkeypatch, tmp_path / "comfy", calls=("listdir",))
    assert core.has_module("comfy.gone") is True
    assert core.has_name("comfy.gone", "anything")
    assert core.find_missing_attribute("comfy.gone.anything") is None
