from __future__ import annotations

import dataclasses

import pytest
from msgspec.structs import replace

from comfywatchman.comfyui.imports.problems import ImportProblem, PackImports, ProblemKind
from comfywatchman.comfyui.install.reachability import Obstacle, ObstacleKind
from comfywatchman.comfyui.packs.metadata import NodePack
from comfywatchman.readiness.nodes.classify_core import judge_other_core_version
from comfywatchman.readiness.nodes.facts import NodePackHints, NodeState, ProviderClaims
from comfywatchman.sources.class_map import PackageRef
from tests.readiness.nodes.test_classify import CORE, KNOWN, host, judge, owner


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


def test_core_class_that_the_server_does_not_list_failed_to_import() -> None:
    verdict = judge("ApiNode", host(live={"KSampler"}))
    assert verdict.state is NodeState.IMPORT_FAILED
    assert "--disable-api-nodes" in (verdict.fix or "")


def test_conditional_core_class_is_unknown_without_a_server() -> None:
    assert judge("Maybe", host()).state is NodeState.UNKNOWN
    assert judge("Maybe", host(live={"KSampler"})).state is NodeState.IMPORT_FAILED


@pytest.mark.parametrize(("class_type", "target"), [("Newer", "0.36.0 or later"), ("Same", "the newest version")])
def test_class_of_a_later_comfyui_needs_an_update(class_type: str, target: str) -> None:
    verdict = judge(class_type, host(), claims=ProviderClaims(providers=(owner("Impostor"),)))
    assert (verdict.state, verdict.packages) == (NodeState.NEEDS_NEWER, ())
    assert verdict.fix == f"Update ComfyUI to {target}."
    assert verdict.evidence == f"ComfyUI {KNOWN[class_type]} has it; the installed 0.33.0 does not."


def test_unknown_core_class_of_the_workflow_needs_an_update() -> None:
    later = judge("BrandNew", host(), NodePackHints(cnr_id="comfy-core", version="0.99.0"))
    assert (later.state, later.fix) == (NodeState.NEEDS_NEWER, "Update ComfyUI to 0.99.0 or later.")
    assert judge("BrandNew", host(), NodePackHints(cnr_id="comfy-core")).state is NodeState.NEEDS_NEWER


def test_class_that_comfyui_removed_is_missing() -> None:
    verdict = judge("Removed", host())
    assert verdict.state is NodeState.MISSING
    assert "removed" in verdict.evidence


def test_unreadable_core_leaves_the_class_unknown() -> None:
    assert judge("Newer", host(core=None)).state is NodeState.UNKNOWN
    torn = NodePack(folder="c", path="/c", id="comfy-core", enabled=True, version="0.33.0", complete=False)
    assert judge("Newer", host(core=torn)).state is NodeState.UNKNOWN
    assert judge("Newer", host(core=torn, live={"KSampler"})).state is NodeState.NEEDS_NEWER


def test_running_server_decides_without_source() -> None:
    verdict = judge("Newer", host(core=None, live={"KSampler"}))
    assert verdict.state is NodeState.NEEDS_NEWER
    assert "the installed ComfyUI, whose version is unknown, does not" in verdict.evidence


@pytest.mark.parametrize("version", [None, "abcdef"])
def test_no_version_is_named_when_the_installed_one_is_unknown(version: str | None) -> None:
    verdict = judge("Newer", host(core=replace(CORE, version=version)))
    assert (verdict.state, verdict.comfyui_version) == (NodeState.NEEDS_NEWER, None)
    assert verdict.fix == "Update ComfyUI to the newest version."


@pytest.mark.parametrize(("is_certain", "state"), [(True, NodeState.IMPORT_FAILED), (False, NodeState.UNKNOWN)])
def test_core_class_whose_file_cannot_be_imported(*, is_certain: bool, state: NodeState) -> None:
    problem = ImportProblem(
        ProblemKind.PYTHON_PACKAGE,
        "ModuleNotFoundError",
        "comfy_extras/nodes_x.py",
        3,
        "import comfy_angle",
        "ComfyUI's Python has no module comfy_angle",
        is_certain,
    )
    facts = dataclasses.replace(host(), import_problems={CORE.path: PackImports(classes={"KSampler": problem})})
    verdict = judge("KSampler", facts)
    assert verdict.state is state
    assert "import comfy_angle" in verdict.evidence
    assert "requirements.txt" in (verdict.fix or "")
    assert judge("ApiNode", facts).state is NodeState.PRESENT
    live = dataclasses.replace(host(live={"KSampler"}), import_problems=facts.import_problems)
    assert judge("KSampler", live).state is NodeState.PRESENT
    unlisted = dataclasses.replace(host(live={"ApiNode"}), import_problems=facts.import_problems)
    assert judge("KSampler", unlisted).state is NodeState.IMPORT_FAILED


def test_unreachable_packages_leave_a_core_class_unknown() -> None:
    obstacle = Obstacle(ObstacleKind.UNREADABLE, "/venv/lib", "Permission denied")
    problem = ImportProblem(
        ProblemKind.PYTHON_PACKAGE, "ModuleNotFoundError", "nodes.py", 3, "import x", "no module x", False, obstacle
    )
    facts = dataclasses.replace(host(), import_problems={CORE.path: PackImports(classes={"KSampler": problem})})
    verdict = judge("KSampler", facts)
    assert (verdict.state, verdict.obstacle) == (NodeState.UNKNOWN, obstacle)
    assert "/venv/lib" in (verdict.fix or "")


def test_pack_that_the_catalogues_name_goes_before_a_claim_of_the_workflow_alone() -> None:
    claimed = NodePackHints(cnr_id="comfy-core", version="0.40.0")
    unasked = judge_other_core_version("Unheard", claimed, host())
    assert unasked is not None
    assert unasked.needs_catalogues
    owned = judge("Unheard", host(), claimed, ProviderClaims(providers=(owner("Owner"),), queried=("the map",)))
    assert (owned.state, [package.id for package in owned.packages]) == (NodeState.MISSING, ["owner"])
    nobody = judge("Unheard", host(), claimed, ProviderClaims(queried=("the map",)))
    assert (nobody.state, nobody.needs_catalogues) == (NodeState.NEEDS_NEWER, False)


@pytest.mark.parametrize(
    "url", ["https://github.com/comfyanonymous/ComfyUI", "https://github.com/Comfy-Org/ComfyUI.git"]
)
def test_comfyui_in_a_catalogue_is_not_a_pack(url: str) -> None:
    core = PackageRef("ComfyUI", url, evidence="listed in the map")
    verdict = judge("Unheard", host(), claims=ProviderClaims(providers=(core, owner("Impostor")), queried=("the map",)))
    assert (verdict.state, verdict.packages) == (NodeState.NEEDS_NEWER, ())
    assert verdict.evidence.startswith("A catalogue says that it is ComfyUI's own")
