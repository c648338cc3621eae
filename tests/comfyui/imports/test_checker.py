"""Whether ComfyUI can import a pack: the pack, ComfyUI and the Python environment are files."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.comfyui.imports.host import ImportHost, PackEffects
from comfywatchman.comfyui.imports.problems import ProblemKind
from tests.comfyui.imports.hosts import ImportCase, build_core

INNER = {"inner.py": "from .deep import thing\nclass A: pass", "deep.py": "thing = 1", "folder/data.txt": ""}


def init(tmp_path: Path, source: str, **files: str) -> ImportCase:
    pack = {
        "__init__.py": source,
        **INNER,
        **{name.replace("__in__", "/") + ".py": text for name, text in files.items()},
    }
    return ImportCase(tmp_path, pack)


@pytest.mark.parametrize(
    ("source", "verdict"),
    [
        ("from .inner import A", "ok"),
        ("from . import inner", "ok"),
        ("from .folder import data", "fails"),
        ("from . import folder", "ok"),
        ("from .inner import *", "ok"),
        ("from .inner import gone", "fails"),
        ("from .inner import thing", "ok"),
        ("from .gone import A", "fails"),
        ("from . import gone", "fails"),
        ("from .inner.more import A", "fails"),
        ("import importlib\nimportlib.import_module('.gone', __name__)", "fails"),
        ("import importlib\nimportlib.import_module('.inner', __package__)", "ok"),
        (
            "import importlib\nfor name in ['inner', 'gone']:\n    importlib.import_module(f'.{name}', __name__)",
            "fails",
        ),
        ("import importlib\nfor n in ['inner', 'deep']:\n    importlib.import_module(f'.{n}', __name__)", "ok"),
        ("from .. import above", "fails"),
        ("from ..other.nodes import A", "fails"),
        ("from .inner import __name__ as name", "ok"),
    ],
)
def test_own_module_must_exist(tmp_path: Path, source: str, verdict: str) -> None:
    assert init(tmp_path, source).verdict == verdict


@pytest.mark.parametrize(
    ("source", "verdict"),
    [
        ("raise RuntimeError('too old')", "fails"),
        ("assert False", "fails"),
        ("assert True", "ok"),
        ("import sys\nsys.exit(1)", "fails"),
        ("exit()", "fails"),
        ("def f():\n    raise RuntimeError", "ok"),
        ("def f():\n    raise RuntimeError\nf()", "fails"),
        ("def f(x):\n    if x:\n        return\n    raise RuntimeError\nf(input())", "ok"),
        ("def f():\n    yield\n    raise RuntimeError\nf()", "ok"),
        ("if True:\n    raise RuntimeError", "fails"),
        ("if input():\n    raise RuntimeError", "ok"),
        ("for x in input():\n    raise RuntimeError", "ok"),
        ("with input():\n    raise RuntimeError", "ok"),
        ("with open('x'):\n    raise RuntimeError", "fails"),
        ("from contextlib import suppress\nwith suppress(RuntimeError):\n    raise RuntimeError", "ok"),
        ("from contextlib import suppress\nwith suppress(ImportError):\n    raise RuntimeError", "fails"),
        ("if __name__ == '__main__':\n    raise RuntimeError", "ok"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import gone", "ok"),
        ("class A:\n    import gone", "fails"),
        ("try:\n    pass\nfinally:\n    raise RuntimeError", "fails"),
        ("match input():\n    case 1:\n        raise RuntimeError", "ok"),
    ],
)
@pytest.mark.slow
def test_errors_count_only_where_they_certainly_happen(tmp_path: Path, source: str, verdict: str) -> None:
    assert init(tmp_path, source).verdict == verdict


@pytest.mark.parametrize(
    ("source", "verdict"),
    [
        ("try:\n    import gone\nexcept ImportError:\n    gone = None", "ok"),
        ("try:\n    import gone\nexcept:\n    pass", "ok"),
        ("try:\n    import gone\nexcept (OSError, ImportError):\n    pass", "ok"),
        ("try:\n    import gone\nexcept ValueError:\n    pass", "fails"),
        ("try:\n    import gone\nexcept ImportError as error:\n    raise error", "fails"),
        ("try:\n    import gone\nexcept ImportError:\n    raise", "fails"),
        (
            "try:\n    import gone\nexcept ImportError as error:\n    raise RuntimeError('install it') from error",
            "fails",
        ),
        ("try:\n    import gone\nexcept ImportError:\n    import gone_too", "fails"),
        ("try:\n    import gone\nexcept ImportError:\n    import torch", "ok"),
        ("try:\n    import gone\nexcept custom.Error:\n    pass", "fails"),
        ("import torch as custom\ntry:\n    raise custom.Error\nexcept custom.Error:\n    pass", "ok"),
        ("import torch as custom\ntry:\n    raise custom.Error\nexcept Exception:\n    pass", "ok"),
        ("import torch as custom\ntry:\n    raise custom.Error\nexcept ValueError:\n    pass", "may fail"),
        ("try:\n    import torch\nexcept ImportError:\n    pass\nelse:\n    import gone", "fails"),
        ("try:\n    from comfy.samplers import gone\nexcept ModuleNotFoundError:\n    pass", "fails"),
        ("try:\n    from comfy.gone import x\nexcept ModuleNotFoundError:\n    pass", "ok"),
        ("try:\n    import sys\n    sys.exit(1)\nexcept Exception:\n    pass", "fails"),
        ("try:\n    import comfy\n    comfy.samplers.gone\nexcept AttributeError:\n    pass", "ok"),
        ("try:\n    from .broken import x\nexcept ImportError:\n    pass", "fails"),
        ("try:\n    from .broken import x\nexcept Exception:\n    pass", "ok"),
    ],
)
def test_caught_errors_do_not_count(tmp_path: Path, source: str, verdict: str) -> None:
    assert init(tmp_path, source, broken="def (:").verdict == verdict


@pytest.mark.parametrize(
    ("source", "verdict"),
    [
        ("import comfy.samplers", "ok"),
        ("import comfy.gone", "fails"),
        ("from comfy import samplers, gone", "fails"),
        ("from comfy.samplers import KSampler", "ok"),
        ("from comfy.samplers import name_that_is_gone", "fails"),
        ("from comfy.samplers import prepare_noise", "ok"),
        ("from comfy.samplers import fix_empty", "fails"),
        ("from comfy.utils import sqrt", "ok"),
        ("from comfy.ops import anything", "ok"),
        ("from comfy.native import anything", "ok"),
        ("import comfy.samplers as s\nclass A(s.KSampler): pass", "ok"),
        ("import comfy.samplers as s\nclass A(s.Gone): pass", "fails"),
        ("import comfy.samplers\nx = comfy.samplers.gone.more", "fails"),
        ("import comfy.samplers\nx = comfy.samplers.gone if input() else None", "ok"),
        ("import comfy.samplers\ncomfy.samplers.gone = 1", "ok"),
        ("import comfy.samplers\nf = lambda: comfy.samplers.gone", "ok"),
        ("import comfy.samplers\ndef f(x=comfy.samplers.gone): pass", "fails"),
        ("import comfy.samplers\ndef f(x: comfy.samplers.Gone): pass", "fails"),
        ("from __future__ import annotations\nimport comfy.samplers\ndef f(x: comfy.samplers.Gone): pass", "ok"),
        ("from comfy_api.latest import io\nx = io.Schema", "ok"),
        ("from comfy_api.latest import IO\nx = IO.Gone", "fails"),
        ("import folder_paths\nfolder_paths.__file__\nfolder_paths.base_path", "ok"),
        ("from folder_paths import gone", "fails"),
        ("from nodes import NODE_CLASS_MAPPINGS, folder_paths", "ok"),
        ("from nodes import Gone", "fails"),
        ("from utils.extra_config import yaml", "ok"),
        ("from utils.helpers import x", "fails"),
        ("import server", "may fail"),
        ("import execution", "fails"),
        ("import custom_nodes", "ok"),
        ("import custom_nodes.other", "fails"),
    ],
)
def test_names_of_comfyui_are_looked_up_in_its_source(tmp_path: Path, source: str, verdict: str) -> None:
    (tmp_path / "ComfyUI" / "custom_nodes").mkdir(parents=True)
    if source == "import server":
        # This ComfyUI has none, but one of the packs has a file of that name.
        case = ImportCase(tmp_path, {"__init__.py": source}, effects=PackEffects(sources=(("server.py",),)))
    else:
        case = init(tmp_path, source)
    assert case.verdict == verdict


@pytest.mark.parametrize(
    ("source", "verdict"),
    [
        ("import torch", "ok"),
        ("import cv2", "fails"),
        ("import cv2.aruco as aruco", "fails"),
        ("from cv2 import imread", "fails"),
        ("import plain.more", "may fail"),
        ("import lazy.more", "ok"),
        ("import plain.there", "ok"),
        ("import single.more", "ok"),
        ("import native", "ok"),
        ("import space.inner", "ok"),
        ("import os.path, xml.etree.ElementTree", "ok"),
        ("import tomllib, distutils", "ok"),
        ("import imp", "ok"),
        ("import compression", "fails"),
        ("import __future__", "ok"),
        ("def f():\n    import cv2", "ok"),
    ],
)
@pytest.mark.slow
def test_python_packages_are_looked_up_on_disk(tmp_path: Path, source: str, verdict: str) -> None:
    packages = {
        "plain/__init__.py": "x = 1",
        "plain/there.py": "",
        "lazy/__init__.py": "import sys\nsys.modules['lazy.more'] = sys",
        "single.py": "",
        "native.cpython-311-x86_64-linux-gnu.so": "",
        "space/inner/x.py": "",
    }
    case = ImportCase(tmp_path, {"__init__.py": source}, packages)
    assert case.verdict == verdict


@pytest.mark.parametrize(
    "effects",
    [
        PackEffects(sources=(("modules/cv2/__init__.py",),)),
        PackEffects(sets_names=frozenset({"cv2"})),
        PackEffects(installer="other-pack"),
    ],
)
def test_package_that_another_pack_may_provide_is_a_doubt(tmp_path: Path, effects: PackEffects) -> None:
    case = ImportCase(tmp_path, {"__init__.py": "import cv2"}, effects=effects)
    assert case.verdict == "may fail"
    assert "unless" in case.problem.summary if case.problem else False


@pytest.mark.parametrize("name", ["hook.pth", "sitecustomize.py"])
def test_package_that_a_hook_may_provide_is_a_doubt(tmp_path: Path, name: str) -> None:
    case = ImportCase(tmp_path, {"__init__.py": "import cv2"}, {name: "import hook\n"})
    assert case.verdict == "may fail"


@pytest.mark.parametrize(
    ("source", "verdict"),
    [
        ("import sys\nsys.path.append(input('modules'))\nimport own.config", "may fail"),
        ("import sys\nsys.path.append(input('modules'))\nimport own.gone", "may fail"),
        ("import own.config", "may fail"),
        ("import subprocess\nsubprocess.run(['pip', 'install', 'cv2'])\nimport cv2", "may fail"),
    ],
)
def test_pack_that_provides_modules_to_itself(tmp_path: Path, source: str, verdict: str) -> None:
    files = {"__init__.py": source, "modules/own/config.py": ""}
    effects = PackEffects(sources=(tuple(files),))
    assert ImportCase(tmp_path, files, effects=effects).verdict == verdict


@pytest.mark.parametrize(
    ("source", "verdict"),
    [
        ("import cv2", "may fail"),
        ("try:\n    import cv2\nexcept ImportError:\n    pass", "ok"),
        ("import json, comfy.utils", "ok"),
        ("import sys, os\nsys.path.append(os.path.dirname(__file__))\nimport own", "ok"),
    ],
)
def test_without_a_known_environment_packages_are_doubtful(tmp_path: Path, source: str, verdict: str) -> None:
    case = ImportCase(tmp_path, {"__init__.py": source, "own.py": ""}, environment=None)
    assert case.verdict == verdict
    if case.problem is not None:
        assert "[comfyui] python names it" in case.problem.explanation


def test_comfyui_has_the_packages_that_it_imports_itself(tmp_path: Path) -> None:
    host = ImportHost(build_core(tmp_path), None, [], PackEffects(), frozenset({"torch"}))
    assert host.find_absence("torch.nn") is None
    assert host.find_absence("cv2") is not None


def test_without_the_source_of_comfyui_none_of_its_names_is_missing(tmp_path: Path) -> None:
    source = "from comfy.samplers import gone"
    assert ImportCase(tmp_path, {"__init__.py": source}, environment=None, core=None).verdict == "ok"


@pytest.mark.parametrize("effects", [PackEffects(sets_names=frozenset({"gone"}))])
def test_name_of_comfyui_that_a_pack_may_set_is_a_doubt(tmp_path: Path, effects: PackEffects) -> None:
    case = ImportCase(tmp_path, {"__init__.py": "from comfy.samplers import gone"}, effects=effects)
    assert case.verdict == "may fail"


def test_folder_of_the_same_name_on_the_path_makes_a_missing_module_a_doubt(tmp_path: Path) -> None:
    case = ImportCase(tmp_path, {"__init__.py": "import comfy.gone"}, {"comfy/gone.py": ""})
    assert case.verdict == "may fail"


def test_one_file_pack_belongs_to_no_package(tmp_path: Path) -> None:
    from comfywatchman.comfyui.imports.checker import ImportChecker
    from comfywatchman.comfyui.imports.host import ImportHost
    from comfywatchman.comfyui.packs.definitions import read_pack_definitions

    pack = tmp_path / "pack.py"
    pack.write_text("from . import other\nNODE_CLASS_MAPPINGS = {}")
    definitions = read_pack_definitions(pack, ["pack.py"], label="pack")
    host = ImportHost(None, None, (), PackEffects())
    problem = ImportChecker(definitions.outline, host, ["pack.py"], tmp_path).check_pack()
    assert problem is not None
    assert (problem.error, problem.place) == ("ImportError", "pack.py, line 1")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"nodes.py": ""}, "no __init__.py"),
        ({"__init__.py/notes.txt": ""}, "no __init__.py"),
        ({"__init__.py": "x = 1\nreturn x"}, "not valid Python (line 2: 'return' outside function)"),
        ({"__init__.py": "x = 1\nfrom __future__ import annotations"}, "not valid Python (line 2: from __future__"),
        ({"__init__.py": "def f():\n    from os import *"}, "not valid Python"),
        ({"__init__.py": "x = 1\nbreak"}, "not valid Python (line 2: 'break' outside loop)"),
        ({"Pack-main/__init__.py": "", "Pack-main/nodes.py": ""}, "one folder deeper, in Pack-main"),
        ({"__init__.py": "from .nodes import A", "nodes.py": "def (:"}, "not valid Python (line 1: invalid syntax)"),
        ({"__init__.py": "\n\nfrom .nodes import A"}, "`from .nodes import A` fails (__init__.py, line 3)"),
        ({"__init__.py": "from .nodes import A", "nodes.py": ""}, "nodes.py has no A"),
        ({"__init__.py": "raise ImportError('ComfyUI is too old')"}, "it raises ImportError: ComfyUI is too old"),
        ({"__init__.py": "import cv2"}, "has no module cv2"),
        ({"__init__.py": "import comfy.gone"}, "ComfyUI 0.3.75 has no module comfy.gone"),
        (
            {"__init__.py": "try:\n    import cv2\nexcept ImportError:\n    pass\ncv2.x"},
            "`cv2` fails (__init__.py, line 5)",
        ),
    ],
)
def test_reason_names_the_place_and_what_is_missing(tmp_path: Path, files: dict[str, str], words: str) -> None:
    problem = ImportCase(tmp_path, files).problem
    assert problem is not None
    assert words in problem.summary


def test_kinds_of_problems(tmp_path: Path) -> None:
    sources = {
        "a": ("import cv2", ProblemKind.PYTHON_PACKAGE),
        "b": ("import comfy.gone", ProblemKind.COMFYUI_VERSION),
        "c": ("from .gone import x", ProblemKind.PACK_FILES),
        "d": ("raise ValueError", ProblemKind.RAISED),
        "e": ("try:\n    import cv2\nexcept ImportError:\n    raise RuntimeError", ProblemKind.PYTHON_PACKAGE),
    }
    for name, (source, kind) in sources.items():
        problem = ImportCase(tmp_path / name, {"__init__.py": source}).problem
        assert problem is not None
        assert problem.kind is kind


@pytest.mark.parametrize(("python", "verdict"), [("3.11.7", "fails"), ("3.14.0", "may fail")])
def test_syntax_of_a_newer_python_is_a_doubt(tmp_path: Path, python: str, verdict: str) -> None:
    case = ImportCase(tmp_path, {"__init__.py": "type X = int("}, python=python)
    assert case.verdict == verdict


@pytest.mark.parametrize(("python", "verdict"), [("3.13.1", "fails"), ("3.14.0", "ok")])
def test_annotations_are_evaluated_before_python_3_14(tmp_path: Path, python: str, verdict: str) -> None:
    source = "import comfy.samplers\ndef f() -> comfy.samplers.Gone: pass\nx: comfy.samplers.Gone"
    assert ImportCase(tmp_path, {"__init__.py": source}, python=python).verdict == verdict


def test_annotations_are_a_doubt_with_an_unknown_python(tmp_path: Path) -> None:
    source = "import comfy.samplers\ndef f() -> comfy.samplers.Gone: pass"
    assert ImportCase(tmp_path, {"__init__.py": source}, environment=None).verdict == "may fail"


@pytest.mark.parametrize(
    ("test", "verdict"),
    [
        ("sys.version_info < (3, 12)", "fails"),
        ("sys.version_info < (3, 10)", "ok"),
        ("sys.version_info < (3, 11, 2)", "may fail"),
        ("not sys.version_info >= (3, 12)", "fails"),
        ("sys.version_info.minor < 12", "fails"),
        ("not hasattr(comfy.samplers, 'gone')", "fails"),
        ("not hasattr(comfy.samplers, 'KSampler')", "ok"),
        ("version.parse(comfyui_version.__version__) < version.parse('0.4')", "fails"),
        ("Version(__version__) < Version('0.3')", "ok"),
        ("tuple(map(int, __version__.split('.'))) < (0, 4, 0)", "fails"),
        ("NUMBERS < (0, 4, 0)", "fails"),
        ("importlib.util.find_spec('cv2') is None", "fails"),
        ("importlib.util.find_spec('torch') is None", "ok"),
        ("importlib.metadata.version('torch') < '2.0'", "fails"),
        ("importlib.metadata.version('cv2') < '2.0'", "may fail"),
        ("torch.__version__.startswith('1.')", "fails"),
        ("platform.system() == 'Linux' and sys.version_info < (3, 12)", "fails"),
        ("os.environ.get('X')", "ok"),
        ("not URL.endswith('.svg')", "ok"),
    ],
)
def test_version_guards_are_decided_by_the_host(tmp_path: Path, test: str, verdict: str) -> None:
    source = f"""
        import importlib.metadata, importlib.util, os, platform, sys
        import comfy.samplers, comfyui_version, torch
        from comfyui_version import __version__
        from packaging import version
        from packaging.version import Version
        NUMBERS = [int(part) for part in __version__.split(".")[:3]]
        URL = input()
        if {test}:
            raise ImportError("too old")
    """
    packages = {"packaging/version.py": "", "torch-1.13.1.dist-info/METADATA": ""}
    assert ImportCase(tmp_path, {"__init__.py": source}, packages).verdict == verdict


def test_name_that_only_a_failed_import_binds_is_not_defined(tmp_path: Path) -> None:
    source = """
        try:
            from .nodes import *
            from .more import Other as Another
        except ImportError:
            print("no nodes")
        NODE_CLASS_MAPPINGS = {"A": A, "B": Another}
    """
    files = {"__init__.py": source, "nodes.py": "import cv2\nclass A: pass", "more.py": "class Other: pass"}
    problem = ImportCase(tmp_path, files).problem
    assert problem is not None
    assert (problem.error, problem.place, problem.is_certain) == ("NameError", "__init__.py, line 7", True)


@pytest.mark.parametrize(
    "handler", ["A = None", "from .other import A", "class A: pass", "def A(): pass", "for A in (1,): pass"]
)
def test_name_that_the_handler_binds_is_defined(tmp_path: Path, handler: str) -> None:
    source = f"try:\n    from .nodes import A\nexcept ImportError:\n    {handler}\nNODE_CLASS_MAPPINGS = {{'A': A}}"
    files = {"__init__.py": source, "nodes.py": "import cv2\nclass A: pass", "other.py": "class A: pass"}
    assert ImportCase(tmp_path, files).verdict == "ok"


def test_import_cycle_is_no_error(tmp_path: Path) -> None:
    files = {"__init__.py": "from .a import x", "a.py": "from .b import y\nx = 1", "b.py": "from . import a\ny = 1"}
    assert ImportCase(tmp_path, files).verdict == "ok"


def test_module_that_a_star_import_may_hide_is_looked_at(tmp_path: Path) -> None:
    init = "from math import *\nfrom . import inner"
    for name, inner, verdict in (("1", "x = 1", "ok"), ("2", "from comfy.samplers import gone", "may fail")):
        assert ImportCase(tmp_path / name, {"__init__.py": init, "inner.py": inner}).verdict == verdict


@pytest.mark.parametrize(
    ("source", "verdict"),
    [
        ("nodes.FORMATS = {}\nx = nodes.FORMATS", "ok"),
        ("if not hasattr(nodes, 'FORMATS'):\n    nodes.FORMATS = {}\nx = nodes.FORMATS", "ok"),
        ("x = nodes.FORMATS\nnodes.FORMATS = {}", "may fail"),
        ("def f():\n    nodes.FORMATS = {}\nx = nodes.FORMATS", "may fail"),
    ],
)
def test_attribute_of_comfyui_that_the_pack_sets(tmp_path: Path, source: str, verdict: str) -> None:
    case = ImportCase(
        tmp_path, {"__init__.py": f"import nodes\n{source}"}, effects=PackEffects(sets_names=frozenset({"FORMATS"}))
    )
    assert case.verdict == verdict


def test_name_that_other_code_may_set_is_no_error(tmp_path: Path) -> None:
    files = {"__init__.py": "from .a import x", "a.py": "globals()['x'] = 1"}
    assert ImportCase(tmp_path / "1", files).verdict == "ok"
    files = {"__init__.py": "from .b import y\nfrom .a import x", "a.py": "", "b.py": "from . import a\ny = 1\na.x = 2"}
    assert ImportCase(tmp_path / "2", files).verdict == "ok"
    files = {"__init__.py": "from .a import x", "a.py": "from torch import *"}
    assert ImportCase(tmp_path / "3", files).verdict == "ok"


GUARDED = """
NODE_CLASS_MAPPINGS = {{}}
try:
    import {name}
    from .extra import Extra
    NODE_CLASS_MAPPINGS["Extra"] = Extra
    from .gone import Last
    NODE_CLASS_MAPPINGS["Last"] = Last
