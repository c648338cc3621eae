"""The verdict on a workflow from its models, nodes and the rules of a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec
import pytest

from comfywatchman.comfyui.install.reachability import Obstacle
from comfywatchman.comfyui.references.reference import Reference
from comfywatchman.comfyui.validation.prompt import PromptNode
from comfywatchman.comfyui.validation.rules import ServerChecks, ValidationRules
from comfywatchman.comfyui.validation.signature import InputSignature, NodeSignature
from comfywatchman.comfyui.workflow.document import LinkSource
from comfywatchman.readiness.models.listing import CompleteListing
from comfywatchman.readiness.status import FileProblem, MissingNode, ProviderPackage, UncheckedChoice
from comfywatchman.readiness.verdicts.findings import ClassFinding, InstalledModel
from comfywatchman.readiness.verdicts.workflow import INCOMPLETE_READ_CODES, judge_workflow, limit_repeated_problems
from comfywatchman.readiness.workflow_facts import ClassUse, WorkflowFacts
from tests.readiness.verdicts.proofs import list_folders
from tests.readiness.verdicts.test_missing_models import LORA, declared


class NoModels:
    """A host without any model."""

    @property
    def folders(self) -> Mapping[str, Mapping[str, object]]:
        return {"loras": {}}

    def target(self, folder: str) -> str:
        return f"models/{folder}"

    def check_listing(self, folders: Sequence[str], names: Sequence[str]) -> CompleteListing | Obstacle:
        return list_folders(folders, names, known=("loras", "checkpoints"))

    def exact(self, folder: str, name: str) -> InstalledModel | None:
        del folder, name
        return None

    def by_prefix(self, folder: str, prefix: str) -> InstalledModel | None:
        del folder, prefix
        return None

    def by_basename(self, name_lower: str) -> Sequence[InstalledModel]:
        del name_lower
        return ()


class EmbeddingsOnly(NoModels):
    """A host whose folder of embeddings is empty."""

    def check_listing(self, folders: Sequence[str], names: Sequence[str]) -> CompleteListing | Obstacle:
        return list_folders(folders, names, known=("embeddings",))


def state_of(name: str, use: ClassUse) -> ClassFinding:
    """Judge a class by its name: `unknown1` is unknown, `missing2` is missing with two packages."""
    if name.startswith("Fine"):
        return ClassFinding()
    if name.startswith("Unconfirmed"):
        return ClassFinding(unconfirmed_packs=(f"pack-{name}",))
    packages = tuple(ProviderPackage(str(n)) for n in range(int(name[-1])))
    return ClassFinding(MissingNode(name, name[:-1], use.node_paths, packages))


def facts(*references: Reference, classes: Sequence[str] = (), **more: object) -> WorkflowFacts:
    uses = {name: ClassUse(node_paths=("1",)) for name in classes}
    return WorkflowFacts(container="json", format="ui-1", references=references, classes=uses, **more)  # type: ignore[arg-type]


def test_file_without_a_workflow_is_invalid() -> None:
    problem = FileProblem("workflow-not-json", "No.")
    judged = judge_workflow(WorkflowFacts(container="png", failure=problem), NoModels(), state_of)
    assert (judged.status, judged.container, judged.problems) == ("INVALID", "png", (problem,))


def test_workflow_without_requirements_is_ready() -> None:
    assert judge_workflow(facts(classes=["Fine"]), NoModels(), state_of).status == "READY"


@pytest.mark.parametrize(
    ("classes", "status", "uncertain"),
    [
        (["missing1"], "MISSING", 0),
        (["missing2"], "MISSING", 1),
        (["missing0"], "MISSING", 0),
        (["unknown0"], "UNCERTAIN", 1),
        (["unknown0", "unknown1", "missing1"], "MISSING", 2),
        (["Fine", "unknown2"], "UNCERTAIN", 1),
    ],
)
def test_uncertain_findings_are_counted(classes: list[str], status: str, uncertain: int) -> None:
    judged = judge_workflow(facts(classes=classes), NoModels(), state_of)
    assert (judged.status, judged.uncertain_count) == (status, uncertain)


@pytest.mark.parametrize("code", sorted(INCOMPLETE_READ_CODES))
def test_incompletely_read_workflow_is_uncertain(code: str) -> None:
    judged = judge_workflow(facts(classes=["Fine"], problems=(FileProblem(code, "No."),)), NoModels(), state_of)
    assert (judged.status, judged.uncertain_count) == ("UNCERTAIN", 1)


def test_harmless_problem_leaves_the_workflow_ready() -> None:
    problem = FileProblem("duplicate-node-id", "No.")
    judged = judge_workflow(facts(classes=["Fine"], problems=(problem,)), NoModels(), state_of)
    assert (judged.status, judged.uncertain_count) == ("READY", 0)


def test_missing_classes_of_active_nodes_are_sorted() -> None:
    uses = {"missing1": ClassUse(), "missing0": ClassUse(node_paths=("9",)), "import2": ClassUse(node_paths=("1", "2"))}
    judged = judge_workflow(WorkflowFacts(container="json", format="api", classes=uses), NoModels(), state_of)
    assert [(node.class_type, node.node_paths) for node in judged.missing_nodes] == [
        ("import2", ("1", "2")),
        ("missing0", ("9",)),
    ]


def test_most_certain_missing_models_come_first() -> None:
    guess = replace(LORA, value="b.safetensors", tries=("b.safetensors",), confidence="low")
    judged = judge_workflow(facts(guess, LORA), NoModels(), state_of)
    assert [model.name for model in judged.missing_models] == ["a.safetensors", "b.safetensors"]
    assert (judged.status, judged.models, judged.uncertain_count) == ("MISSING", 2, 1)
    assert judge_workflow(facts(guess), NoModels(), state_of).status == "UNCERTAIN"


def test_models_of_inactive_nodes_are_listed_apart() -> None:
    off = replace(LORA, active=False, node_path="7")
    other = replace(off, value="b.safetensors", tries=("b.safetensors",))
    judged = judge_workflow(facts(LORA, off, other), NoModels(), state_of)
    assert [(model.name, model.node_path) for model in judged.inactive_models] == [("b.safetensors", "7")]
    assert [model.name for model in judged.missing_models] == ["a.safetensors"]
    alone = judge_workflow(facts(off, classes=["Fine"]), NoModels(), state_of)
    assert (alone.status, alone.models, len(alone.inactive_models)) == ("READY", 0, 1)


def test_unresolvable_value_is_attributed_to_missing_classes() -> None:
    judged = judge_workflow(facts(replace(LORA, value="7", tries=("7",)), classes=["missing1"]), NoModels(), state_of)
    assert "missing1" in (judged.missing_models[0].fix or "")


def test_model_that_the_server_offers_is_ready() -> None:
    judged = judge_workflow(facts(LORA), NoModels(), state_of, lambda _class, name: {"a.safetensors"} if name else None)
    assert judged.status == "READY"


def test_secrets_in_declared_urls_are_removed() -> None:
    left = declared(url="https://me:SECRET@x.example/a?token=SECRET")
    (model,) = judge_workflow(facts(LORA, declared=(left,)), NoModels(), state_of).missing_models
    assert [candidate.url for candidate in model.candidates] == ["https://x.example/a"]


def test_declared_url_is_a_candidate_of_a_missing_model_only() -> None:
    (model,) = judge_workflow(facts(LORA, declared=(declared(),)), NoModels(), state_of).missing_models
    assert [(candidate.source, candidate.url, candidate.sha256) for candidate in model.candidates] == [
        ("declared", "https://x.example/a", None)
    ]


@pytest.mark.parametrize(
    ("classes", "reason"),
    [
        ({}, "it holds no node"),
        ({"KSampler": ClassUse()}, "muted, bypassed or notes"),
        ({"Label (rgthree)": ClassUse(node_paths=("1",))}, "muted, bypassed or notes"),
    ],
)
def test_workflow_without_an_active_node_is_invalid(classes: dict[str, ClassUse], reason: str) -> None:
    judged = judge_workflow(
        WorkflowFacts(container="json", format="ui-1", classes=classes), NoModels(), lambda *_: ClassFinding()
    )
    assert (judged.status, judged.format) == ("INVALID", "ui-1")
    (problem,) = judged.problems
    assert problem.code == "nothing-to-run"
    assert reason in problem.message


def test_incompletely_read_workflow_is_not_called_empty() -> None:
    judged = judge_workflow(facts(problems=(FileProblem("node-unreadable", "No."),)), NoModels(), state_of)
    assert (judged.status, judged.uncertain_count) == ("UNCERTAIN", 1)


RULES = ValidationRules(
    {
        "FineLoad": NodeSignature(is_output=False, own_checks=(), has_editor_code=False),
        "FineSave": NodeSignature(
            (
                InputSignature("images", "IMAGE", is_required=True, is_socket=True),
                InputSignature("format", "COMBO", width=1, choices=tuple("abcdefghij")),
            ),
            is_output=True,
            own_checks=(),
            has_editor_code=False,
        ),
    },
    ServerChecks(new_combos=True),
)


def test_workflow_without_an_output_is_invalid() -> None:
    what = facts(classes=["FineLoad"], prompt=(PromptNode("1", "FineLoad"),))
    assert judge_workflow(what, NoModels(), state_of).status == "READY"
    judged = judge_workflow(what, NoModels(), state_of, rules=RULES)
    assert (judged.status, judged.problems[0].code) == ("INVALID", "nothing-to-run")
    assert "none of its active nodes is an output" in judged.problems[0].message


def test_refused_input_makes_the_workflow_missing_with_a_fix() -> None:
    save = PromptNode("1", "FineSave", values={"format": "x"}, unfed=("images",))
    judged = judge_workflow(facts(classes=["FineSave"], prompt=(save,)), NoModels(), state_of, rules=RULES)
    assert (judged.status, judged.uncertain_count) == ("MISSING", 0)
    open_, choice = judged.refused_inputs
    assert (open_.input, open_.value, open_.reason, open_.node_path) == ("images", None, "not_given", "1")
    assert (choice.input, choice.value, choice.reason, choice.node_type) == ("format", "x", "not_offered", "FineSave")
    assert choice.fix.startswith("The source of this ComfyUI does not offer it")
    assert "choose one of these in the node: a, b, c, d, e, f, g, h or 2 more." in choice.fix
    assert judge_workflow(facts(classes=["FineSave"], prompt=(save,)), NoModels(), state_of).status == "READY"
    live = judge_workflow(
        facts(classes=["FineSave"], prompt=(save,)),
        NoModels(),
        state_of,
        rules=msgspec.structs.replace(RULES, is_live=True),
    )
    assert live.refused_inputs[1].fix.startswith("The running ComfyUI does not offer it")


def test_workflow_with_one_refused_output_is_ready_and_reports_it() -> None:
    nodes = (PromptNode("1", "FineSave", unfed=("images",)), PromptNode("2", "FineSave", linked=("images",), unfed=()))
    judged = judge_workflow(facts(classes=["FineSave"], prompt=nodes), NoModels(), state_of, rules=RULES)
    assert (judged.status, judged.refused_inputs) == ("READY", ())
    (problem,) = judged.problems
    assert (problem.code, problem.node_path) == ("output-left-out", "1")


def test_doubtful_input_makes_the_workflow_uncertain() -> None:
    rules = msgspec.structs.replace(RULES, checks=ServerChecks())
    save = PromptNode("1", "FineSave", values={"format": "x"}, linked=("images",), unfed=())
    what = facts(classes=["FineSave"], prompt=(save,))
    judged = judge_workflow(what, NoModels(), state_of, rules=rules)
    assert (judged.status, judged.uncertain_count, judged.refused_inputs) == ("UNCERTAIN", 1, ())
    assert [(problem.code, problem.node_path) for problem in judged.problems] == [("input-doubtful", "1")]
    sound = PromptNode("2", "FineSave", linked=("images",), unfed=())
    judged = judge_workflow(facts(classes=["FineSave"], prompt=(save, sound)), NoModels(), state_of, rules=rules)
    assert (judged.status, judged.uncertain_count) == ("READY", 0)
    assert [problem.code for problem in judged.problems] == ["input-doubtful"]


def test_missing_class_comes_before_refused_inputs() -> None:
    save = PromptNode("1", "FineSave", values={"format": "x"}, unfed=("images",))
    what = facts(classes=["FineSave", "missing1"], prompt=(save,))
    judged = judge_workflow(what, NoModels(), state_of, rules=RULES)
    assert (judged.status, judged.refused_inputs, judged.problems) == ("MISSING", (), ())


def test_workflow_that_the_editor_cannot_send_is_not_ready() -> None:
    problem = FileProblem("editor-cannot-send", "No.", "1")
    undeclared = PromptNode("1", "FineLoad")
    save = PromptNode("2", "FineSave", linked=("images",), unfed=())
    what = facts(classes=["FineSave", "FineLoad"], prompt=(undeclared, save))
    assert judge_workflow(what, NoModels(), state_of, rules=RULES).status == "READY"
    what = facts(classes=["FineSave", "FineLoad"], prompt=(undeclared, save), problems=(problem,))
    assert judge_workflow(what, NoModels(), state_of, rules=RULES).status == "UNCERTAIN"


def test_link_to_nowhere_is_decided_by_the_validation_of_a_known_class() -> None:
    problem = FileProblem("link-to-nowhere", "No.", "1")
    links = {"images": LinkSource("9", 0)}
    save = PromptNode("1", "FineSave", links, given=("images",))
    what = facts(classes=["FineSave"], prompt=(save,), problems=(problem,))
    assert judge_workflow(what, NoModels(), state_of).status == "UNCERTAIN"
    judged = judge_workflow(what, NoModels(), state_of, rules=RULES)
    assert judged.status == "MISSING"
    assert [refused.reason for refused in judged.refused_inputs] == ["no_such_node"]
    undeclared = PromptNode("1", "FineLoad", links, given=("images",))
    save = PromptNode("2", "FineSave", linked=("images",), given=("images",))
    what = facts(classes=["FineSave", "FineLoad"], prompt=(undeclared, save), problems=(problem,))
    assert judge_workflow(what, NoModels(), state_of, rules=RULES).status == "READY"


def test_unconfirmed_packs_of_active_classes_are_collected() -> None:
    uses = {name: ClassUse(node_paths=("1",)) for name in ("Unconfirmed2", "Unconfirmed1", "Fine")}
    uses["UnconfirmedInactive"] = ClassUse()
    judged = judge_workflow(WorkflowFacts(container="json", format="ui-1", classes=uses), NoModels(), state_of)
    assert (judged.status, judged.unconfirmed_packs) == ("READY", ("pack-Unconfirmed1", "pack-Unconfirmed2"))


def test_choices_that_were_not_checked_are_named() -> None:
    unread = InputSignature("mode", "COMBO", width=1, known_choices=())
    rules = ValidationRules({"Fine": NodeSignature((unread,), is_output=True)}, ServerChecks(new_combos=True))
    node = PromptNode("1", "Fine", values={"mode": "a"}, given=("mode",))
    judged = judge_workflow(facts(classes=["Fine"], prompt=(node,)), NoModels(), state_of, rules=rules)
    assert (judged.status, judged.unchecked_choices) == ("READY", (UncheckedChoice("Fine", "mode"),))


def test_value_that_only_a_pack_checks_takes_ready_only_beside_a_server() -> None:
    path = InputSignature("video", "STRING", width=1)
    load = NodeSignature((path,), is_output=True, own_checks=("video",), refusable=("video",))
    save = NodeSignature((), is_output=True, own_checks=())
    rules = ValidationRules({"FineLoad": load, "Fine": save}, ServerChecks(new_combos=True))
    live = msgspec.structs.replace(rules, is_live=True)
    node = PromptNode("1", "FineLoad", values={"video": "/gone.mp4"}, given=("video",))
    alone = facts(classes=["FineLoad"], prompt=(node,))
    assert judge_workflow(alone, NoModels(), state_of, rules=rules).status == "READY"
    judged = judge_workflow(alone, NoModels(), state_of, rules=live)
    assert (judged.status, judged.uncertain_count) == ("UNCERTAIN", 1)
    (problem,) = judged.problems
    assert (problem.code, judged.unchecked_choices) == ("input-unchecked", (UncheckedChoice("FineLoad", "video"),))
    both = facts(classes=["FineLoad", "Fine"], prompt=(node, PromptNode("2", "Fine", given=())))
    assert judge_workflow(both, NoModels(), state_of, rules=live).status == "READY"


def test_one_kind_of_problem_is_repeated_three_times_with_a_count() -> None:
    problems = [FileProblem("node-unreadable", str(number)) for number in range(10)]
    limited = limit_repeated_problems([*problems, FileProblem("other", "x")])
    assert [problem.message for problem in limited] == ["0", "1", "2", "x", "7 more problems of this kind (10 in all)."]


def test_missing_embedding_is_said_and_does_not_block() -> None:
    embedding = replace(LORA, value="easy", folder="embeddings", kind="embedding", tries=("easy", "easy.pt"))
    judged = judge_workflow(facts(embedding), EmbeddingsOnly(), state_of)
    assert (judged.status, judged.missing_models, judged.uncertain_count) == ("READY", (), 0)
    (problem,) = judged.problems
    assert problem.code == "embedding-skipped"
    assert "without the embedding easy" in problem.message
    assert "Put the file into models/embeddings." in problem.message


def test_missing_model_that_no_output_needs_does_not_block() -> None:
    nodes = (PromptNode("1", "FineLoad"), PromptNode("2", "FineSave", links={"images": LinkSource("3", 0)}, unfed=()))
    what = facts(
        replace(LORA, node_path="1"), classes=["FineLoad", "FineSave"], prompt=(*nodes, PromptNode("3", "FineLoad"))
    )
    judged = judge_workflow(what, NoModels(), state_of, rules=RULES)
    assert (judged.status, judged.models, judged.missing_models) == ("READY", 0, ())
    assert [(model.name, model.node_path) for model in judged.inactive_models] == [(LORA.value, "1")]
    needed = facts(replace(LORA, node_path="3"), classes=["FineLoad", "FineSave"], prompt=what.prompt)
    assert judge_workflow(needed, NoModels(), state_of, rules=RULES).status == "MISSING"
    # Without the rules of ComfyUI any class may be an output.
    assert judge_workflow(what, NoModels(), state_of).status == "MISSING"
