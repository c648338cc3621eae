from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfywatchman.readiness.search.claims import (
    UNANSWERED_STATES,
    HubRecord,
    HubState,
    ModelQuery,
    Proposal,
    ProposedBy,
    build_query,
)
from comfywatchman.readiness.search.model_types import check_type
from comfywatchman.readiness.search.results import DIFFERING_HASHES, HubIds, SearchResult, SearchStatus
from comfywatchman.readiness.search.verify import (
    OTHER_PRECISION,
    SearchPolicy,
    decide_result,
    describe_differences,
    list_objections,
    reason_invalid,
)
from comfywatchman.readiness.states import SearchDoubt
from tests.search_results import PROOF

NAME = "detail_v2_8steps_fp16.safetensors"
A, B = "a" * 64, "b" * 64
AT = "2026-11-20T14:00:00Z"
WANTED = build_query(f"SDXL\\{NAME}", "loras")
STRICT = SearchPolicy()


def proposal(by: ProposedBy = "search", *, name: str = "", sha256: str | None = None) -> Proposal:
    return Proposal(by, f"the {by}", name=name, sha256=sha256)


def facts(
    by: ProposedBy = "search", *, claimed: str = "", claimed_hash: str | None = None, **changes: Any
) -> HubRecord:
    base = HubRecord(
        proposal=proposal(by, name=claimed, sha256=claimed_hash),
        state=HubState.PRESENT,
        source="civitai",
        name=NAME,
        ids=HubIds(civitai_model=1, civitai_version=2, civitai_file=3),
        url="https://civitai.com/api/download/models/2?fileId=3",
        size=200 << 20,
        size_is_exact=False,
        sha256=A,
        model_type="LORA",
        file_type="Model",
        format="SafeTensor",
        scans=("Success", "Success"),
    )
    return replace(base, **changes)


def decide(*all_facts: HubRecord, wanted: ModelQuery = WANTED, policy: SearchPolicy = STRICT) -> SearchResult:
    return decide_result(wanted, all_facts, policy=policy, searched_at=AT)


def test_a_file_that_passes_every_check_is_found() -> None:
    result = decide(facts(base_model="SDXL 1.0"))
    assert (result.status, result.filename, result.type) == (SearchStatus.FOUND, f"SDXL\\{NAME}", "loras")
    assert (result.source, result.sha256, result.confidence) == ("civitai", A, "exact name")
    assert result.url == "https://civitai.com/api/download/models/2?fileId=3"
    assert (result.size, result.base_model, result.searched_at) == (None, "SDXL 1.0", AT)
    assert result.candidates[0].verified


def test_file_that_cannot_be_fetched_is_shown_but_never_found() -> None:
    early = facts(restriction="Early access: only buyers may download it until 2027")
    result = decide(early)
    assert (result.status, result.doubt) == (SearchStatus.UNCERTAIN, SearchDoubt.ACCESS_RESTRICTED)
    assert not result.has_choice
    assert result.evidence == ("file 3 of version 2 on Civitai: Early access: only buyers may download it until 2027.",)
    # The same bytes elsewhere can be fetched; other bytes of this name leave a doubt.
    assert decide(early, facts()).status is SearchStatus.FOUND
    other = decide(early, facts(sha256=B))
    assert (other.status, other.doubt) == (SearchStatus.UNCERTAIN, SearchDoubt.CANDIDATES_TO_CHOOSE)
    assert other.has_choice


