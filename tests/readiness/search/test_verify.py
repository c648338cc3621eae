from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfywatchman.readiness.search.claims import Facts, Proposal, ProposedBy, Wanted, wanted_model
from comfywatchman.readiness.search.model_types import type_contradiction
from comfywatchman.readiness.search.results import SEVERAL, Ids, SearchResult, SearchStatus
from comfywatchman.readiness.search.verify import (
    OTHER_PRECISION,
    Policy,
    differences,
    judge,
    reason_invalid,
    reasons_against,
)

NAME = "detail_v2_8steps_fp16.safetensors"
A, B = "a" * 64, "b" * 64
AT = "2026-11-20T14:00:00Z"
WANTED = wanted_model(f"SDXL\\{NAME}", "loras")
STRICT = Policy()


def proposal(by: ProposedBy = "search", *, name: str = "", sha256: str | None = None) -> Proposal:
    return Proposal(by, f"the {by}", name=name, sha256=sha256)


def facts(by: ProposedBy = "search", *, claimed: str = "", claimed_hash: str | None = None, **changes: Any) -> Facts:
    base = Facts(
        proposal=proposal(by, name=claimed, sha256=claimed_hash),
        state="there",
        source="civitai",
        name=NAME,
        ids=Ids(civitai_model=1, civitai_version=2, civitai_file=3),
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


def judged(*all_facts: Facts, wanted: Wanted = WANTED, policy: Policy = STRICT) -> SearchResult:
    return judge(wanted, all_facts, policy=policy, searched_at=AT)


def test_a_file_that_passes_every_check_is_found() -> None:
    result = judged(facts(base_model="SDXL 1.0", note="Early access: only buyers may download it until 2027"))
    assert (result.status, result.filename, result.type) == (SearchStatus.FOUND, f"SDXL\\{NAME}", "loras")
    assert (result.source, result.sha256, result.confidence) == ("civitai", A, "exact name")
    assert result.url == "https://civitai.com/api/download/models/2?fileId=3"
    assert (result.size, result.base_model, result.searched_at) == (None, "SDXL 1.0", AT)
    assert result.candidates[0].verified
    assert result.evidence[-1] == "Early access: only buyers may download it until 2027."


def test_the_size_is_told_only_where_it_is_exact() -> None:
    exact = facts(size_is_exact=True)
    assert judged(exact).size == 200 << 20


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": "detail_v2_4steps_fp16.safetensors"}, "another one"),
        ({"name": NAME.replace("_", "-")}, "another one"),
        ({"name": "detail_v2_8steps_fp16.sft"}, "another one"),
        ({"model_type": "Checkpoint"}, "loras"),
        ({"model_type": "LORA", "file_type": "VAE"}, "VAE"),
        ({"file_type": "Training Data"}, "Training Data"),
        ({"scans": ("Success", "Danger")}, "scanner"),
        ({"scans": ("unsafe",)}, "scanner"),
        ({"format": "PickleTensor"}, "run code"),
        ({"size": None}, "size"),
        ({"size": 0}, "no size"),
        ({"size": 134}, "no size"),
        ({"size": 65 << 30}, "no size"),
        ({"sha256": None}, "SHA-256"),
        ({"sha256": "A" * 64}, "SHA-256"),
        ({"sha256": "a" * 63}, "SHA-256"),
        ({"url": None}, "address"),
        ({"url": "https://evilcivitai.com/api/download/models/2"}, "address"),
        ({"url": "https://civitai.com/api/download/models/2?fileId=3&token=x"}, "address"),
        ({"state": "gated", "said": "closed"}, "closed"),
        ({"state": "unverifiable"}, "does not show"),
        ({"claimed_hash": B}, "declared"),
    ],
)
def test_one_failed_check_is_enough_against_a_proposal(changes: dict[str, Any], reason: str) -> None:
    one = facts("model", **changes)
    reasons = reasons_against(WANTED, one, STRICT)
    assert len(reasons) == 1
    assert reason in reasons[0]
    result = judged(one)
    assert result.status is SearchStatus.UNCERTAIN
    assert (result.url, result.sha256) == (None, None)
    assert result.candidates[0].reasons == reasons
    assert not result.candidates[0].verified


def test_all_failed_checks_are_told() -> None:
    assert len(reasons_against(WANTED, facts(model_type="VAE", sha256=None, size=None), STRICT)) == 3


def test_one_hash_is_found_and_several_are_a_doubt() -> None:
    same = facts(ids=Ids(civitai_version=9), url="https://civitai.com/api/download/models/9")
    assert judged(facts(), same).status is SearchStatus.FOUND
    result = judged(facts(), facts(sha256=B))
    assert result.status is SearchStatus.UNCERTAIN
    assert {one.sha256 for one in result.candidates if one.verified} == {A, B}
    assert result.evidence[-1] == SEVERAL


def test_upper_and_lower_case_are_noted_and_the_same_bytes_of_the_same_name_preferred() -> None:
    other_case = facts(name=NAME.upper())
    assert judged(other_case).confidence == "name in other case"
    assert any(NAME.upper() in line for line in judged(other_case).evidence)
    result = judged(other_case, facts())
    assert (result.confidence, result.candidates[0].name) == ("exact name", NAME)


