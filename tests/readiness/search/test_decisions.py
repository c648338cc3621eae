from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from comfywatchman.base.errors import Failure
from comfywatchman.base.lock import hold_lock
from comfywatchman.readiness.search.claims import build_query
from comfywatchman.readiness.search.decisions import (
    Decisions,
    candidate_id,
    find_stored_result,
    load_decisions,
    mark_candidates,
    store_choice,
    suggest_candidate,
)
from comfywatchman.readiness.search.results import FileDetails, HubIds, SearchCandidate, SearchResult, SearchStatus
from comfywatchman.readiness.search.verify import SearchPolicy
from comfywatchman.readiness.states import SearchDoubt
from tests.fakes import FakeClock
from tests.search_results import PROOF

POLICY = SearchPolicy()
SHA256 = "a" * 64
LATER = "2026-11-21T00:00:00Z"
ON_CIVITAI = SearchCandidate(
    "civitai",
    "other_name.safetensors",
    HubIds(civitai_model=1, civitai_version=2, civitai_file=3),
    "https://civitai.com/api/download/models/2?fileId=3",
    1000,
    SHA256,
    ("its name is another one",),
)
ON_HUGGING_FACE = SearchCandidate(
    "huggingface",
    "wan.safetensors",
    HubIds(repo="a/b", revision="c" * 40, path="d/wan.safetensors"),
    f"https://huggingface.co/a/b/resolve/{'c' * 40}/d/wan.safetensors",
    2000,
    "b" * 64,
)
WITHOUT_HASH = SearchCandidate(
    "huggingface", "x", HubIds(repo="a/b", path="x"), "https://huggingface.co/a/b/resolve/main/x"
)
ELSEWHERE = SearchCandidate(
    "evil.example", "wan.safetensors", url="https://evil.example/wan.safetensors", sha256=SHA256
)
UNSEEN = SearchCandidate("civitai", "wan.safetensors", HubIds(civitai_version=7), sha256=SHA256)


def result(*candidates: SearchCandidate, name: str = "sub\\wan.safetensors") -> SearchResult:
    return SearchResult(
        SearchStatus.UNCERTAIN,
        name,
        "loras",
        "2026-11-20T14:00:00Z",
        candidates=candidates or (ON_CIVITAI,),
        doubt=SearchDoubt.CANDIDATES_TO_CHOOSE,
    )


ALL = result(ON_CIVITAI, ON_HUGGING_FACE, WITHOUT_HASH, ELSEWHERE, UNSEEN)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "decisions.json"


@pytest.mark.parametrize("choice", ["1", "civitai:1/2/3"])
def test_a_choice_is_the_answer_of_later_searches_and_keeps_its_hash(path: Path, choice: str) -> None:
    store_choice(path, ALL, choice, policy=POLICY, clock=FakeClock())
    known, damaged = load_decisions(path)
    assert damaged is None
    found = known.find_result(build_query("sub/wan.safetensors", "loras"), POLICY, LATER)
    assert found is not None
    assert (found.status, found.confidence, found.sha256) == (SearchStatus.FOUND, "chosen", SHA256)
    assert (found.filename, found.type, found.searched_at) == ("sub/wan.safetensors", "loras", LATER)
    assert (found.source, found.url, found.size) == ("civitai", ON_CIVITAI.url, None)
    assert found.evidence == ("A person chose civitai:1/2/3 (other_name.safetensors) at 2026-11-20T14:00:00Z.",)


def test_an_exact_size_is_kept(path: Path) -> None:
    store_choice(path, ALL, "huggingface:a/b/d/wan.safetensors", policy=POLICY, clock=FakeClock())
    found = load_decisions(path)[0].find_result(build_query("sub/wan.safetensors", "loras"), POLICY, LATER)
    assert found is not None
    assert found.size == 2000


