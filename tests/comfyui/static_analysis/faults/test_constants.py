from __future__ import annotations

import ast

import pytest

from comfywatchman.comfyui.static_analysis.faults.constants import ConstantFolder, FoldedError
from comfywatchman.comfyui.static_analysis.faults.name_uses import NameUses
from comfywatchman.comfyui.static_analysis.module_names import read_module_names
from comfywatchman.comfyui.static_analysis.outline_names import build_name_table
from comfywatchman.comfyui.static_analysis.paths import PackFiles
from comfywatchman.comfyui.static_analysis.values import UNKNOWN, PathValue, Value

START = """import os
from pathlib import Path
SIZES = {"small": 1, "inner": {"a": 1}}
CHANGED = {"small": 1}
CHANGED["large"] = 2
NAMES = ["a", input()]
COUNT = 0
TWICE = 1
TWICE = 2
NOTHING = None
"""


def build_folder(source: str, path: str | None = "/pack/__init__.py") -> tuple[ConstantFolder, ast.expr]:
    tree = ast.parse(START + source)
    table = build_name_table(tree.body, read_module_names(tree, source.encode(), (), prefix=".").origins)
    statement = tree.body[-1]
    assert isinstance(statement, ast.Expr)
    return ConstantFolder(table, NameUses(tree), PackFiles("/pack"), path), statement.value


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("1", 1),
        ("b'x'", UNKNOWN),
        ("SIZES['small']", 1),
        ("SIZES['inner']", UNKNOWN),
        ("CHANGED['small']", UNKNOWN),
        ("NAMES[0]", "a"),
        ("NAMES[1]", UNKNOWN),
        ("(1, 2)[1]", 2),
        ("[*NAMES][9]", UNKNOWN),
        ("{**SIZES}['x']", UNKNOWN),
        ("{input(): 1}['x']", UNKNOWN),
        ("'abc'[-1]", "c"),
        ("'abc'[1:]", UNKNOWN),
        ("SIZES[input()]", UNKNOWN),
        ("unknown['x']", UNKNOWN),
        ("COUNT + 2 * 3", 6),
        ("TWICE + 1", UNKNOWN),
        ("'a' * 10", UNKNOWN),
        ("'%s' % 1", UNKNOWN),
        ("2 ** 9", UNKNOWN),
        ("7 % 4", 3),
        ("not 1", UNKNOWN),
        ("input() / 0", UNKNOWN),
        ("int('7')", 7),
        ("float('x' + '')", UNKNOWN),
        ("int('7', base=8)", UNKNOWN),
        ("len(NAMES)", 2),
        ("len(*NAMES)", UNKNOWN),
        ("abs(-1)", UNKNOWN),
        ("NOTHING", None),
        ("NOTHING.__class__", UNKNOWN),
        ("COUNT.real", UNKNOWN),
        ("COUNT.bit_length()", UNKNOWN),
        ("Path('/pack') / 'a'", PathValue("/pack/a")),
        ("Path('/pack') + 'a'", UNKNOWN),
        ("Path(__file__).parent", PathValue("/pack")),
        ("Path(__file__).parent.joinpath('a')", PathValue("/pack/a")),
        ("Path('/pack').exists()", UNKNOWN),
        ("os.path.join(os.path.dirname(__file__), 'a')", "/pack/a"),
        ("os.listdir('/pack')", UNKNOWN),
    ],
)
def test_constants_are_folded(source: str, value: Value) -> None:
    folder, node = build_folder(source)
    assert folder.fold(node) == value


@pytest.mark.parametrize(
    ("source", "error", "text"),
    [
        ("SIZES['large']", "KeyError", "key 'large'"),
        ("NAMES[5]", "IndexError", "list index out of range"),
        ("(1, 2)['a']", "TypeError", "tuple indices must be integers or slices, not str"),
        ("NOTHING['a']", "TypeError", "'NoneType' object is not subscriptable"),
        ("10 // COUNT", "ZeroDivisionError", "integer division or modulo by zero"),
        ("-1 % COUNT", "ZeroDivisionError", "integer modulo by zero"),
        ("'a' + 1", "TypeError", 'can only concatenate str (not "int") to str'),
        ("int('many')", "ValueError", "invalid literal for int() with base 10: 'many'"),
        ("len(1)", "TypeError", "object of type 'int' has no len()"),
        ("NOTHING.strip", "AttributeError", "'NoneType' object has no attribute 'strip'"),
    ],
)
def test_errors_are_those_of_python(source: str, error: str, text: str) -> None:
    folder, node = build_folder(source)
    with pytest.raises(FoldedError) as raised:
        folder.evaluate(node)
    assert (raised.value.error, raised.value.text) == (error, text)
    assert folder.fold(node) is UNKNOWN


def test_errors_of_a_part_leave_the_whole_unknown() -> None:
    folder, node = build_folder("SIZES['large'] + 1")
    assert folder.evaluate(node) is UNKNOWN


def test_used_names_are_collected() -> None:
    folder, node = build_folder("COUNT + 1")
    folder.fold(node)
    assert (folder.used_names, folder.has_mutable) == ({"COUNT"}, False)
    folder, node = build_folder("SIZES['small'] + COUNT")
    folder.fold(node)
    assert (folder.used_names, folder.has_mutable) == ({"COUNT", "SIZES"}, True)


def test_builtin_function_of_the_pack_itself_is_unknown() -> None:
    folder, node = build_folder("def int(text): pass\nint('many')")
    assert folder.evaluate(node) is UNKNOWN


def test_module_without_a_file_and_deep_expressions_are_unknown() -> None:
    folder, node = build_folder("__file__", path=None)
    assert folder.fold(node) is UNKNOWN
    folder, node = build_folder("+".join(["1"] * 40))
    assert folder.fold(node) is UNKNOWN
    folder, node = build_folder(f"{10**30} + 1")
    assert folder.fold(node) is UNKNOWN
