from __future__ import annotations

import pytest

from comfywatchman.comfyui.static_analysis.import_steps import CallStep, OwnCallStep, RaiseStep, Step
from tests.comfyui.static_analysis.test_import_outline import build_outliner

START = """
class Loader:
    def __init__(self):
        raise E
    def load(self):
        raise E
    @classmethod
    def build(cls):
        raise E
    @input()
    def hidden(self):
        raise E
    if input():
        def twice(self):
            raise E
    def twice(self):
        raise E
class Child(Loader): pass
class Meta(metaclass=input()):
    def __init__(self):
        raise E
def outer():
    inner()
def inner():
    raise E
"""


def list_errors(steps: tuple[Step, ...]) -> list[int]:
    """Return the lines of the errors that calls raise."""
    lines: list[int] = []
    for step in steps:
        if isinstance(step, CallStep):
            lines += [part.line for part in step.body if isinstance(part, RaiseStep)]
            lines += list_errors(step.body)
    return lines


@pytest.mark.parametrize(
    ("call", "lines"),
    [
        ("inner()", [25]),
        ("outer()", [25]),
        ("Loader()", [4]),
        ("Loader.build()", [9]),
        ("LOADER = Loader()\nLOADER.load()", [4, 6]),
        ("Loader().load()", [4, 6]),
        ("LOADER = Loader()\nLOADER = 1\nLOADER.load()", [4]),
        ("Loader.hidden()", []),
        ("Loader.twice()", []),
        ("Loader.gone()", []),
        ("Child()", []),
        ("Meta()", []),
        ("x.load()", []),
        ("lambda: inner()", []),
    ],
)
def test_functions_methods_and_constructors_are_followed(call: str, lines: list[int]) -> None:
    assert list_errors(build_outliner(START + call).build_steps()) == lines


def test_recursion_and_generators_are_not_followed() -> None:
    source = "def f():\n    g()\n    raise E\ndef g():\n    f()\ndef h():\n    yield\n    raise E\nf()\nh()"
    assert list_errors(build_outliner(source).build_steps()) == [3]


def test_calls_have_a_largest_depth_and_number() -> None:
    chain = "".join(f"def f{number}():\n    f{number + 1}()\n" for number in range(20)) + "def f20():\n    raise E\n"
    assert list_errors(build_outliner(f"{chain}f16()").build_steps()) == [42]
    assert list_errors(build_outliner(f"{chain}f0()").build_steps()) == []
    many = "def f():\n    raise E\n" + "f()\n" * 400
    assert len(list_errors(build_outliner(many).build_steps())) == 300


def test_call_of_another_module_is_a_step() -> None:
    steps = build_outliner("from .tools import start\nfrom . import tools\nstart()\ntools.start()").build_steps()
    calls = [step for step in steps if isinstance(step, OwnCallStep)]
    assert calls == [OwnCallStep(3, ".py.tools.start"), OwnCallStep(4, ".py.tools.start")]
