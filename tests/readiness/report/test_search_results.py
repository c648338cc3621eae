"""Search results in the report: each missing model gets an answer and a next step."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from comfywatchman.readiness.plan_summary import BlockedDownload, PlanSummary
from comfywatchman.readiness.report.search_results import build_report_candidate, merge_search_results, site_name
from comfywatchman.readiness.search.results import BackendStatus, HubIds, SearchCandidate, SearchResult, SearchStatus
from comfywatchman.readiness.states import ModelState, SearchDoubt
from comfywatchman.readiness.status import MissingModel
from tests.readiness.report.findings import entry, model
from tests.search_results import reasons

CHOOSABLE = SearchCandidate(
    "civitai", "b.pt", url="https://civitai.com/x", sha256="0" * 64, reasons=("its name is another",)
)


def answer(status: str, name: str = "a.pt", **changes: Any) -> SearchResult:
    at = "2026-11-20T14:00:00Z"
    return SearchResult(SearchStatus(status), name, "loras", at, **{**reasons(SearchStatus(status)), **changes})


def asked(backend: str, status: str = "UNCERTAIN", doubt: SearchDoubt | None = None) -> BackendStatus:
    return BackendStatus(backend, SearchStatus(status), doubt)


def answered(
    result: SearchResult, missing: MissingModel | None = None, *, plan: PlanSummary | None = None, again: str = ""
) -> MissingModel:
    (merged,) = merge_search_results(
        [entry("/a", missing_models=(missing or model(),))], [result], plan=plan, ask_again_at=again
    )
    return merged.missing_models[0]


def test_entries_without_results_stay_unchanged() -> None:
    entries = (entry("/a", missing_models=(model(),)),)
    assert merge_search_results(entries, []) == entries


def test_result_of_another_model_is_ignored() -> None:
    entries = (entry("/a"), entry("/b", missing_models=(model("other.pt"), model(folder="vae"))))
    assert merge_search_results(entries, [answer("FOUND")]) == entries


def test_locally_fixable_model_gets_no_result() -> None:
    missing = model(state=ModelState.CASE)
    assert answered(answer("FOUND", source="civitai"), missing) == missing


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("a.pt", "a.pt"),
        ("it's (v2).pt", "'it'\"'\"'s (v2).pt'"),
        ("sub\\a.pt", "'sub\\a.pt'"),
        ("-a.pt", "-- -a.pt"),
        ("$(reboot).pt", "'$(reboot).pt'"),
    ],
)
def test_found_model_shows_its_download_command(name: str, word: str) -> None:
    model_entry = answered(answer("FOUND", name, source="huggingface"), model(name))
    assert (model_entry.answer, model_entry.fix) == (
        "FOUND",
        f"Found on Hugging Face; fetch it: comfywatchman download {word}",
    )


def test_broken_file_must_be_deleted_before_the_download() -> None:
    model_entry = answered(answer("FOUND", source="civitai"), model(state=ModelState.INVALID, fix="Delete it."))
    assert model_entry.fix == "Delete it. Found on Civitai; once the broken file is gone: comfywatchman download a.pt"
    model_entry = answered(answer("FOUND", source="civitai"), model(state=ModelState.INVALID, fix=None))
    assert (model_entry.fix or "").startswith("Found on Civitai; once")


def test_blocked_download_shows_its_reason() -> None:
    plan = PlanSummary("/p.json", 0, 0, 0, (BlockedDownload("a.pt", "loras", "Such files can run code."),))
    model_entry = answered(answer("FOUND", source="civitai"), plan=plan)
    assert model_entry.fix == "Found on Civitai, but it cannot be fetched as things stand: Such files can run code."
    other = PlanSummary("/p.json", 0, 0, 0, (BlockedDownload("a.pt", "vae", "no"),))
    assert "fetch it" in (answered(answer("FOUND", source="civitai"), plan=other).fix or "")


def test_uncertain_result_with_a_choice_shows_the_command() -> None:
    model_entry = answered(answer("UNCERTAIN", candidates=(CHOOSABLE,)))
    assert model_entry.fix == (
        "Not certain which file is meant. Put it there. "
        "To take one of the candidates: comfywatchman resolve --choose a.pt NUMBER"
    )
    assert [candidate.name for candidate in model_entry.candidates] == ["b.pt"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"candidates": (replace(CHOOSABLE, url=None, reasons=("it is gated.",)),)}, "Not certain: it is gated. "),
        ({"candidates": (replace(CHOOSABLE, sha256=None, reasons=()),), "evidence": ("It said so.",)}, "It said so. "),
        ({"evidence": ("Two hashes.", "Civitai has more.")}, "Not certain: Two hashes. "),
        ({"backends": (asked("civitai"),)}, "Not certain: no reason was given. "),
        ({"unreachable": ("civitai",)}, "Not certain: Civitai did not answer. "),
    ],
)
def test_uncertain_result_without_a_choice_shows_its_reason(changes: dict[str, Any], words: str) -> None:
    fix = answered(answer("UNCERTAIN", **changes)).fix or ""
    assert words in fix
    assert fix.endswith("Put it there.")
    assert "--choose" not in fix


@pytest.mark.parametrize(
    ("backends", "fix"),
    [
        ((), "Not found. Civitai has no file with the declared SHA-256. Put it there."),
        (
            ("civitai", "huggingface"),
            "Not found (searched: Civitai, Hugging Face). Civitai has no file with the declared SHA-256. Put it there.",
        ),
    ],
)
def test_not_found_names_the_sites_and_the_proof(backends: tuple[str, ...], fix: str) -> None:
    result = answer("NOT_FOUND", backends=tuple(asked(backend) for backend in backends))
    assert answered(result).fix == fix
    assert (answered(result).answer, answered(result).doubt) == ("NOT_FOUND", None)


def test_not_found_under_words_is_kept_apart_from_a_choice() -> None:
    doubt = SearchDoubt.NO_MATCH
    nothing = answered(answer("UNCERTAIN", doubt=doubt, backends=(asked("civitai", doubt=doubt),)))
    assert (nothing.answer, nothing.doubt) == ("UNCERTAIN", doubt)
    assert nothing.fix == (
        "Not found under these words (searched: Civitai), which does not prove that it is nowhere. Put it there."
    )
    choice = answered(answer("UNCERTAIN", candidates=(CHOOSABLE,)))
    assert (choice.answer, choice.doubt) == ("UNCERTAIN", SearchDoubt.CANDIDATES_TO_CHOOSE)


def test_name_that_gives_no_words_shows_why_nobody_was_asked() -> None:
    fix = answered(answer("UNCERTAIN", doubt=SearchDoubt.NOT_ASKED)).fix or ""
    assert fix.startswith("Not searched: the name gives no words to search for.")
    assert fix.endswith("Put it there.")


@pytest.mark.parametrize("status", ["UNCERTAIN", "ERROR"])
def test_unreadable_answer_shows_the_next_attempt(status: str) -> None:
    result = answer(status, doubt=SearchDoubt.UNREADABLE_ANSWER, evidence=("1 entry could not be read.",))
    fix = answered(result, again="2026-11-20T15:00:00Z").fix or ""
    assert "1 entry could not be read; the search is repeated after 2026-11-20T15:00:00Z." in fix
    assert "1 entry could not be read. Put it there." in (answered(result).fix or "")


def test_error_shows_its_reason_and_the_next_attempt() -> None:
    said = answer("ERROR", evidence=("Civitai's search: it is not reachable.",))
    assert answered(said, again="2026-11-20T15:00:00Z").fix == (
        "The search failed: Civitai's search: it is not reachable; "
        "the search is repeated after 2026-11-20T15:00:00Z. Put it there."
    )
    assert answered(said).fix == "The search failed: Civitai's search: it is not reachable. Put it there."
    assert answered(said).answer == "ERROR"


def test_invalid_name_shows_its_reason() -> None:
    said = answer("INVALID_FILENAME", evidence=("'a.pt' cannot be looked for: no.",))
    assert answered(said).fix == "'a.pt' cannot be looked for: no. Put it there."
    assert answered(said, model(fix=None)).fix == "'a.pt' cannot be looked for: no."


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (CHOOSABLE, "its name is another"),
        (SearchCandidate("civitai", "b.pt", reasons=("x",), differences=("1 ≠ 2",), label="other"), "x; 1 ≠ 2; other"),
        (SearchCandidate("civitai", "b.pt", verified=True), "verified"),
        (SearchCandidate("civitai", "b.pt", proposed_by="a note"), "a note"),
        (SearchCandidate("civitai", "b.pt"), None),
    ],
)
def test_candidate_shows_its_reasons(candidate: SearchCandidate, reason: str | None) -> None:
    (shown,) = answered(answer("UNCERTAIN", candidates=(candidate,))).candidates
    assert (shown.source, shown.name, shown.reason) == ("civitai", "b.pt", reason)


def test_declared_candidates_stay_without_search_candidates() -> None:
    declared = model(candidates=answered(answer("UNCERTAIN", candidates=(CHOOSABLE,))).candidates)
    assert answered(answer("NOT_FOUND"), declared).candidates == declared.candidates


def test_site_without_a_display_name_keeps_its_id() -> None:
    assert [site_name(one) for one in ("civitai", "models.example")] == ["Civitai", "models.example"]


def test_unreachable_sites_are_named() -> None:
    result = answer("ERROR", unreachable=("civitai", "huggingface"), evidence=("Else.",))
    fix = answered(result, again="2026-11-20T15:00:00Z").fix
    when = "the search is repeated after 2026-11-20T15:00:00Z"
    assert fix == f"The search got no response from Civitai and Hugging Face; {when}. Put it there."


def test_candidates_of_one_name_are_told_apart() -> None:
    one = SearchCandidate("civitai", "a.safetensors", HubIds(civitai_version=7), sha256="a" * 64, base_model="SDXL 1.0")
    other = SearchCandidate("huggingface", "a.safetensors", HubIds(repo="o/r", revision="main"), sha256="b" * 64)
    built = [build_report_candidate(candidate) for candidate in (one, other)]
    assert [(candidate.version, candidate.base_model) for candidate in built] == [("7", "SDXL 1.0"), ("main", None)]
