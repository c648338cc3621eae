"""The search result for one missing model, and how results of several backends are merged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final, TypeVar

import msgspec

from comfywatchman.readiness.search.absence import AbsenceProof, UnknownHash
from comfywatchman.readiness.states import NO_RESULT_DOUBTS, SEARCH_DOUBT_TEXT, SearchDoubt

MAX_CANDIDATES: Final = 12
SITE_NAMES: Final = {
    "qwen": "Qwen",
    "civitai": "Civitai",
    "huggingface": "Hugging Face",
    "civarchive": "CivArchive",
}
"""Display names of the sources."""

HOW_TO_ADD_A_MODEL: Final = "start a Qwen model on this machine (ollama pull qwen3:8b), or set [llm] driver"
"""The next step where there is no language model, for people."""

DIFFERING_HASHES: Final = "Different files have this name and different hashes: choose one."

_Item = TypeVar("_Item")


class SearchStatus(StrEnum):
    """How certain a result is. `FOUND` is proved by a SHA-256 from the hub itself, `NOT_FOUND` by an `AbsenceProof`."""

    FOUND = "FOUND"
    UNCERTAIN = "UNCERTAIN"
    INVALID_FILENAME = "INVALID_FILENAME"
    ERROR = "ERROR"
    NOT_FOUND = "NOT_FOUND"


class MatchConfidence(StrEnum):
    """Why a `FOUND` file is trusted to be the model, the strongest reason first."""

    HASH = "hash"
    EXACT_NAME = "exact name"
    OTHER_CASE = "name in other case"
    DECLARED = "declared"
    CHOSEN = "chosen"


class BackendSkipReason(StrEnum):
    """Why a configured backend was not used for a model."""

    NO_LANGUAGE_MODEL = "no_language_model"
    NO_DECLARED_HASH = "no_declared_hash"
    NO_SEARCH_TERMS = "no_search_terms"


class BackendStatus(msgspec.Struct, frozen=True):
    """The status that one backend returned for a model, with the doubt of an `UNCERTAIN` or an unreadable answer."""

    backend: str
    status: SearchStatus
    doubt: SearchDoubt | None = None


class SkippedBackend(msgspec.Struct, frozen=True):
    """A configured backend that was not used for a model, with the reason."""

    backend: str
    reason: BackendSkipReason


class HubIds(msgspec.Struct, frozen=True, omit_defaults=True):
    """Identifies a file on its hub; the fields of other hubs are null.

    Attributes:
        civitai_model: Model id.
        civitai_version: Version id.
        civitai_file: File id, for `?fileId=`.
        repo: `owner/name` on Hugging Face.
        revision: Commit if known, else branch.
        path: Path below the root of the repository.
    """

    civitai_model: int | None = None
    civitai_version: int | None = None
    civitai_file: int | None = None
    repo: str | None = None
    revision: str | None = None
    path: str | None = None


NO_HUB_IDS: Final = HubIds()


class FileDetails(msgspec.Struct, frozen=True, omit_defaults=True):
    """What tells two files of one name apart, as far as the hub states it.

    Attributes:
        precision: `fp16`, `fp8_e4m3fn`, `q4_k_m`, …
        pruning: `pruned` or `full`.
        is_primary: Whether it is the main file of its version.
        version: Name of the version.
        page: Page of the file or its version, for people.
        licence: What the author permits, for people.
    """

    precision: str | None = None
    pruning: str | None = None
    is_primary: bool = False
    version: str | None = None
    page: str | None = None
    licence: str | None = None


NO_DETAILS: Final = FileDetails()


class SearchCandidate(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file that may be the missing model.

    Attributes:
        source: `huggingface`, `civitai`, `civarchive`, or the host of a URL that cannot be verified.
        name: File name at the source.
        ids: Ids of the file at the source.
        url: Download URL; null if unknown or not allowed.
        size: In bytes; null if unknown. Civitai rounds it, so its sizes are off by a few bytes.
        sha256: Lower-case hex as stated by the hub; null if it states none.
        reasons: Objections to the candidate, for people; empty for one that passed every check.
        differences: Where its name differs from the wanted one (`8steps ≠ 4steps`).
        label: `same model, other precision` for such a substitute; null for all others.
        proposed_by: Origin of the proposal, for people.
        verified: Whether it passed every check: name, type, scans, format, size and hash.
        base_model: Model family, if the hub states it.
        details: Precision, version, page and others.
        local_path: A file of this host with the same bytes; null if there is none.
        suggested: Whether it is the one to take where nothing speaks against it; at most one of a result is.
    """

    source: str
    name: str
    ids: HubIds = NO_HUB_IDS
    url: str | None = None
    size: int | None = None
    sha256: str | None = None
    reasons: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    label: str | None = None
    proposed_by: str = ""
    verified: bool = False
    base_model: str | None = None
    details: FileDetails = NO_DETAILS
    local_path: str | None = None
    suggested: bool = False


class SearchResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """The search result for one model that a workflow names.

    Programs decide by the fields; `evidence` is text for people only.

    Attributes:
        status: How certain the result is.
        filename: As the workflow names it.
        type: Model folder that the loader reads (`loras`), and so the download folder. Null if unknown.
        searched_at: UTC, ISO 8601.
        source: `huggingface` or `civitai`; null unless `FOUND`, as are the next five.
        ids: Ids of the file at the source.
        url: Download URL.
        size: In bytes; null if the hub does not state it exactly.
        sha256: Lower-case hex.
        confidence: Why the file is trusted: `hash`, `exact name`, `name in other case`, `declared` or `chosen`.
        candidates: Files that could be the model, the best first; for `FOUND`, the verified ones.
        evidence: Findings and objections in sentences, for people.
        base_model: Model family, if the hub states it.
        backends: The backends that were queried, in order, each with the status it returned.
        skipped: Configured backends that were not used.
        unreachable: Sources that did not respond while something was to be verified there.
        postponed: Whether the budget ended before the search; the result is an older one, or an `ERROR`.
        doubt: Why the result is uncertain; set for `UNCERTAIN`, and for an `ERROR` because of an unreadable answer.
        absence: The proofs of a `NOT_FOUND`.

    Raises:
        ValueError: A model is called not found without proof, or uncertain without a reason.
    """

    status: SearchStatus
    filename: str
    type: str | None
    searched_at: str
    source: str | None = None
    ids: HubIds = NO_HUB_IDS
    url: str | None = None
    size: int | None = None
    sha256: str | None = None
    confidence: MatchConfidence | None = None
    candidates: tuple[SearchCandidate, ...] = ()
    evidence: tuple[str, ...] = ()
    base_model: str | None = None
    backends: tuple[BackendStatus, ...] = ()
    skipped: tuple[SkippedBackend, ...] = ()
    unreachable: tuple[str, ...] = ()
    postponed: bool = False
    doubt: SearchDoubt | None = None
    absence: tuple[AbsenceProof, ...] = ()

    def __post_init__(self) -> None:
        if (self.status is SearchStatus.NOT_FOUND) != bool(self.absence):
            raise ValueError("NOT_FOUND needs a proof of absence, and no other status has one")
        if self.status is SearchStatus.UNCERTAIN:
            if self.doubt is None:
                raise ValueError("UNCERTAIN needs a doubt")
        elif self.doubt is not None and not (self.status is SearchStatus.ERROR and self.is_unreadable):
            raise ValueError("only UNCERTAIN has a doubt, and ERROR because of an unreadable answer")

    @property
    def is_unreadable(self) -> bool:
        """Whether an answer could not be read, so that the search is repeated as soon as after an error."""
        return self.doubt is SearchDoubt.UNREADABLE_ANSWER

    @property
    def has_choice(self) -> bool:
        """Whether a person can choose one of the candidates: it has a hash and an address."""
        return any(candidate.sha256 and candidate.url for candidate in self.candidates)


