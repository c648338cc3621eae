from __future__ import annotations

import pytest

from comfywatchman.readiness.nodes.facts import NodePackHints
from tests.readiness.nodes.test_classify import host, pack


@pytest.mark.parametrize(
    ("hints", "expected"),
    [
        (NodePackHints(), None),
        (NodePackHints("thing", "someone/Thing"), "thing"),
        (NodePackHints(None, "someone/Thing"), "someone/Thing"),
        (NodePackHints("comfy-core"), None),
        (NodePackHints("comfy-core", "someone/Thing"), "someone/Thing"),
    ],
)
def test_registry_id_goes_before_the_repository(hints: NodePackHints, expected: str | None) -> None:
    assert hints.pack == expected


def test_packs_are_found_by_certain_and_possible_classes() -> None:
    first = pack("First", classes=frozenset({"A"}), possible_classes=frozenset({"B"}))
    second = pack("Second", classes=frozenset({"B"}))
    facts = host(first, second)
    assert facts.packs_by_class == {"A": (first,), "B": (first, second)}


def test_only_enabled_packs_can_be_unclear() -> None:
    enabled, disabled = pack("On", complete=False), pack("Off", complete=False, enabled=False)
    assert host(enabled, disabled, pack("Whole")).unclear_packs == (enabled,)
