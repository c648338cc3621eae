from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from comfywatchman.comfyui.packs.metadata import NodePack
from comfywatchman.comfyui.packs.replacements import NO_REPLACEMENTS, ClassReplacements
from comfywatchman.readiness.nodes.classify import build_missing_node, judge_class
from comfywatchman.readiness.nodes.facts import HostNodeFacts, NodePackHints, NodeState, NodeVerdict, ProviderClaims
from comfywatchman.sources.class_map import PackageRef

NOBODY = NodePackHints()
CORE = NodePack(
    folder="comfyui",
    path="/c",
    id="comfy-core",
    enabled=True,
    version="0.33.0",
    classes=frozenset({"KSampler", "ApiNode"}),
    possible_classes=frozenset({"Maybe"}),
)
KNOWN = {"KSampler": "0.3.1", "Newer": "0.36.0", "Same": "0.33.0", "Removed": "0.3.75"}


def pack(folder: str = "Thing", **facts: Any) -> NodePack:
    url = f"https://github.com/someone/{folder}"
    return NodePack(
        **{"folder": folder, "path": f"/p/{folder}", "id": folder.lower(), "enabled": True, "url": url, **facts}
    )


def host(
    *packs: NodePack,
    live: set[str] | None = None,
    core: NodePack | None = CORE,
    replacements: ClassReplacements = NO_REPLACEMENTS,
) -> HostNodeFacts:
    return HostNodeFacts(
        server_classes=None if live is None else frozenset(live),
        replacements=replacements,
        core=core,
        known_core=KNOWN,
        packs=packs,
    )


def owner(name: str) -> PackageRef:
    return PackageRef(name.lower(), f"https://github.com/someone/{name}", name, evidence="listed in the map")


def judge(
    class_type: str, facts: HostNodeFacts, hints: NodePackHints = NOBODY, claims: ProviderClaims | None = None
) -> NodeVerdict:
    verdict = judge_class(class_type, hints, facts, claims)
    assert verdict.evidence
    assert bool(verdict.fix) is (verdict.state is not NodeState.PRESENT)
    assert not verdict.is_certain or len(verdict.packages) == 1 or verdict.state is NodeState.NEEDS_NEWER
    return verdict


MAPS_IT = pack(classes=frozenset({"X"}))


@pytest.mark.parametrize(
    ("class_type", "facts"),
    [
        ("X", host(live={"X"}, core=None)),
        ("Newer", host(live={"Newer"})),
        ("KSampler", host()),
        ("Fast Groups Bypasser (rgthree)", host()),
        ("MarkdownNote", host(live={"KSampler"})),
        ("X", host(MAPS_IT)),
        ("X", host(pack("Off", enabled=False, classes=frozenset({"X"})), MAPS_IT)),
        ("X", host(pack("If", possible_classes=frozenset({"X"})), MAPS_IT)),
    ],
)
def test_class_is_present_in_server_core_editor_or_pack(class_type: str, facts: HostNodeFacts) -> None:
    verdict = judge(class_type, facts)
    assert verdict.state is NodeState.PRESENT
    assert build_missing_node(verdict, ["1"]) is None


def test_absent_pack_of_the_workflow_must_be_installed() -> None:
    verdict = judge("X", host(), NodePackHints(aux_id="someone/Else"))
    assert (verdict.state, verdict.is_certain) == (NodeState.MISSING, True)
    assert [(package.id, package.url) for package in verdict.packages] == [
        ("someone/Else", "https://github.com/someone/Else")
    ]
    assert judge("X", host(), NodePackHints(cnr_id="reg-id")).packages[0].url is None


def test_governed_host_adds_a_certain_pack_by_a_gov_command() -> None:
    governed = replace(host(), governed=True)
    url = "gov node add https://github.com/someone/Else"
    assert judge("X", governed, NodePackHints(aux_id="someone/Else")).fix == f"Try it aside: {url}"
    assert judge("X", governed, NodePackHints(cnr_id="reg-id")).fix == "Try it aside: gov node add reg-id"
    assert judge("X", governed, claims=ProviderClaims(providers=(owner("Else"),))).fix == f"Try it aside: {url}"
    both = ProviderClaims(providers=(owner("One"), owner("Two")))
    for unsure in (judge("Newer", governed, NodePackHints(cnr_id="reg-id")), judge("X", governed, claims=both)):
        assert "gov" not in (unsure.fix or "")


@pytest.mark.parametrize("name", ["a;b", "-u", "a b", "x$(id)", "a/b;c", "ü", "a\nb"])
def test_only_a_plain_address_becomes_a_command(name: str) -> None:
    for hints in (NodePackHints(cnr_id=name), NodePackHints(aux_id=name)):
        assert "gov node add" not in (judge("X", replace(host(), governed=True), hints).fix or "")


def test_pack_whose_class_moved_into_comfyui_is_not_certain() -> None:
    verdict = judge("Newer", host(), NodePackHints(cnr_id="reg-id"))
    assert (verdict.state, verdict.is_certain) == (NodeState.MISSING, False)
    assert "0.36.0" in verdict.evidence
    assert "newer ComfyUI" in (verdict.fix or "")
    assert "newer ComfyUI" not in (judge("X", host(), NodePackHints(cnr_id="reg-id")).fix or "")