_RANK: Final = (
    SearchStatus.FOUND,
    SearchStatus.UNCERTAIN,
    SearchStatus.INVALID_FILENAME,
    SearchStatus.ERROR,
)
_RANK_OF_DOUBT: Final = 4
_RANK_OF_NOT_FOUND: Final = 5
_RANK_OF_NO_RESULT: Final = 6
_DOUBTS: Final = tuple(SearchDoubt)


def describe_unreachable(source: str) -> str:
    """Return the sentence for a source that did not respond."""
    return f"{SITE_NAMES.get(source, source)} did not answer."


def describe_truncation(source: str, terms: Iterable[str]) -> tuple[str, ...]:
    """Return the sentence for search terms with more results than were read; empty without such terms."""
    quoted_terms = ", ".join(f'"{term}"' for term in terms)
    if not quoted_terms:
        return ()
    return (f"{SITE_NAMES.get(source, source)} has more results for {quoted_terms} than were read.",)


def describe_backends(result: SearchResult) -> tuple[str, ...]:
    """Return a line for each backend that was queried or skipped.

    The `ERROR` of an unreachable backend has no line: callers report unreachable sites once for all models.
    """
    lines: list[str] = []
    for entry in result.backends:
        if entry.status is SearchStatus.ERROR and entry.backend in result.unreachable:
            continue
        text = entry.status.value if entry.doubt is None else SEARCH_DOUBT_TEXT[entry.doubt]
        lines.append(f"{entry.backend}: {text}.")
    lines += [_SKIP_TEXT[entry.reason].format(backend=entry.backend) for entry in result.skipped]
    return tuple(lines)


_SKIP_TEXT: Final = {
    BackendSkipReason.NO_LANGUAGE_MODEL: f"{{backend}}: no language model; {HOW_TO_ADD_A_MODEL}.",
    BackendSkipReason.NO_DECLARED_HASH: "{backend}: searches by hash only, and no hash is declared.",
    BackendSkipReason.NO_SEARCH_TERMS: "{backend}: skipped, because the name gives no words to search for.",
}


def describe_absence(proof: AbsenceProof) -> str:
    """Return the sentence for a proof of absence."""
    site = SITE_NAMES.get(proof.source, proof.source)
    if isinstance(proof, UnknownHash):
        return f"{site} has no file with the declared SHA-256."
    revisions = f" at {' and '.join(proof.revisions)}" if proof.revisions else ""
    return f"The workflow declares {proof.place} on {site}, which has no file of this name{revisions}."


def find_main_doubt(doubts: Iterable[SearchDoubt]) -> SearchDoubt:
    """Return the doubt that counts where several hold; at least one is needed."""
    return min(doubts, key=_DOUBTS.index)


def add_doubt(result: SearchResult, doubt: SearchDoubt, reasons: Iterable[str]) -> SearchResult:
    """Turn NOT_FOUND into UNCERTAIN because of what the search left out or could not see; FOUND stays.

    Args:
        result: The result of the part that was searched.
        doubt: The reason for programs.
        reasons: A sentence for each part that was left out; without any, the result is returned unchanged.
    """
    evidence = tuple(dict.fromkeys(reasons))
    if not evidence or result.status is SearchStatus.FOUND:
        return result
    return merge_results([result, build_uncertain(result, doubt, evidence)])


