"""The answer to "where can this model be had", and how answers of several sources come together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

MAX_CANDIDATES: Final = 12
SITE_NAMES: Final = {"qwen": "Qwen", "civitai": "Civitai", "huggingface": "Hugging Face", "civarchive": "CivArchive"}
"""Sources as people call them."""

DIFFERING_HASHES: Final = "Different files bear this name; their hashes differ, so a person has to choose."


class SearchStatus(StrEnum):
    """How sure an answer is; `FOUND` is proved by a hash that the hub itself gives."""

    FOUND = "FOUND"
    UNCERTAIN = "UNCERTAIN"
    INVALID_FILENAME = "INVALID_FILENAME"
    ERROR = "ERROR"
    NOT_FOUND = "NOT_FOUND"


class HubIds(msgspec.Struct, frozen=True, omit_defaults=True):
    """What names a file on its hub; the fields of other hubs are null.

    Attributes:
        civitai_model: Model id.
        civitai_version: Version id.
        civitai_file: File id, for `?fileId=`.
        repo: `owner/name` on Hugging Face.
        revision: Commit where known, else branch.
        path: Below the repository's root.
    """

    civitai_model: int | None = None
    civitai_version: int | None = None
    civitai_file: int | None = None
    repo: str | None = None
    revision: str | None = None
    path: str | None = None


NO_HUB_IDS: Final = HubIds()


class SearchCandidate(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file that somebody proposes for a name.

    Attributes:
        source: `huggingface`, `civitai`, `civarchive`, or the host of an address that cannot be verified.
        name: The file's own name there.
        ids: What names it there.
        url: Where it would be fetched; null where nothing may be fetched from, or that is not known.
        size: In bytes; Civitai's is exact to a few bytes only. Null when unknown.
        sha256: Lower-case hex as the hub gives it; null when it gives none.
        reasons: Why it is not simply the answer, in words; empty for one that passed every check.
        differences: Where its name differs from the one wanted (`8steps ≠ 4steps`).
        label: `same model, other precision` for such a substitute; null for all others.
        proposed_by: Who says so, in words.
        verified: It passed every check: name, type, scans, format, size and hash.
        base_model: The family it belongs to, where the hub says.
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


class SearchResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer for one model that a workflow names.

    Attributes:
        status: How sure it is.
        filename: As the workflow names it.
        type: The folder that its loader reads (`loras`); it decides where a download goes. Null when unknown.
        searched_at: UTC, ISO 8601.
        source: Where it was found: `huggingface` or `civitai`; null unless `FOUND`, as are the next five.
        ids: What names it there.
        url: Where it can be fetched.
        size: In bytes; null when the hub does not say it exactly.
        sha256: Lower-case hex.
        confidence: Why it is trusted: `hash`, `exact name`, `name in other case` or `declared`.
        candidates: All that was proposed and could be the model, the best first; those of a `FOUND` are its proof.
        evidence: What was asked and what was said, one sentence each.
        base_model: The family it belongs to, where the hub says.
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
    confidence: str | None = None
    candidates: tuple[SearchCandidate, ...] = ()
    evidence: tuple[str, ...] = ()
    base_model: str | None = None


_RANK: Final = (
    SearchStatus.FOUND,
    SearchStatus.UNCERTAIN,
    SearchStatus.INVALID_FILENAME,
    SearchStatus.ERROR,
    SearchStatus.NOT_FOUND,
)


def silence_text(source: str) -> str:
    """Return how a site's silence is said: in the same words for every model, so that it can be told once."""
    return f"{SITE_NAMES.get(source, source)} did not answer."


def silent_sources(result: SearchResult) -> tuple[str, ...]:
    """Return the sources that kept silent when they were asked about a model."""
    return tuple(source for source in SITE_NAMES if silence_text(source) in result.evidence)


def describe_truncated_search(source: str, terms: Iterable[str]) -> tuple[str, ...]:
    """Say that a site has more for some search terms than was looked through; nothing when there are none."""
    words = ", ".join(f'"{term}"' for term in terms)
    return (f"{SITE_NAMES.get(source, source)} has more for {words} than was looked through.",) if words else ()


def add_doubts(result: SearchResult, unseen: Iterable[str]) -> SearchResult:
    """Return an answer with what was not looked through, which keeps "not found" from being certain and nothing else.

    Args:
        result: The answer.
        unseen: A sentence for each thing.
    """
    evidence = tuple(dict.fromkeys(unseen))
    if not evidence or result.status is SearchStatus.FOUND:
        return result
    return merge_results([result, msgspec.structs.replace(_make_uncertain(result), evidence=evidence)])


def merge_results(results: Sequence[SearchResult]) -> SearchResult:
    """Put the answers of several sources about one model together.

    The surest status stands: what one source found or doubts, no later source's "not found" or error takes back, and
    an error keeps "not found" from being certain. Where verified files differ in their hash, the answer is UNCERTAIN.
    A doubt without any candidate is less than an error: who could not be asked is to be asked again soon.

    Args:
        results: At least one, all for the same name and folder, in the order of the sources.
    """
    best = min(results, key=_rank)
    candidates = _deduplicate(candidate for result in results for candidate in result.candidates)
    evidence = tuple(dict.fromkeys(line for result in results for line in result.evidence))
    hashes = {candidate.sha256 for candidate in candidates if candidate.verified}
    hashes |= {result.sha256 for result in results if result.status is SearchStatus.FOUND}
    found = best.status is SearchStatus.FOUND
    if len(hashes) > 1 and best.status in {SearchStatus.FOUND, SearchStatus.UNCERTAIN}:
        found = False
        evidence = tuple(dict.fromkeys((*evidence, DIFFERING_HASHES)))
        best = _make_uncertain(best)
    searched_at = max(result.searched_at for result in results)
    kept = tuple(candidate for candidate in candidates if not found or candidate.verified)
    return msgspec.structs.replace(best, candidates=kept[:MAX_CANDIDATES], evidence=evidence, searched_at=searched_at)


def _rank(result: SearchResult) -> tuple[int, bool]:
    is_empty = result.status is SearchStatus.UNCERTAIN and not result.candidates
    return _RANK.index(SearchStatus.ERROR if is_empty else result.status), is_empty


def _make_uncertain(result: SearchResult) -> SearchResult:
    return SearchResult(
        status=SearchStatus.UNCERTAIN, filename=result.filename, type=result.type, searched_at=result.searched_at
    )


def _deduplicate(candidates: Iterable[SearchCandidate]) -> list[SearchCandidate]:
    """Drop what was proposed twice and put verified ones first, substitutes last."""
    seen: dict[tuple[str, HubIds, str | None, str], SearchCandidate] = {}
    for candidate in candidates:
        key = (candidate.source, candidate.ids, candidate.sha256, candidate.name)
        if key not in seen or (candidate.verified and not seen[key].verified):
            seen[key] = candidate
    return sorted(seen.values(), key=lambda one: (not one.verified, one.label is not None, len(one.differences)))
