"""Parameters of a pack's functions and the arguments that they get."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.comfyui.static_analysis.values import UNKNOWN
from tests.comfyui.static_analysis.reading import value_of

FUNCTION = """
def f(a, /, b, c="c", *rest, d="d", **others):
    return [a, b, c, [*rest], d, {**others}]
OPTIONS = {"b": "B", "other": "O"}
"""


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("f('A', 'B')", ["A", "B", "c", [], "d", {}]),
        ("f('A', b='B', d='D')", ["A", "B", "c", [], "D", {}]),
        ("f('A', 'B', 'C', 'R', 'S', other='O')", ["A", "B", "C", ["R", "S"], "d", {"other": "O"}]),
        ("f('A', **OPTIONS)", ["A", "B", "c", [], "d", {"other": "O"}]),
        ("f('A')", ["A", UNKNOWN, "c", [], "d", {}]),
    ],
)
def test_arguments_are_bound_as_python_does(tmp_path: Path, call: str, expected: object) -> None:
    assert value_of(tmp_path, f"{FUNCTION}\nx = {call}\n") == expected
