from __future__ import annotations

import pytest

from comfywatchman.comfyui.packs.metadata import NodePack
from comfywatchman.comfyui.server.object_info import LiveNodes
from comfywatchman.comfyui.validation.rules import NO_RULES, UNKNOWN_CHECKS, ServerChecks
from comfywatchman.comfyui.validation.signature import NodeSignature
from comfywatchman.readiness.nodes.running_server import ServerSnapshot
from comfywatchman.readiness.nodes.static_analysis import SourceNodes
from comfywatchman.readiness.nodes.validation_rules import build_validation_rules

CHECKS = ServerChecks(new_combos=True)
LIVE = LiveNodes({}, (), {}, signatures={name: NodeSignature(is_output=True) for name in ("Plain", "Own", "Unread")})


def build_sources(*, version: str | None = "1.0", has_core: bool = True) -> SourceNodes:
    core = NodePack("comfyui", "/c", "comfy-core", enabled=True, version=version, server_checks=CHECKS)
    pack = NodePack("p", "/p", "p", enabled=True, classes=frozenset({"Plain", "Own"}), own_checks=frozenset({"Own"}))
    return SourceNodes((), (pack,), core if has_core else None, ())


def test_own_checks_are_known_of_analysed_classes_only() -> None:
    rules = build_validation_rules(ServerSnapshot(LIVE, version="1.0"), build_sources())
    assert {name: signature.own_checks for name, signature in rules.classes.items()} == {
        "Plain": (),
        "Own": None,
        "Unread": None,
    }
    assert all(signature.is_output for signature in rules.classes.values())
    assert rules.is_live


@pytest.mark.parametrize(
    ("server_version", "sources", "checks"),
    [
        ("1.0", build_sources(), CHECKS),
        ("0.9", build_sources(), UNKNOWN_CHECKS),
        (None, build_sources(version=None), UNKNOWN_CHECKS),
        ("1.0", build_sources(has_core=False), UNKNOWN_CHECKS),
    ],
)
def test_checks_of_the_source_count_for_the_same_version(
    server_version: str | None, sources: SourceNodes, checks: ServerChecks
) -> None:
    assert build_validation_rules(ServerSnapshot(LIVE, version=server_version), sources).checks == checks


def test_without_a_server_there_are_no_rules() -> None:
    assert build_validation_rules(ServerSnapshot(), build_sources()) == NO_RULES