def test_the_size_is_told_only_where_it_is_exact() -> None:
    exact = facts(size_is_exact=True)
    assert decide(exact).size == 200 << 20


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": "detail_v2_4steps_fp16.safetensors"}, "name differs"),
        ({"name": NAME.replace("_", "-")}, "name differs"),
        ({"name": "detail_v2_8steps_fp16.sft"}, "name differs"),
        ({"model_type": "Checkpoint"}, "loras"),
        ({"model_type": "LORA", "file_type": "VAE"}, "VAE"),
        ({"file_type": "Training Data"}, "Training Data"),
        ({"scans": ("Success", "Danger")}, "scanner"),
        ({"scans": ("unsafe",)}, "scanner"),
        ({"format": "PickleTensor"}, "run code"),
        ({"size": None}, "size"),
        ({"size": 0}, "plausible"),
        ({"size": 134}, "plausible"),
        ({"size": 65 << 30}, "plausible"),
        ({"sha256": None}, "SHA-256"),
        ({"sha256": "A" * 64}, "SHA-256"),
        ({"sha256": "a" * 63}, "SHA-256"),
        ({"url": None}, "address"),
        ({"url": "https://evilcivitai.com/api/download/models/2"}, "allowed host"),
        ({"url": "https://civitai.com/api/download/models/2?fileId=3&token=x"}, "allowed host"),
        ({"state": HubState.GATED, "reason": "closed"}, "closed"),
        ({"state": HubState.UNVERIFIABLE}, "does not show"),
        ({"claimed_hash": B}, "declared"),
    ],
)
def test_one_failed_check_is_enough_against_a_proposal(changes: dict[str, Any], reason: str) -> None:
    one = facts("model", **changes)
    reasons = list_objections(WANTED, one, STRICT)
    assert len(reasons) == 1
    assert reason in reasons[0]
    result = decide(one)
    assert result.status is SearchStatus.UNCERTAIN
    assert (result.url, result.sha256) == (None, None)
    assert result.candidates[0].reasons == reasons
    assert not result.candidates[0].verified


def test_all_failed_checks_are_told() -> None:
    assert len(list_objections(WANTED, facts(model_type="VAE", sha256=None, size=None), STRICT)) == 3


def test_one_hash_is_found_and_several_are_a_doubt() -> None:
    same = facts(ids=HubIds(civitai_version=9), url="https://civitai.com/api/download/models/9")
    assert decide(facts(), same).status is SearchStatus.FOUND
    result = decide(facts(), facts(sha256=B))
    assert result.status is SearchStatus.UNCERTAIN
    assert {one.sha256 for one in result.candidates if one.verified} == {A, B}
    assert result.evidence[-1] == DIFFERING_HASHES


def test_exact_case_is_preferred() -> None:
    other_case = facts(name=NAME.upper())
    assert decide(other_case).confidence == "name in other case"
    assert any(NAME.upper() in line for line in decide(other_case).evidence)
    result = decide(other_case, facts())
    assert (result.confidence, result.candidates[0].name) == ("exact name", NAME)


def test_look_alikes_of_our_own_search_are_not_even_offered() -> None:
    result = decide(*(facts(name=name) for name in ("detail_v2_4steps_fp16.safetensors", "detail_v3.safetensors")))
    assert (result.doubt, result.candidates) == (SearchDoubt.NO_MATCH, ())


def test_declared_hash_is_shown_despite_objections() -> None:
    wanted = build_query(NAME, "vae", sha256=A)
    result = decide(facts(name="another_name.safetensors", model_type="LORA"), wanted=wanted)
    assert (result.status, [one.sha256 for one in result.candidates]) == (SearchStatus.UNCERTAIN, [A])
    other = decide(facts(name="another_name.safetensors", sha256=B), wanted=wanted)
    assert (other.doubt, other.candidates) == (SearchDoubt.NO_MATCH, ())


def test_what_a_person_or_a_model_proposes_is_shown_with_what_differs() -> None:
    result = decide(facts("model", name="detail_v2_4steps_fp16.safetensors"))
    assert result.status is SearchStatus.UNCERTAIN
    assert result.candidates[0].differences == ("8steps ≠ 4steps",)
    assert result.candidates[0].proposed_by == "the model"


def test_another_precision_is_a_suggestion_with_its_label_and_comes_last() -> None:
    variant = facts(name="detail_v2_8steps_bf16.safetensors")
    result = decide(variant, facts("model", name="detail_v9_1steps.safetensors"))
    assert result.status is SearchStatus.UNCERTAIN
    assert [one.label for one in result.candidates] == [None, OTHER_PRECISION]
    assert decide(variant).candidates[0].differences == ("fp16 ≠ bf16",)
    assert decide(variant, facts()).status is SearchStatus.FOUND


def test_what_does_not_exist_is_no_candidate_but_is_told() -> None:
    result = decide(facts("model", state=HubState.ABSENT, reason="Hugging Face has no repository o/n."))
    assert (result.doubt, result.candidates) == (SearchDoubt.NO_MATCH, ())
    assert result.evidence == ("the model: Hugging Face has no repository o/n.",)