def test_catalogues_are_needed_only_as_the_last_source() -> None:
    assert judge("X", host()).needs_catalogues
    assert not judge("X", host(), claims=ProviderClaims(queried=("the map",))).needs_catalogues
    assert not judge("X", host(MAPS_IT)).needs_catalogues


def test_single_provider_is_certain() -> None:
    single = judge("X", host(), claims=ProviderClaims(providers=(owner("One"),)))
    assert (single.state, single.is_certain) == (NodeState.MISSING, True)
    several = judge("X", host(), claims=ProviderClaims(providers=(owner("One"), owner("Two"))))
    assert (several.state, several.is_certain) == (NodeState.MISSING, False)
    assert [package.id for package in several.packages] == ["one", "two"]


@pytest.mark.parametrize(
    ("installed", "state"),
    [
        (pack(complete=False), NodeState.UNKNOWN),
        (pack(), NodeState.MISSING),
        (pack(enabled=False), NodeState.MISSING),
        (pack(url=None), NodeState.MISSING),
    ],
)
def test_installed_provider_is_not_installed_again(installed: NodePack, state: NodeState) -> None:
    verdict = judge("X", host(installed), claims=ProviderClaims(providers=(owner("Thing"), owner("Other"))))
    assert verdict.state is state
    assert "Install" not in (verdict.fix or "")


def test_fork_with_the_same_name_is_another_pack() -> None:
    fork = pack(url="https://github.com/forker/Thing")
    verdict = judge("X", host(fork), claims=ProviderClaims(providers=(owner("Thing"),)))
    assert (verdict.fix or "").startswith("Install")


def test_class_without_provider_names_the_catalogues() -> None:
    claims = ProviderClaims(queried=("the map of today",), unavailable=("the registry (no network)",))
    verdict = judge("X", host(pack(complete=False)), claims=claims)
    assert verdict.state is NodeState.UNKNOWN
    for said in ("the map of today", "the registry (no network)", "Thing"):
        assert said in verdict.evidence
    assert (verdict.fix or "").startswith("Start ComfyUI")
    alive = judge("X", host(pack(complete=False), live={"KSampler"}), claims=claims)
    assert (alive.fix or "").startswith("Search")
    assert "does not list it" in alive.evidence
    assert "Thing" not in alive.evidence


def test_missing_node_holds_the_verdict() -> None:
    line = build_missing_node(judge("X", host(), NodePackHints(aux_id="a/B")), ["3", "12:5"])
    assert line is not None
    assert (line.class_type, line.state, line.node_paths) == ("X", "missing", ("3", "12:5"))
    assert (line.packages[0].id, bool(line.fix), bool(line.evidence)) == ("a/B", True, True)


@pytest.mark.parametrize("live", [None, {"KSampler"}])
@pytest.mark.parametrize("core", [None, CORE])
@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize(
    "hints", [NOBODY, NodePackHints("thing"), NodePackHints("comfy-core"), NodePackHints(aux_id="someone/thing")]
)
def test_class_that_nothing_maps_is_never_present(
    live: set[str] | None, core: NodePack | None, *, complete: bool, hints: NodePackHints
) -> None:
    for installed in ((), (pack(complete=complete),), (pack(enabled=False, complete=complete),)):
        for claims in (None, ProviderClaims(), ProviderClaims(providers=(owner("Thing"),))):
            facts = host(*installed, live=live, core=core)
            assert judge("Unheard", facts, hints, claims).state is not NodeState.PRESENT


def test_pack_without_a_repository_is_identified_by_its_name() -> None:
    unknown_origin = pack(url=None)
    claims = ProviderClaims(providers=(owner("Thing"),))
    assert (judge("X", host(unknown_origin), claims=claims).fix or "").startswith("Update Thing")
    other_claims = ProviderClaims(providers=(owner("Other"),))
    assert (judge("X", host(unknown_origin), claims=other_claims).fix or "").startswith("Install Other")


def test_class_of_an_absent_pack_is_unknown_while_packs_are_not_known() -> None:
    hints = NodePackHints(aux_id="someone/Thing")
    unread = replace(host(), unlisted="/c/extra_model_paths.yaml, line 3")
    verdict = judge("X", unread, hints)
    assert (verdict.state, verdict.packages, verdict.needs_catalogues) == (NodeState.UNKNOWN, (), False)
    assert verdict.fix == "Repair /c/extra_model_paths.yaml, line 3 first."
    assert judge("KSampler", unread).state is NodeState.PRESENT
    assert judge("Newer", unread).state is NodeState.NEEDS_NEWER
    running = replace(host(live={"Y"}), unlisted="/c/extra_model_paths.yaml, line 3")
    assert judge("X", running, hints).state is NodeState.MISSING


def test_class_that_nobody_knows_is_not_attributed_to_published_packs() -> None:
    published = pack("Crystools", complete=False, url="https://github.com/crystian/Crystools")
    own = pack("Mine", complete=False, url=None)
    known = ProviderClaims(queried=("the map of today",))
    assert "may come from" not in judge("X", host(published), claims=known).evidence
    assert "may come from Mine," in judge("X", host(published, own), claims=known).evidence
    unknown = ProviderClaims(queried=("the map of today",), unavailable=("the registry (no network)",))
    assert "may come from Crystools" in judge("X", host(published), claims=unknown).evidence
