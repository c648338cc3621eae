from __future__ import annotations

import pytest

from comfywatchman.readiness.nodes.classify_core import judge_other_core_version
from comfywatchman.readiness.nodes.facts import NodePackHints, NodeState
from tests.readiness.nodes.test_classify import host


@pytest.mark.parametrize(
    ("class_type", "hints", "comfyui_version"),
    [
        ("Newer", NodePackHints(), "0.36.0"),
        ("Same", NodePackHints(), None),
        ("Unheard", NodePackHints("comfy-core", version="0.40.0"), "0.40.0"),
        ("Unheard", NodePackHints("comfy-core", version="abcdef"), None),
        ("Unheard", NodePackHints("comfy-core"), None),
    ],
)
def test_required_version_is_a_field(class_type: str, hints: NodePackHints, comfyui_version: str | None) -> None:
    verdict = judge_other_core_version(class_type, hints, host())
    assert verdict is not None
    assert (verdict.state, verdict.comfyui_version) == (NodeState.NEEDS_NEWER, comfyui_version)
    assert (comfyui_version or "the newest version") in (verdict.fix or "")


def test_class_of_a_named_pack_is_left_to_that_pack() -> None:
    assert judge_other_core_version("Newer", NodePackHints("thing"), host()) is None
