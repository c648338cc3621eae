from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.comfyui.packs.definitions import read_pack_definitions
from comfywatchman.comfyui.packs.outline import OutlineCollector
from comfywatchman.comfyui.static_analysis.import_steps import (
    ClassNeeds,
    FunctionOutline,
    ImportStep,
    PackOutline,
    RaiseStep,
)
from comfywatchman.comfyui.static_analysis.modules import SourceTree
from comfywatchman.comfyui.static_analysis.values import UNKNOWN
from tests.comfyui.imports.hosts import write_files


def outline_of(folder: Path, source: str, **files: str) -> PackOutline:
    names = {f"{name.replace('__', '/')}.py": text for name, text in files.items()}
    root = write_files(folder / "pack", {"__init__.py": source, **names})
    sources = [str(path.relative_to(root)) for path in sorted(root.rglob("*.py"))]
    return read_pack_definitions(root, sources, label="pack").outline


def test_only_imported_modules_are_outlined(tmp_path: Path) -> None:
    source = "from .py import one\nfrom .gone import x\nimport torch"
    outline = outline_of(tmp_path, source, py__one="from . import two, three", py__two="", unused="import y")
    # The folder `py` has no `__init__.py`: it is a module without a file.
    files = {name: module and module.file for name, module in outline.modules.items()}
    assert files == {
        ".": "__init__.py",
        ".py": "",
        ".py.one": "py/one.py",
        ".py.two": "py/two.py",
        ".py.three": None,
        ".gone": None,
    }


def test_import_in_a_cycle_is_outlined_once(tmp_path: Path) -> None:
    outline = outline_of(tmp_path, "from . import a", a="from . import b", b="from . import a\nfrom .. import pack")
    assert set(outline.modules) >= {".", ".a", ".b"}
    module = outline.modules[".b"]
    assert module is not None
    assert ImportStep(1, ".", ("a",)) in module.steps


def test_module_that_is_not_python_has_its_error(tmp_path: Path) -> None:
    module = outline_of(tmp_path, "try:\n    from . import bad\nexcept E: pass", bad="x = 1\ny = = 2").modules[".bad"]
    assert module is not None
    assert module.syntax_error == "line 2: invalid syntax"


def test_folder_without_init_file_does_not_import(tmp_path: Path) -> None:
    write_files(tmp_path / "pack", {"web/a.js": ""})
    assert read_pack_definitions(tmp_path / "pack", [], label="pack").outline.modules == {".": None}


def test_public_names_that_are_computed_are_known(tmp_path: Path) -> None:
    names = "__all__ = ['f' + i for i in ('0', '1')]\nf0 = f1 = g = 1"
    module = outline_of(tmp_path, "from .a import *", a=names).modules[".a"]
    assert module is not None
    assert module.names.public == frozenset({"f0", "f1"})


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import torch\ntorch.nn.silu = f", {"silu"}),
        ("x.a == 1\nself.b = 1\n# c.d = 1", set()),
        ("setattr(torch, 'silu', f)", {"silu"}),
        ("import sys\nsys.modules['my.lib'] = x\nsys.modules.setdefault(\"other\", x)", {"my.lib", "other"}),
    ],
)
def test_names_set_on_modules_of_others(source: str, names: set[str], tmp_path: Path) -> None:
    assert outline_of(tmp_path, source).sets_names == names


@pytest.mark.parametrize(
    ("source", "changes_path", "installs"),
    [
        ("import sys\nsys.path.append('/x')", "yes", "no"),
        ("__path__ = []", "yes", "no"),
        ("run([sys.executable, '-m', 'pip', 'install', 'x'])", "no", "yes"),
        ("run('uv pip sync x')", "no", "yes"),
        ("import ensurepip", "no", "yes"),
        ("# pipeline install", "no", "no"),
    ],
)
def test_effects_on_python(source: str, changes_path: str, installs: str, tmp_path: Path) -> None:
    outline = outline_of(tmp_path, source)
    assert outline.changes_path is (changes_path == "yes")
    assert outline.installs_packages is (installs == "yes")


def test_only_needs_beyond_the_pack_are_kept(tmp_path: Path) -> None:
    write_files(tmp_path, {"__init__.py": ""})
    collector = OutlineCollector(SourceTree(tmp_path, frozenset()), lambda _module: None, is_file=False)
    collector.add_needs("A", ClassNeeds("."))
    collector.add_needs("B", ClassNeeds(".", ((".", 3),)))
    collector.add_needs("C", ClassNeeds(".py"))
    assert collector.add_function(UNKNOWN) is None
    assert collector.add_listed_class(UNKNOWN) == 1
    assert collector.add_listed_class(UNKNOWN, RaiseStep(0, "TypeError")) == 2
    outline = collector.finish()
    assert outline.classes == {"B": ClassNeeds(None, ((".", 3),)), "C": ClassNeeds(".py")}
    assert outline.listing == (FunctionOutline(""), FunctionOutline("", (RaiseStep(0, "TypeError"),)))