def test_look_alikes_of_our_own_search_are_not_even_offered() -> None:
    result = judged(*(facts(name=name) for name in ("detail_v2_4steps_fp16.safetensors", "detail_v3.safetensors")))
    assert (result.status, result.candidates) == (SearchStatus.NOT_FOUND, ())


def test_the_declared_bytes_under_another_name_are_shown_whatever_speaks_against_them() -> None:
    wanted = wanted_model(NAME, "vae", sha256=A)
    result = judged(facts(name="another_name.safetensors", model_type="LORA"), wanted=wanted)
    assert (result.status, [one.sha256 for one in result.candidates]) == (SearchStatus.UNCERTAIN, [A])
    other = judged(facts(name="another_name.safetensors", sha256=B), wanted=wanted)
    assert (other.status, other.candidates) == (SearchStatus.NOT_FOUND, ())


def test_what_a_person_or_a_model_proposes_is_shown_with_what_differs() -> None:
    result = judged(facts("model", name="detail_v2_4steps_fp16.safetensors"))
    assert result.status is SearchStatus.UNCERTAIN
    assert result.candidates[0].differences == ("8steps ≠ 4steps",)
    assert result.candidates[0].proposed_by == "the model"


def test_another_precision_is_a_suggestion_with_its_label_and_comes_last() -> None:
    variant = facts(name="detail_v2_8steps_bf16.safetensors")
    result = judged(variant, facts("model", name="detail_v9_1steps.safetensors"))
    assert result.status is SearchStatus.UNCERTAIN
    assert [one.label for one in result.candidates] == [None, OTHER_PRECISION]
    assert judged(variant).candidates[0].differences == ("fp16 ≠ bf16",)
    assert judged(variant, facts()).status is SearchStatus.FOUND


def test_what_does_not_exist_is_no_candidate_but_is_told() -> None:
    result = judged(facts("model", state="absent", said="Hugging Face has no repository o/n."))
    assert (result.status, result.candidates) == (SearchStatus.NOT_FOUND, ())
    assert result.evidence == ("the model: Hugging Face has no repository o/n.",)


def test_a_hub_that_cannot_be_asked_is_an_error_and_never_not_found() -> None:
    unknown = facts(state="unknown", said="no answer", name="", ids=Ids())
    assert judged(unknown).status is SearchStatus.ERROR
    assert judged(unknown, facts("model", state="absent")).status is SearchStatus.ERROR
    assert judged(facts("model", state="unknown", said="no answer")).status is SearchStatus.ERROR
    assert judged(unknown, facts()).status is SearchStatus.FOUND
    assert judged(unknown, facts("model", sha256=None)).status is SearchStatus.UNCERTAIN
    assert "no answer" in judged(unknown).evidence[0]


def test_what_could_not_be_asked_about_is_kept_as_not_verified_and_a_silence_is_said_by_the_evidence_alone() -> None:
    silence = "Hugging Face did not answer."
    url = "https://huggingface.co/o/n/resolve/main/x.safetensors"
    silent = judged(facts(state="unknown", source="huggingface", said=silence, sha256=None, size=None, url=url))
    assert silent.evidence == (silence,)
    assert [(one.reasons, one.url) for one in silent.candidates] == [(("not verified",), url)]
    refused = judged(facts(state="unknown", said="Hugging Face wants a key.", sha256=None))
    assert refused.candidates[0].reasons == ("not verified: Hugging Face wants a key.",)
    assert refused.evidence == ("Hugging Face wants a key.",)


def test_nothing_proposed_is_not_found() -> None:
    assert judged().status is SearchStatus.NOT_FOUND


@pytest.mark.parametrize("name", ["model.safetensors", "diffusion_pytorch_model.safetensors", "ae.safetensors"])
@pytest.mark.parametrize("by", ["search", "model", "note", "catalogue"])
def test_a_generic_name_is_never_found_by_name_alone(name: str, by: ProposedBy) -> None:
    wanted = wanted_model(name, "loras")
    one = facts(by, name=name, claimed=name)
    assert judged(one, wanted=wanted).status is SearchStatus.UNCERTAIN
    assert "proves nothing" in judged(one, wanted=wanted).candidates[0].reasons[0]
    assert judged(facts("workflow", name=name, claimed=name), wanted=wanted).status is SearchStatus.FOUND
    assert judged(one, wanted=wanted_model(name, "loras", sha256=A)).status is SearchStatus.FOUND


def test_a_declared_hash_decides() -> None:
    wanted = wanted_model(NAME, "loras", sha256=A.upper())
    renamed = facts(name="something else.safetensors")
    assert judged(renamed, wanted=wanted).status is SearchStatus.FOUND
    assert judged(renamed, wanted=wanted).confidence == "hash"
    assert judged(facts(sha256=B), wanted=wanted).status is SearchStatus.UNCERTAIN
    assert judged(facts(sha256=B), facts(), wanted=wanted).sha256 == A
    assert wanted_model(NAME, "loras", sha256="no hash").sha256 is None


