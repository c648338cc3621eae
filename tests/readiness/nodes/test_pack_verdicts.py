from __future__ import annotations

import pytest

from comfywatchman.comfyui.packs.metadata import NodePack
from comfywatchman.readiness.nodes.facts import NodeState, NodeVerdict
from comfywatchman.readiness.nodes.pack_verdicts import START_HINT, build_provider_verdict, join_pack_names
from comfywatchman.readiness.status import ProviderPackage


def build_pack(folder: str, *, name: str | None = None, url: str | None = None) -> NodePack:
    return NodePack(
        folder=folder, path=f"/c/custom_nodes/{folder}", id=f"id-{folder}", enabled=True, display_name=name, url=url
    )


def build_verdict(*owners: NodePack, state: NodeState = NodeState.UNKNOWN) -> NodeVerdict:
    return build_provider_verdict("Own", state, owners, "A pack maps it.", fix=START_HINT)


def test_folder_stands_for_a_missing_or_empty_name() -> None:
    packs = [build_pack("a", name="Alpha"), build_pack("b"), build_pack("c", name="")]
    assert join_pack_names(packs) == "Alpha, b, c"


def test_packs_of_one_name_are_named_once() -> None:
    packs = [build_pack("a", name="Alpha"), build_pack("b", name="Alpha"), build_pack("c"), build_pack("d")]
    assert join_pack_names(packs) == "Alpha, c, d"


@pytest.mark.parametrize(("count", "text"), [(0, ""), (3, "p0, p1, p2"), (4, "p0, p1, p2 and 1 more")])
def test_long_lists_of_packs_are_shortened(count: int, text: str) -> None:
    assert join_pack_names(build_pack(f"p{number}") for number in range(count)) == text


def test_only_the_class_of_one_pack_has_a_certain_provider() -> None:
    first, second = build_pack("a"), build_pack("b")
    assert build_verdict(first).is_certain
    assert not build_verdict(first, second).is_certain
    assert not build_verdict().is_certain


def test_verdict_names_the_installed_packages() -> None:
    verdict = build_verdict(build_pack("a", url="https://github.com/o/a"), build_pack("b"), state=NodeState.MISSING)
    assert (verdict.class_type, verdict.state, verdict.fix) == ("Own", NodeState.MISSING, START_HINT)
    assert verdict.packages == (
        ProviderPackage("id-a", "https://github.com/o/a", "installed in custom_nodes/a"),
        ProviderPackage("id-b", None, "installed in custom_nodes/b"),
    )
