"""Outlines are stored, so their steps must come back from JSON as they were."""

from __future__ import annotations

import typing

import msgspec
import pytest

from comfywatchman.comfyui.static_analysis.import_steps import (
    ANY_ERROR,
    RERAISE,
    ApiCallStep,
    AttributeStep,
    BindStep,
    BranchStep,
    CallStep,
    ClassNeeds,
    FaultStep,
    FunctionOutline,
    HandlerSteps,
    ImportStep,
    LoopStep,
    MarkStep,
    MissingFileStep,
    ModuleOutline,
    OwnCallStep,
    PackOutline,
    RaiseStep,
    ReadStep,
    ReturnStep,
    SetStep,
    StarUseStep,
    Step,
    TryStep,
    UnresolvedStep,
    UseStep,
)
from comfywatchman.comfyui.static_analysis.module_names import ModuleNames

SIMPLE: tuple[Step, ...] = (
    ImportStep(1, ".py", ("*",), ("a", "b"), is_certain=True, is_doubtful=True),
    UnresolvedStep(2, "load(name)"),
    MissingFileStep(3, "py/gone.py"),
    ApiCallStep(4, "comfy_api.latest.io.Schema", 1, ("node_id",), is_open=True, inputs=("a",), outputs=("b",)),
    AttributeStep(5, "nodes.X", is_annotation=True),
    SetStep("nodes.X"),
    RaiseStep(6, RERAISE, "too old: §"),
    BindStep(("cv2",), is_none=True),
    UseStep(7, ("cv2",), ("cv2",)),
    StarUseStep(8, ("f",), (".py",)),
    MarkStep(9),
    ReturnStep(),
    FaultStep(12, "KeyError", "no such key", ("KEYS",), is_certain=False),
    ReadStep(13, "data/gone.json", is_own=True),
    OwnCallStep(14, ".tools.start"),
)
NESTED: tuple[Step, ...] = (
    CallStep(SIMPLE),
    LoopStep((CallStep(SIMPLE),)),
    BranchStep(10, "a > b", (LoopStep(SIMPLE),), SIMPLE),
    TryStep(SIMPLE, (HandlerSteps((ANY_ERROR,), SIMPLE),), SIMPLE, (BranchStep(11, ""),)),
)


def test_every_step_comes_back_from_json() -> None:
    steps = SIMPLE + NESTED
    assert {type(step) for step in steps} == set(typing.get_args(Step))
    outline = PackOutline(
        modules={".": ModuleOutline("__init__.py", steps, ModuleNames(frozenset({"a"}))), ".gone": None},
        classes={"A": ClassNeeds(".py", ((".", 3),), ".py:4", listed=2)},
        inputs={".py:4": FunctionOutline("py.py", SIMPLE)},
        listing=(FunctionOutline("py.py", NESTED),),
        sets_names=frozenset({"X"}),
        path_folders={".lib:": True},
    )
    assert msgspec.json.decode(msgspec.json.encode(outline), type=PackOutline) == outline


def test_steps_are_stored_under_their_tags() -> None:
    stored = msgspec.json.decode(msgspec.json.encode(SIMPLE + NESTED))
    assert " ".join(step[0] for step in stored) == (
        "import unresolved missing_file api_call attribute set raise bind use star_use mark return fault read own_call "
        "call loop branch try"
    )


def test_fields_at_the_end_may_be_absent() -> None:
    step = msgspec.json.decode(b'["import", 3, "torch"]', type=ImportStep)
    assert (step.line, step.names, step.binds, step.is_certain, step.is_doubtful) == (3, (), (), False, False)


@pytest.mark.parametrize(
    "text",
    [b'["unheard", 3]', b'["import", 3]', b'["call", [["mark"]]]', b'["try", [], [[["E"], [["loop", 1]]]]]', b"[3]"],
)
def test_damaged_steps_are_rejected(text: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Step)
