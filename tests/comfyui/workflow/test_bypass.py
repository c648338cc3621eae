from __future__ import annotations

import pytest

from comfywatchman.comfyui.workflow.bypass import find_bypassed_input, has_unknown_type
from comfywatchman.comfyui.workflow.graph import InputSlot, RawNode


def build_node(inputs: str, outputs: str) -> RawNode:
    """Build a bypassed node of types that are separated by blanks, with inputs named by their number."""
    slots = tuple(InputSlot(str(number), kind, None, None) for number, kind in enumerate(inputs.split()))
    return RawNode("1", "Anything", 4, slots, {"outputs": [{"type": kind} for kind in outputs.split()]})


@pytest.mark.parametrize(
    ("inputs", "outputs", "output", "wanted", "expected"),
    [
        ("STRING", "STRING", 0, "STRING", "0"),
        ("STRING", "STRING", 0, "COMBO", None),
        ("STRING STRING", "STRING STRING", 1, "STRING", "1"),
        ("IMAGE STRING", "STRING", 0, "STRING", "1"),
        ("IMAGE STRING", "IMAGE", 0, "STRING", "1"),
        ("* STRING", "STRING", 0, "STRING", "0"),
        ("IMAGE STRING,INT STRING", "STRING", 0, "STRING", "2"),
        ("IMAGE STRING,INT", "STRING", 0, "STRING", "1"),
        ("IMAGE STRING,INT", "STRING", 0, "MODEL", None),
        ("IMAGE string", "STRING", 0, "STRING", "1"),
        ("IMAGE x,*", "STRING", 0, "STRING", "1"),
        ("IMAGE STRING", "STRING X", 1, "*", "1"),
        ("IMAGE", "STRING X", 1, "*", "0"),
        ("", "STRING", 0, "*", None),
        ("", "STRING", 0, "STRING", None),
    ],
)
def test_input_is_chosen_by_the_type_of_the_final_input(
    inputs: str, outputs: str, output: int, wanted: str, expected: str | None
) -> None:
    slot = find_bypassed_input(build_node(inputs, outputs), output, wanted)
    assert (slot.name if slot is not None else None) == expected


@pytest.mark.parametrize(
    ("outputs", "output", "wanted", "expected"),
    [("STRING", 0, "STRING", False), ("*", 0, "*", False), ("STRING", 1, "STRING", True), ("STRING", 0, "", True)],
)
def test_types_that_the_file_does_not_give_are_unknown(
    outputs: str, output: int, wanted: str, *, expected: bool
) -> None:
    assert has_unknown_type(build_node("STRING", outputs), output, wanted) is expected
