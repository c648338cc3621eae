"""Members of a pack's enumerations."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.comfyui.static_analysis.values import UNKNOWN
from tests.comfyui.static_analysis.reading import value_of

CLASSES = """
from enum import Enum, IntEnum, StrEnum, auto

class Plain:
    NAME = "a"

class Computed(Enum):
    ONE = "one"
    def __new__(cls, value):
        return mystery(value)

class Size(str, Enum):
    SMALL = "small"
    LARGE = "large"
    TINY = "small"
    _3D = "3d"
    _order_ = "SMALL LARGE _3D"
    __private = 1

    def describe(self):
        return self.value

class Mode(Enum):
    ADD = 0
    DARKEN = 1

class Level(IntEnum):
    LOW = 1

class Word(StrEnum):
    ONE = "one"
    TWO = auto()

class Inner(Size):
    pass
"""


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("[size.value for size in Size]", ["small", "large", "3d"]),
        ("[size.name for size in Size]", ["SMALL", "LARGE", "_3D"]),
        ("[mode.name for mode in Mode]", ["ADD", "DARKEN"]),
        ("[mode.value for mode in Mode]", [0, 1]),
        ("[mode.value for mode in list(Mode)]", [0, 1]),
        ("[level.value for level in Level]", [1]),
        ("[word.name for word in Word]", ["ONE", "TWO"]),
        ("[size.upper() for size in Size]", ["SMALL", "LARGE", "3D"]),
        ("[*[size.value for size in Size], 'auto']", ["small", "large", "3d", "auto"]),
        ("(Size.SMALL.value, Size.SMALL.name, Mode.ADD.name, Mode.ADD.value)", ["small", "SMALL", "ADD", 0]),
        ("{size.value: 1 for size in Size}", {"small": 1, "large": 1, "3d": 1}),
        ("[size.value for size in Size if size == Size.SMALL]", ["small"]),
        ("[size.value for size in Size if size in [Size.SMALL]]", ["small"]),
        ("[size.value for size in Size if size is not Size.SMALL]", ["large", "3d"]),
        ("[m.value for m in (Mode.ADD, Mode.DARKEN)]", [0, 1]),
    ],
)
def test_enumerations_list_their_members(tmp_path: Path, expression: str, expected: object) -> None:
    assert value_of(tmp_path, f"{CLASSES}\nx = {expression}\n") == expected


def test_computed_value_of_a_member_is_unknown(tmp_path: Path) -> None:
    assert value_of(tmp_path, f"{CLASSES}\nx = [word.value for word in Word]\n") == ["one", UNKNOWN]


def test_class_that_is_no_enumeration_has_no_members(tmp_path: Path) -> None:
    assert value_of(tmp_path, f"{CLASSES}\nx = [name for name in Plain]\n") == [...]


def test_members_that_the_class_builds_itself_have_unknown_values(tmp_path: Path) -> None:
    source = f"{CLASSES}\nx = [(one.name, one.value) for one in Computed]\n"
    assert value_of(tmp_path, source) == [["ONE", UNKNOWN]]
