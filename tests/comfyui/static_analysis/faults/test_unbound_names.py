from __future__ import annotations

import ast

import pytest

from comfywatchman.comfyui.static_analysis.faults.expressions import FaultSource
from comfywatchman.comfyui.static_analysis.faults.unbound_names import UnboundNames
from comfywatchman.comfyui.static_analysis.import_outline import ModuleOutliner
from comfywatchman.comfyui.static_analysis.import_steps import FaultStep
from comfywatchman.comfyui.static_analysis.module_names import read_module_names
from comfywatchman.comfyui.static_analysis.outline_source import OutlineSource


def list_unbound(source: str) -> list[str]:
    """Return the unbound names that importing a module uses, outside of blocks."""
    tree, content = ast.parse(source), source.encode()
    names = read_module_names(tree, content, ("py",), prefix=".")
    steps = ModuleOutliner(OutlineSource(tree, content, names, ("py", "one"), ("py",))).build_steps()
    return [step.text.split("'")[1] for step in steps if isinstance(step, FaultStep)]


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("x = gone", ["gone"]),
        ("gone.attribute", ["gone"]),
        ("gone()", ["gone"]),
        ("x = later\nlater = 1", ["later"]),
        ("x = list\nlist = 1", []),
        ("x = 1\ndel x\ny = x", ["x"]),
        ("x = 1\nif y:\n    del x\nx\ny = 1", ["y"]),
        ("@gone\ndef f(): pass", ["gone"]),
        ("def f(x=gone): pass", ["gone"]),
        ("def f(x: gone): pass", []),
        ("class A(gone): pass", ["gone"]),
        ("class A:\n    x = 1\n    y = x\n    def f(self, z=x): pass\n    @property\n    def g(self): return gone", []),
        ("class A:\n    if input():\n        x = 1\n    y = x", []),
        ("class A:\n    y = gone", ["gone"]),
        ("lambda: gone", []),
        ("[gone for part in ()]", []),
        ("[part for part in gone]", ["gone"]),
        ("from a import *\nx = gone", []),
        ("globals()['gone'] = 1\ngone", []),
        ("def f():\n    global later\n    later = 1\nf()\nlater", []),
        ("for x in range(2):\n    if x:\n        print(y)\n    y = 1", []),
        ("try:\n    pass\nexcept OSError as error:\n    print(error)\nprint(error)", []),
        ("with open('x') as file: print(file)", []),
        ("print(x := 1, x)", []),
        ("import os.path\nos.sep", []),
        ("__file__; __annotations__; __gone__", []),
        ("def f(): return gone", []),
        ("x = 1\nx += 1", []),
    ],
)
def test_names_that_nothing_binds(source: str, names: list[str]) -> None:
    assert list_unbound(source) == names


def test_called_function_is_searched_for_names_that_exist_nowhere() -> None:
    tree = ast.parse("def f(a):\n    b = a\n    import c\n    return b, c, later, gone\nlater = 1")
    names = read_module_names(tree, b"", (), prefix=".")
    unbound = UnboundNames(FaultSource(tree), names)
    assert unbound.list_unbound({"a", "b", "c", "later", "gone", "len"}, in_function=True) == ["gone"]


def test_patterns_bind_names() -> None:
    assert list_unbound("match input():\n    case [first, *others]:\n        first, others\nfirst") == []