@pytest.mark.parametrize(
    ("name", "folder"), [("wan.safetensors", "loras"), ("sub/wan.safetensors", "vae"), ("sub/wan.safetensors", None)]
)
def test_a_choice_is_for_one_model_of_one_folder(path: Path, name: str, folder: str | None) -> None:
    store_choice(path, ALL, "1", policy=POLICY, clock=FakeClock())
    assert load_decisions(path)[0].find_result(build_query(name, folder), POLICY, LATER) is None


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ("3", "no SHA-256"),
        ("4", "no URL"),
        ("5", "no URL"),
        ("6", "no candidate 6"),
        ("0", "no candidate"),
        ("²", "no candidate"),
        ("https://evil.example/x.safetensors", "no candidate"),
        ("civitai:1/2", "no candidate"),
    ],
)
def test_what_could_not_be_checked_cannot_be_chosen(path: Path, choice: str, reason: str) -> None:
    with pytest.raises(Failure, match=reason) as caught:
        store_choice(path, ALL, choice, policy=POLICY, clock=FakeClock())
    assert caught.value.code == "choice-impossible"
    assert not path.exists()


@pytest.mark.parametrize("sha256", ["", "zz", SHA256.upper() + "G", "AB" * 32])
def test_a_hash_that_is_none_proves_nothing(path: Path, sha256: str) -> None:
    with pytest.raises(Failure, match="no SHA-256"):
        store_choice(path, result(replace(ON_CIVITAI, sha256=sha256)), "1", policy=POLICY, clock=FakeClock())


def test_an_answer_without_candidates_says_what_to_do(path: Path) -> None:
    empty = SearchResult(SearchStatus.NOT_FOUND, "a.safetensors", None, LATER, absence=(PROOF,))
    with pytest.raises(Failure) as caught:
        store_choice(path, empty, "1", policy=POLICY, clock=FakeClock())
    assert str(caught.value.hint).endswith("search again: comfywatchman resolve --refresh a.safetensors")


def test_choices_are_added_and_replaced_one_by_one(path: Path) -> None:
    store_choice(path, ALL, "1", policy=POLICY, clock=FakeClock())
    store_choice(path, result(name="b.safetensors"), "1", policy=POLICY, clock=FakeClock())
    store_choice(path, ALL, "2", policy=POLICY, clock=FakeClock())
    known = load_decisions(path)[0].decisions
    assert {key: one.candidate for key, one in known.items()} == {
        "loras/sub/wan.safetensors": ON_HUGGING_FACE,
        "loras/b.safetensors": ON_CIVITAI,
    }


def test_a_choice_waits_for_nobody_and_says_who_holds_the_file(path: Path) -> None:
    path.parent.mkdir()
    clock = FakeClock()
    with hold_lock(path.with_suffix(".lock"), command="other", clock=clock), pytest.raises(Failure) as caught:
        store_choice(path, ALL, "1", policy=POLICY, clock=clock)
    assert caught.value.code == "lock-held"


def test_a_file_that_somebody_spoiled_is_set_aside_and_reported(path: Path) -> None:
    path.parent.mkdir()
    path.write_text('{"decisions": 3}')
    known, damaged = load_decisions(path)
    assert known == Decisions()
    assert damaged is not None
    assert damaged.moved_to is not None


def test_an_address_written_into_the_file_by_hand_is_not_used(path: Path) -> None:
    store_choice(path, ALL, "1", policy=POLICY, clock=FakeClock())
    path.write_text(path.read_text().replace("https://civitai.com/", "https://evilcivitai.com/"))
    assert load_decisions(path)[0].find_result(build_query("sub/wan.safetensors", "loras"), POLICY, LATER) is None


def test_nothing_is_chosen_where_there_is_no_file(path: Path) -> None:
    assert load_decisions(path) == (Decisions(), None)


def test_every_candidate_has_a_name_for_people() -> None:
    names = ["civitai:1/2/3", "huggingface:a/b/d/wan.safetensors", "huggingface:a/b/x"]
    assert [candidate_id(one) for one in ALL.candidates] == [
        *names,
        "evil.example:wan.safetensors",
        "civitai:/7/",
    ]