def test_a_hub_that_cannot_be_asked_is_an_error_and_never_not_found() -> None:
    unknown = facts(state=HubState.FAILED, reason="no answer", name="", ids=HubIds())
    assert decide(unknown).status is SearchStatus.ERROR
    assert decide(unknown, facts("model", state=HubState.ABSENT)).status is SearchStatus.ERROR
    assert decide(facts("model", state=HubState.FAILED, reason="no answer")).status is SearchStatus.ERROR
    assert decide(unknown, facts()).status is SearchStatus.FOUND
    assert decide(unknown, facts("model", sha256=None)).status is SearchStatus.UNCERTAIN
    assert "no answer" in decide(unknown).evidence[0]


def test_timeout_leaves_candidates_unverified() -> None:
    url = "https://huggingface.co/o/n/resolve/main/x.safetensors"
    silent = decide(facts(state=HubState.UNREACHABLE, source="huggingface", sha256=None, size=None, url=url))
    assert (silent.unreachable, silent.evidence) == (("huggingface",), ())
    assert [(one.reasons, one.url) for one in silent.candidates] == [(("not verified",), url)]
    refused = decide(facts(state=HubState.FAILED, reason="Hugging Face wants a key.", sha256=None))
    assert refused.candidates[0].reasons == ("not verified: Hugging Face wants a key.",)
    assert refused.evidence == ("Hugging Face wants a key.",)


def test_nothing_proposed_is_no_answer_of_anybody() -> None:
    assert decide().doubt is SearchDoubt.NOT_ASKED


@pytest.mark.parametrize("name", ["model.safetensors", "diffusion_pytorch_model.safetensors", "ae.safetensors"])
@pytest.mark.parametrize("by", ["search", "model", "note", "catalogue"])
def test_a_generic_name_is_never_found_by_name_alone(name: str, by: ProposedBy) -> None:
    wanted = build_query(name, "loras")
    one = facts(by, name=name, claimed=name)
    assert decide(one, wanted=wanted).status is SearchStatus.UNCERTAIN
    assert "proves nothing" in decide(one, wanted=wanted).candidates[0].reasons[0]
    assert decide(facts("workflow", name=name, claimed=name), wanted=wanted).status is SearchStatus.FOUND
    assert decide(one, wanted=build_query(name, "loras", sha256=A)).status is SearchStatus.FOUND


def test_a_declared_hash_decides() -> None:
    wanted = build_query(NAME, "loras", sha256=A.upper())
    renamed = facts(name="something else.safetensors")
    assert decide(renamed, wanted=wanted).status is SearchStatus.FOUND
    assert decide(renamed, wanted=wanted).confidence == "hash"
    assert decide(facts(sha256=B), wanted=wanted).status is SearchStatus.UNCERTAIN
    assert decide(facts(sha256=B), facts(), wanted=wanted).sha256 == A
    assert build_query(NAME, "loras", sha256="no hash").sha256 is None


@pytest.mark.parametrize("by", ["workflow", "catalogue"])
def test_a_declaration_may_keep_a_file_under_another_name(by: ProposedBy) -> None:
    renamed = facts(by, name="pytorch_lora.safetensors", claimed=NAME)
    result = decide(renamed)
    assert (result.status, result.confidence) == (SearchStatus.FOUND, "declared")
    assert "Its name there is pytorch_lora.safetensors." in result.evidence
    assert decide(facts(by, name="x.ckpt", claimed=NAME)).status is SearchStatus.UNCERTAIN
    assert decide(facts(by, name="other.safetensors", claimed="third.safetensors")).status is SearchStatus.UNCERTAIN


@pytest.mark.parametrize("by", ["note", "search", "model"])
def test_nobody_else_may_give_a_file_another_name(by: ProposedBy) -> None:
    assert decide(facts(by, name="other.safetensors", claimed=NAME)).status is not SearchStatus.FOUND


def test_formats_that_run_code_need_a_decision() -> None:
    wanted = build_query("old_model_v1.ckpt", "checkpoints")
    one = facts(name="old_model_v1.ckpt", model_type="Checkpoint", format="PickleTensor")
    assert decide(one, wanted=wanted).status is SearchStatus.UNCERTAIN
    assert decide(one, wanted=wanted, policy=SearchPolicy(allow_pickle=True)).status is SearchStatus.FOUND
    by_name_only = replace(one, format=None)
    assert decide(by_name_only, wanted=wanted).status is SearchStatus.UNCERTAIN
    poisoned = replace(one, scans=("Danger",))
    result = decide(poisoned, wanted=wanted, policy=SearchPolicy(allow_pickle=True))
    assert (result.status, result.candidates[0].url) == (SearchStatus.UNCERTAIN, None)


