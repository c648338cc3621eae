"""Judging node classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from comfywatchman.comfyui.packs.metadata import NodePack
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
    *packs: NodePack, live: set[str] | None = None, core: NodePack | None = CORE, replaced: str = ""
) -> HostNodeFacts:
    return HostNodeFacts(
        live=None if live is None else frozenset(live),
        replaced=frozenset({replaced} if replaced else ()),
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
    assert not verdict.certain or len(verdict.packages) == 1 or verdict.state is NodeState.NEEDS_NEWER
    return verdict


MAPS_IT = pack(classes=frozenset({"X"}))


@pytest.mark.parametrize(
    ("class_type", "facts"),
    [
        ("X", host(live={"X"}, core=None)),
        ("Newer", host(live={"Newer"})),
        ("X", host(live={"Y"}, replaced="X")),
        ("KSampler", host()),
        ("Fast Groups Bypasser (rgthree)", host()),
        ("MarkdownNote", host(live={"KSampler"})),
        ("X", host(MAPS_IT)),
        ("X", host(pack("Off", enabled=False, classes=frozenset({"X"})), MAPS_IT)),
        ("X", host(pack("If", possible_classes=frozenset({"X"})), MAPS_IT)),
    ],
)
def test_a_class_is_there_when_server_core_editor_or_pack_has_it(class_type: str, facts: HostNodeFacts) -> None:
    verdict = judge(class_type, facts)
    assert verdict.state is NodeState.PRESENT
    assert build_missing_node(verdict, ["1"]) is None


def test_an_installed_pack_that_the_server_does_not_list_failed_to_import() -> None:
    verdict = judge("X", host(MAPS_IT, live={"KSampler"}))
    assert (verdict.state, verdict.certain) == (NodeState.IMPORT_FAILED, True)
    assert [package.id for package in verdict.packages] == ["thing"]


def test_a_core_class_that_the_server_does_not_list_failed_too() -> None:
    verdict = judge("ApiNode", host(live={"KSampler"}))
    assert verdict.state is NodeState.IMPORT_FAILED
    assert "--disable-api-nodes" in (verdict.fix or "")


def test_a_core_class_under_a_condition_is_unknown_until_the_server_runs() -> None:
    assert judge("Maybe", host()).state is NodeState.UNKNOWN
    assert judge("Maybe", host(live={"KSampler"})).state is NodeState.IMPORT_FAILED


def test_a_class_under_a_condition_is_unknown_until_the_server_runs() -> None:
    facts = pack(possible_classes=frozenset({"X"}))
    assert judge("X", host(facts)).state is NodeState.UNKNOWN
    failed = judge("X", host(facts, live={"KSampler"}))
    assert failed.state is NodeState.IMPORT_FAILED
    assert "condition" in failed.evidence


def test_a_disabled_pack_is_to_be_enabled() -> None:
    verdict = judge("X", host(pack(enabled=False, classes=frozenset({"X"}))))
    assert (verdict.state, verdict.certain) == (NodeState.MISSING, True)
    assert (verdict.fix or "").startswith("Enable Thing")


def test_two_packs_with_one_class_are_not_certain() -> None:
    facts = host(MAPS_IT, pack("Other", classes=frozenset({"X"})), live={"KSampler"})
    verdict = judge("X", facts)
    assert (len(verdict.packages), verdict.certain) == (2, False)


@pytest.mark.parametrize(
    "hints",
    [NodePackHints(cnr_id="thing"), NodePackHints(aux_id="someone/Thing"), NodePackHints("comfy-core", "a/Thing")],
)
def test_an_installed_pack_with_computed_names_leaves_it_open(hints: NodePackHints) -> None:
    facts = pack(
        complete=False, url="https://github.com/a/Thing" if hints.cnr_id == "comfy-core" else "x/someone/Thing"
    )
    verdict = judge("X", host(facts), hints)
    assert verdict.state is NodeState.UNKNOWN
    assert not verdict.wants_claims


def test_computed_names_are_no_excuse_once_the_server_has_spoken() -> None:
    verdict = judge("X", host(pack(complete=False), live={"KSampler"}), NodePackHints(cnr_id="thing"))
    assert verdict.state is NodeState.IMPORT_FAILED


def test_an_installed_pack_without_the_class_is_to_be_updated() -> None:
    verdict = judge("X", host(pack()), NodePackHints(cnr_id="thing", version="2.0.0"))
    assert verdict.state is NodeState.MISSING
    assert (verdict.fix or "").startswith("Update Thing")
    assert "2.0.0" in verdict.evidence


def test_a_disabled_pack_that_the_workflow_names_is_to_be_enabled() -> None:
    verdict = judge("X", host(pack(enabled=False, complete=False)), NodePackHints(cnr_id="thing"))
    assert verdict.state is NodeState.MISSING
    assert (verdict.fix or "").startswith("Enable Thing")


@pytest.mark.parametrize(("class_type", "target"), [("Newer", "0.36.0 or later"), ("Same", "the newest version")])
def test_a_class_of_a_later_comfyui_needs_an_update(class_type: str, target: str) -> None:
    verdict = judge(class_type, host(), claims=ProviderClaims(owners=(owner("Impostor"),)))
    assert (verdict.state, verdict.packages) == (NodeState.NEEDS_NEWER, ())
    assert verdict.fix == f"Update ComfyUI to {target}."
    assert verdict.evidence == f"ComfyUI {KNOWN[class_type]} has it; the installed 0.33.0 does not."


def test_a_class_that_the_workflow_takes_for_core_needs_an_update() -> None:
    later = judge("BrandNew", host(), NodePackHints(cnr_id="comfy-core", version="0.99.0"))
    assert (later.state, later.fix) == (NodeState.NEEDS_NEWER, "Update ComfyUI to 0.99.0 or later.")
    assert judge("BrandNew", host(), NodePackHints(cnr_id="comfy-core")).state is NodeState.NEEDS_NEWER


def test_a_class_that_comfyui_dropped_is_missing_not_newer() -> None:
    verdict = judge("Removed", host())
    assert verdict.state is NodeState.MISSING
    assert "removed" in verdict.evidence


def test_a_core_that_could_not_be_read_leaves_it_open() -> None:
    assert judge("Newer", host(core=None)).state is NodeState.UNKNOWN
    torn = NodePack(folder="c", path="/c", id="comfy-core", enabled=True, version="0.33.0", complete=False)
    assert judge("Newer", host(core=torn)).state is NodeState.UNKNOWN
    assert judge("Newer", host(core=torn, live={"KSampler"})).state is NodeState.NEEDS_NEWER


def test_a_running_server_decides_without_the_source() -> None:
    verdict = judge("Newer", host(core=None, live={"KSampler"}))
    assert verdict.state is NodeState.NEEDS_NEWER
    assert "the installed ComfyUI does not" in verdict.evidence


def test_a_pack_that_the_workflow_names_is_to_be_installed() -> None:
    verdict = judge("X", host(), NodePackHints(aux_id="someone/Else"))
    assert (verdict.state, verdict.certain) == (NodeState.MISSING, True)
    assert [(package.id, package.url) for package in verdict.packages] == [
        ("someone/Else", "https://github.com/someone/Else")
    ]
    assert judge("X", host(), NodePackHints(cnr_id="reg-id")).packages[0].url is None


def test_where_gov_governs_a_certain_owner_gives_the_command_that_tries_it_aside() -> None:
    governed = replace(host(), governed=True)
    url = "gov node add https://github.com/someone/Else"
    assert judge("X", governed, NodePackHints(aux_id="someone/Else")).fix == f"Try it aside: {url}"
    assert judge("X", governed, NodePackHints(cnr_id="reg-id")).fix == "Try it aside: gov node add reg-id"
    assert judge("X", governed, claims=ProviderClaims(owners=(owner("Else"),))).fix == f"Try it aside: {url}"
    both = ProviderClaims(owners=(owner("One"), owner("Two")))
    for unsure in (judge("Newer", governed, NodePackHints(cnr_id="reg-id")), judge("X", governed, claims=both)):
        assert "gov" not in (unsure.fix or "")


@pytest.mark.parametrize("name", ["a;b", "-u", "a b", "x$(id)", "a/b;c", "ü", "a\nb"])
def test_what_is_no_plain_address_never_becomes_a_command(name: str) -> None:
    for hints in (NodePackHints(cnr_id=name), NodePackHints(aux_id=name)):
        assert "gov node add" not in (judge("X", replace(host(), governed=True), hints).fix or "")


def test_a_named_pack_whose_class_moved_into_comfyui_is_not_certain() -> None:
    verdict = judge("Newer", host(), NodePackHints(cnr_id="reg-id"))
    assert (verdict.state, verdict.certain) == (NodeState.MISSING, False)
    assert "0.36.0" in verdict.evidence
    assert "newer ComfyUI" in (verdict.fix or "")
    assert "newer ComfyUI" not in (judge("X", host(), NodePackHints(cnr_id="reg-id")).fix or "")


def test_catalogues_are_wanted_only_when_nothing_else_speaks() -> None:
    assert judge("X", host()).wants_claims
    assert not judge("X", host(), claims=ProviderClaims(asked=("the map",))).wants_claims
    assert not judge("X", host(MAPS_IT)).wants_claims


def test_one_owner_is_certain_and_several_are_a_choice() -> None:
    single = judge("X", host(), claims=ProviderClaims(owners=(owner("One"),)))
    assert (single.state, single.certain) == (NodeState.MISSING, True)
    several = judge("X", host(), claims=ProviderClaims(owners=(owner("One"), owner("Two"))))
    assert (several.state, several.certain) == (NodeState.MISSING, False)
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
def test_an_owner_that_is_installed_already_is_not_to_be_installed(installed: NodePack, state: NodeState) -> None:
    verdict = judge("X", host(installed), claims=ProviderClaims(owners=(owner("Thing"), owner("Other"))))
    assert verdict.state is state
    assert "Install" not in (verdict.fix or "")


def test_a_namesake_of_another_owner_is_another_pack() -> None:
    fork = pack(url="https://github.com/forker/Thing")
    verdict = judge("X", host(fork), claims=ProviderClaims(owners=(owner("Thing"),)))
    assert (verdict.fix or "").startswith("Install")


def test_a_class_that_nobody_brings_is_unknown_and_says_who_was_asked() -> None:
    claims = ProviderClaims(asked=("the map of today",), silent=("the registry (no network)",))
    verdict = judge("X", host(pack(complete=False)), claims=claims)
    assert verdict.state is NodeState.UNKNOWN
    for said in ("the map of today", "the registry (no network)", "Thing"):
        assert said in verdict.evidence
    assert (verdict.fix or "").startswith("Start ComfyUI")
    alive = judge("X", host(pack(complete=False), live={"KSampler"}), claims=claims)
    assert (alive.fix or "").startswith("Search")
    assert "does not list it" in alive.evidence
    assert "Thing" not in alive.evidence


def test_many_packs_are_counted_not_listed() -> None:
    packs = [pack(f"P{number}", complete=False) for number in range(9)]
    assert "P0, P1, P2 and 6 more" in judge("X", host(*packs)).evidence


def test_the_reports_line_carries_what_was_judged() -> None:
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
def test_a_class_that_nothing_maps_is_never_called_present(
    live: set[str] | None, core: NodePack | None, *, complete: bool, hints: NodePackHints
) -> None:
    for installed in ((), (pack(complete=complete),), (pack(enabled=False, complete=complete),)):
        for claims in (None, ProviderClaims(), ProviderClaims(owners=(owner("Thing"),))):
            facts = host(*installed, live=live, core=core)
            assert judge("Unheard", facts, hints, claims).state is not NodeState.PRESENT


def test_a_pack_that_failed_at_the_last_start_does_not_make_its_classes_present() -> None:
    pack = MAPS_IT
    facts = replace(host(pack), failed={pack.folder: "its import failed at the last start"})
    verdict = judge(next(iter(pack.classes)), facts)
    assert verdict.state is NodeState.IMPORT_FAILED
    assert "last start" in verdict.evidence


def test_a_running_server_knows_better_than_the_last_start() -> None:
    pack = MAPS_IT
    name = next(iter(pack.classes))
    facts = replace(host(pack, live={name}), failed={pack.folder: "its import failed at the last start"})
    assert judge(name, facts).state is NodeState.PRESENT