def test_the_latest_answer_about_a_name_is_meant_with_the_candidates_of_all() -> None:
    later = result(ON_HUGGING_FACE)
    for name in ("sub\\wan.safetensors", "sub/wan.safetensors", "loras/sub/wan.safetensors", "wan.safetensors"):
        found = find_stored_result(name, [later, result(ON_CIVITAI, ON_HUGGING_FACE)])
        assert found.candidates == (ON_HUGGING_FACE, ON_CIVITAI)
        assert found.filename == later.filename


def test_a_full_name_goes_before_a_last_part() -> None:
    below, above = result(name="sub/wan.safetensors"), result(ON_HUGGING_FACE, name="wan.safetensors")
    assert find_stored_result("wan.safetensors", [below, above]) == above
    assert find_stored_result("loras/wan.safetensors", [below, above]) == above
    assert find_stored_result("sub/wan.safetensors", [below, above]) == below


def test_a_name_that_several_models_bear_must_be_written_out() -> None:
    two = [result(name="a/wan.safetensors"), result(name="b/wan.safetensors")]
    with pytest.raises(Failure, match="Several models") as caught:
        find_stored_result("wan.safetensors", two)
    assert "loras/a/wan.safetensors, loras/b/wan.safetensors" in str(caught.value.hint)


def test_a_name_that_nobody_looked_for_is_not_known() -> None:
    with pytest.raises(Failure, match="There is no search result"):
        find_stored_result("other.safetensors", [result()])


def build_file(file_id: int, **changes: Any) -> SearchCandidate:
    base = SearchCandidate(
        "civitai",
        "model_v1.safetensors",
        HubIds(civitai_model=1, civitai_version=2, civitai_file=file_id),
        url=f"https://civitai.com/api/download/models/2?fileId={file_id}",
        size=file_id << 30,
        sha256=f"{file_id:064x}",
        verified=True,
    )
    return msgspec.structs.replace(base, **changes)


FULL = build_file(4, details=FileDetails("fp32", "full"))
PRUNED = build_file(2, details=FileDetails("fp16", "pruned", is_primary=True))


@pytest.mark.parametrize(
    ("filename", "candidates", "suggested"),
    [
        ("model_v1.safetensors", [FULL, PRUNED], 1),
        ("model_v1_full.safetensors", [FULL, PRUNED], 0),
        ("sub\\model_v1_fp32.safetensors", [PRUNED, FULL], 1),
        ("model_v1.safetensors", [build_file(4), build_file(2)], 1),
        # Whether one model or the other is meant would be a guess.
        ("model_v1.safetensors", [FULL, build_file(2, ids=HubIds(civitai_version=9, civitai_file=2))], None),
        ("model_v1.safetensors", [build_file(4, verified=False)], None),
        ("model_v1.safetensors", [build_file(4, url=None)], None),
        ("model_v1.safetensors", [], None),
    ],
)
def test_suggestion_is_the_fitting_file_of_one_version(
    filename: str, candidates: list[SearchCandidate], suggested: int | None
) -> None:
    assert suggest_candidate(filename, candidates) == suggested


def test_file_of_this_host_is_suggested_whatever_its_version() -> None:
    other = build_file(3, ids=HubIds(civitai_version=9, civitai_file=3))
    result = SearchResult(
        SearchStatus.UNCERTAIN,
        "model_v1.safetensors",
        "checkpoints",
        "2026-11-20T14:00:00Z",
        candidates=(PRUNED, other),
        doubt=SearchDoubt.CANDIDATES_TO_CHOOSE,
    )
    marked = mark_candidates(result, {other.sha256 or "": "/models/checkpoints/renamed.safetensors"})
    assert [(one.suggested, one.local_path) for one in marked.candidates] == [
        (False, None),
        (True, "/models/checkpoints/renamed.safetensors"),
    ]
    assert not any(one.suggested for one in mark_candidates(marked, {}).candidates)
