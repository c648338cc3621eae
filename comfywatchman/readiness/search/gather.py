"""Queries Civitai, Hugging Face and CivArchive about proposals and file names; `readiness.search.verify` decides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.network.settings import UNREACHABLE_CODES
from comfywatchman.readiness.search.absence import UnknownHash
from comfywatchman.readiness.search.access import confirm_access
from comfywatchman.readiness.search.claims import HubRecord, HubState, ModelQuery, Proposal
from comfywatchman.readiness.search.hub_records import (
    build_civitai_record,
    build_unreadable_record,
    build_withdrawn_model_record,
    build_withdrawn_record,
    describe_unreadable_entries,
    has_same_name,
    read_civitai_records,
    read_hugging_face_records,
)
from comfywatchman.readiness.search.results import (
    NO_HUB_IDS,
    HubIds,
    SearchResult,
    SearchStatus,
    add_doubt,
    describe_truncation,
)
from comfywatchman.readiness.search.verify import SearchPolicy, decide_result, reason_invalid
from comfywatchman.readiness.states import SearchDoubt
from comfywatchman.sources.civarchive import CivArchive
from comfywatchman.sources.civitai.client import Civitai
from comfywatchman.sources.civitai.lookups import HashLookup
from comfywatchman.sources.civitai.schema import parse_mode
from comfywatchman.sources.file_names import base_name, build_search_terms
from comfywatchman.sources.huggingface import HuggingFace
from comfywatchman.sources.urls import HuggingFaceFile, build_civitai_url, build_hugging_face_url

MAX_PROPOSALS: Final = 40
_REPOS_PER_TERM: Final = 5
_MAX_TERMS: Final = 2
_CIVITAI_SEARCH: Final = Proposal("search", "Civitai's search")
_HUGGING_FACE_SEARCH: Final = Proposal("search", "Hugging Face's search")
_ARCHIVE_SEARCH: Final = Proposal("search", "CivArchive")
_SINGLE_FAILURES: Final = frozenset({"http-body", "http-status", "source-forbidden", "source-unavailable"})
"""Failures of one request, after which others may succeed."""
_STATE_BY_FAILURE: Final = {
    "http-body": HubState.UNREADABLE,
    # A 403 concerns the one requested place; a 401 may be the fault of the key, and so concern all places.
    "source-forbidden": HubState.HIDDEN,
}


@dataclass(frozen=True, slots=True)
class Hubs:
    """The hubs that the search may query; None for a hub that is switched off."""

    civitai: Civitai | None = None
    huggingface: HuggingFace | None = None
    civarchive: CivArchive | None = None


@dataclass(frozen=True, slots=True)
class _RepoSearch:
    """Repositories that search terms lead to, the terms with more than were read, and the number of unreadable ones."""

    repos: tuple[str, ...] = ()
    truncated_terms: tuple[str, ...] = ()
    unreadable: int = 0


def build_query_terms(query: ModelQuery) -> tuple[str, ...]:
    """Return the words to search for; none for a name that is too short for any, such as `ae.safetensors`."""
    return build_search_terms(query.names[-1])


def describe_no_search_terms(query: ModelQuery) -> str:
    """Return the sentence for a model that no site was searched for."""
    return f"No site was searched: {query.names[-1]!r} gives no words to search for."


def verify_proposals(
    query: ModelQuery,
    proposals: Iterable[Proposal],
    hubs: Hubs,
    *,
    policy: SearchPolicy,
    searched_at: str,
    is_search: bool = False,
) -> SearchResult:
    """Query the hubs about proposals and return what they prove. Hub failures become ERROR; nothing is raised.

    Args:
        query: The model.
        proposals: Claims, the most trusted first; at most `MAX_PROPOSALS` are verified.
        hubs: The hubs to query.
        policy: Which files may become FOUND.
        searched_at: Time of the search, as state files write it.
        is_search: Whether the proposals are the results of a search, so that without any nothing was found.
    """
    distinct = list(dict.fromkeys(proposals)) if reason_invalid(query) is None else []
    records: list[HubRecord] = []
    for proposal in distinct[:MAX_PROPOSALS]:
        records.extend(fetch_records(proposal, query, hubs))
    records = confirm_access(query, records, hubs.civitai, policy)
    result = decide_result(query, records, policy=policy, searched_at=searched_at, is_asked=is_search)
    left_out = len(distinct) - MAX_PROPOSALS
    if left_out <= 0:
        return result
    reason = f"The last {left_out} of {len(distinct)} proposals were not verified."
    return add_doubt(result, SearchDoubt.CUT_SEARCH, [reason])


def fetch_records(proposal: Proposal, query: ModelQuery, hubs: Hubs) -> tuple[HubRecord, ...]:
    """Query the hub of a proposal; return a record for each file that the proposal may mean."""
    ids = proposal.ids
    names_civitai = ids.civitai_version is not None or ids.civitai_model is not None
    try:
        if ids.repo is not None and hubs.huggingface is not None:
            return tuple(read_hugging_face_records(proposal, query, hubs.huggingface))
        if names_civitai and hubs.civitai is not None:
            return tuple(read_civitai_records(proposal, query, hubs.civitai))
    except Failure as failure:
        return (_build_failure_record(proposal, _hub_name(ids), failure, _build_url(ids, hubs)),)
    reason = "its host states no hash before a download, so it cannot be verified"
    if ids != NO_HUB_IDS:
        reason = "its hub is switched off"
    return (HubRecord(proposal, HubState.UNVERIFIABLE, _hub_name(ids), name=proposal.name, ids=ids, reason=reason),)


def search_civitai(
    query: ModelQuery, hubs: Hubs, *, policy: SearchPolicy, searched_at: str, terms: Sequence[str] = ()
) -> SearchResult:
    """Search Civitai for files with the exact name of a model, or with its declared hash.

    Args:
        query: The model.
        hubs: Only Civitai is queried.
        policy: Which files may become FOUND.
        searched_at: Time of the search.
        terms: Additional search terms, such as a language model proposes.
    """
    civitai = hubs.civitai
    all_terms = tuple(dict.fromkeys((*terms, *build_query_terms(query))))
    if civitai is None or reason_invalid(query) is not None or (not all_terms and query.sha256 is None):
        return _decide_unasked(query, policy=policy, searched_at=searched_at)
    records: list[HubRecord] = []
    truncated_terms: tuple[str, ...] = ()
    try:
        if query.sha256 is not None:
            records += _read_by_hash(query.sha256, civitai)
        if not any(record.state is HubState.PRESENT for record in records):
            found, truncated_terms = _read_by_name(query, civitai, terms)
            records += found
    except Failure as failure:
        records.append(_build_failure_record(_CIVITAI_SEARCH, "civitai", failure))
    records = confirm_access(query, records, civitai, policy)
    result = decide_result(query, records, policy=policy, searched_at=searched_at, is_asked=True)
    if result.status is SearchStatus.NOT_FOUND:
        # Civitai knows hashes for certain, so it does not matter how many models its words lead to.
        return result
    return add_doubt(result, SearchDoubt.CUT_SEARCH, describe_truncation("civitai", truncated_terms))


def search_hugging_face(
    query: ModelQuery, hubs: Hubs, *, policy: SearchPolicy, searched_at: str, terms: Sequence[str] = ()
) -> SearchResult:
    """Search Hugging Face repositories whose ids contain words of the name, for files with the exact name.

    Args:
        query: The model.
        hubs: Only Hugging Face is queried.
        policy: Which files may become FOUND.
        searched_at: Time of the search.
        terms: Additional search terms.
    """
    hub = hubs.huggingface
    all_terms = tuple(dict.fromkeys((*terms, *build_query_terms(query))))
    if hub is None or reason_invalid(query) is not None or not all_terms:
        return _decide_unasked(query, policy=policy, searched_at=searched_at)
    found = _RepoSearch()
    records: list[HubRecord] = []
    try:
        found = _find_repos(hub, all_terms[: _MAX_TERMS + len(terms)])
        for repo in found.repos:
            records.extend(_read_found_repo(repo, query, hub))
    except Failure as failure:
        records.append(_build_failure_record(_HUGGING_FACE_SEARCH, "huggingface", failure))
    if found.unreadable:
        reason = describe_unreadable_entries("Hugging Face", found.unreadable)
        records.append(build_unreadable_record(_HUGGING_FACE_SEARCH, "huggingface", reason))
    result = decide_result(query, records, policy=policy, searched_at=searched_at, is_asked=True)
    return add_doubt(result, SearchDoubt.CUT_SEARCH, describe_truncation("huggingface", found.truncated_terms))


def search_civarchive(query: ModelQuery, hubs: Hubs, *, policy: SearchPolicy, searched_at: str) -> SearchResult:
    """Search CivArchive for a declared hash. Its records are hints for a person, never FOUND."""
    records: list[HubRecord] = []
    is_asked = False
    if hubs.civarchive is not None and query.sha256 is not None:
        is_asked = True
        try:
            records = _read_archive_records(query, hubs.civarchive, query.sha256)
        except Failure as failure:
            records = [_build_failure_record(_ARCHIVE_SEARCH, "civarchive", failure)]
    return decide_result(query, records, policy=policy, searched_at=searched_at, is_asked=is_asked)


def _decide_unasked(query: ModelQuery, *, policy: SearchPolicy, searched_at: str) -> SearchResult:
    """Return the result of a hub that was not queried: it is switched off, or the name gives no search terms."""
    result = decide_result(query, (), policy=policy, searched_at=searched_at)
    if result.status is SearchStatus.UNCERTAIN and not build_query_terms(query):
        return msgspec.structs.replace(result, evidence=(describe_no_search_terms(query),))
    return result


def _read_by_hash(sha256: str, civitai: Civitai) -> list[HubRecord]:
    """Return the file with a hash on Civitai, the proof that it has none, or why neither is known."""
    found = civitai.find_by_hash(sha256)
    if found is None:
        proof = UnknownHash("civitai", sha256)
        return [HubRecord(_CIVITAI_SEARCH, HubState.ABSENT, "civitai", absence=proof)]
    if found.hit is not None:
        return [build_civitai_record(_CIVITAI_SEARCH, found.hit)]
    return [_build_hidden_hash_record(found)]


def _build_hidden_hash_record(found: HashLookup) -> HubRecord:
    """Return the record of a version that Civitai returned for a hash without a file that has it."""
    version = found.version
    ids = HubIds(civitai_model=version.model_id or None, civitai_version=version.id)
    if version.mode is not None:
        model_name = (version.model.name if version.model is not None else None) or ""
        return build_withdrawn_record(_CIVITAI_SEARCH, version.mode, model_name, ids)
    if version.hides_hashes:
        count = version.unreadable or len(version.files)
        reason = describe_unreadable_entries("Civitai", count)
        return build_unreadable_record(_CIVITAI_SEARCH, "civitai", reason, ids)
    reason = f"Civitai knows the hash from version {version.id}, but shows no file that has it."
    return HubRecord(_CIVITAI_SEARCH, HubState.HASH_NOT_SHOWN, "civitai", ids=ids, reason=reason)


def _read_by_name(query: ModelQuery, civitai: Civitai, terms: Sequence[str]) -> tuple[list[HubRecord], tuple[str, ...]]:
    """Return the records of files by name, and the search terms with more results than were read."""
    found = civitai.find_by_file_name(query.names[0], also=query.names[1:], terms=terms)
    hits = (*found.exact, *found.variants)
    records = [build_civitai_record(_CIVITAI_SEARCH, hit, is_listed=True) for hit in hits]
    for model in found.withdrawn:
        mode = parse_mode(model.mode)
        is_listed = any(has_same_name(query, file.name) for version in model.versions for file in version.files)
        if mode is not None and not is_listed:
            records.append(build_withdrawn_model_record(_CIVITAI_SEARCH, model, mode))
    if found.unreadable:
        reason = describe_unreadable_entries("Civitai", found.unreadable)
        records.append(build_unreadable_record(_CIVITAI_SEARCH, "civitai", reason))
    return records, found.cut


def _find_repos(hub: HuggingFace, terms: Sequence[str]) -> _RepoSearch:
    repos: dict[str, None] = {}
    truncated_terms = []
    unreadable = 0
    for term in terms:
        # One more than is read shows whether there are more.
        listed = hub.search_repos(term, limit=_REPOS_PER_TERM + 1)
        unreadable += listed.unreadable
        if len(listed.repos) + listed.unreadable > _REPOS_PER_TERM:
            truncated_terms.append(term)
        for repo in listed.repos[:_REPOS_PER_TERM]:
            repos[repo.id] = None
    return _RepoSearch(tuple(repos), tuple(truncated_terms), unreadable)


def _read_found_repo(repo: str, query: ModelQuery, hub: HuggingFace) -> list[HubRecord]:
    """Return the files of a repository that may be the model. One that fails does not hide the next.

    Raises:
        Failure: Every further request would fail as well.
    """
    proposal = Proposal("search", _HUGGING_FACE_SEARCH.origin, HubIds(repo=repo))
    records: list[HubRecord] = []
    try:
        # One record at a time, so that those before a failure count.
        found_records = read_hugging_face_records(proposal, query, hub)
        records.extend(record for record in found_records if record.state is not HubState.ABSENT)
    except Failure as failure:
        if failure.code not in _SINGLE_FAILURES:
            raise
        records.append(_build_failure_record(proposal, "huggingface", failure))
    return records


def _read_archive_records(query: ModelQuery, archive: CivArchive, digest: str) -> list[HubRecord]:
    version = archive.find_by_sha256(digest)
    if version is None:
        proof = UnknownHash("civarchive", digest)
        return [HubRecord(_ARCHIVE_SEARCH, HubState.ABSENT, "civarchive", absence=proof)]
    if not version.files:
        reason = "CivArchive knows the hash, but shows no file that has it."
        return [HubRecord(_ARCHIVE_SEARCH, HubState.HASH_NOT_SHOWN, "civarchive", reason=reason)]
    records = []
    for file in version.files:
        mirrors = [mirror for mirror in file.mirrors if mirror.deleted_at is None]
        record = HubRecord(
            proposal=_ARCHIVE_SEARCH,
            state=HubState.UNVERIFIABLE,
            source="civarchive",
            name=file.name or query.names[0],
            sha256=digest,
            base_model=version.base_model,
            reason=f"CivArchive lists {len(mirrors)} mirrors; look there, and compare the hash.",
        )
        records.append(record)
    return records


def _build_failure_record(proposal: Proposal, source: str, failure: Failure, url: str | None = None) -> HubRecord:
    name = base_name(proposal.ids.path or "") or proposal.name
    is_unreachable = failure.code in UNREACHABLE_CODES
    return HubRecord(
        proposal=proposal,
        state=HubState.UNREACHABLE if is_unreachable else _STATE_BY_FAILURE.get(failure.code, HubState.FAILED),
        source=source,
        name=name,
        ids=proposal.ids,
        url=url,
        # An unreachable site is reported once for all models.
        reason="" if is_unreachable else failure.message,
    )


def _build_url(ids: HubIds, hubs: Hubs) -> str | None:
    """Return the URL of a file that could not be verified, if its ids are complete."""
    if ids.repo is not None and ids.path is not None and hubs.huggingface is not None:
        file = HuggingFaceFile(ids.repo, ids.revision or "main", ids.path)
        return build_hugging_face_url(hubs.huggingface.base_url, file)
    if ids.civitai_version is not None and hubs.civitai is not None:
        return build_civitai_url(hubs.civitai.base_urls[0], ids.civitai_version, ids.civitai_file)
    return None


def _hub_name(ids: HubIds) -> str:
    if ids.repo is not None:
        return "huggingface"
    if ids.civitai_version is not None or ids.civitai_model is not None:
        return "civitai"
    return "elsewhere"
