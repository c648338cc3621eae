"""Signatures read from source, compared with what Python itself accepts."""

from __future__ import annotations

import importlib.util
import inspect
import operator
from pathlib import Path
from types import ModuleType

import pytest

from comfywatchman.comfyui.imports.signatures import ApiSignatures
from comfywatchman.comfyui.static_analysis.import_steps import ApiCallStep
from tests.comfyui.imports.hosts import CORE, build_core

SOURCE = """
from dataclasses import dataclass, field
from typing import ClassVar
class Plain:
    def __init__(self, id, /, name, size=1, *, key, other=None): pass
class Inherited(Plain): pass
class Open:
    def __init__(self, id, *more, key=1, **further): pass
class OnlyKeywords:
    def __init__(self, *, key): pass
class AllDefaults:
    def __init__(self=None, id=1): pass
@dataclass
class Fields:
    node_id: str
    LIMIT: ClassVar[int] = 3
    plain = 5
    inputs: list = field(default_factory=list)
class Outer:
    class Plain(Plain): pass
    class Inner(Inherited): pass
def function(a, b=2, *c, d): pass
"""
UNKNOWN = """
import abc, functools
from dataclasses import dataclass
class WithNew:
    def __new__(cls, *a): pass
    def __init__(self): pass
class WithMeta(metaclass=abc.ABCMeta):
    def __init__(self): pass
class Decorated:
    @functools.cache
    def __init__(self): pass
@functools.total_ordering
class DecoratedClass:
    def __init__(self): pass
@dataclass(kw_only=True)
class Options:
    a: int
class Twice:
    def __init__(self): pass
class Twice:
    def __init__(self, a): pass
class Circle(Circle2): pass
class Circle2(Circle): pass
class Bound:
    Input = make()
    a.b = 1
class Derived(Bound): pass
"""
CALLS = (
    (0, ()),
    (1, ()),
    (2, ()),
    (3, ()),
    (4, ()),
    (0, ("key",)),
    (1, ("key",)),
    (2, ("key",)),
    (2, ("key", "name")),
    (1, ("name", "key", "size")),
    (0, ("id",)),
    (1, ("d",)),
    (1, ("a", "d")),
    (0, ("a", "b", "d")),
    (0, ("node_id", "inputs")),
    (1, ("LIMIT",)),
    (1, ("node_id",)),
    (1, ("unheard",)),
)
NAMES = (
    "Plain",
    "Inherited",
    "Open",
    "OnlyKeywords",
    "AllDefaults",
    "Fields",
    "Outer.Plain",
    "Outer.Inner",
    "function",
)


def build_signatures(folder: Path, source: str) -> ApiSignatures:
    return ApiSignatures(build_core(folder, {**CORE, "comfy_api/latest/_io.py": source}))


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> tuple[ApiSignatures, ModuleType]:
    folder = tmp_path_factory.mktemp("api")
    signatures = build_signatures(folder, SOURCE)
    spec = importlib.util.spec_from_file_location("read_api", folder / "comfy_api/latest/_io.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return signatures, module


@pytest.mark.parametrize("name", NAMES)
def test_calls_are_accepted_as_python_accepts_them(name: str, api: tuple[ApiSignatures, ModuleType]) -> None:
    signatures, module = api
    function = operator.attrgetter(name)(module)
    differences = []
    for positional, keywords in CALLS:
        step = ApiCallStep(1, f"comfy_api.latest._io.{name}", positional, keywords)
        mismatch = signatures.explain_mismatch(step)
        try:
            inspect.signature(function).bind(*range(positional), **dict.fromkeys(keywords))
        except TypeError as error:
            if mismatch is None:
                differences.append((positional, keywords, str(error)))
        else:
            if mismatch is not None:
                differences.append((positional, keywords, mismatch))
    assert differences == []
    assert signatures.find(f"comfy_api.latest._io.{name}") is not None


@pytest.mark.parametrize(
    "name",
    [
        *("WithNew", "WithMeta", "Decorated", "DecoratedClass", "Options", "Twice", "Circle", "Derived"),
        *("Derived.Input", "Gone", "Gone.Input"),
    ],
)
def test_class_with_another_constructor_is_not_judged(name: str, tmp_path: Path) -> None:
    signatures = build_signatures(tmp_path, UNKNOWN)
    assert signatures.find(f"comfy_api.latest._io.{name}") is None
    assert signatures.explain_mismatch(ApiCallStep(1, f"comfy_api.latest._io.{name}", 9)) is None


def test_source_that_cannot_be_parsed_is_not_judged(tmp_path: Path) -> None:
    signatures = build_signatures(tmp_path, SOURCE)
    # The file changes after its names were read.
    signatures.core.find_definition("comfy_api.latest._io.Plain")
    (tmp_path / "comfy_api/latest/_io.py").write_text("class Plain(: pass")
    assert signatures.find("comfy_api.latest._io.Plain") is None


def test_open_call_may_hold_the_missing_argument(api: tuple[ApiSignatures, ModuleType]) -> None:
    name = "comfy_api.latest._io.Plain"
    assert api[0].explain_mismatch(ApiCallStep(1, name, is_open=True)) is None
    assert api[0].explain_mismatch(ApiCallStep(1, name)) == "it misses the required argument 'id'"
    too_many = api[0].explain_mismatch(ApiCallStep(1, name, positional=4, is_open=True))
    assert too_many == "it takes 3 positional arguments but 4 were given"
