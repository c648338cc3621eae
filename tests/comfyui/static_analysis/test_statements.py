from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.comfyui.static_analysis.values import UNKNOWN
from tests.comfyui.static_analysis.reading import value_of


@pytest.mark.parametrize(
    ("work", "wanted"),
    [
        ("x.append('b')", ["a", "b"]),
        ("x.insert(0, 'b')", ["b", "a"]),
        ("x.insert(undefined, 'b')", ["a", "b"]),
        ("x.extend(['b'])", ["a", "b"]),
        ("x.extend(undefined)", ["a", ...]),
        ("x += ['b']", ["a", "b"]),
        ("x += undefined", ["a", ...]),
        ("x.sort()", ["a"]),
        ("x.pop()", ["a", ...]),
        ("y = x.copy()\ny.append('b')\nlen(y)", ["a"]),
        ("y = {'a'}.union(['b'])\nx = list(y)", ["a", "b"]),
        ("x[0] = 'b'", ["a", ...]),
        ("register(x)", ["a", ...]),
        ("print(x)", ["a"]),
        ("vars(x)", ["a", ...]),
        ("import os\nos.path.join(x)", ["a"]),
        ("import elsewhere\nelsewhere.f(k=x)", ["a", ...]),
        ("if undefined:\n    x = ['b']", ["a", "b"]),
        ("if undefined:\n    x = 3", ["a"]),
        ("if undefined:\n    x.append('b')\nelse:\n    x.append('c')", ["a", "b", "c"]),
        ("del x\nx = ['b']", ["b"]),
        ("x: list = ['b']", ["b"]),
        ("a, (b, c) = 'p', ['q', 'r']\nx = [a, b, c]", ["p", "q", "r"]),
        ("a, b = undefined\nx = [a]", [UNKNOWN]),
        ("for i in ['b']:\n    x.append(i)\n    break\nelse:\n    pass", ["a", "b"]),
        ("for i in ['b', 'c']:\n    if i == 'b':\n        continue\n    x.append(i)", ["a", "c"]),
        ("while x:\n    x.append('b')", ["a", "b"]),
        ("with undefined as f:\n    x.append('b')", ["a", "b"]),
        ("try:\n    x = ['b']\nexcept E:\n    x = ['c']\nelse:\n    x.append('d')\nfinally:\n    x.append('e')",
         ["b", "d", "e"]),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    x = ['b']", ["a"]),
        ("if __name__ == '__main__':\n    x = ['b']", ["a"]),
        ("def f():\n    return\nx = [f()]", [None]),
        ("def f(a):\n    if a:\n        return 'p'\n    return 'q'\nx = [f(1), f(0)]", ["p", "q"]),
        ("def f():\n    if undefined:\n        return ['p']\n    return ['q']\nx = f()", ["p", "q"]),
        ("def f():\n    raise E\n    x.append('b')\nf()", ["a"]),
        (("class C:\n    @staticmethod\n    def s():\n        return 'p'\n    @property\n    def q(self):\n"
         "        return self.s()\n    def m(self):\n        return self.q\nx = [C.s(), C().q, C().m()]"),
         ["p", "p", "p"]),
        (("class B:\n    def m(self):\n        return 'p'\nclass C(B):\n    def m(self):\n        return super().m()\n"
         "x = [C().m()]"), ["p"]),
        ("class C:\n    def m(self):\n        return super().gone\nx = [C().m()]", [UNKNOWN]),
        ("class C:\n    pass\nx = [getattr(C, 'gone', 'd'), C.__name__]", ["d", "C"]),
    ],
)  # fmt: skip
def test_statements_change_a_list(work: str, wanted: object, tmp_path: Path) -> None:
    assert value_of(tmp_path, f"x = ['a']\n{work}") == wanted


@pytest.mark.parametrize(
    ("work", "wanted"),
    [
        ("x.pop('a')", {}),
        ("x.pop('z', None)", {"a": 1}),
        ("x.pop(undefined)", {"a": 1, ...: ...}),
        ("x.setdefault('b', 2)", {"a": 1, "b": 2}),
        ("x.clear()", {"a": 1, ...: ...}),
        ("x |= {'b': 2}", {"a": 1, "b": 2}),
        ("if undefined:\n    x.pop('a')", {"a": 1}),
        ("if undefined:\n    x = {'b': 2}", {"a": 1, "b": 2, ...: ...}),
        ("for k in x:\n    y = k\nx['b'] = y", {"a": 1, "b": "a"}),
    ],
)
def test_statements_change_a_dict(work: str, wanted: object, tmp_path: Path) -> None:
    assert value_of(tmp_path, f"x = {{'a': 1}}\n{work}") == wanted


def test_constants_of_an_undecided_branch_are_unknown(tmp_path: Path) -> None:
    assert value_of(tmp_path, "x = 'a'\nif undefined:\n    x = 'b'") is UNKNOWN
    assert value_of(tmp_path, "x = None\nif undefined:\n    x = 'b'") == "b"


def test_functions_that_call_themselves_end(tmp_path: Path) -> None:
    assert value_of(tmp_path, "def f(a):\n    return f(a)\nx = f(['a'])") is UNKNOWN


def test_deferred_call_sees_later_changes(tmp_path: Path) -> None:
    assert value_of(tmp_path, "y = ['a']\nx = list(y)\ny.append('b')") == ["a", "b"]


def test_call_that_needs_its_own_previous_value_is_not_deferred(tmp_path: Path) -> None:
    assert value_of(tmp_path, "x = ['a']\nx = list(x)\nx.append('b')") == ["a", "b"]
