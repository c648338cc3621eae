"""Verdicts on classes of packs that cannot be imported, or may not be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comfywatchman.comfyui.imports.problems import ImportProblem, PackImports, ProblemKind
from comfywatchman.comfyui.packs.metadata import NodePack
from comfywatchman.readiness.nodes.classify import build_missing_node
from comfywatchman.readiness.nodes.classify_imports import build_fix, describe_broken_pack, find_broken_pack
from comfywatchman.readiness.nodes.facts import HostNodeFacts, NodePackHints, NodeState
from comfywatchman.readiness.nodes.pack_verdicts import START_HINT
from tests.readiness.nodes.test_classify import MAPS_IT, host, judge, pack

MAYBE = pack("Maybe", possible_classes=frozenset({"X"}))
COMPUTED = pack(complete=False)


def problem(*, is_certain: bool = True, kind: ProblemKind = ProblemKind.PYTHON_PACKAGE) -> ImportProblem:
    return ImportProblem(
        kind, "ModuleNotFoundError", "nodes.py", 3, "import cv2", "there is no cv2", is_certain=is_certain
    )


def facts(imports: PackImports, *packs: NodePack, live: set[str] | None = None) -> HostNodeFacts:
    packs = packs or (MAPS_IT,)
    return replace(host(*packs, live=live), import_problems={packs[0].path: imports})


def test_pack_that_cannot_be_imported_brings_no_class() -> None:
    verdict = judge("X", facts(PackImports(problem())))
    assert (verdict.state, verdict.is_certain) == (NodeState.IMPORT_FAILED, True)
    assert "`import cv2` fails (nodes.py, line 3): there is no cv2" in verdict.evidence


def test_doubt_leaves_the_class_unknown_with_the_import_named() -> None:
    verdict = judge("X", facts(PackImports(problem(is_certain=False))))
    assert verdict.state is NodeState.UNKNOWN
    assert "`import cv2` may fail" in verdict.evidence
    assert not verdict.needs_catalogues


def test_import_of_an_unknown_module_is_answered_by_a_start_only() -> None:
    verdict = judge("X", facts(PackImports(problem(is_certain=False, kind=ProblemKind.UNRESOLVED))))
    assert (verdict.state, verdict.fix) == (NodeState.UNKNOWN, START_HINT)


def test_class_problem_counts_for_that_class_only() -> None:
    both = pack(classes=frozenset({"X", "Y"}))
    known = facts(PackImports(classes={"X": problem()}), both)
    assert judge("X", known).state is NodeState.NOT_LISTED
    assert judge("Y", known).state is NodeState.PRESENT


def test_certain_class_problem_goes_before_a_doubt_about_the_pack() -> None:
    imports = PackImports(problem(is_certain=False), {"X": problem(kind=ProblemKind.COMFYUI_VERSION)})
    assert judge("X", facts(imports)).state is NodeState.NOT_LISTED
    imports = PackImports(problem(is_certain=False), {"X": problem(is_certain=False, kind=ProblemKind.RAISED)})
    assert judge("X", facts(imports)).state is NodeState.UNKNOWN


def test_other_pack_with_the_class_makes_up_for_it() -> None:
    other = pack("Other", classes=frozenset({"X"}))
    assert judge("X", facts(PackImports(problem()), MAPS_IT, other)).state is NodeState.PRESENT


def test_conditional_class_of_a_broken_pack_gets_the_reason() -> None:
    verdict = judge("X", facts(PackImports(problem(kind=ProblemKind.PACK_FILES)), MAYBE))
    assert verdict.state is NodeState.IMPORT_FAILED
    assert "condition" not in verdict.evidence


def test_pack_that_the_workflow_names_and_that_cannot_be_imported() -> None:
    hints = NodePackHints(cnr_id="thing")
    assert judge("X", facts(PackImports(problem()), COMPUTED), hints).state is NodeState.IMPORT_FAILED
    assert judge("X", facts(PackImports(problem(is_certain=False)), COMPUTED), hints).state is NodeState.UNKNOWN


def test_last_start_settles_a_doubt() -> None:
    known = replace(facts(PackImports(problem(is_certain=False))), proven_imports=frozenset({MAPS_IT.folder}))
    assert judge("X", known).state is NodeState.PRESENT


def test_last_start_leaves_a_doubt_where_files_say_otherwise() -> None:
    known = replace(facts(PackImports(problem())), proven_imports=frozenset({MAPS_IT.folder}))
    assert judge("X", known).state is NodeState.UNKNOWN


def test_failed_last_start_gets_the_reason_from_the_files() -> None:
    known = replace(
        facts(PackImports(problem())), failed_imports={MAPS_IT.folder: "its import failed at the last start"}
    )
    verdict = judge("X", known)
    assert verdict.state is NodeState.IMPORT_FAILED
    assert "last start: `import cv2` fails" in verdict.evidence


def test_server_that_lists_no_class_of_the_pack_gets_the_reason() -> None:
    verdict = judge("X", facts(PackImports(problem()), live={"KSampler"}))
    assert verdict.state is NodeState.IMPORT_FAILED
    assert "there is no cv2" in verdict.evidence


@pytest.mark.parametrize("imports", [PackImports(), PackImports(problem()), PackImports(classes={"X": problem()})])
def test_pack_whose_classes_the_server_lists_was_imported(imports: PackImports) -> None:
    known = replace(facts(imports, live={"KSampler"}), server_packs=frozenset({MAPS_IT.folder}))
    verdict = judge("X", known)
    assert verdict.state is NodeState.NOT_LISTED
    assert "could not be imported" not in f"{verdict.evidence} {verdict.fix}"
    assert "cannot import" not in verdict.evidence
    assert ("there is no cv2" in verdict.evidence) is ("X" in imports.classes)
    node = build_missing_node(verdict, ())
    assert node is not None
    assert node.state == "not_listed"


def test_imported_pack_that_computes_names_lacks_the_class() -> None:
    known = replace(facts(PackImports(), COMPUTED, live={"KSampler"}), server_packs=frozenset({COMPUTED.folder}))
    verdict = judge("X", known, NodePackHints(cnr_id="thing"))
    assert verdict.state is NodeState.MISSING
    assert (verdict.fix or "").startswith("Update Thing")


@pytest.mark.parametrize(
    ("kind", "requirements", "governed", "words"),
    [
        (ProblemKind.PYTHON_PACKAGE, (), True, "gov node add --adopt Thing"),
        (ProblemKind.PYTHON_PACKAGE, ("opencv-python",), False, "Thing/requirements.txt"),
        (ProblemKind.PYTHON_PACKAGE, (), False, "missing package"),
        (ProblemKind.COMFYUI_VERSION, (), False, "update ComfyUI"),
        (ProblemKind.PACK_FILES, (), False, "custom_nodes/Thing"),
        (ProblemKind.SUBMODULE, (), False, "git clone --recurse-submodules"),
        (ProblemKind.RAISED, (), False, "that message"),
    ],
)
def test_next_step_depends_on_what_is_wrong(
    kind: ProblemKind, requirements: tuple[str, ...], words: str, *, governed: bool
) -> None:
    broken = pack(requirements=requirements)
    assert words in build_fix(broken, problem(kind=kind), replace(host(broken), governed=governed))


def test_submodules_of_a_clone_are_fetched_by_git() -> None:
    clone = pack(classes=frozenset({"X"}), git_commit="0" * 40)
    fix = build_fix(clone, problem(kind=ProblemKind.SUBMODULE), facts(PackImports(), clone))
    assert f"git -C {clone.path} submodule update --init --recursive" in fix


def test_a_certain_problem_goes_before_a_doubt_of_another_pack() -> None:
    """A file that this Python cannot parse is a doubt: ComfyUI may run with another version."""
    doubtful, broken = pack("Doubtful"), pack("Broken")
    doubt = PackImports(problem(is_certain=False, kind=ProblemKind.PACK_FILES))
    known = replace(host(doubtful, broken), import_problems={doubtful.path: doubt, broken.path: PackImports(problem())})
    assert find_broken_pack([doubtful, broken], known) == (broken, problem())
    only = find_broken_pack([doubtful], known)
    assert only is not None
    assert "which ComfyUI may not be able to import: " in describe_broken_pack(*only)
    assert find_broken_pack([pack("Fine")], known) is None
