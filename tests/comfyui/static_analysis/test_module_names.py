"""The names that a module binds: Python itself, importing the module, says which are right."""

from __future__ import annotations

import types
from textwrap import dedent

import pytest

from comfywatchman.comfyui.static_analysis.module_names import (
    OWN,
    ModuleNames,
    build_module_name,
    join_dotted,
    read_module_names,
    resolve_module,
)
from comfywatchman.comfyui.static_analysis.modules import parse_source


def read(source: str, package: tuple[str, ...] = (), prefix: str = OWN) -> ModuleNames:
    content = dedent(source).encode()
    return read_module_names(parse_source(content), content, package, prefix=prefix)


@pytest.mark.parametrize(
    "source",
    [
        "import os, os.path, json as j\nfrom sys import path as p, platform",
        "a = b = 1\n(c, [d, *e]) = 1, [2, 3]\nf: int = 4\nf += 1",
        "def f():\n    inner = 1\nasync def g(): pass\nclass A:\n    attribute = 1",
        "for i, (j, k) in [(1, (2, 3))]:\n    last = i\nelse:\n    done = 1",
        "import io\nwith io.StringIO() as file, io.StringIO():\n    inside = 1",
        "try:\n    x = 1\nexcept ValueError as error:\n    pass\nelse:\n    y = 2\nfinally:\n    z = 3",
        "if (n := 1):\n    pass\nwhile (m := 0):\n    pass\n[w := 1 for _ in (1,)]",
        "match [1, 2, {'a': 1}]:\n    case [first, *rest]:\n        found = 1",
        "match {'a': 1, 'b': 2}:\n    case {'a': one, **others} as whole:\n        pass",
        "def f():\n    global late, later\n    late = later = 1\nf()",
        "x = [hidden for hidden in (1,)]\ny = lambda z: z",
    ],
)
def test_names_agree_with_python(source: str) -> None:
    module = types.ModuleType("module")
    exec(compile(source, "module", "exec"), module.__dict__)  # noqa: S102 - fixed texts above
    bound = {name for name in vars(module) if not name.startswith("__")}
    # `except … as error` unbinds the name again.
    assert read(source).names - {"error"} == bound


def test_star_imports_and_origins() -> None:
    names = read(
        "from .a import *\nfrom b.c import *\nfrom . import d as e\nimport f.g\nimport h.i as j\nk = e", ("pack",)
    )
    assert names.stars == (".pack.a", "b.c")
    assert names.origins == {"e": ".pack.d", "f": "f", "j": "h.i", "k": ".pack.d"}


@pytest.mark.parametrize(
    "source",
    [
        "from a import x\nfrom b import x",
        "from a import x\nx = 1",
        "try:\n    import x\nexcept ImportError:\n    x = None",
    ],
)
def test_name_with_several_meanings_has_no_origin(source: str) -> None:
    names = read(source)
    assert names.names == {"x"}
    assert names.origins == {}


@pytest.mark.parametrize(
    "source",
    ["globals()['x'] = 1", "def __getattr__(name): pass", "exec('x = 1')", "import sys\nsys.modules[__name__] = X()"],
)
def test_code_that_may_bind_more_leaves_the_names_open(source: str) -> None:
    assert read(source).is_open


def test_getattr_of_a_class_does_not() -> None:
    assert not read("class A:\n    def __getattr__(self, name): pass").is_open


def test_import_from_beyond_the_package_leaves_the_names_open() -> None:
    assert read("from .. import *").is_open


@pytest.mark.parametrize(
    ("source", "public"),
    [
        ("__all__ = ['a', 'b']", {"a", "b"}),
        ("__all__ = ('a',)", {"a"}),
        ("__all__ = ['a']\n__all__ += ['b']", None),
        ("__all__ = names()", None),
        ("__all__ = ['a', name]", None),
        ("a = 1", None),
    ],
)
def test_public_names(source: str, public: set[str] | None) -> None:
    assert read(source).public == public


def test_own_import_of_a_module_binds_no_name_for_others() -> None:
    names = read("from . import inner\nfrom .inner import thing", ("pack",))
    assert not names.binds(".pack", "inner")
    assert names.binds(".pack", "thing")


@pytest.mark.parametrize(
    ("package", "module", "level", "expected"),
    [
        ((), "a.b", 0, "a.b"),
        ((), None, 1, "."),
        ((), "a", 1, ".a"),
        ((), "a", 2, None),
        (("x", "y"), "a", 1, ".x.y.a"),
        (("x", "y"), None, 2, ".x"),
        (("x", "y"), "a", 3, ".a"),
        (("x", "y"), "a", 4, None),
    ],
)
def test_relative_imports_are_resolved(
    package: tuple[str, ...], module: str | None, level: int, expected: str | None
) -> None:
    assert resolve_module(package, module, level, prefix=OWN) == expected


def test_module_of_comfyui_cannot_go_beyond_its_top() -> None:
    assert resolve_module(("comfy",), "a", 1, prefix="") == "comfy.a"
    assert resolve_module(("comfy",), "a", 2, prefix="") is None


def test_dotted_names() -> None:
    assert (build_module_name(()), build_module_name(("a", "b"))) == (".", ".a.b")
    assert (join_dotted(".", "x"), join_dotted(".a", "x"), join_dotted("", "x")) == (".x", ".a.x", "x")