def test_a_test_server_is_allowed_only_by_its_switch() -> None:
    one = facts(url="http://127.0.0.1:8099/api/download/models/2?fileId=3")
    assert decide(one).status is SearchStatus.UNCERTAIN
    assert decide(one, policy=SearchPolicy(extra_hosts=frozenset({"127.0.0.1:8099"}))).status is SearchStatus.FOUND


def test_small_embeddings_are_plausible_and_small_checkpoints_are_not() -> None:
    small = facts(size=8 << 10, model_type=None)
    assert decide(small, wanted=build_query(NAME, "embeddings")).status is SearchStatus.FOUND
    assert decide(small, wanted=build_query(NAME, "checkpoints")).status is SearchStatus.UNCERTAIN


def test_any_name_that_the_server_tries_will_do() -> None:
    wanted = build_query("easy9", "embeddings", tries=("easy9", "easy9.safetensors", "easy9.pt"))
    one = facts(name="easy9.safetensors", model_type="TextualInversion")
    assert decide(one, wanted=wanted).status is SearchStatus.FOUND


@pytest.mark.parametrize("value", ["", "x.exe", "../x.safetensors", "https://h/x.safetensors", "C:\\x.safetensors"])
def test_what_can_be_no_file_name_is_said_to_be_none(value: str) -> None:
    wanted = build_query(value, "loras")
    assert reason_invalid(wanted)
    assert decide(facts(), wanted=wanted).status is SearchStatus.INVALID_FILENAME
    assert wanted.filename == value
    assert decide(wanted=ModelQuery("x", (), "loras")).status is SearchStatus.INVALID_FILENAME


def test_a_place_on_hugging_face_is_named_in_the_evidence() -> None:
    ids = HubIds(repo="o/n", revision="c" * 40, path=f"loras/{NAME}")
    url = f"https://huggingface.co/o/n/resolve/{'c' * 40}/loras/{NAME}"
    result = decide(facts("model", source="huggingface", ids=ids, url=url, model_type=None, file_type=None))
    assert result.status is SearchStatus.FOUND
    assert f"o/n/loras/{NAME} on Hugging Face" in result.evidence[-1]


@pytest.mark.parametrize(
    ("model_type", "file_type", "folder", "fits"),
    [
        ("LORA", "Model", "loras", True),
        ("LoCon", None, "loras", True),
        ("DoRA", None, "loras", True),
        ("LORA", "Model", "checkpoints", False),
        ("Checkpoint", "Model", "checkpoints", True),
        ("Checkpoint", "Pruned Model", "diffusion_models", True),
        ("Checkpoint", "Model", "unet_gguf", True),
        ("Checkpoint", "Diffusion Model", "diffusion_models", True),
        ("Checkpoint", "VAE", "vae", True),
        ("Checkpoint", "VAE", "checkpoints", False),
        ("Checkpoint", "Text Encoder", "text_encoders", True),
        ("Checkpoint", "Config", "checkpoints", False),
        ("TextualInversion", "Negative", "embeddings", True),
        ("TextualInversion", "Model", "loras", False),
        ("Controlnet", None, "controlnet", True),
        ("Upscaler", None, "upscale_models", True),
        ("VAE", None, "vae", True),
        ("TextEncoder", None, "clip_gguf", True),
        ("CLIPVision", None, "clip_vision", True),
        ("MotionModule", None, "animatediff_models", True),
        ("Hypernetwork", None, "hypernetworks", True),
        ("Detection", None, "ultralytics_bbox", True),
        ("Workflows", None, "checkpoints", False),
        ("Other", "Other", "sams", True),
        ("Something new", None, "loras", True),
        (None, None, "loras", True),
        ("LORA", None, None, True),
    ],
)
def test_types_fit_folders(model_type: str | None, file_type: str | None, folder: str | None, *, fits: bool) -> None:
    assert (check_type(model_type, file_type, folder) is None) is fits


def test_the_nearest_of_several_names_is_compared() -> None:
    wanted = build_query("a1", None, tries=("a1_one.pt", "a1_two.pt"))
    assert describe_differences(wanted, "a1_two_x.pt") == ("nothing ≠ x",)
    assert describe_differences(ModelQuery("x", (), None), "y") == ()


