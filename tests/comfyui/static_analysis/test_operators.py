"""Expressions and calls, each against what Python itself would give, or against what must stay open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfywatchman.comfyui.static_analysis.values import UNKNOWN
from tests.comfyui.static_analysis.reading import value_of

SAME_AS_PYTHON = [
    "[*[1, 2], 3]",
    "(1, 2)[1]",
    "{'a': 1}['a']",
    "{'a': 1}.get('b', 2)",
    "{'a': 1}.get('b')",
    "list({'a': 1, 'b': 2}.keys())",
    "list({'a': 1, 'b': 2}.values())",
    "sorted(['a', 'b'])",
    "list(enumerate(['a', 'b']))",
    "[i for i in range(3)]",
    "[a + b for a in ['x', 'y'] for b in ['1', '2']]",
    "[a for a in ['x', 'y'] if a != 'x']",
    "[a for a in ['x', 'y'] if a == 'x' or a == 'y']",
    "[*{'a'}]",
    "list()",
    "dict({'a': 1}, b=2)",
    "'a,b'.split(',')",
    "'-'.join(['a', 'b'])",
    "'  a '.strip()",
    "'a.py'.removesuffix('.py')",
    "'abc'.replace('b', 'x')",
    "'A'.lower() + 'b'.upper()",
    "'abc'.startswith('ab')",
    "'{0} {name}'.format('a', name='b')",
    "'{}-{}'.format('a', 3)",
    "'a' in 'abc'",
    "'a' in {'a': 1}",
    "'z' in {'a': 1}",
    "'z' not in ['a']",
    "1 == 1",
    "'a' != 'b'",
    "[] is None",
    "None is None",
    "not []",
    "not {'a': 1}",
    "-3",
    "0 or 'b'",
    "'a' and 'b'",
    "'' and 'b'",
    "1 if [] else 2",
    "(lambda a, b='z': a + b)('y')",
    "(lambda *a: [*a])(1, 2)",
    "(lambda **k: k)(a=1)",
    "(lambda a, *, b=1: b)(0)",
    "(lambda a, /, b: b)(0, b=5)",
    "[y := 3, y]",
    "{**{'a': 1}, 'b': 2}",
    "{'a': 1} | {'b': 2}",
    "['a'] + ['b']",
    "'a%sb' % 'x'",
    "{k: v for k, v in [('a', 1), ('b', 2)]}",
    "f'{\"a\"}b'",
]


@pytest.mark.parametrize("expression", SAME_AS_PYTHON)
def test_expression_equals_that_of_python(expression: str, tmp_path: Path) -> None:
    wanted = eval(expression)  # noqa: S307 - the expressions above
    wanted = [list(row) if isinstance(row, tuple) else row for row in wanted] if isinstance(wanted, list) else wanted
    assert value_of(tmp_path, f"x = {expression}\ny = x", "y") == wanted


@pytest.mark.parametrize(
    "expression",
    [
        "undefined",
        "undefined.attribute",
        "undefined()",
        "1 + 2",
        "1 < 2 < 3",
        "1 < 2",
        "'a' in undefined",
        "undefined == 1",
        "undefined in ['a']",
        "'z' in ['a', undefined]",
        "undefined in {'a': 1}",
        "not undefined",
        "-undefined",
        "~1",
        "undefined and 'a'",
        "1 if undefined else 2",
        "'{:>9}'.format('a')",
        "'{!r}'.format('a')",
        "'{a.b}'.format(a='x')",
        "'{'.format('a')",
        "'{}'.format()",
        "'{5}'.format('a')",
        "f'{\"a\":>9}'",
        "f'{\"a\"!r}'",
        "f'{undefined}'",
        "'%s' % undefined",
        "'%d' % 'a'",
        "'a'.encode()",
        "'a'.split('')",
        "'a'.replace('', 'b')",
        "'a'.center(5, width=3)",
        "','.join(undefined)",
        "','.join([undefined])",
        "'a'[0]",
        "'abc'[1:]",
        "{'a': 1}[undefined]",
        "{'a': 1}['b']",
        "[1][5]",
        "[1][undefined]",
        "('" + "x" * 2000 + "').replace('x', 'y')",
        "b'bytes'",
        "1j",
        "len([1])",
        "...",
    ],
)
def test_undecidable_expression_is_unknown(expression: str, tmp_path: Path) -> None:
    assert value_of(tmp_path, f"x = {expression}") is UNKNOWN


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("['a'] + undefined", ["a", ...]),
        ("undefined + ['a']", ["a", ...]),
        ("{'a': 1} | undefined", {"a": 1, ...: ...}),
        ("undefined | {'a': 1}", {"a": 1, ...: ...}),
        ("{'a': 1, **undefined}", {"a": 1, ...: ...}),
        ("{undefined: 1}", {...: ...}),
        ("dict(undefined)", {...: ...}),
        ("[*undefined, 'a']", ["a", ...]),
        ("list(undefined)", [...]),
        ("list(range(9999999))", [...]),
        ("list(map(str, ['a']))", [...]),
        ("[a for a in undefined]", [...]),
        ("[a for a in ['b'] if undefined]", ["b", ...]),
        ("['a', 'b'][0:1]", ["a", "b", ...]),
        ("list(zip(['a'], undefined))", [...]),
        ("['a'] if undefined else ['b']", ["a", "b"]),
        ("['a'] if undefined else 3", ["a", ...]),
        ("{'a': 1} if undefined else {'b': 2}", {"a": 1, "b": 2, ...: ...}),
        ("{'a': 1} if undefined else {'a': 1}", {"a": 1}),
        ("{'a': 1} if undefined else {'a': 2}", {"a": UNKNOWN}),
        ("{'a': 1} if undefined else 3", {"a": 1, ...: ...}),
        ("undefined or ['a']", ["a", ...]),
        ("'a' if undefined else 'a'", "a"),
        ("undefined or 'a'", UNKNOWN),
    ],
)
def test_partly_known_values_are_open(expression: str, wanted: object, tmp_path: Path) -> None:
    assert value_of(tmp_path, f"x = {expression}") == wanted


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


def test_module_knows_its_package(tmp_path: Path) -> None:
    (tmp_path / "inner.py").write_text("name = [__name__, __package__]", "utf-8")
    assert value_of(tmp_path, "from . import inner\nx = inner.name") == ["__pack__.inner", "__pack__"]


def test_star_import_takes_names_of_dunder_all(tmp_path: Path) -> None:
    (tmp_path / "inner.py").write_text("__all__ = ['_a']\n_a = 1\nb = 2", "utf-8")
    assert value_of(tmp_path, "from .inner import *\nx = [_a, b]") == [1, UNKNOWN]


def test_fifo_in_place_of_source_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    assert value_of(tmp_path, "from .pipe import y\nx = y") is UNKNOWN
