from __future__ import annotations

import ast
from pathlib import Path

from comfywatchman.comfyui.static_analysis.guarded_keys import (
    add_marks,
    list_dict_keys,
    list_handler_targets,
    mark_new_keys,
)
from comfywatchman.comfyui.static_analysis.modules import SourceTree
from comfywatchman.comfyui.static_analysis.values import AbstractDict, AbstractList, NameScope, SourceModule


def build_scope(*parts: str) -> NameScope:
    scope = SourceModule(parts, is_package=False, tree=ast.Module([], [])).scope
    scope.names.update({"nodes": AbstractDict({"a": 1}), "files": AbstractList(["a"])})
    return scope


def get_dict(scope: NameScope, name: str = "nodes") -> AbstractDict:
    value = scope.names[name]
    assert isinstance(value, AbstractDict)
    return value


def test_only_dicts_have_keys() -> None:
    assert list_dict_keys(build_scope()) == {"nodes": frozenset({"a"})}


def test_new_keys_are_marked_with_their_line(tmp_path: Path) -> None:
    scope, tree = build_scope("py", "nodes"), SourceTree(tmp_path, frozenset())
    before = list_dict_keys(scope)
    get_dict(scope).entries["b"] = 2
    scope.names["more"] = AbstractDict({"c": 3})
    mark_new_keys(scope, before, 7, tree)
    mark = frozenset({(".py.nodes", 7)})
    assert get_dict(scope).marks == {"b": mark}
    assert get_dict(scope, "more").marks == {"c": mark}
    assert tree.marks == {("py", "nodes"): {7}}


def test_statement_without_new_keys_leaves_no_line(tmp_path: Path) -> None:
    scope, tree = build_scope(), SourceTree(tmp_path, frozenset())
    before = list_dict_keys(scope)
    get_dict(scope).entries["a"] = 5
    mark_new_keys(scope, before, 7, tree)
    assert tree.marks == {}


def test_mark_of_an_inner_try_stays() -> None:
    scope = build_scope()
    inner, outer = frozenset({(".", 3)}), frozenset({(".", 1)})
    before = list_dict_keys(scope)
    get_dict(scope).entries["b"] = 2
    assert add_marks(scope, before, inner)
    assert not add_marks(scope, before, outer)
    assert get_dict(scope).marks == {"b": inner}


def test_handler_targets_include_nested_assignments() -> None:
    source = """
try:
    import cv2
except ImportError as error:
    cv2, (a, *b) = None, load(error)
    if (found := c):
        d.e = used
except OSError:
    has_cv2: bool = False
"""
    statement = ast.parse(source).body[0]
    assert isinstance(statement, ast.Try)
    assert list_handler_targets(statement.handlers) == {"cv2", "a", "b", "found", "has_cv2"}
