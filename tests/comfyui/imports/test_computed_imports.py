"""Imports whose module the source computes: followed where its name is known, else a doubt that names the call."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.comfyui.imports.problems import ProblemKind
from tests.comfyui.imports.hosts import ImportCase

MODULES = {
    "nodes/__init__.py": "",
    "nodes/one.py": "from .two import x",
    "nodes/two.py": "x = 1",
    "lib/own.py": "y = 1",
}
START = """
import glob, importlib, importlib.util, os, pkgutil, runpy, site, sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
HERE = os.path.dirname(os.path.abspath(__file__))
call = importlib.import_module
def load_spec(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
"""


LISTED = "import os\n__all__ = [f[:3] for f in os.listdir(os.path.dirname(__file__)) if f[:3] == 'two']"


def check(tmp_path: Path, source: str, **files: str) -> ImportCase:
    others = {f"{name.replace('__', '/')}.py": text for name, text in files.items()}
    return ImportCase(tmp_path, {"__init__.py": START + source, **MODULES, **others})


@pytest.mark.parametrize(
    ("source", "verdict"),
    [
        ("importlib.import_module('.nodes.' + 'one', __name__)", "ok"),
        ("importlib.import_module('.nodes.%s' % 'one', package=__package__)", "ok"),
        ("importlib.import_module(f'{__name__}.nodes.gone')", "fails"),
        ("importlib.import_module('.nodes.one')", "fails"),
        ("importlib.import_module('..nodes.one', __name__)", "fails"),
        ("importlib.import_module('..', __name__)", "fails"),
        ("importlib.import_module('.', __name__)", "ok"),
        ("importlib.import_module(input('one'), __name__)", "may fail"),
        ("importlib.import_module('.nodes.one', input('one'))", "may fail"),
        ("module = importlib.import_module(['.nodes.gone'][0], __name__)", "fails"),
        ("for name in input():\n    importlib.import_module(name)", "may fail"),
        ("for name in input():\n    try:\n        importlib.import_module(name)\n    except ImportError: pass", "ok"),
        ("if input():\n    importlib.import_module(f'.nodes.{input()}', __name__)", "ok"),
        ("for n in ('one', 'gone'):\n    if n != 'gone':\n        call('.nodes.' + n, __name__)", "ok"),
        ("for n in ('one', 'gone'):\n    if n != 'one':\n        call('.nodes.' + n, __name__)", "fails"),
        ("__import__('nodes.one', globals(), locals(), ['x'], 1)", "ok"),
        ("__import__('nodes.gone', globals(), level=1)", "fails"),
        ("__import__('gone_package')", "fails"),
        ("__import__(input())", "may fail"),
        ("exec(open('x').read())", "may fail"),
        ("def f():\n    importlib.import_module(input())", "ok"),
    ],
)  # fmt: skip
def test_computed_name(tmp_path: Path, source: str, verdict: str) -> None:
    assert check(tmp_path, source).verdict == verdict


@pytest.mark.parametrize(
    ("source", "verdict"),
    [
        ("load('one')\nload('two')", "ok"),
        ("load('one')\nload('gone')", "fails"),
        ("try:\n    load('gone')\nexcept ImportError:\n    pass", "ok"),
        # One line stands for both calls: which of them fails is not known.
        ("load('one')\ntry:\n    load('gone')\nexcept ImportError:\n    pass", "may fail"),
        ("for name in ('one', 'gone'):\n    load(name)", "fails"),
        ("from .loader import load_far\nload_far('one')", "ok"),
        ("from .loader import load_far\nload_far('gone')", "fails"),
        ("from .loader import load_far\nload_far(input())", "may fail"),
        ("from .loader import load_guarded\nload_guarded('gone')", "ok"),
    ],
)
def test_function_that_imports(tmp_path: Path, source: str, verdict: str) -> None:
    function = "def load(name):\n    return importlib.import_module(f'.nodes.{name}', package=__name__)\n"
    loader = """
        import importlib
        def load_far(name):
            return importlib.import_module(f".nodes.{name}", __package__)
        def load_guarded(name):
            try:
                return load_far(name)
            except ImportError:
                return None
    """
    assert check(tmp_path, function + source, loader=loader).verdict == verdict


@pytest.mark.parametrize(
    ("source", "verdict"),
    [
        ("load_spec('two', HERE + '/nodes/two.py')", "ok"),
        ("load_spec('gone', os.path.join(HERE, 'nodes', 'gone.py'))", "fails"),
        ("load_spec('one', HERE + '/nodes/one.py')", "fails"),
        ("load_spec(__name__ + '.nodes.one', HERE + '/nodes/one.py')", "ok"),
        ("load_spec(input(), HERE + '/nodes/one.py')", "may fail"),
        ("load_spec('x', input())", "may fail"),
        ("load_spec('x', '/elsewhere/x.py')", "may fail"),
        ("SourceFileLoader('x', str(Path(HERE) / 'nodes' / 'two.py')).load_module()", "ok"),
        ("SourceFileLoader('x', HERE + '/nodes/gone.py').load_module()", "fails"),
        ("runpy.run_path(os.path.join(HERE, 'lib/own.py'))", "ok"),
        ("runpy.run_path(os.path.join(HERE, 'lib/gone.py'))", "fails"),
    ],
)
def test_file_loaded_by_its_path(tmp_path: Path, source: str, verdict: str) -> None:
    assert check(tmp_path, source).verdict == verdict


@pytest.mark.parametrize(
    ("source", "verdict"),
    [
        ("sys.path.insert(0, HERE + '/lib')\nimport own", "ok"),
        ("sys.path.append(str(Path(__file__).parent / 'lib'))\nfrom own import y", "ok"),
        ("sys.path += [os.path.join(HERE, 'lib')]\nfrom own import gone", "fails"),
        ("sys.path.extend([os.path.join(HERE, 'lib')])\nimport broken", "fails"),
        ("site.addsitedir(HERE + '/lib')\nimport package.inner", "ok"),
        ("sys.path.insert(0, HERE + '/lib')\nimport package.gone", "fails"),
        ("sys.path.insert(0, HERE + '/lib')\nimport package.beyond", "fails"),
        ("sys.path.append(HERE + '/lib')\nimport own.gone", "fails"),
        ("sys.path.append(HERE + '/nodes')\nimport own", "may fail"),
        ("sys.path.append(HERE)\nimport gone_package", "fails"),
        # ComfyUI's own module of this name is in memory already.
        ("sys.path.insert(0, HERE + '/lib')\nimport folder_paths\nfrom folder_paths import base_path", "ok"),
        # An installed package of this name comes first.
        ("sys.path.append(HERE + '/lib')\nfrom torch import anything", "ok"),
        ("sys.path.insert(0, HERE + '/lib')\nfrom other import anything", "fails"),
    ],
)  # fmt: skip
def test_folder_of_the_pack_on_the_path_of_python(tmp_path: Path, source: str, verdict: str) -> None:
    files = {
        "lib__broken": "raise RuntimeError",
        "lib__package__inner": "from . import other",
        "lib__package__other": "",
        "lib__package__beyond": "from .. import own",
        "lib__folder_paths": "raise RuntimeError",
        "lib__torch": "x = 1",
        "lib__other": "x = 1",
    }
    assert check(tmp_path, source, **files).verdict == verdict


def test_parts_of_a_package_in_two_folders_are_merged(tmp_path: Path) -> None:
    source = "sys.path += [HERE + '/a', HERE + '/b']\nimport part.one\nimport part.two\n"
    files = {"a__part__one": "", "b__part__two": ""}
    assert check(tmp_path / "1", source, **files).verdict == "ok"
    assert check(tmp_path / "2", source, a__part__one="").verdict == "fails"


@pytest.mark.parametrize(
    ("inner", "source", "verdict"),
    [
        ("__all__ = ['one', 'two']", "one.x, two.x", "ok"),
        ("__all__ = ['one', 'gone']", "one.x", "fails"),
        ("__all__ = ['two']", "one.x", "may fail"),
        ("__all__ = ['broken']", "", "fails"),
        (LISTED, "two.x", "ok"),
        (LISTED, "one.x", "may fail"),
        ("from torch import *", "one.x", "ok"),
        ("", "undefined", "may fail"),
        ("", "len", "ok"),
        ("globals()['x'] = 1", "undefined", "ok"),
    ],
)  # fmt: skip
def test_star_import_takes_what_all_lists(tmp_path: Path, inner: str, source: str, verdict: str) -> None:
    files = {"nodes____init__": inner, "nodes__one": "", "nodes__broken": "raise ValueError"}
    pack = {f"nodes/{name.removeprefix('nodes__')}.py": text for name, text in files.items()}
    case = ImportCase(tmp_path, {"__init__.py": f"from .nodes import *\n{source}\n", **MODULES, **pack})
    assert case.verdict == verdict


@pytest.mark.parametrize(
    ("use", "verdict"),
    [
        ("two.x", "fails"),
        ("if two is not None:\n    two.x", "ok"),
        ("y = two.x if two else None", "ok"),
        ("y = [two]", "ok"),
        ("import torch as two\ntwo.x", "ok"),
    ],
)
def test_attribute_of_what_an_except_clause_sets_to_none(tmp_path: Path, use: str, verdict: str) -> None:
    source = f"try:\n    from .broken import two\nexcept ImportError:\n    two = None\n{use}"
    assert check(tmp_path, source, broken="import gone_package").verdict == verdict


def test_doubt_names_the_call(tmp_path: Path) -> None:
    problem = check(tmp_path, "for name in input():\n    importlib.import_module(f'.nodes.{name}', __name__)").problem
    assert problem is not None
    assert (problem.kind, problem.is_certain) == (ProblemKind.UNRESOLVED, False)
    assert "`importlib.import_module(f'.nodes.{name}', __name__)` may fail (__init__.py, line 13)" in problem.summary


def test_statement_shows_the_name_that_the_source_writes(tmp_path: Path) -> None:
    problem = check(tmp_path, "sys.path.append(HERE + '/lib')\nimport own.gone").problem
    assert problem is not None
    assert problem.summary == "`import own.gone` fails (__init__.py, line 13): the pack has no module lib.own.gone"


@pytest.mark.parametrize(
    ("name", "verdict"), [("..", "ok"), (".", "ok"), ("...", "fails"), ("..nodes.one", "ok"), ("..nodes.gone", "fails")]
)
def test_name_relative_to_an_inner_package(tmp_path: Path, name: str, verdict: str) -> None:
    inner = f"import importlib\nimportlib.import_module({name!r}, __package__)"
    files = {
        "__init__.py": "from .nodes import two",
        "nodes/__init__.py": "",
        "nodes/one.py": "",
        "nodes/two.py": inner,
    }
    assert ImportCase(tmp_path, files).verdict == verdict