except ImportError:
    pass
class Base: INPUT_TYPES, RETURN_TYPES = staticmethod(dict), ()
NODE_CLASS_MAPPINGS["Base"] = Base
"""


@pytest.mark.parametrize(("name", "verdict"), [("torch", "ok"), ("cv2", "fails"), ("own", "may fail")])
def test_class_that_a_guarded_statement_maps_needs_what_comes_before(tmp_path: Path, name: str, verdict: str) -> None:
    files = {
        "__init__.py": GUARDED.format(name=name),
        "extra.py": "class Extra: INPUT_TYPES, RETURN_TYPES = staticmethod(dict), ()",
        "x/own.py": "",
    }
    case = ImportCase(tmp_path, files, effects=PackEffects(sources=(tuple(files),)))
    assert case.verdict == "ok"
    assert case.class_verdict("Extra") == verdict
    assert case.class_verdict("Last") in {"fails", verdict}
    assert case.class_verdict("Base") == "ok"


@pytest.mark.parametrize(
    "registration",
    [
        "NODE_CLASS_MAPPINGS.update(EXTRA)",
        "NODE_CLASS_MAPPINGS = {**NODE_CLASS_MAPPINGS, **EXTRA}",
        "CONFIG.update(EXTRA)",
    ],
)
def test_guard_is_kept_when_mappings_are_merged(tmp_path: Path, registration: str) -> None:
    source = f"""
        from .extra import EXTRA
        class Base: INPUT_TYPES, RETURN_TYPES = staticmethod(dict), ()
        NODE_CLASS_MAPPINGS = {{"Base": Base}}
        CONFIG = {{}}
        try:
            import cv2
            {registration}
        except ImportError:
            pass
        for key, value in CONFIG.items():
            NODE_CLASS_MAPPINGS[key] = value
        NODE_CLASS_MAPPINGS.update({{key: value for key, value in CONFIG.items()}})
    """
    extra = "class Extra: INPUT_TYPES, RETURN_TYPES = staticmethod(dict), ()\nEXTRA = {'Extra': Extra}"
    files = {"__init__.py": source, "extra.py": extra}
    case = ImportCase(tmp_path, files)
    assert (case.class_verdict("Base"), case.class_verdict("Extra")) == ("ok", "fails")


def test_class_of_a_module_that_cannot_be_imported_is_not_mapped(tmp_path: Path) -> None:
    source = """
        import importlib
        NODE_CLASS_MAPPINGS = {}
        for name in ["good", "bad"]:
            try:
                module = importlib.import_module(f".{name}", __name__)
                NODE_CLASS_MAPPINGS.update(module.NODE_CLASS_MAPPINGS)
            except Exception as error:
                print(error)
    """
    node = "class {0}: INPUT_TYPES, RETURN_TYPES = staticmethod(dict), ()\nNODE_CLASS_MAPPINGS = {{'{0}': {0}}}\n"
    files = {"__init__.py": source, "good.py": node.format("Good"), "bad.py": "import cv2\n" + node.format("Bad")}
    case = ImportCase(tmp_path, files)
    assert case.verdict == "ok"
    assert (case.class_verdict("Good"), case.class_verdict("Bad")) == ("ok", "fails")


def test_followed_import_in_an_unguarded_loop_can_fail(tmp_path: Path) -> None:
    source = """
        import importlib
        NODE_CLASS_MAPPINGS = {}
        for name in ["bad"]:
            module = importlib.import_module(f".{name}", __name__)
            NODE_CLASS_MAPPINGS.update(module.NODE_CLASS_MAPPINGS)
    """
    assert (
        ImportCase(tmp_path, {"__init__.py": source, "bad.py": "import cv2\nNODE_CLASS_MAPPINGS = {}"}).verdict
        == "fails"
    )


INPUTS = {
    "raise NotImplementedError": "fails",
    "return {'required': {}}": "ok",
    "if input():\n            raise ValueError\n        return {}": "ok",
    "return {'required': {'s': (comfy.samplers.KSampler.SAMPLERS,)}}": "ok",
    "return {'required': {'s': (comfy.samplers.Gone.SAMPLERS,)}}": "fails",
    "import cv2\n        return {}": "fails",
    "from .gone import x\n        return {}": "fails",
    "comfy = input()\n        return comfy.samplers.Gone": "ok",
    "assert False": "fails",
}


@pytest.mark.parametrize(("body", "verdict"), INPUTS.items(), ids=INPUTS)
def test_class_whose_inputs_cannot_be_listed(tmp_path: Path, body: str, verdict: str) -> None:
    source = f"""