_FIELDS = st.fixed_dictionaries(
    {
        "state": st.sampled_from([HubState.PRESENT, HubState.PRESENT, HubState.PRESENT, *HubState]),
        "name": st.sampled_from([NAME, NAME.upper(), "detail_v2_4steps_fp16.safetensors", "model.safetensors", ""]),
        "sha256": st.sampled_from([A, B, None, "short"]),
        "size": st.sampled_from([200 << 20, 0, None]),
        "model_type": st.sampled_from(["LORA", "Checkpoint", None]),
        "scans": st.sampled_from([(), ("Danger",), ("Success",)]),
        "url": st.sampled_from(["https://civitai.com/api/download/models/2", "https://evil.example/x", None]),
    }
)
_BY = st.sampled_from(["workflow", "note", "catalogue", "search", "model"])


@given(st.lists(st.tuples(_BY, _FIELDS), max_size=5))
@pytest.mark.slow
def test_found_always_means_one_hash_an_allowed_address_and_no_reason(given_facts: list[Any]) -> None:
    everything = [facts(by, **fields) for by, fields in given_facts]
    result = decide(*everything)
    passing = {one.sha256 for one in everything if not list_objections(WANTED, one, STRICT)}
    assert (result.status is SearchStatus.FOUND) == (len(passing) == 1)
    if result.status is SearchStatus.FOUND:
        assert result.sha256 in {A, B}
        assert (result.url or "").startswith("https://civitai.com/")
        assert all(one.verified and not one.reasons for one in result.candidates)
    if result.doubt is SearchDoubt.NO_MATCH:
        assert not any(one.state in UNANSWERED_STATES for one in everything)
        assert result.candidates == ()


def test_not_found_takes_a_proof_and_no_doubt() -> None:
    absent = facts("workflow", state=HubState.ABSENT, absence=PROOF)
    result = decide(absent, absent)
    assert (result.status, result.doubt, result.absence) == (SearchStatus.NOT_FOUND, None, (PROOF,))
    assert decide(absent, facts("search", name="", state=HubState.ARCHIVED)).doubt is SearchDoubt.ARCHIVED_BY_AUTHOR
    assert decide(absent, facts(state=HubState.FAILED)).status is SearchStatus.ERROR
    assert decide(facts("workflow", state=HubState.ABSENT)).doubt is SearchDoubt.NO_MATCH


@pytest.mark.parametrize(
    ("changes", "doubt"),
    [
        ({"sha256": None}, SearchDoubt.CANDIDATES_NOT_USABLE),
        ({"scans": ("Danger",)}, SearchDoubt.CANDIDATES_NOT_USABLE),
        ({"state": HubState.UNVERIFIABLE}, SearchDoubt.CANDIDATES_NOT_USABLE),
        ({"size": None}, SearchDoubt.CANDIDATES_TO_CHOOSE),
        ({"size": None, "unreadable": ("sizeKB",)}, SearchDoubt.UNREADABLE_ANSWER),
        ({"state": HubState.GATED}, SearchDoubt.ACCESS_RESTRICTED),
        ({"state": HubState.HIDDEN}, SearchDoubt.PRIVATE_OR_GONE),
        ({"state": HubState.ARCHIVED}, SearchDoubt.ARCHIVED_BY_AUTHOR),
        ({"state": HubState.TAKEN_DOWN}, SearchDoubt.TAKEN_DOWN),
        ({"state": HubState.HASH_NOT_SHOWN}, SearchDoubt.HASH_NOT_SHOWN),
    ],
)
def test_each_obstacle_is_a_doubt_of_its_own(changes: dict[str, Any], doubt: SearchDoubt) -> None:
    result = decide(facts("workflow", **changes))
    assert (result.status, result.doubt) == (SearchStatus.UNCERTAIN, doubt)


def test_unreadable_scan_keeps_a_file_from_being_found() -> None:
    odd = facts(scans=(), unreadable=("pickleScanResult",))
    assert (decide(odd).doubt, decide(odd).candidates[0].url) == (SearchDoubt.UNREADABLE_ANSWER, None)
    assert decide(facts(unreadable=("metadata",))).status is SearchStatus.FOUND


def test_place_that_only_a_model_names_is_not_shown() -> None:
    assert decide(facts("model", state=HubState.HIDDEN)).candidates == ()
    assert len(decide(facts("note", state=HubState.HIDDEN)).candidates) == 1
