from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfywatchman.readiness.search.absence import RepositoryListing
from comfywatchman.readiness.search.results import (
    DIFFERING_HASHES,
    MAX_CANDIDATES,
    BackendSkipReason,
    BackendStatus,
    HubIds,
    SearchCandidate,
    SearchResult,
    SearchStatus,
    SkippedBackend,
    add_doubt,
    describe_absence,
    describe_backends,
    describe_truncation,
    merge_results,
)
from comfywatchman.readiness.states import NO_RESULT_DOUBTS, SearchDoubt
from tests.search_results import PROOF, reasons

FOUND, UNCERTAIN, NOT_FOUND = SearchStatus.FOUND, SearchStatus.UNCERTAIN, SearchStatus.NOT_FOUND
INVALID, ERROR = SearchStatus.INVALID_FILENAME, SearchStatus.ERROR


def candidate(name: str = "x.safetensors", *, verified: bool = False, digest: str | None = None) -> SearchCandidate:
    return SearchCandidate("civitai", name, HubIds(civitai_version=1), sha256=digest, verified=verified)


def result(
    status: SearchStatus,
    *candidates: SearchCandidate,
    at: str = "2026-11-20T14:00:00Z",
    doubt: SearchDoubt = SearchDoubt.CANDIDATES_TO_CHOOSE,
) -> SearchResult:
    digest = candidates[0].sha256 if status is FOUND and candidates else None
    return SearchResult(
        status,
        "x.safetensors",
        "loras",
        at,
        sha256=digest,
        candidates=candidates,
        evidence=(f"said {status}",),
        **reasons(status, doubt),
    )


def found(digest: str) -> SearchResult:
    return result(FOUND, candidate(verified=True, digest=digest))


def test_a_doubt_is_never_taken_back_by_a_later_source() -> None:
    doubt = result(UNCERTAIN, candidate())
    for later in (NOT_FOUND, ERROR, INVALID):
        merged = merge_results([doubt, result(later)])
        assert merged.status is UNCERTAIN
        assert merged.candidates == (candidate(),)
        assert merged.evidence == ("said UNCERTAIN", f"said {later}")


def test_a_doubt_may_become_certain() -> None:
    merged = merge_results([result(UNCERTAIN, candidate("y.safetensors")), found("a" * 64)])
    assert (merged.status, merged.sha256) == (FOUND, "a" * 64)
    assert merged.candidates == (candidate(verified=True, digest="a" * 64),)


def test_an_error_hides_no_answer_and_keeps_not_found_open() -> None:
    assert merge_results([result(ERROR), found("a" * 64)]).status is FOUND
    assert merge_results([result(ERROR), result(NOT_FOUND)]).status is ERROR
    assert merge_results([result(NOT_FOUND), result(NOT_FOUND)]).status is NOT_FOUND
    assert merge_results([result(INVALID), result(ERROR)]).status is INVALID
    assert "said NOT_FOUND" in merge_results([result(ERROR), result(NOT_FOUND)]).evidence


def test_what_was_not_looked_through_doubts_not_found_and_nothing_else() -> None:
    (line,) = describe_truncation("civitai", ["wan", "wan i2v"])
    assert line == 'Civitai has more results for "wan", "wan i2v" than were read.'
    assert describe_truncation("civitai", ()) == ()
    cut = SearchDoubt.CUT_SEARCH
    doubt = add_doubt(result(NOT_FOUND), cut, [line, line])
    assert (doubt.status, doubt.candidates, doubt.evidence) == (UNCERTAIN, (), ("said NOT_FOUND", line))
    assert (doubt.doubt, doubt.absence) == (cut, ())
    assert add_doubt(result(NOT_FOUND), cut, ()).status is NOT_FOUND
    assert add_doubt(found("a" * 64), cut, [line]) == found("a" * 64)
    assert add_doubt(result(UNCERTAIN, candidate()), cut, [line]).candidates == (candidate(),)
    assert merge_results([doubt, result(NOT_FOUND)]).status is UNCERTAIN
    assert merge_results([doubt, result(ERROR)]).status is merge_results([result(ERROR), doubt]).status is ERROR


def test_different_hashes_are_a_doubt_and_equal_ones_are_not() -> None:
    merged = merge_results([found("a" * 64), found("b" * 64)])
    assert merged.status is UNCERTAIN
    assert (merged.url, merged.sha256, merged.source) == (None, None, None)
    assert {one.sha256 for one in merged.candidates} == {"a" * 64, "b" * 64}
    assert merged.evidence[-1] == DIFFERING_HASHES
    assert merge_results([found("a" * 64), found("a" * 64)]).status is FOUND
    twice = result(UNCERTAIN, candidate(verified=True, digest="b" * 64), candidate(verified=True, digest="c" * 64))
    assert merge_results([twice, found("b" * 64)]).status is UNCERTAIN


def test_candidates_are_told_once_the_verified_first_and_substitutes_last() -> None:
    substitute = msgspec.structs.replace(candidate("x_fp8.safetensors"), label="same model, other precision")
    sure = candidate(verified=True, digest="a" * 64)
    merged = merge_results(
        [result(UNCERTAIN, substitute, candidate("z.safetensors")), result(UNCERTAIN, sure, substitute)]
    )
    assert merged.candidates == (sure, candidate("z.safetensors"), substitute)
    many = [candidate(f"{n}.safetensors") for n in range(40)]
    assert len(merge_results([result(UNCERTAIN, *many)]).candidates) == MAX_CANDIDATES