def merge_results(results: Sequence[SearchResult]) -> SearchResult:
    """Merge the results of several sources for one model.

    The most certain status wins: NOT_FOUND or ERROR of one source never overrides FOUND or UNCERTAIN of another, and
    ERROR overrides NOT_FOUND. Verified files with different hashes make the result UNCERTAIN. UNCERTAIN without
    candidates ranks below ERROR, because an error is retried sooner. A search by words that led to nothing ranks last:
    it proves less than a NOT_FOUND.

    Args:
        results: At least one; all for the same name and folder, in the order of the sources.
    """
    best = min(results, key=_rank)
    candidates = _deduplicate(candidate for result in results for candidate in result.candidates)
    evidence = _join_unique(result.evidence for result in results)
    if _has_differing_hashes(results, candidates) and best.status in {SearchStatus.FOUND, SearchStatus.UNCERTAIN}:
        best = build_uncertain(best, SearchDoubt.CANDIDATES_TO_CHOOSE)
        evidence = _join_unique([evidence, (DIFFERING_HASHES,)])
    if best.status is SearchStatus.FOUND:
        # The candidates of a FOUND are its proof, so unverified ones are dropped.
        candidates = [candidate for candidate in candidates if candidate.verified]
    return msgspec.structs.replace(
        best,
        candidates=tuple(candidates[:MAX_CANDIDATES]),
        evidence=evidence,
        searched_at=max(result.searched_at for result in results),
        backends=_join_unique(result.backends for result in results),
        skipped=_join_unique(result.skipped for result in results),
        unreachable=_join_unique(result.unreachable for result in results),
        postponed=any(result.postponed for result in results),
        doubt=_merge_doubts([best, *results]),
        absence=_merge_absences(best, results),
    )


def _merge_doubts(results: Sequence[SearchResult]) -> SearchDoubt | None:
    """Return the doubt of merged results, the first of which decides the status."""
    doubts = [result.doubt for result in results if result.doubt is not None]
    status = results[0].status
    if status is SearchStatus.UNCERTAIN:
        return find_main_doubt(doubts)
    is_unreadable = status is SearchStatus.ERROR and SearchDoubt.UNREADABLE_ANSWER in doubts
    return SearchDoubt.UNREADABLE_ANSWER if is_unreadable else None


def _merge_absences(best: SearchResult, results: Sequence[SearchResult]) -> tuple[AbsenceProof, ...]:
    if best.status is not SearchStatus.NOT_FOUND:
        return ()
    return _join_unique(result.absence for result in results)


def _has_differing_hashes(results: Iterable[SearchResult], candidates: Iterable[SearchCandidate]) -> bool:
    hashes = {candidate.sha256 for candidate in candidates if candidate.verified}
    for result in results:
        if result.status is SearchStatus.FOUND:
            hashes.add(result.sha256)
    return len(hashes) > 1


def _join_unique(groups: Iterable[Iterable[_Item]]) -> tuple[_Item, ...]:
    # A dict keeps the order of first mention.
    items: dict[_Item, None] = {}
    for group in groups:
        items.update(dict.fromkeys(group))
    return tuple(items)


def _rank(result: SearchResult) -> int:
    if result.status is SearchStatus.NOT_FOUND:
        return _RANK_OF_NOT_FOUND
    if result.status is not SearchStatus.UNCERTAIN or result.candidates:
        return _RANK.index(result.status)
    # After an error: that is retried within the hour, most of these only after a day.
    return _RANK_OF_NO_RESULT if result.doubt in NO_RESULT_DOUBTS else _RANK_OF_DOUBT


def build_uncertain(result: SearchResult, doubt: SearchDoubt, evidence: tuple[str, ...] = ()) -> SearchResult:
    """Return an UNCERTAIN result for the same model, without the proof of a FOUND or NOT_FOUND."""
    return SearchResult(
        SearchStatus.UNCERTAIN, result.filename, result.type, result.searched_at, evidence=evidence, doubt=doubt
    )


def _deduplicate(candidates: Iterable[SearchCandidate]) -> list[SearchCandidate]:
    """Drop repeated candidates; sort verified ones first and other precisions last."""
    distinct: dict[tuple[str, HubIds, str | None, str], SearchCandidate] = {}
    for candidate in candidates:
        key = (candidate.source, candidate.ids, candidate.sha256, candidate.name)
        if key not in distinct or (candidate.verified and not distinct[key].verified):
            distinct[key] = candidate
    return sorted(distinct.values(), key=rank_candidate)


def rank_candidate(candidate: SearchCandidate) -> tuple[bool, bool, int]:
    """Return the sort key of a candidate: verified first, other precisions last, then by difference of name."""
    return not candidate.verified, candidate.label is not None, len(candidate.differences)
