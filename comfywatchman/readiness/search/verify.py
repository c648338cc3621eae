"""Decides whether a proposed file is the wanted model, from the records of the hubs alone. Pure.

Proposals come from workflows, notes, catalogues, searches and language models; all of them are unproven claims.
`readiness.search.gather` queries the hubs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from comfywatchman.readiness.search.claims import (
    SHA256_PATTERN,
    UNANSWERED_STATES,
    HubRecord,
    HubState,
    ModelQuery,
)
from comfywatchman.readiness.search.model_types import check_type
from comfywatchman.readiness.search.results import (
    DIFFERING_HASHES,
    MAX_CANDIDATES,
    MatchConfidence,
    SearchCandidate,
    SearchResult,
    SearchStatus,
    find_main_doubt,
    rank_candidate,
)
from comfywatchman.readiness.states import SearchDoubt
from comfywatchman.sources.file_names import (
    PICKLE_EXTENSIONS,
    extension,
    find_differing_tokens,
    is_generic,
    is_precision_variant,
    is_same_name,
    reason_invalid_model_name,
)
from comfywatchman.sources.urls import NO_HOSTS, reason_to_refuse

NOT_VERIFIED: Final = "not verified"
OTHER_PRECISION: Final = "same model, other precision"

_FILE_STATES: Final = frozenset({HubState.PRESENT, HubState.UNVERIFIABLE})
_DOUBT_BY_STATE: Final = {
    HubState.UNVERIFIABLE: SearchDoubt.CANDIDATES_NOT_USABLE,
    HubState.GATED: SearchDoubt.ACCESS_RESTRICTED,
    HubState.HIDDEN: SearchDoubt.PRIVATE_OR_GONE,
    HubState.ARCHIVED: SearchDoubt.ARCHIVED_BY_AUTHOR,
    HubState.TAKEN_DOWN: SearchDoubt.TAKEN_DOWN,
    HubState.HASH_NOT_SHOWN: SearchDoubt.HASH_NOT_SHOWN,
    HubState.CUT: SearchDoubt.CUT_SEARCH,
    HubState.UNREADABLE: SearchDoubt.UNREADABLE_ANSWER,
}
_SCAN_FIELDS: Final = frozenset({"pickleScanResult", "virusScanResult"})
_BAD_SCANS: Final = frozenset({"danger", "unsafe", "infected"})
_PLACEHOLDER_BYTES: Final = 1 << 10
_MIN_BYTES: Final = {"checkpoints": 1 << 16, "diffusion_models": 1 << 16, "text_encoders": 1 << 16}
_MAX_BYTES: Final = {"embeddings": 2 << 30, "loras": 64 << 30}
_MAX_BYTES_ANY_FOLDER: Final = 1 << 40


@dataclass(frozen=True, slots=True)
class SearchPolicy:
    """Which files may become FOUND.

    Attributes:
        allow_pickle: Accept formats that can run code when opened.
        extra_hosts: Hosts with port beyond the known ones (see `sources.urls.parse_hub_url`).
    """

    allow_pickle: bool = False
    extra_hosts: frozenset[str] = NO_HOSTS


@dataclass(frozen=True, slots=True)
class _CheckedRecord:
    record: HubRecord
    objections: tuple[str, ...]

    @property
    def is_model(self) -> bool:
        """Whether it is the wanted file, which at most its site does not let this account fetch."""
        restriction = self.record.restriction
        return not self.objections or (restriction is not None and self.objections == (restriction,))


def decide_result(
    query: ModelQuery, records: Iterable[HubRecord], *, policy: SearchPolicy, searched_at: str, is_asked: bool = False
) -> SearchResult:
    """Decide the search result for a model from the records of its proposals.

    Exactly one hash among the records that pass every check is FOUND, several are UNCERTAIN. If none passes, existing
    files make it UNCERTAIN, and a hub that could not be queried makes it ERROR. NOT_FOUND takes a record with a proof
    of absence, and no other doubt.

    Args:
        query: The model.
        records: One record for each proposed file, the most trusted first.
        policy: Which files may be accepted.
        searched_at: Time of the query, as state files write it.
        is_asked: Whether a site was searched for these records, so that without any nothing was found.
    """
    doubt = SearchDoubt.NO_MATCH if is_asked else SearchDoubt.NOT_ASKED
    blank = SearchResult(SearchStatus.UNCERTAIN, query.filename, query.folder, searched_at, doubt=doubt)
    invalid = reason_invalid(query)
    if invalid is not None:
        evidence = (f"{query.filename!r} cannot be searched for: {invalid}.",)
        return msgspec.structs.replace(blank, status=SearchStatus.INVALID_FILENAME, doubt=None, evidence=evidence)
    checked = [_CheckedRecord(record, list_objections(query, record, policy)) for record in records]
    result = msgspec.structs.replace(
        blank,
        candidates=_build_candidates(query, checked),
        evidence=_build_evidence(checked),
        unreachable=_find_unreachable(checked),
    )
    passed = [entry.record for entry in checked if not entry.objections]
    # A file that cannot be fetched is still another file of that name.
    hashes = {entry.record.sha256 for entry in checked if entry.is_model}
    if passed and len(hashes) == 1:
        return _build_found(result, query, passed)
    if passed:
        with_conflict = (*result.evidence, DIFFERING_HASHES)
        return msgspec.structs.replace(result, doubt=SearchDoubt.CANDIDATES_TO_CHOOSE, evidence=with_conflict)
    return _decide_unproven(result, query, [entry.record for entry in checked])


def _decide_unproven(result: SearchResult, query: ModelQuery, records: Sequence[HubRecord]) -> SearchResult:
    """Return the result if no record passed every check."""
    # A file that is not shown is another model, so it raises no doubt.
    doubtful = [record for record in records if record.state not in _FILE_STATES or _is_shown(query, record)]
    doubts = [doubt for doubt in map(_find_doubt, doubtful) if doubt is not None]
    has_files = any(record.state not in UNANSWERED_STATES and _is_shown(query, record) for record in records)
    if not has_files and any(record.state in UNANSWERED_STATES for record in records):
        is_unreadable = SearchDoubt.UNREADABLE_ANSWER in doubts
        doubt = SearchDoubt.UNREADABLE_ANSWER if is_unreadable else None
        return msgspec.structs.replace(result, status=SearchStatus.ERROR, doubt=doubt)
    if doubts:
        return msgspec.structs.replace(result, doubt=find_main_doubt(doubts))
    absence = tuple(dict.fromkeys(record.absence for record in records if record.absence is not None))
    if absence:
        return msgspec.structs.replace(result, status=SearchStatus.NOT_FOUND, doubt=None, absence=absence)
    # Claims that came to nothing prove no absence elsewhere.
    return msgspec.structs.replace(result, doubt=SearchDoubt.NO_MATCH) if records else result


def _find_doubt(record: HubRecord) -> SearchDoubt | None:
    """Return the doubt that one record raises; None if it raises none, or the hub did not respond."""
    if record.state is HubState.PRESENT:
        if record.unreadable:
            return SearchDoubt.UNREADABLE_ANSWER
        if record.restriction is not None:
            return SearchDoubt.ACCESS_RESTRICTED
        is_choosable = record.url is not None and record.sha256 is not None and _check_scans(record) is None
        return SearchDoubt.CANDIDATES_TO_CHOOSE if is_choosable else SearchDoubt.CANDIDATES_NOT_USABLE
    return _DOUBT_BY_STATE.get(record.state)


def reason_invalid(query: ModelQuery) -> str | None:
    """Return why no model file can have the wanted name; None if one of the names that the server tries is valid."""
    names: tuple[str, ...] = query.names
    if len(names) == 1:
        # A single name is checked with its folder, so that `..` in it is noticed.
        names = (query.filename,)
    first_reason = None
    for name in names:
        reason = reason_invalid_model_name(name)
        if reason is None:
            return None
        first_reason = first_reason or reason
    return first_reason or "it is empty"


def list_objections(query: ModelQuery, record: HubRecord, policy: SearchPolicy) -> tuple[str, ...]:
    """Return what speaks against a proposed file; nothing if it passes every check."""
    if record.state is HubState.UNREACHABLE:
        return (NOT_VERIFIED,)
    if record.state in UNANSWERED_STATES:
        return (f"{NOT_VERIFIED}: {record.reason}",)
    if record.state is not HubState.PRESENT:
        return (record.reason or "its hub does not show it",)
    checks = (
        _check_url(record, policy),
        _check_name(query, record),
        check_type(record.model_type, record.file_type, query.folder),
        _check_scans(record),
        _check_format(record, policy),
        _check_size(record, query.folder),
        _check_hash(query, record),
        record.restriction,
    )
    return tuple(reason for reason in checks if reason is not None)


def describe_differences(query: ModelQuery, name: str) -> tuple[str, ...]:
    """Return the differences between a name and the most similar wanted one, for people (`8steps ≠ 4steps`)."""
    differences = [find_differing_tokens(wanted_name, name) for wanted_name in query.names]
    fewest = min(differences, key=len, default=())
    return tuple(f"{wanted or 'nothing'} ≠ {offered or 'nothing'}" for wanted, offered in fewest)


def _check_url(record: HubRecord, policy: SearchPolicy) -> str | None:
    if record.url is None:
        return "it has no address that may be used"
    return reason_to_refuse(record.url, extra_hosts=policy.extra_hosts)


def _check_name(query: ModelQuery, record: HubRecord) -> str | None:
    if query.sha256 is not None and record.sha256 == query.sha256:
        # The declared bytes are the model, under whatever name.
        return None
    proposal = record.proposal
    own_name = _find_matching_name(query, record.name)
    # A declaration or a catalogue may call a file otherwise than its hub does. Searches, notes and language models
    # may not: they would turn any file into the wanted one.
    claimed_name = _find_matching_name(query, proposal.name)
    if own_name is None:
        if claimed_name is None or proposal.by not in {"workflow", "catalogue"}:
            return "its name differs"
        if extension(claimed_name) != extension(record.name):
            return "its format differs"
    if proposal.by != "workflow" and is_generic(own_name or claimed_name or ""):
        return "so many models have this name that it proves nothing"
    return None


def _find_matching_name(query: ModelQuery, name: str) -> str | None:
    for wanted_name in query.names:
        if is_same_name(wanted_name, name):
            return wanted_name
    return None


def _check_scans(record: HubRecord) -> str | None:
    if _SCAN_FIELDS.intersection(record.unreadable):
        return "the result of a scanner could not be read"
    bad_scans = [scan for scan in record.scans if scan.lower() in _BAD_SCANS]
    if not bad_scans:
        return None
    return f"a scanner reports it as dangerous ({', '.join(bad_scans)})"


def _check_format(record: HubRecord, policy: SearchPolicy) -> str | None:
    is_pickle = record.format == "PickleTensor" or extension(record.name) in PICKLE_EXTENSIONS
    if is_pickle and not policy.allow_pickle:
        return "its format can run code when opened, and such formats are not allowed"
    return None


def _check_size(record: HubRecord, folder: str | None) -> str | None:
    if record.size is None:
        return "its size is unknown"
    # Smaller files are placeholders, such as Git LFS pointers.
    least = _MIN_BYTES.get(folder or "", _PLACEHOLDER_BYTES)
    most = _MAX_BYTES.get(folder or "", _MAX_BYTES_ANY_FOLDER)
    if least <= record.size <= most:
        return None
    return f"{record.size} bytes is not a plausible size for such a model"


def _check_hash(query: ModelQuery, record: HubRecord) -> str | None:
    if record.sha256 is None or not SHA256_PATTERN.fullmatch(record.sha256):
        return "its hub states no SHA-256"
    declared = query.sha256 or record.proposal.sha256
    if declared is not None and declared != record.sha256:
        return "its hash differs from the declared one"
    return None


def _build_found(result: SearchResult, query: ModelQuery, passed: Sequence[HubRecord]) -> SearchResult:
    ranks = list(MatchConfidence)
    # The sort is stable: records of equal confidence keep the order of their proposals.
    ranked = sorted(passed, key=lambda record: ranks.index(_rate_confidence(query, record)))
    best = ranked[0]
    evidence = [*result.evidence, f"{best.proposal.origin}: {_describe_location(best)} passed every check."]
    if best.name and best.name not in query.names:
        evidence.append(f"Its name there is {best.name}.")
    return msgspec.structs.replace(
        result,
        status=SearchStatus.FOUND,
        doubt=None,
        source=best.source,
        ids=best.ids,
        url=best.url,
        size=best.size if best.size_is_exact else None,
        sha256=best.sha256,
        confidence=_rate_confidence(query, best),
        candidates=tuple(_build_candidate(query, record, ()) for record in ranked[:MAX_CANDIDATES]),
        evidence=tuple(evidence),
        base_model=best.base_model,
    )


def _rate_confidence(query: ModelQuery, record: HubRecord) -> MatchConfidence:
    if query.sha256 is not None:
        return MatchConfidence.HASH
    if record.name in query.names:
        return MatchConfidence.EXACT_NAME
    if _find_matching_name(query, record.name) is not None:
        return MatchConfidence.OTHER_CASE
    return MatchConfidence.DECLARED


def _build_candidates(query: ModelQuery, checked: Sequence[_CheckedRecord]) -> tuple[SearchCandidate, ...]:
    candidates = [
        _build_candidate(query, entry.record, entry.objections) for entry in checked if _is_shown(query, entry.record)
    ]
    candidates.sort(key=rank_candidate)
    return tuple(dict.fromkeys(candidates))[:MAX_CANDIDATES]


def _is_shown(query: ModelQuery, record: HubRecord) -> bool:
    """Return whether a person should see the file as a candidate.

    It must exist and have the wanted name or hash, or somebody must have claimed that it is this very model. Neither
    holds for a lookalike from our own search, or for the link to another model in a note.
    """
    if record.state in {HubState.ABSENT, HubState.CUT, HubState.HASH_NOT_SHOWN}:
        return False
    if record.state is HubState.HIDDEN:
        # A search or a language model may name a place that was never there.
        return record.proposal.by not in {"search", "model"}
    if query.sha256 is not None and record.sha256 == query.sha256:
        return True
    for name in query.names:
        if is_same_name(name, record.name) or is_precision_variant(name, record.name):
            return True
    return record.proposal.by not in {"search", "note"}


def _build_candidate(query: ModelQuery, record: HubRecord, objections: tuple[str, ...]) -> SearchCandidate:
    is_variant = any(is_precision_variant(name, record.name) for name in query.names)
    is_dangerous = _check_scans(record) is not None
    return SearchCandidate(
        source=record.source,
        name=record.name or record.proposal.name,
        ids=record.ids,
        url=None if is_dangerous or record.restriction is not None else record.url,
        size=record.size,
        sha256=record.sha256,
        reasons=objections,
        differences=describe_differences(query, record.name) if record.name else (),
        label=OTHER_PRECISION if is_variant else None,
        proposed_by=record.proposal.origin,
        verified=not objections,
        base_model=record.base_model,
        details=record.details,
    )


def _build_evidence(checked: Iterable[_CheckedRecord]) -> tuple[str, ...]:
    lines: dict[str, None] = {}
    for entry in checked:
        record = entry.record
        if record.state in UNANSWERED_STATES and record.reason:
            lines[record.reason] = None
        elif record.state is not HubState.PRESENT and record.reason:
            lines[f"{record.proposal.origin}: {record.reason}"] = None
        elif entry.is_model and record.restriction is not None:
            lines[f"{_describe_location(record)}: {record.restriction}."] = None
    return tuple(lines)


def _find_unreachable(checked: Iterable[_CheckedRecord]) -> tuple[str, ...]:
    sources = [entry.record.source for entry in checked if entry.record.state is HubState.UNREACHABLE]
    return tuple(dict.fromkeys(sources))


def _describe_location(record: HubRecord) -> str:
    ids = record.ids
    if ids.repo is not None:
        return f"{ids.repo}/{ids.path} on Hugging Face"
    return f"file {ids.civitai_file} of version {ids.civitai_version} on Civitai"