@pytest.mark.parametrize("by", ["workflow", "catalogue"])
def test_a_declaration_may_keep_a_file_under_another_name(by: ProposedBy) -> None:
    renamed = facts(by, name="pytorch_lora.safetensors", claimed=NAME)
    result = judged(renamed)
    assert (result.status, result.confidence) == (SearchStatus.FOUND, "declared")
    assert "There it is called pytorch_lora.safetensors." in result.evidence
    assert judged(facts(by, name="x.ckpt", claimed=NAME)).status is SearchStatus.UNCERTAIN
    assert judged(facts(by, name="other.safetensors", claimed="third.safetensors")).status is SearchStatus.UNCERTAIN


@pytest.mark.parametrize("by", ["note", "search", "model"])
def test_nobody_else_may_give_a_file_another_name(by: ProposedBy) -> None:
    assert judged(facts(by, name="other.safetensors", claimed=NAME)).status is not SearchStatus.FOUND


def test_formats_that_run_code_need_a_decision() -> None:
    wanted = wanted_model("old_model_v1.ckpt", "checkpoints")
    one = facts(name="old_model_v1.ckpt", model_type="Checkpoint", format="PickleTensor")
    assert judged(one, wanted=wanted).status is SearchStatus.UNCERTAIN
    assert judged(one, wanted=wanted, policy=Policy(allow_pickle=True)).status is SearchStatus.FOUND
    by_name_only = replace(one, format=None)
    assert judged(by_name_only, wanted=wanted).status is SearchStatus.UNCERTAIN
    poisoned = replace(one, scans=("Danger",))
    result = judged(poisoned, wanted=wanted, policy=Policy(allow_pickle=True))
    assert (result.status, result.candidates[0].url) == (SearchStatus.UNCERTAIN, None)


def test_a_test_server_is_allowed_only_by_its_switch() -> None:
    one = facts(url="http://127.0.0.1:8099/api/download/models/2?fileId=3")
    assert judged(one).status is SearchStatus.UNCERTAIN
    assert judged(one, policy=Policy(extra_hosts=frozenset({"127.0.0.1:8099"}))).status is SearchStatus.FOUND


def test_small_embeddings_are_plausible_and_small_checkpoints_are_not() -> None:
    small = facts(size=8 << 10, model_type=None)
    assert judged(small, wanted=wanted_model(NAME, "embeddings")).status is SearchStatus.FOUND
    assert judged(small, wanted=wanted_model(NAME, "checkpoints")).status is SearchStatus.UNCERTAIN


def test_any_name_that_the_server_tries_will_do() -> None:
    wanted = wanted_model("easy9", "embeddings", tries=("easy9", "easy9.safetensors", "easy9.pt"))
    one = facts(name="easy9.safetensors", model_type="TextualInversion")
    assert judged(one, wanted=wanted).status is SearchStatus.FOUND


@pytest.mark.parametrize("value", ["", "x.exe", "../x.safetensors", "https://h/x.safetensors", "C:\\x.safetensors"])
def test_what_can_be_no_file_name_is_said_to_be_none(value: str) -> None:
    wanted = wanted_model(value, "loras")
    assert reason_invalid(wanted)
    assert judged(facts(), wanted=wanted).status is SearchStatus.INVALID_FILENAME
    assert wanted.filename == value
    assert judged(wanted=Wanted("x", (), "loras")).status is SearchStatus.INVALID_FILENAME


def test_a_place_on_hugging_face_is_named_in_the_evidence() -> None:
    ids = Ids(repo="o/n", revision="c" * 40, path=f"loras/{NAME}")
    url = f"https://huggingface.co/o/n/resolve/{'c' * 40}/loras/{NAME}"
    result = judged(facts("model", source="huggingface", ids=ids, url=url, model_type=None, file_type=None))
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
    assert (type_contradiction(model_type, file_type, folder) is None) is fits


def test_the_nearest_of_several_names_is_compared() -> None:
    wanted = wanted_model("a1", None, tries=("a1_one.pt", "a1_two.pt"))
    assert differences(wanted, "a1_two_x.pt") == ("nothing ≠ x",)
    assert differences(Wanted("x", (), None), "y") == ()


_FIELDS = st.fixed_dictionaries(
    {
        "state": st.sampled_from(["there", "there", "there", "absent", "gated", "unverifiable", "unknown"]),
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
def test_found_always_means_one_hash_an_allowed_address_and_no_reason(given_facts: list[Any]) -> None:
    everything = [facts(by, **fields) for by, fields in given_facts]
    result = judged(*everything)
    passing = {one.sha256 for one in everything if not reasons_against(WANTED, one, STRICT)}
    assert (result.status is SearchStatus.FOUND) == (len(passing) == 1)
    if result.status is SearchStatus.FOUND:
        assert result.sha256 in {A, B}
        assert (result.url or "").startswith("https://civitai.com/")
        assert all(one.verified and not one.reasons for one in result.candidates)
    if result.status is SearchStatus.NOT_FOUND:
        assert not any(one.state == "unknown" for one in everything)
        assert result.candidates == ()
