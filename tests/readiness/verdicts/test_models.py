"""Verdicts on model references: only a file that the server would open is exact."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfywatchman.comfyui.install.reachability import Obstacle
from comfywatchman.comfyui.loaders.name_resolution import NameResolution
from comfywatchman.comfyui.references.reference import Confidence, Reference
from comfywatchman.readiness.models.entry import LINK_BROKEN, UNFINISHED, UNREADABLE
from comfywatchman.readiness.models.listing import BrokenLink, CompleteListing
from comfywatchman.readiness.states import UNDECIDED_STATES, ModelState, WorkflowStatus
from comfywatchman.readiness.verdicts.findings import ModelFinding
from comfywatchman.readiness.verdicts.models import combine_findings, confidence_rank, judge_reference
from tests.readiness.verdicts.proofs import CLOSED, build_finding, list_folders

CONFIDENCES: tuple[Confidence, ...] = get_args(Confidence)


@dataclass(frozen=True)
class Model:
    """A model file of these tests."""

    folder: str
    name: str
    problem: str | None = None
    problem_code: str | None = None
    obstacle: Obstacle | None = None

    @property
    def path(self) -> str:
        return f"/models/{self.folder}/{self.name}"


class Inventory:
    """An inventory of a few files."""

    def __init__(self, *models: Model) -> None:
        self.models = models

    @property
    def folders(self) -> Mapping[str, Mapping[str, object]]:
        folders: dict[str, dict[str, Model]] = {"loras": {}, "vae": {}}
        for model in self.models:
            folders.setdefault(model.folder, {})[model.name] = model
        return folders

    def target(self, folder: str) -> str:
        return f"/data/{folder}"

    def check_listing(self, folders: Sequence[str], names: Sequence[str]) -> CompleteListing | Obstacle:
        return list_folders(folders, names, known=("loras", "vae"))

    def exact(self, folder: str, name: str) -> Model | None:
        return next((model for model in self.models if (model.folder, model.name) == (folder, name)), None)

    def by_prefix(self, folder: str, prefix: str) -> Model | None:
        return next((one for one in self.models if one.folder == folder and one.name.startswith(prefix)), None)

    def by_basename(self, name_lower: str) -> Sequence[Model]:
        wanted = unicodedata.normalize("NFC", name_lower)
        names = {model: unicodedata.normalize("NFC", model.name.rpartition("/")[2].lower()) for model in self.models}
        return [model for model, name in names.items() if name == wanted]


def reference(value: str, *, folder: str | None = "loras", tries: tuple[str, ...] | None = None) -> Reference:
    return Reference(
        node_path="1",
        node_type="LoraLoader",
        input="lora_name",
        value=value,
        folder=folder,
        active=True,
        kind="loader",
        evidence="loader table",
        confidence="high",
        tries=tries if tries is not None else (value,),
    )


def state(value: str, *models: Model, folder: str | None = "loras") -> ModelState:
    return judge_reference(reference(value, folder=folder), Inventory(*models)).state


def test_file_that_the_server_does_not_offer_is_missing() -> None:
    finding = judge_reference(reference("a.pt"), Inventory(Model("loras", "a.pt")), choices=["b.pt"])
    assert (finding.state, finding.path) == (ModelState.MISSING, "/models/loras/a.pt")
    assert finding.fix is not None
    assert "does not offer it" in finding.fix


def test_file_that_the_server_offers_is_exact_in_any_folder() -> None:
    assert judge_reference(reference("a.pt"), Inventory(), choices=["a.pt"]).state is ModelState.EXACT
    unknown = judge_reference(reference("a.pt", folder=None), Inventory(Model("vae", "a.pt")), choices=["a.pt"])
    assert unknown.state is ModelState.EXACT


def test_broken_file_is_invalid_though_the_server_offers_it() -> None:
    broken = Inventory(Model("loras", "a.pt", "empty file"))
    assert judge_reference(reference("a.pt"), broken, choices=["a.pt"]).state is ModelState.INVALID


def test_unfinished_download_must_be_finished() -> None:
    finding = judge_reference(reference("a.pt"), Inventory(Model("loras", "a.pt", "still downloading", UNFINISHED)))
    assert finding.state is ModelState.INVALID
    assert finding.fix is not None
    assert "let aria2 finish, or delete both files" in finding.fix


def test_near_match_stays_when_the_server_offers_nothing() -> None:
    finding = judge_reference(reference("A.pt"), Inventory(Model("loras", "a.pt")), choices=["a.pt"])
    assert finding.state is ModelState.CASE


def test_loader_may_read_several_folders() -> None:
    both = replace(reference("a.gguf"), also_folders=("vae",))
    assert judge_reference(both, Inventory(Model("vae", "a.gguf"))).state is ModelState.EXACT
    assert judge_reference(both, Inventory(Model("vae", "A.gguf"))).state is ModelState.CASE


LONG = "x" * 250 + ".safetensors"


@pytest.mark.parametrize(
    "name",
    ["a.safetensors", "sub/a.safetensors", "a b .safetensors ", " a", "back\\slash.pt", "模型.pt", "no\u00a0break.pt",
     "123", LONG, "/".join([LONG] * 4), "half\udcff.pt", "new\nline.pt"],
)  # fmt: skip
def test_existing_name_is_exact_however_odd(name: str) -> None:
    assert state(name, Model("loras", name)) is ModelState.EXACT


@pytest.mark.parametrize(
    ("value", "there", "expected"),
    [
        ("sub\\a.pt", "sub/a.pt", ModelState.SEPARATOR),
        ("sub/a.pt", "sub\\a.pt", ModelState.MISSING),
        ("A.pt", "a.pt", ModelState.CASE),
        ("Sub\\A.pt", "sub/a.pt", ModelState.CASE),
        ("a.pt", "sub/a.pt", ModelState.SUBFOLDER),
        ("sub/a.pt", "a.pt", ModelState.SUBFOLDER),
        ("a.pt ", "a.pt", ModelState.UNRESOLVABLE),
        (" a.pt", "a.pt", ModelState.MISSING),
        ("a.pt", "a.safetensors", ModelState.MISSING),
        ("\u00e9.pt", "e\u0301.pt", ModelState.NORMALISATION),
        ("e\u0301.pt", "\u00e9.pt", ModelState.NORMALISATION),
        ("sub\\e\u0301.pt", "sub/\u00e9.pt", ModelState.NORMALISATION),
        ("E\u0301.pt", "\u00e9.pt", ModelState.CASE),
        ("e\u0301.pt", "sub/\u00e9.pt", ModelState.SUBFOLDER),
        ("e.pt", "\u00e9.pt", ModelState.MISSING),
        ("", "a.pt", ModelState.UNRESOLVABLE),
        ("   ", "a.pt", ModelState.UNRESOLVABLE),
        ("42", "a.pt", ModelState.UNRESOLVABLE),
        ("a\nb.pt", "a.pt", ModelState.UNRESOLVABLE),
        ("\u202ea.pt", "a.pt", ModelState.UNRESOLVABLE),
        ("é" * 600, "a.pt", ModelState.UNRESOLVABLE),
        ("x" * 1021 + ".pt", "a.pt", ModelState.MISSING),
        ("x" * 1022 + ".pt", "a.pt", ModelState.UNRESOLVABLE),
    ],
)
def test_differing_name_is_not_exact(value: str, there: str, expected: ModelState) -> None:
    assert state(value, Model("loras", there)) is expected


def test_empty_name_is_never_exact() -> None:
    empty = reference("", tries=("",))
    assert judge_reference(empty, Inventory(Model("loras", ""))).state is ModelState.UNRESOLVABLE
    assert state("", Model("loras", ""), folder=None) is ModelState.UNRESOLVABLE


def test_file_of_another_folder_is_in_the_wrong_folder() -> None:
    finding = judge_reference(reference("a.pt"), Inventory(Model("vae", "sub/a.pt")))
    assert finding.state is ModelState.WRONG_FOLDER
    assert finding.path == "/models/vae/sub/a.pt"
    assert finding.fix is not None
    assert "/data/loras/a.pt" in finding.fix


@pytest.mark.parametrize("there", ["a.pt", "sub/a.pt", "A.pt"])
def test_broken_file_is_invalid(there: str) -> None:
    finding = judge_reference(reference("a.pt"), Inventory(Model("loras", there, "empty file")))
    assert finding.state is ModelState.INVALID
    assert finding.fix == f"loras/{there} is there but broken (empty file): delete it and fetch it again."


def test_healthy_file_goes_before_a_broken_one() -> None:
    finding = judge_reference(
        reference("a.pt"), Inventory(Model("loras", "x/a.pt", "empty file"), Model("loras", "y/a.pt"))
    )
    assert finding.state is ModelState.SUBFOLDER
    assert finding.fix == "Choose one of these in the node: x/a.pt, y/a.pt."


def test_file_in_another_subfolder_is_named() -> None:
    finding = judge_reference(reference("a.pt"), Inventory(Model("loras", "sub/a.pt")))
    assert finding.path == "/models/loras/sub/a.pt"
    assert finding.fix == "This host has it as sub/a.pt; choose that name in the node, or rename the file."


def test_names_are_tried_in_the_order_of_the_server() -> None:
    tried = reference("embed", tries=("embed", "embed.safetensors", "embed.pt"))
    finding = judge_reference(tried, Inventory(Model("loras", "embed.pt"), Model("loras", "embed.safetensors")))
    assert (finding.state, finding.path) == (ModelState.EXACT, "/models/loras/embed.safetensors")
    near = judge_reference(tried, Inventory(Model("loras", "EMBED.pt")))
    assert near.state is ModelState.CASE


def test_unresolvable_value_names_the_missing_classes() -> None:
    finding = judge_reference(reference("42"), Inventory(), unknown_classes=("A", "B", "C", "D"))
    assert finding.state is ModelState.UNRESOLVABLE
    assert finding.fix is not None
    assert "(A, B, C)" in finding.fix


def test_model_of_an_unknown_folder_needs_its_pack_first() -> None:
    wanted = reference("a.pt", folder="sams")
    assert "node pack first" in (judge_reference(wanted, Inventory(), unknown_classes=("A",)).fix or "")
    finding = judge_reference(wanted, Inventory())
    assert finding.state is ModelState.UNKNOWN
    assert finding.fix == "This ComfyUI has no model folder sams: install the pack or the version that adds it."
    known = judge_reference(reference("a.pt"), Inventory(), unknown_classes=("A",))
    assert known.fix == "Put the file into /data/loras."


@pytest.mark.parametrize(
    ("value", "there", "expected"),
    [
        ("a.pt", "a.pt", ModelState.FOLDER_UNKNOWN),
        ("sub\\a.pt", "sub/a.pt", ModelState.SEPARATOR),
        ("A.pt", "a.pt", ModelState.CASE),
        ("a.pt", "sub/a.pt", ModelState.SUBFOLDER),
        ("b.pt", "a.pt", ModelState.MISSING),
    ],
)
def test_reference_without_a_folder_matches_all_folders(value: str, there: str, expected: ModelState) -> None:
    assert state(value, Model("vae", there), folder=None) is expected


def test_healthy_file_of_any_folder_goes_before_a_broken_one() -> None:
    broken, whole = Model("loras", "a.pt", "empty file"), Model("vae", "a.pt")
    assert state("a.pt", broken, whole, folder=None) is ModelState.FOLDER_UNKNOWN
    assert state("a.pt", broken, folder=None) is ModelState.INVALID
    assert state("A.pt", broken, folder=None) is ModelState.INVALID
    assert state("A.pt", broken, whole, folder=None) is ModelState.CASE


def finding(model_state: ModelState, confidence: Confidence) -> ModelFinding:
    return build_finding(replace(reference("a.pt"), confidence=confidence), model_state)


@pytest.mark.parametrize(("model_state", "confidence"), list(itertools.product(ModelState, CONFIDENCES)))
@pytest.mark.parametrize(("nodes_missing", "nodes_uncertain"), list(itertools.product((False, True), repeat=2)))
def test_status_for_every_state_and_confidence(
    model_state: ModelState, confidence: Confidence, *, nodes_missing: bool, nodes_uncertain: bool
) -> None:
    model = finding(model_state, confidence)
    sure = confidence != "low" and model_state not in UNDECIDED_STATES
    lacking = model_state is not ModelState.EXACT
    expected = WorkflowStatus.READY
    if nodes_uncertain or lacking:
        expected = WorkflowStatus.UNCERTAIN
    if nodes_missing or (lacking and sure):
        expected = WorkflowStatus.MISSING
    assert model.is_sure is sure
    assert combine_findings([model], nodes_missing=nodes_missing, nodes_uncertain=nodes_uncertain) is expected


FINDINGS = st.builds(finding, st.sampled_from(ModelState), st.sampled_from(CONFIDENCES))


@given(findings=st.lists(FINDINGS, max_size=6), missing=st.booleans(), uncertain=st.booleans())
@pytest.mark.slow
def test_ready_needs_exact_models_and_known_nodes(
    findings: list[ModelFinding], *, missing: bool, uncertain: bool
) -> None:
    verdict = combine_findings(iter(findings), nodes_missing=missing, nodes_uncertain=uncertain)
    all_exact = all(finding.state is ModelState.EXACT for finding in findings)
    assert (verdict is WorkflowStatus.READY) == (all_exact and not missing and not uncertain)
    assert verdict is not WorkflowStatus.INVALID


@given(st.text(max_size=20), st.lists(st.text(min_size=1, max_size=20), max_size=4))
@pytest.mark.slow
def test_only_an_existing_name_is_exact(value: str, there: list[str]) -> None:
    models = [Model("loras", name) for name in there]
    assert (state(value, *models) is ModelState.EXACT) == (value in there)
    assert (state(value, *models, folder=None) is ModelState.FOLDER_UNKNOWN) == (value in there)


def test_highest_confidence_comes_first() -> None:
    assert sorted(CONFIDENCES, key=confidence_rank) == ["high", "medium", "low"]


@pytest.mark.parametrize("folder", ["loras", None])
def test_other_unicode_form_is_explained(folder: str | None) -> None:
    finding = judge_reference(reference("e\u0301.pt", folder=folder), Inventory(Model("loras", "\u00e9.pt")))
    assert (finding.state, finding.path) == (ModelState.NORMALISATION, "/models/loras/\u00e9.pt")
    assert finding.fix is not None
    assert "\u00e9.pt" in finding.fix
    assert finding.is_sure


def test_unicode_form_goes_before_letter_case() -> None:
    names = ("\u00c9.pt", "\u00e9.pt")
    result = judge_reference(reference("e\u0301.pt"), Inventory(*(Model("loras", name) for name in names)))
    assert (result.state, result.path) == (ModelState.NORMALISATION, "/models/loras/\u00e9.pt")


class Closed(Inventory):
    """An inventory of a folder that could not be listed."""

    def check_listing(self, folders: Sequence[str], names: Sequence[str]) -> CompleteListing | Obstacle:
        del folders, names
        return CLOSED


REMEDY = (
    "/models/loras could not be looked at. Permit this user to read it, or mount its disk again (Permission denied)."
)


@pytest.mark.parametrize("folder", ["loras", None])
@pytest.mark.parametrize("there", ["A.pt", "sub/a.pt", "other.pt"])
def test_model_that_could_not_be_looked_for_is_unknown(folder: str | None, there: str) -> None:
    finding = judge_reference(reference("a.pt", folder=folder), Closed(Model("loras", there)))
    assert (finding.state, finding.fix, finding.path) == (ModelState.UNKNOWN, REMEDY, None)
    assert not finding.is_sure
    assert combine_findings([finding], nodes_missing=False, nodes_uncertain=False) is WorkflowStatus.UNCERTAIN


def test_closed_folder_leaves_exact_and_impossible_names_alone() -> None:
    assert judge_reference(reference("a.pt"), Closed(Model("loras", "a.pt"))).state is ModelState.EXACT
    assert judge_reference(reference("a.pt"), Closed(), choices=["a.pt"]).state is ModelState.EXACT
    assert judge_reference(reference("42"), Closed()).state is ModelState.UNRESOLVABLE


def test_list_of_a_server_that_may_not_look_either_proves_nothing() -> None:
    assert judge_reference(reference("a.pt"), Closed(), choices=["b.pt"]).state is ModelState.UNKNOWN


def test_broken_file_is_unknown_while_another_directory_is_closed() -> None:
    broken = Model("loras", "a.pt", "empty file", "empty")
    assert judge_reference(reference("a.pt"), Closed(broken)).state is ModelState.UNKNOWN


def test_broken_link_is_missing_with_the_link_named() -> None:
    link = Model("loras", "a.pt", "a link to /disk/a.pt, which does not exist", LINK_BROKEN)
    finding = judge_reference(reference("a.pt"), Inventory(link))
    assert finding.state is ModelState.MISSING
    assert finding.absence == BrokenLink("/models/loras/a.pt", "a link to /disk/a.pt, which does not exist")
    assert finding.fix == (
        "loras/a.pt is a link to /disk/a.pt, which does not exist: put the model there, or point the link to it."
    )


def test_server_that_offers_a_broken_link_does_not_make_it_exact() -> None:
    link = Model("loras", "a.pt", "a link to /disk/a.pt, which does not exist", LINK_BROKEN)
    assert judge_reference(reference("a.pt"), Inventory(link), choices=["a.pt"]).state is ModelState.MISSING
    closed = Model("loras", "a.pt", "cannot be read", UNREADABLE, CLOSED)
    assert judge_reference(reference("a.pt"), Inventory(closed), choices=["a.pt"]).state is ModelState.UNKNOWN


def test_unreadable_file_is_unknown_and_still_a_near_match() -> None:
    closed = Model("loras", "a.pt", "cannot be read", UNREADABLE, CLOSED)
    finding = judge_reference(reference("a.pt"), Inventory(closed))
    assert (finding.state, finding.path, finding.fix) == (ModelState.UNKNOWN, closed.path, REMEDY)
    assert judge_reference(reference("A.pt"), Inventory(closed)).state is ModelState.CASE
    assert judge_reference(reference("sub/a.pt"), Inventory(closed)).state is ModelState.SUBFOLDER


def test_broken_link_is_no_near_match() -> None:
    link = Model("vae", "a.pt", "a link to /disk/a.pt, which does not exist", LINK_BROKEN)
    assert judge_reference(reference("a.pt"), Inventory(link)).fix == "Put the file into /data/loras."


@pytest.mark.parametrize("state", list(ModelState))
def test_missing_needs_a_proof_and_unknown_an_obstacle(state: ModelState) -> None:
    finding = build_finding(reference("a.pt"), state)
    if state in {ModelState.MISSING, ModelState.UNKNOWN}:
        with pytest.raises(ValueError, match="needs"):
            ModelFinding(reference("a.pt"), state)
    else:
        assert finding == ModelFinding(reference("a.pt"), state)
    with pytest.raises(ValueError, match="no other state has one"):
        ModelFinding(reference("a.pt"), state, absence=BrokenLink("/a", "x"), obstacle=CLOSED)


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("t_encoder.fp16.pt", ModelState.EXACT),
        ("t_encoder.pt", ModelState.EXACT),
        ("t_encoders.pt", ModelState.MISSING),
    ],
)
def test_name_that_begins_as_the_server_wants_is_enough(name: str, state: ModelState) -> None:
    wanted = replace(reference("t", tries=("t_encoder.safetensors",)), prefix="t_encoder.")
    assert judge_reference(wanted, Inventory(Model("loras", name))).state is state


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("https://huggingface.co/a/b/resolve/main/c.safetensors", "The value is an address"),
        ("a photo of a cat, best quality", "No file of loras can have this name"),
        ("null", "The node has no value there"),
        ("detail.safetensorss", "Similar names here: detail.safetensors."),
    ],
)
def test_value_that_no_file_can_be_called_is_not_to_be_put_anywhere(value: str, words: str) -> None:
    finding = judge_reference(reference(value), Inventory(Model("loras", "detail.safetensors")))
    assert (finding.state, finding.is_sure) == (ModelState.UNRESOLVABLE, True)
    assert finding.fix is not None
    assert words in finding.fix
    assert "Put the file" not in finding.fix
    guessed = judge_reference(replace(reference(value), confidence="medium"), Inventory())
    assert not guessed.is_sure


def test_missing_class_explains_a_value_that_no_file_can_be_called() -> None:
    finding = judge_reference(reference("a prompt"), Inventory(), unknown_classes=["Other"])
    assert (finding.state, finding.is_sure) == (ModelState.UNRESOLVABLE, False)
    assert finding.fix is not None
    assert "node classes are missing (Other)" in finding.fix


def test_any_name_is_possible_in_a_folder_that_lists_every_file() -> None:
    finding = judge_reference(reference("Florence-2-large", folder="somewhere"), Inventory())
    assert finding.state is ModelState.UNKNOWN


def test_similar_names_are_shown_beside_a_missing_model() -> None:
    here = Inventory(Model("loras", "add_detail_v2.safetensors"), Model("loras", "other.safetensors"))
    finding = judge_reference(reference("add-detail-v2.safetensors"), here)
    assert finding.state is ModelState.MISSING
    assert finding.fix == "Put the file into /data/loras. Similar names here: add_detail_v2.safetensors."


@pytest.mark.parametrize(
    ("value", "resolution", "expected"),
    [
        ("y", NameResolution.BARE_NAME, ModelState.EXACT),
        ("y", NameResolution.LISTED, ModelState.SUBFOLDER),
        ("ub/y", NameResolution.ENDING, ModelState.EXACT),
        ("z", NameResolution.BARE_NAME, ModelState.MISSING),
    ],
)
def test_pack_finds_a_file_in_its_own_way(value: str, resolution: NameResolution, expected: ModelState) -> None:
    wanted = replace(reference(value, tries=(f"{value}.pt",)), resolution=resolution)
    finding = judge_reference(wanted, Inventory(Model("loras", "sub/y.pt")))
    assert finding.state is expected