import comfy.samplers
class A:
    @classmethod
    def INPUT_TYPES(cls):
        {body}
class B:
    @classmethod
    def INPUT_TYPES(cls):
        return {{}}
A.RETURN_TYPES = B.RETURN_TYPES = ()
NODE_CLASS_MAPPINGS = {{"A": A, "B": B}}
"""
    case = ImportCase(tmp_path, {"__init__.py": source})
    assert case.verdict == "ok"
    assert (case.class_verdict("A"), case.class_verdict("B")) == (verdict, "ok")


def test_v3_schema_that_uses_a_name_of_a_newer_comfyui(tmp_path: Path) -> None:
    source = """
        from comfy_api.latest import ComfyExtension, io
        class Old(io.ComfyNode):
            @classmethod
            def define_schema(cls):
                return io.Schema(node_id="Old", inputs=[io.Int.Input("a")])
            def execute(cls): pass
        class New(io.ComfyNode):
            @classmethod
            def define_schema(cls):
                return io.Schema(node_id="New", inputs=[io.DynamicCombo.Input("a")])
        class Extension(ComfyExtension):
            async def get_node_list(self):
                return [Old, New]
        async def comfy_entrypoint():
            return Extension()
    """
    latest = "from . import _io as io\nclass ComfyExtension: pass"
    api = {
        "comfy_api/latest/__init__.py": latest,
        "comfy_api/latest/_io.py": "class ComfyNode: pass\nclass Schema: pass\nclass Int: pass",
    }
    case = ImportCase(tmp_path, {"__init__.py": source}, core=api)
    assert case.verdict == "ok"
    assert (case.class_verdict("Old"), case.class_verdict("New")) == ("ok", "fails")


@pytest.mark.parametrize(
    ("source", "sets_names", "verdict"),
    [
        ("x = gone", frozenset(), "fails"),
        ("x = gone", frozenset({"gone"}), "may fail"),
        ("x = 1 / 0", frozenset({"gone"}), "fails"),
        ("import os\nx = os.environ['TOKEN']", frozenset(), "may fail"),
        ("import os\nx = os.environ['TOKEN']", frozenset({"environ[TOKEN]"}), "ok"),
        ("import os\ntry:\n    x = os.environ['TOKEN']\nexcept KeyError:\n    x = None", frozenset(), "ok"),
        ("try:\n    x = unicode\nexcept NameError:\n    x = str", frozenset(), "ok"),
        ("if input():\n    x = gone", frozenset(), "ok"),
        ("def f():\n    return gone\nx = f()", frozenset(), "fails"),
        ("def f():\n    return gone", frozenset(), "ok"),
        ("x = None\nx.start()", frozenset(), "fails"),
        ("x = None\nglobals()['x'] = 1\nx.start()", frozenset(), "ok"),
        ("x = None\nx = input()\nx.start()", frozenset(), "ok"),
        ("x = None\nif x is not None:\n    x.start()", frozenset(), "ok"),
    ],
)
def test_errors_of_expressions_count(tmp_path: Path, source: str, sets_names: frozenset[str], verdict: str) -> None:
    case = ImportCase(tmp_path, {"__init__.py": source}, effects=PackEffects(sets_names=sets_names))
    assert case.verdict == verdict


def test_error_of_an_expression_is_named(tmp_path: Path) -> None:
    problem = ImportCase(tmp_path, {"__init__.py": "SIZES = {}\nx = SIZES['large']"}).problem
    assert problem is not None
    assert problem.summary == "__init__.py, line 2: it raises KeyError: key 'large'"


@pytest.mark.parametrize(
    ("source", "verdict"),
    [
        ("open(HERE / 'there.txt')", "ok"),
        ("open(HERE / 'gone.txt')", "may fail"),
        ("(HERE / 'gone').iterdir()", "may fail"),
        ("open('comfy/utils.py')", "ok"),
        ("open('comfy/gone.py')", "may fail"),
        ("if HERE.joinpath('gone.txt').exists(): open(HERE / 'gone.txt')", "ok"),
    ],
)
def test_file_that_is_read_must_exist(tmp_path: Path, source: str, verdict: str) -> None:
    start = "from pathlib import Path\nHERE = Path(__file__).parent\n"
    files = {"__init__.py": start + source, "there.txt": "", "one.py": ""}
    assert ImportCase(tmp_path / "1", files).verdict == verdict
    # Without the source of ComfyUI it is not known where it is started.
    without = ImportCase(tmp_path / "2", files, core=None).verdict
    assert without == ("ok" if "'comfy/" in source else verdict)


def test_file_of_a_submodule_that_was_not_fetched_is_named(tmp_path: Path) -> None:
    files = {"__init__.py": "open(__file__[:-11] + 'x')", ".gitmodules": "[submodule]\n    path = lib\n"}
    assert ImportCase(tmp_path / "1", files).verdict == "ok"
    files["__init__.py"] = "import os\nopen(os.path.join(os.path.dirname(__file__), 'lib', 'data.json'))"
    problem = ImportCase(tmp_path / "2", files).problem
    assert problem is not None
    assert (problem.kind, problem.is_certain) == (ProblemKind.SUBMODULE, False)


@pytest.mark.parametrize(
    ("version", "source", "verdict"),
    [
        ("1.23.5", "np.int", "ok"),
        ("1.26.4", "np.int", "fails"),
        ("2.1.0", "np.int", "fails"),
        ("1.26.4", "np.bool", "fails"),
        ("2.1.0", "np.bool", "ok"),
        ("1.26.4", "np.float_", "ok"),
        ("2.1.0", "np.float_", "fails"),
        ("2.1.0", "np.int64", "ok"),
        ("2.1.0", "np.random.int", "ok"),
        ("2.1.0", "[np.Inf for x in ()]", "ok"),
        ("2.1.0", "x = lambda: np.int", "ok"),
        ("unknown", "np.int", "ok"),
        ("2.1.0", "from numpy import int as number", "fails"),
        ("2.1.0", "from numpy import int64", "may fail"),
    ],
)
def test_names_that_numpy_removed(tmp_path: Path, version: str, source: str, verdict: str) -> None:
    metadata = f"Name: numpy\nVersion: {version}\n"
    packages = {"numpy/__init__.py": "x = 1", f"numpy-{version}.dist-info/METADATA": metadata}
    case = ImportCase(tmp_path / "1", {"__init__.py": f"import numpy as np\n{source}"}, packages)
    assert case.verdict == verdict
    effects = PackEffects(sets_names=frozenset({"int", "bool", "float_"}))
    case = ImportCase(tmp_path / "2", {"__init__.py": f"import numpy as np\n{source}"}, packages, effects=effects)
    assert case.verdict in {"ok", "may fail"}


@pytest.mark.parametrize(
    ("folders", "verdict"),
    [
        (None, "ok"),
        (frozenset(), "may fail"),
        (frozenset({"loras"}), "may fail"),
        (frozenset({"diffusion_models"}), "ok"),
    ],
)
def test_model_folder_must_be_known(tmp_path: Path, folders: frozenset[str] | None, verdict: str) -> None:
    source = "import folder_paths\nx = folder_paths.get_filename_list('unet')"
    case = ImportCase(tmp_path, {"__init__.py": source}, effects=PackEffects(folders=folders))
    assert case.verdict == verdict


EMPTIED = """
from .extra import Extra
NODE_CLASS_MAPPINGS = {{"Before": Extra}}
try:
    NODE_CLASS_MAPPINGS["Extra"] = Extra
    import {name}
