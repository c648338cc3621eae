from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.comfyui.static_analysis.modules import CallImports, SourceTree
from comfywatchman.comfyui.static_analysis.statements import AbstractInterpreter
from tests.comfyui.imports.hosts import write_files

FILES = {"py/__init__.py": "", "py/one.py": "", "my-node.py": "", "lib/own.py": "x = 1"}
START = """import importlib.util, os, runpy, site, sys
HERE = os.path.dirname(__file__)
def load(name, path):
    importlib.util.spec_from_file_location(name, path).loader.exec_module(None)
"""


def run(folder: Path, source: str) -> SourceTree:
    """Follow a pack's source, whose first line after the start is line 5."""
    write_files(folder, {**FILES, "__init__.py": START + source})
    interpreter = AbstractInterpreter(SourceTree(folder, frozenset()))
    module = interpreter.tree.get_module(())
    assert module is not None
    interpreter.run(module)
    return interpreter.tree


@pytest.mark.parametrize(
    ("call", "record"),
    [
        ("importlib.import_module('torch.nn')", CallImports({"torch.nn": True})),
        ("importlib.import_module(f'{__name__}.py.one')", CallImports({".py.one": True})),
        ("importlib.import_module('..one', __name__ + '.py.sub')", CallImports({".py.one": True})),
        ("importlib.import_module('.one', 'torch')", CallImports(is_known=False)),
        ("importlib.import_module('')", CallImports(is_known=False)),
        ("__import__('one', level=1.5)", CallImports(is_known=False)),
        ("__import__('py.one', None, None, [], 1)", CallImports({".py.one": True})),
        ("if compute():\n    importlib.import_module('torch')", CallImports({"torch": False})),
    ],
)
def test_call_records_its_module(call: str, record: CallImports, tmp_path: Path) -> None:
    loads = run(tmp_path, call).get_loads(()).direct
    assert list(loads.values()) == [record]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("importlib.import_module('.one')", "TypeError"),
        ("importlib.import_module('...one', __name__ + '.py')", "ImportError"),
        ("__import__('one', globals(), None, ['x'], 3)", "ImportError"),
    ],
)
def test_impossible_relative_import_records_its_error(call: str, error: str, tmp_path: Path) -> None:
    [record] = run(tmp_path, call).get_loads(()).direct.values()
    assert (list(record.errors), record.modules) == ([error], {})


@pytest.mark.parametrize(
    ("name", "path", "module"),
    [
        ("__name__ + '.py.one'", "'py/one.py'", ".py.one"),
        ("'one'", "'py/one.py'", ".py:one"),
        ("compute()", "'py/one.py'", ".py?one"),
        ("'one.more'", "'py/one.py'", ".py?one"),
        ("'node'", "'my-node.py'", ".:my-node"),
        ("'py'", "'py/__init__.py'", ".?py"),
    ],
)
def test_module_loaded_by_its_file_is_named_by_its_package(name: str, path: str, module: str, tmp_path: Path) -> None:
    tree = run(tmp_path, f"load({name}, os.path.join(HERE, {path}))")
    assert tree.get_loads(()).direct[4].modules == {module: True}


def test_only_files_of_the_pack_count_as_missing(tmp_path: Path) -> None:
    tree = run(tmp_path, "load('a', HERE + '/gone.py')\nload('b', '/elsewhere/gone.py')\nrunpy.run_path(HERE)")
    record = tree.get_loads(()).direct[4]
    assert (record.missing_files, record.is_known, record.modules) == (["gone.py"], False, {})
    assert not tree.get_loads(()).direct[7].is_known


def test_folders_on_the_path_keep_their_rank(tmp_path: Path) -> None:
    source = """
sys.path.append(HERE + "/py")
sys.path.insert(0, HERE + "/lib")
sys.path.extend([HERE, "/elsewhere"])
site.addsitedir(os.path.join(HERE, "lib"))
sys.path.insert(1, HERE + "/py")
import own
"""
    tree = run(tmp_path, source)
    assert tree.path_folders == {("py",): False, ("lib",): True, (): False}
    assert tree.find_path_folder("own") == ("lib",)


def test_executed_code_may_bind_any_name(tmp_path: Path) -> None:
    assert not run(tmp_path, "eval('1')").has_hidden_names
    assert run(tmp_path, "exec('x = 1')").has_hidden_names