def test_a_candidate_that_was_verified_once_stays_verified() -> None:
    plain, sure = candidate(digest="a" * 64), candidate(verified=True, digest="a" * 64)
    for order in ([plain, sure], [sure, plain]):
        assert merge_results([result(UNCERTAIN, one) for one in order]).candidates == (sure,)


def test_the_latest_time_of_asking_stands() -> None:
    times = ["2026-11-20T14:00:00Z", "2026-11-20T15:00:00Z"]
    assert merge_results([result(NOT_FOUND, at=at) for at in reversed(times)]).searched_at == times[1]


def test_a_result_survives_its_file() -> None:
    written = msgspec.json.encode(found("a" * 64))
    assert msgspec.json.decode(written, type=SearchResult) == found("a" * 64)


_EMPTY = [result(status) for status in SearchStatus if status not in {FOUND, UNCERTAIN}]
_EMPTY += [result(UNCERTAIN, doubt=doubt) for doubt in SearchDoubt]
_FULL = [result(status, candidate(status)) for status in (UNCERTAIN, ERROR)]
_RESULTS = st.sampled_from([*_EMPTY, *_FULL, found("a" * 64), found("b" * 64)])


@given(st.lists(_RESULTS, min_size=1, max_size=5), st.lists(_RESULTS, min_size=1, max_size=5))
@pytest.mark.slow
def test_the_order_and_grouping_of_sources_do_not_change_the_status(
    one: list[SearchResult], other: list[SearchResult]
) -> None:
    whole = merge_results([*one, *other])
    assert merge_results([*other, *one]).status is whole.status
    assert merge_results([merge_results(one), merge_results(other)]).status is whole.status
    weak = [each for each in (*one, *other) if each.status is not NOT_FOUND]
    assert whole.status is not NOT_FOUND or all(each.doubt in NO_RESULT_DOUBTS for each in weak)
    assert merge_results([*other, *one]).doubt is whole.doubt


def test_a_proof_of_absence_goes_before_a_search_by_words_without_a_match() -> None:
    for doubt in NO_RESULT_DOUBTS:
        merged = merge_results([result(UNCERTAIN, doubt=doubt), result(NOT_FOUND)])
        assert (merged.status, merged.doubt, merged.absence) == (NOT_FOUND, None, (PROOF,))


@pytest.mark.parametrize("doubt", [doubt for doubt in SearchDoubt if doubt not in NO_RESULT_DOUBTS])
def test_every_other_doubt_goes_before_a_proof_of_absence(doubt: SearchDoubt) -> None:
    merged = merge_results([result(NOT_FOUND), result(UNCERTAIN, doubt=doubt)])
    assert (merged.status, merged.doubt, merged.absence) == (UNCERTAIN, doubt, ())


def test_the_most_urgent_of_several_doubts_is_kept() -> None:
    doubts = [SearchDoubt.NO_MATCH, SearchDoubt.ARCHIVED_BY_AUTHOR, SearchDoubt.NOT_ASKED]
    assert merge_results([result(UNCERTAIN, doubt=one) for one in doubts]).doubt is SearchDoubt.ARCHIVED_BY_AUTHOR


def test_not_found_cannot_be_built_without_a_proof() -> None:
    with pytest.raises(ValueError, match="proof"):
        SearchResult(NOT_FOUND, "x.safetensors", None, "")
    with pytest.raises(ValueError, match="proof"):
        SearchResult(ERROR, "x.safetensors", None, "", absence=(PROOF,))
    with pytest.raises(ValueError, match="doubt"):
        SearchResult(UNCERTAIN, "x.safetensors", None, "")
    with pytest.raises(ValueError, match="doubt"):
        SearchResult(ERROR, "x.safetensors", None, "", doubt=SearchDoubt.CUT_SEARCH)


def test_proofs_of_absence_are_described_with_their_place() -> None:
    listing = RepositoryListing("huggingface", "o/n", ("x.safetensors",), 3, ("main",))
    assert "SHA-256" in describe_absence(PROOF)
    assert "o/n" in describe_absence(listing)
    assert "main" in describe_absence(listing)
    assert "version 5" in describe_absence(RepositoryListing("civitai", "version 5", ("x.safetensors",), 3))


def test_merged_results_keep_the_facts_of_all() -> None:
    civitai = msgspec.structs.replace(
        result(ERROR), backends=(BackendStatus("civitai", ERROR),), unreachable=("civitai",), postponed=True
    )
    skipped = SkippedBackend("qwen", BackendSkipReason.NO_LANGUAGE_MODEL)
    qwen = msgspec.structs.replace(result(NOT_FOUND), skipped=(skipped,))
    merged = merge_results([qwen, civitai, civitai])
    assert (merged.status, merged.postponed, merged.unreachable) == (ERROR, True, ("civitai",))
    assert (merged.backends, merged.skipped) == ((BackendStatus("civitai", ERROR),), (skipped,))


def test_backend_lines_leave_out_the_errors_of_unreachable_sites() -> None:
    silent = msgspec.structs.replace(
        result(ERROR),
        backends=(BackendStatus("civitai", ERROR), BackendStatus("huggingface", ERROR)),
        skipped=(SkippedBackend("civarchive", BackendSkipReason.NO_DECLARED_HASH),),
        unreachable=("civitai",),
    )
    lines = describe_backends(silent)
    assert [line.partition(":")[0] for line in lines] == ["huggingface", "civarchive"]