except ImportError:
    {handler}
NODE_CLASS_MAPPINGS["After"] = Extra
"""


@pytest.mark.parametrize("name", ["torch", "cv2", "own"])
@pytest.mark.parametrize(
    ("handler", "before"),
    [
        ("NODE_CLASS_MAPPINGS = {{}}", True),
        ("NODE_CLASS_MAPPINGS: dict = {{}}", True),
        ("NODE_CLASS_MAPPINGS.clear()", True),
        ("NODE_CLASS_MAPPINGS.pop('Extra')", False),
        ("NODE_CLASS_MAPPINGS.pop('Extra', None)", False),
        ("del NODE_CLASS_MAPPINGS['Extra']", False),
    ],
)
def test_mapping_that_a_guard_empties_loses_its_classes(
    tmp_path: Path, name: str, handler: str, *, before: bool
) -> None:
    source = EMPTIED.format(name=name, handler=handler.format())
    extra = "class Extra: INPUT_TYPES, RETURN_TYPES = staticmethod(dict), ()"
    files = {"__init__.py": source, "extra.py": extra, "x/own.py": ""}
    case = ImportCase(tmp_path, files, effects=PackEffects(sources=(tuple(files),)))
    verdict = {"torch": "ok", "cv2": "fails", "own": "may fail"}[name]
    assert case.verdict == "ok"
    assert case.class_verdict("Extra") == verdict
    assert case.class_verdict("Before") == (verdict if before else "ok")
    assert case.class_verdict("After") == "ok"


@pytest.mark.parametrize(
    ("handlers", "verdict"),
    [
        ("except ImportError: N = {}\nexcept OSError: N = {}", "fails"),
        ("except ImportError: N = {}\nexcept OSError: raise", "fails"),
        ("except ImportError: N = {}\nexcept OSError: pass", "ok"),
        ("except ImportError: N = {'Other': Extra}", "ok"),
        ("except ImportError: N.pop(input())", "ok"),
        ("except ImportError: del N[input()]", "ok"),
        ("except ImportError: M = {}", "ok"),
        ("finally: pass", "fails"),
    ],
)
def test_only_clauses_that_empty_the_mapping_count(tmp_path: Path, handlers: str, verdict: str) -> None:
    extra = "class Extra: INPUT_TYPES, RETURN_TYPES = staticmethod(dict), ()\nN = {'Extra': Extra}\n"
    files = {
        "__init__.py": f"try:\n    from .extra import N, Extra\n    import cv2\n{handlers}\nNODE_CLASS_MAPPINGS = N",
        "extra.py": extra,
    }
    assert ImportCase(tmp_path, files).class_verdict("Extra") == verdict


def test_mapping_that_a_function_empties_is_not_followed(tmp_path: Path) -> None:
    source = """
        class Extra: INPUT_TYPES, RETURN_TYPES = staticmethod(dict), ()
        NODE_CLASS_MAPPINGS = {"Extra": Extra}
        def load():
            try:
                import cv2
            except ImportError:
                NODE_CLASS_MAPPINGS.clear()
        load()
    """
    assert ImportCase(tmp_path, {"__init__.py": source}).class_verdict("Extra") == "ok"


@pytest.mark.parametrize(
    ("source", "verdict"),
    [
        ("from .tools import start\nstart()", "fails"),
        ("from . import tools\ntools.start()", "fails"),
        ("from .tools import start as begin\nbegin()", "fails"),
        ("from .again import start\nstart()", "fails"),
        ("from .tools import Loader\nLoader()", "fails"),
        ("from .tools import guarded\nguarded()", "ok"),
        ("from .tools import start\ntry:\n    start()\nexcept ImportError:\n    pass", "ok"),
        ("from .tools import start\ndef later():\n    start()", "ok"),
        ("from .tools import start\nif input(): start()", "ok"),
        ("from .tools import far\nfar()", "fails"),
        ("from .tools import ping\nping()", "ok"),
        ("from .tools import value\nvalue()", "ok"),
        ("from .tools import doubtful\ndoubtful()\ndoubtful()", "may fail"),
    ],
)
def test_functions_of_other_modules_are_followed(tmp_path: Path, source: str, verdict: str) -> None:
    tools = """
        import os
        from . import other
        value = int
        def start(): inner()
        def inner(): import cv2
        def guarded():
            try: inner()
            except ImportError: return
        def far(): other.far()
        def ping(): other.pong()
        def doubtful(): os.environ["TOKEN"]
        class Loader:
            def __init__(self): inner()
    """
    other = """
        from . import tools
        def far(): from .gone import x
        def pong(): tools.ping()
    """
    files = {"__init__.py": source, "tools.py": tools, "other.py": other, "again.py": "from .tools import start"}
    assert ImportCase(tmp_path, files).verdict == verdict
