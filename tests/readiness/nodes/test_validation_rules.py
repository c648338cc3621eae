from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from comfywatchman.comfyui.packs.metadata import NodePack
from comfywatchman.comfyui.server.object_info import LiveNodes
from comfywatchman.comfyui.validation.rules import UNKNOWN_CHECKS, ServerChecks
from comfywatchman.comfyui.validation.signature import InputSignature, NodeSignature
from comfywatchman.readiness.nodes.running_server import ServerSnapshot
from comfywatchman.readiness.nodes.static_analysis import SourceNodes
from comfywatchman.readiness.nodes.validation_rules import build_validation_rules

CHECKS = ServerChecks(new_combos=True)
LIVE = LiveNodes({}, (), {}, signatures={name: NodeSignature(is_output=True) for name in ("Plain", "Own", "Unread")})
CORE = {"Core": NodeSignature(is_core=True, own_checks=())}


def build_pack(folder: str = "p", *, enabled: bool = True, **signatures: NodeSignature) -> NodePack:
    return NodePack(folder, f"/{folder}", folder, enabled=enabled, signatures=msgspec.msgpack.encode(signatures))


PACK = build_pack(Plain=NodeSignature(own_checks=()), Own=NodeSignature(own_checks=("cls", "x")))


def build_sources(*packs: NodePack, version: str | None = "1.0", has_core: bool = True) -> SourceNodes:
    core = msgspec.structs.replace(build_pack("comfyui"), version=version, server_checks=CHECKS)
    core = msgspec.structs.replace(core, signatures=msgspec.msgpack.encode(CORE))
    return SourceNodes((), packs or (PACK,), core if has_core else None, ())


def test_own_checks_are_known_of_analysed_classes_only() -> None:
    rules = build_validation_rules(ServerSnapshot(LIVE, version="1.0"), build_sources())
    assert {name: signature.own_checks for name, signature in rules.classes.items()} == {
        "Plain": (),
        "Own": ("cls", "x"),
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


def test_without_a_server_the_source_gives_the_rules() -> None:
    rules = build_validation_rules(ServerSnapshot(), build_sources())
    assert (set(rules.classes), rules.checks, rules.is_live) == ({"Core", "Plain", "Own"}, CHECKS, False)
    without_core = build_validation_rules(ServerSnapshot(), build_sources(has_core=False))
    assert (set(without_core.classes), without_core.checks) == ({"Plain", "Own"}, UNKNOWN_CHECKS)


@pytest.mark.parametrize("extends_samplers", [False, True])
def test_pack_that_adds_samplers_makes_their_lists_a_doubt(*, extends_samplers: bool) -> None:
    def choose(name: str, *choices: str) -> NodeSignature:
        return NodeSignature((InputSignature(name, "COMBO", choices=choices),), is_core=True)

    core = {"KSampler": choose("sampler_name", "euler"), "Select": choose("x", "euler"), "Crop": choose("y", "no")}
    sources = build_sources(msgspec.structs.replace(PACK, extends_samplers=extends_samplers))
    assert sources.core is not None
    full = replace(sources, core=msgspec.structs.replace(sources.core, signatures=msgspec.msgpack.encode(core)))
    rules = build_validation_rules(ServerSnapshot(), full)
    doubtful = {name for name, signature in rules.classes.items() if signature.may_offer_more}
    assert doubtful == ({"KSampler", "Select"} if extends_samplers else set())


def test_class_with_two_sources_counts_only_if_they_agree() -> None:
    other = build_pack("q", Plain=NodeSignature(own_checks=()), Own=NodeSignature(own_checks=()), Core=NodeSignature())
    disabled = build_pack("off", enabled=False, Off=NodeSignature())
    rules = build_validation_rules(ServerSnapshot(), build_sources(PACK, other, disabled))
    assert rules.classes == CORE | {"Plain": NodeSignature(own_checks=())}
