from __future__ import annotations

import ast

import pytest

from comfywatchman.comfyui.static_analysis.faults.name_uses import NameUses


def test_bindings_in_every_scope_are_counted() -> None:
    source = """
import os.path, json as data
from a import b
def function(argument, *rest, **more):
    global counter
    nonlocal_name = [inner for inner in argument]
class Node: pass
try: pass
except OSError as error: del error
if (found := 1): pass
match found:
    case {"k": value, **others}: pass
    case [first, *tail]: pass
x = x + 1
x.attribute = 1
"""
    bindings = NameUses(ast.parse(source)).bindings
    once = {"os", "data", "b", "function", "argument", "rest", "more", "counter", "nonlocal_name", "inner", "Node"}
    once |= {"found", "value", "others", "first", "tail", "x"}
    assert {name for name, count in bindings.items() if count == 1} == once
    assert bindings["error"] == 2
    assert bindings["json"] == 0


@pytest.mark.parametrize(
    ("use", "is_exposed"),
    [
        ("X['a']", False),
        ("'a' in X", False),
        ("len(X)", False),
        ("X.get('a')", False),
        ("f'{X}'", False),
        ("Y[X]", False),
        ("for part in X: pass", False),
        ("[part for part in X]", False),
        ("X()", False),
        ("X['a'] = 1", True),
        ("del X['a']", True),
        ("X.update(Y)", True),
        ("f(X)", True),
        ("Z = X", True),
        ("X.attribute = 1", True),
        ("[X]", True),
    ],
)
def test_names_whose_value_may_change_are_exposed(use: str, *, is_exposed: bool) -> None:
    assert ("X" in NameUses(ast.parse(f"X = {{}}\n{use}")).exposed) is is_exposed
