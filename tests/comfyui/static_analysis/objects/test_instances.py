"""Objects of a pack's own classes."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from comfywatchman.comfyui.static_analysis.values import UNKNOWN, ClassInstance
from tests.comfyui.static_analysis.reading import value_of

CLASSES = """
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple
import dataclasses
import pydantic

@dataclass(frozen=True)
class Model:
    slug: str
    profile: str = "plain"
    images: int = 0
    tags: list[str] = field(default_factory=list)
    limit: int = field(default=4, repr=False)
    known: ClassVar[int] = 7
    hidden: int = field(default=5, init=False)

    @property
    def label(self):
        return f"{self.slug} ({self.profile})"

    def has_images(self):
        return self.images > 0

@dataclasses.dataclass
class Child(Model):
    extra: str = "more"

    def __post_init__(self):
        self.joined = self.slug + self.extra

class Row(NamedTuple):
    key: str
    size: int = 3

class Settings(pydantic.BaseModel):
    name: str
    seconds: int = 5

class Plain:
    kind = "class"

    def __init__(self, name, sizes, kind="object"):
        self.name = name
        self.kind = kind
        self.sizes = sizes

MODELS = [Model("a"), Model("b", "deep", images=2), Model(slug="c", tags=["x"])]
"""


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("[m.slug for m in MODELS]", ["a", "b", "c"]),
        ("[m.profile for m in MODELS]", ["plain", "deep", "plain"]),
        ("[m.slug for m in MODELS if m.images > 0]", ["b"]),
        ("[m.slug for m in MODELS if not m.has_images()]", ["a", "c"]),
        ("[m.label for m in MODELS]", ["a (plain)", "b (deep)", "c (plain)"]),
        ("{m.slug: m.images for m in MODELS}", {"a": 0, "b": 2, "c": 0}),
        ("[m.tags for m in MODELS]", [[], [], ["x"]]),
        ("(MODELS[0].limit, MODELS[0].known, MODELS[0].hidden)", [4, 7, 5]),
        ("[getattr(m, 'slug') for m in MODELS]", ["a", "b", "c"]),
        ("Child('a', 'deep').extra", "more"),
        ("Child('a', extra='!').joined", "a!"),
        ("Model(**{'slug': 's', 'images': 1}).images", 1),
        ("Row('k').key", "k"),
        ("[key for key, size in [Row('k'), Row('l', 2)]]", ["k", "l"]),
        ("Settings(name='n').name", "n"),
        ("Settings(name='n').seconds", 5),
        ("Plain('n', 3).name", "n"),
        ("Plain('n', 3).kind", "object"),
        ("{'p': Plain('n', 3)}['p'].sizes", 3),
    ],
)
def test_objects_keep_their_attributes(tmp_path: Path, expression: str, expected: object) -> None:
    assert value_of(tmp_path, f"{dedent(CLASSES)}\nx = {expression}\n") == expected


@pytest.mark.parametrize(
    "expression",
    [
        "Model().slug",
        "Model(*undefined).slug",
        "Model(**undefined).profile",
        "Model('a', undefined).profile",
        # A list of a plain object may grow by code that is not followed.
        "Plain('n', ['a']).sizes",
        "Settings(undefined).name",
        "Row(*undefined).size",
        "Plain(*undefined).kind",
    ],
)
def test_attributes_that_the_source_does_not_show_are_unknown(tmp_path: Path, expression: str) -> None:
    assert value_of(tmp_path, f"{dedent(CLASSES)}\nx = {expression}\n") is UNKNOWN


def test_attribute_of_an_undecided_branch_is_unknown(tmp_path: Path) -> None:
    source = f"{dedent(CLASSES)}\nmodel = Plain('a', 1)\nif undefined:\n    model.name = 'b'\nx = model.name\n"
    assert value_of(tmp_path, source) is UNKNOWN


def test_attribute_that_is_set_later_replaces_the_first(tmp_path: Path) -> None:
    assert value_of(tmp_path, f"{dedent(CLASSES)}\nmodel = Model('a')\nmodel.slug = 'b'\nx = model.slug\n") == "b"


def test_object_of_a_class_with_unknown_base_is_only_an_object(tmp_path: Path) -> None:
    source = "from elsewhere import Base\nclass A(Base):\n    pass\nx = A('a')\n"
    value = value_of(tmp_path, source)
    assert isinstance(value, ClassInstance)
    assert value.attributes == {}
