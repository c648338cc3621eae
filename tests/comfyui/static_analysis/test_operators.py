"""Expressions and calls, each against what Python itself would give, or against what must stay open."""

from __future__ import annotations

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
    "1 < 2",
    "2 >= 2",
    "1 > 0.5",
    "1 <= 1",
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
        "1 < 2 < 3",
        "1 < undefined",
        "'a' < 'b'",
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
        "'a'.lower('b')",
        "'a'.startswith()",
        "'a'.split('')",
        "'a'.replace('', 'b')",
        "'a'.center(5, width=3)",
        "','.join(undefined)",
        "','.join([undefined])",
        "'a'[0]",
        "'abc'[::2]",
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
    ("expression", "value"),
    [
        ("1 + 2", 3),
        ("2 ** 31 - 1", 2147483647),
        ("-7 // 2 * 3", -12),
        ("7 / 2", 3.5),
        ("7 % 4", 3),
        ("1 / 0", UNKNOWN),
        ("1 << 3", UNKNOWN),
        ("9 ** 999", UNKNOWN),
        ("(-8) ** 0.5", UNKNOWN),
        ("f'{1}-{2.5}'", "1-2.5"),
    ],
)
def test_arithmetic_of_numbers(expression: str, value: object, tmp_path: Path) -> None:
    assert value_of(tmp_path, f"x = {expression}") == value
