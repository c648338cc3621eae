from __future__ import annotations

import ast

import pytest

from comfywatchman.comfyui.static_analysis.module_names import read_module_names
from comfywatchman.comfyui.static_analysis.outline_names import NameTable, build_name_table


def table_of(source: str) -> NameTable:
    tree = ast.parse(source)
    return build_name_table(tree.body, read_module_names(tree, source.encode(), (), prefix=".").origins)


def expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def test_name_is_bound_for_certain_once_no_condition_surrounds_it() -> None:
    table = table_of("try:\n    import cv2, numpy\nexcept ImportError:\n    pass\nimport numpy\nfor i in x:\n    y = 1")
    assert [table.may_be_unbound(name) for name in ("cv2", "numpy", "y", "unheard")] == [True, False, True, False]


def test_guarded_star_leaves_all_other_names_open() -> None:
    table = table_of("import torch\ntry:\n    from gone import *\nexcept ImportError:\n    pass")
    assert [table.may_be_unbound(name) for name in ("thing", "torch", "len", "__file__")] == [True, False, False, False]


def test_name_with_two_meanings_stands_for_none() -> None:
    table = table_of("import a.b\nimport a.c\nimport cv2\ncv2 = None\nx = 1\nif a:\n    x = 2\ny: int = 3")
    assert table.get_dotted_name(expression("a.b.f")) == "a.b.f"
    assert table.get_dotted_name(expression("cv2.resize")) is None
    assert "x" not in table.definitions
    assert "y" in table.definitions


@pytest.mark.parametrize("imported", ["import cv2", "import opencv as cv2"])
def test_value_of_a_name_that_is_imported_too_is_not_known(imported: str) -> None:
    table = table_of(f"cv2 = None\ntry:\n    {imported}\nexcept ImportError:\n    pass")
    assert table.render_test(expression("cv2 is None")) == "cv2 is None"
    assert "cv2" not in table.definitions


def test_only_plain_functions_are_followed() -> None:
    source = "def f(): pass\n@cache\ndef g(): pass\ndef h(): pass\ndef h(): pass\nasync def k(): pass"
    assert set(table_of(source).functions) == {"f"}


def test_names_of_a_function_hide_those_of_the_module() -> None:
    body = "import e as d2\n    x = 3\n    y = 4\n    y = 5"
    table = table_of(f"import a, b, c, d\nx = 1\ny = 2\ndef f(a, /, *b, k=1, **c):\n    {body}")
    inner = table.enter_function(table.functions["f"], {"d2": "e"})
    assert inner.origins == {"d": "d", "d2": "e"}
    assert {name: ast.unparse(value) for name, value in inner.definitions.items()} == {"x": "3"}


@pytest.mark.parametrize(
    ("source", "test", "rendered"),
    [
        ("from pkg import VERSION as V\nLEAST = (0, 3)", "V >= LEAST", "pkg.VERSION >= (0, 3)"),
        ("import sys\nold = sys.version_info < (3, 12)\nis_old = old", "not is_old", "not sys.version_info < (3, 12)"),
        ("from .config import DEBUG", "DEBUG", "DEBUG"),
        ("x = 1\nx = 2", "x", "x"),
        ("", "a" * 400, "a" * 400),
        ("", "a" * 401, ""),
        ("", " + ".join("abcdefgh" * 30), ""),
    ],
)
def test_condition_is_written_with_what_its_names_stand_for(source: str, test: str, rendered: str) -> None:
    assert table_of(source).render_test(expression(test)) == rendered


def test_definition_in_terms_of_itself_ends() -> None:
    assert table_of("x = x + 1").render_test(expression("x")) == "x + 1 + 1 + 1 + 1"
