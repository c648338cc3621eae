from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfywatchman.comfyui.static_analysis.expressions import decide_any, decide_truth
from comfywatchman.comfyui.static_analysis.values import UNKNOWN, AbstractDict, AbstractList
from tests.comfyui.static_analysis.reading import value_of


@pytest.mark.parametrize(
    ("value", "truth"),
    [
        ("", False),
        ("a", True),
        (0, False),
        (None, False),
        (UNKNOWN, None),
        (AbstractList(), False),
        (AbstractList(is_open=True), None),
        (AbstractList(["a"], is_open=True), True),
        (AbstractDict(), False),
        (AbstractDict({"a": 1}), True),
        (AbstractDict({"a": 1}, {"a"}), None),
        (AbstractDict(is_open=True), None),
    ],
)
def test_truth_of_open_values_is_unknown(value: Any, truth: object) -> None:
    assert decide_truth(value) is truth


def test_known_element_decides() -> None:
    assert decide_any(has_known=True, may_have_others=True) is True
    assert decide_any(has_known=False, may_have_others=True) is None
    assert decide_any(has_known=False, may_have_others=False) is False


def test_name_that_depends_on_itself_is_unknown(tmp_path: Path) -> None:
    assert value_of(tmp_path, "def f():\n    return x\nx = f()") is UNKNOWN


def test_function_does_not_see_the_names_of_its_class(tmp_path: Path) -> None:
    source = "a = 1\nclass C:\n    a = 2\n    def m(self):\n        return a\nx = C().m()"
    assert value_of(tmp_path, source) == 1


def test_attribute_set_in_an_undecided_branch_is_unknown(tmp_path: Path) -> None:
    assert value_of(tmp_path, "class C:\n    a = 1\nC.a = 2\nx = C.a") == 2
    assert value_of(tmp_path, "class C:\n    a = 1\nif undefined:\n    C.a = 2\nx = C.a") is UNKNOWN
