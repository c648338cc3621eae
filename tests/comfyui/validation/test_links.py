"""Links. The pairs of types were asked of `validate_node_input` of ComfyUI 0.7, 0.28 and 0.33."""

from __future__ import annotations

import pytest

from comfywatchman.comfyui.validation.links import check_link, may_feed
from comfywatchman.comfyui.validation.prompt import PromptNode
from comfywatchman.comfyui.validation.rejection import LinkedOutput, RejectedInput
from comfywatchman.comfyui.validation.rules import ServerChecks, ValidationRules
from comfywatchman.comfyui.validation.signature import InputSignature, NodeSignature
from comfywatchman.comfyui.workflow.document import LinkSource
from tests.comfyui.validation.classes import NEWEST

OLD = ServerChecks(new_combos=False, lists_feed_combos=False)
SOURCE = NodeSignature(outputs=("MODEL", None, "CLIP"), own_checks=(), has_plain_types=True)
OWNER = NodeSignature(own_checks=(), has_plain_types=True)


@pytest.mark.parametrize(
    ("received", "wanted", "fits"),
    [
        ("MODEL", "MODEL", True),
        ("MODEL", "CLIP", False),
        ("*", "CLIP", True),
        ("CLIP", "*", True),
        ("A,B", "B,C", True),
        ("A , B", "B", True),
        ("A", "B,C", False),
        ("A", "B,*", True),
        ("INT", "FLOAT", False),
        ("int", "INT", False),
        ("COMFY_MATCHTYPE_V3", "CLIP", True),
        ("CLIP", "COMFY_MATCHTYPE_V3", True),
        ("STRING", "COMBO", False),
        ("COMBO", "STRING", False),
        ("COMBO", "COMBO", True),
        ("[1", "[1", True),
        ("[1", "[2", False),
        ("[1", "STRING", False),
        ("[1", "*", True),
        ("STRING", "[1", False),
        ("COMBO", "[1", False),
        ("*", "[1", True),
        (None, "CLIP", True),
        ("CLIP", None, True),
    ],
)
def test_types_fit_as_the_server_compares_them(received: str | None, wanted: str | None, *, fits: bool) -> None:
    for checks in (OLD, NEWEST):
        assert may_feed(received, wanted, checks) is fits


def test_a_list_feeds_a_combo_in_newer_versions() -> None:
    assert may_feed("[1", "COMBO", NEWEST)
    assert may_feed("[1", "COMBO", ServerChecks())
    assert not may_feed("[1", "COMBO", OLD)


def check(
    slot: int,
    *,
    wanted: str = "MODEL",
    source: NodeSignature = SOURCE,
    owner: NodeSignature = OWNER,
    is_certain: bool = True,
) -> RejectedInput | None:
    source_node = PromptNode("1", "Load")
    return check_link(
        PromptNode("2", "N"),
        owner,
        InputSignature("x", wanted),
        LinkSource("1", slot, is_certain),
        by_path={"1": source_node},
        rules=ValidationRules({"Load": source}, NEWEST),
    )


@pytest.mark.parametrize("slot", [0, 1, -3, -2])
def test_fitting_and_unknown_outputs_are_accepted(slot: int) -> None:
    assert check(slot) is None


@pytest.mark.parametrize("slot", [3, 99, -4])
def test_an_output_that_does_not_exist_is_rejected(slot: int) -> None:
    rejected = check(slot)
    assert rejected is not None
    assert (rejected.reason.value, rejected.is_certain) == ("no_such_output", True)
    assert rejected.output == LinkedOutput("1", slot, "Load", count=3)


@pytest.mark.parametrize("slot", [2, -1])
def test_an_output_of_another_type_is_rejected(slot: int) -> None:
    rejected = check(slot)
    assert rejected is not None
    assert (rejected.reason.value, rejected.wanted, rejected.is_certain) == ("wrong_type", "MODEL", True)
    assert rejected.output == LinkedOutput("1", slot, "Load", "CLIP", 3)


def test_types_that_may_equal_every_other_leave_a_doubt() -> None:
    odd_source = NodeSignature(outputs=("CLIP",), own_checks=())
    rejected = [check(5, source=odd_source), check(0, source=odd_source), check(2, owner=NodeSignature(own_checks=()))]
    assert [one is not None and one.is_certain for one in rejected] == [False, False, False]
    assert [one and one.reason.value for one in rejected] == ["no_such_output", "wrong_type", "wrong_type"]


def test_a_class_may_check_the_types_itself() -> None:
    assert check(2, owner=NodeSignature(own_checks=("input_types",), has_plain_types=True)) is None
    assert check(2, owner=NodeSignature(own_checks=None, has_plain_types=True)) is None
    assert check(2, owner=NodeSignature(own_checks=("*",), has_plain_types=True)) is not None


@pytest.mark.parametrize("slot", [2, 99])
def test_a_link_that_the_editor_may_follow_differently_is_not_judged(slot: int) -> None:
    assert check(slot, is_certain=False) is None


def test_unknown_outputs_are_not_judged() -> None:
    assert check(99, source=NodeSignature(own_checks=())) is None
    unknown = check_link(
        PromptNode("2", "N"),
        OWNER,
        InputSignature("x", "MODEL"),
        LinkSource("1", 5),
        by_path={"1": PromptNode("1", "Load")},
        rules=ValidationRules({}, NEWEST),
    )
    assert unknown is None


def test_a_link_to_no_node_is_rejected() -> None:
    rejected = check_link(
        PromptNode("2", "N"),
        OWNER,
        InputSignature("x", "MODEL"),
        LinkSource("9", 5),
        by_path={},
        rules=ValidationRules(),
    )
    assert rejected is not None
    assert (rejected.reason.value, rejected.output, rejected.is_certain) == ("no_such_node", LinkedOutput("9", 5), True)
