"""Queries the hubs about proposals and file names. `readiness.search.verify` decides on the records.

Every URL is built here from ids. A URL from a workflow, a note or a web page is parsed for its ids and never requested.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.network.settings import UNREACHABLE_CODES
from comfywatchman.readiness.search.claims import HubRecord, HubState, ModelQuery, Proposal
from comfywatchman.readiness.search.results import (
    NO_HUB_IDS,
    HubIds,
    SearchResult,
    add_doubts,
    describe_truncation,
)
from comfywatchman.readiness.search.verify import SearchPolicy, decide_result, reason_invalid
from comfywatchman.sources.civarchive import CivArchive
from comfywatchman.sources.civitai.client import Civitai, CivitaiHit
from comfywatchman.sources.civitai.schema import CivitaiVersion
from comfywatchman.sources.file_names import base_name, build_search_terms, is_precision_variant, is_same_name
from comfywatchman.sources.huggingface import GatedRepo, HubNotFound, HuggingFace, RemoteFile
from comfywatchman.sources.urls import HuggingFaceFile, build_civitai_url, build_hugging_face_url

MAX_PROPOSALS: Final = 40
_MAX_FILES_PER_REPO: Final = 4
_REPOS_PER_TERM: Final = 5
_MAX_TERMS: Final = 2


@dataclass(frozen=True, slots=True)
class Hubs:
    """The hubs that the search may query; None for a hub that is switched off."""

    civitai: Civitai | None = None
    huggingface: HuggingFace | None = None
    civarchive: CivArchive | None = None


@dataclass(frozen=True, slots=True)
class _RepoSearch:
    """Repositories that search terms lead to, and the terms with more repositories than were read."""

    repos: tuple[str, ...]
    truncated_terms: tuple[str, ...]


def verify_proposals(
    query: ModelQuery, proposals: Iterable[Proposal], hubs: Hubs, *, policy: SearchPolicy, searched_at: str
) -> SearchResult:
    """Query the hubs about proposals and return what they prove. Hub failures become ERROR; nothing is raised.

    Args:
        query: The model.
        proposals: Claims, the most trusted first; at most `MAX_PROPOSALS` are verified.
        hubs: The hubs to query.
        policy: Which files may become FOUND.
        searched_at: Time of the search, as state files write it.
    """
    distinct = list(dict.fromkeys(proposals)) if reason_invalid(query) is None else []
    records: list[HubRecord] = []
    for proposal in distinct[:MAX_PROPOSALS]:
        records.extend(fetch_records(proposal, query, hubs))
    result = decide_result(query, records, policy=policy, searched_at=searched_at)
    left_out = len(distinct) - MAX_PROPOSALS
    if left_out <= 0:
        return result
    return add_doubts(result, [f"The last {left_out} of {len(distinct)} proposals were not verified."])


def fetch_records(proposal: Proposal, query: ModelQuery, hubs: Hubs) -> tuple[HubRecord, ...]:
    """Query the hub of a proposal; return a record for each file that the proposal may mean."""
    ids = proposal.ids
    names_civitai = ids.civitai_version is not None or ids.civitai_model is not None
    try:
        if ids.repo is not None and hubs.huggingface is not None:
            return tuple(_read_hugging_face_records(proposal, query, hubs.huggingface))
        if names_civitai and hubs.civitai is not None:
            return tuple(_read_civitai_records(proposal, hubs.civitai))
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
    proposal = Proposal("search", "Civitai's search")
    if hubs.civitai is None or reason_invalid(query) is not None:
        return decide_result(query, (), policy=policy, searched_at=searched_at)
    truncated_terms: tuple[str, ...] = ()
    try:
        hits, truncated_terms = _find_civitai_hits(query, hubs.civitai, terms)
        records = [_build_civitai_record(proposal, hit) for hit in hits]
    except Failure as failure:
        records = [_build_failure_record(proposal, "civitai", failure)]
    result = decide_result(query, records, policy=policy, searched_at=searched_at)
    return add_doubts(result, describe_truncation("civitai", truncated_terms))


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
    if hub is None or reason_invalid(query) is not None:
        return decide_result(query, (), policy=policy, searched_at=searched_at)
    all_terms = tuple(dict.fromkeys((*terms, *build_search_terms(query.names[-1]))))
    found = _RepoSearch((), ())
    records: list[HubRecord] = []
    closed_repos = []
    try:
        found = _find_repos(hub, all_terms[: _MAX_TERMS + len(terms)])
        for repo in found.repos:
            proposal = Proposal("search", "Hugging Face's search", HubIds(repo=repo))
            # One record at a time, so that those before a failure count.
            for record in _read_hugging_face_records(proposal, query, hub):
                if record.state is HubState.GATED and record.ids.path is None:
                    closed_repos.append(record.reason)
                elif record.state is not HubState.ABSENT:
                    records.append(record)
    except Failure as failure:
        records.append(_build_failure_record(Proposal("search", "Hugging Face's search"), "huggingface", failure))
    result = decide_result(query, records, policy=policy, searched_at=searched_at)
    truncated = describe_truncation("huggingface", found.truncated_terms)
    return add_doubts(result, (*truncated, *closed_repos))


def search_civarchive(query: ModelQuery, hubs: Hubs, *, policy: SearchPolicy, searched_at: str) -> SearchResult:
    """Search CivArchive for a declared hash. Its records are hints for a person, never FOUND."""
    proposal = Proposal("search", "CivArchive")
    records: list[HubRecord] = []
    if hubs.civarchive is not None and query.sha256 is not None:
        try:
            records = _read_archive_records(proposal, query, hubs.civarchive, query.sha256)
        except Failure as failure:
            records = [_build_failure_record(proposal, "civarchive", failure)]
    return decide_result(query, records, policy=policy, searched_at=searched_at)


def _find_civitai_hits(
    query: ModelQuery, civitai: Civitai, terms: Sequence[str]
) -> tuple[tuple[CivitaiHit, ...], tuple[str, ...]]:
    """Return the matching files, and the search terms with more results than were read."""
    if query.sha256 is not None:
        by_hash = civitai.find_by_hash(query.sha256)
        if by_hash is not None and by_hash.hit is not None:
            return (by_hash.hit,), ()
    found = civitai.find_by_file_name(query.names[0], also=query.names[1:], terms=terms)
    return (*found.exact, *found.variants), found.cut


def _find_repos(hub: HuggingFace, terms: Sequence[str]) -> _RepoSearch:
    repos: dict[str, None] = {}
    truncated_terms = []
    for term in terms:
        # One more than is read shows whether there are more.
        listed = hub.search_repos(term, limit=_REPOS_PER_TERM + 1)
        if len(listed) > _REPOS_PER_TERM:
            truncated_terms.append(term)
        for repo in listed[:_REPOS_PER_TERM]:
            repos[repo.id] = None
    return _RepoSearch(tuple(repos), tuple(truncated_terms))


def _read_civitai_records(proposal: Proposal, civitai: Civitai) -> list[HubRecord]:
    ids = proposal.ids
    base_url, versions = _read_civitai_versions(ids, civitai)
    hits = [CivitaiHit(base_url, version, file) for version in versions for file in version.files]
    if ids.civitai_file is not None:
        hits = [hit for hit in hits if hit.file.id == ids.civitai_file]
    if hits:
        return [_build_civitai_record(proposal, hit) for hit in hits]
    subject = f"version {ids.civitai_version}" if ids.civitai_version else f"model {ids.civitai_model}"
    reason = f"Civitai has no such file of {subject}."
    return [HubRecord(proposal, HubState.ABSENT, "civitai", ids=ids, reason=reason)]


def _read_civitai_versions(ids: HubIds, civitai: Civitai) -> tuple[str, tuple[CivitaiVersion, ...]]:
    """Return the base URL of the server that has the version or model, and the versions; empty if there is none."""
    if ids.civitai_version is not None:
        version = civitai.fetch_version(ids.civitai_version)
        return (version[0], (version[1],)) if version is not None else ("", ())
    model = civitai.fetch_model(ids.civitai_model or 0)
    return (model[0], model[1].versions) if model is not None else ("", ())


def _build_civitai_record(proposal: Proposal, hit: CivitaiHit) -> HubRecord:
    version, file = hit.version, hit.file
    file_id = file.id or None
    return HubRecord(
        proposal=proposal,
        state=HubState.PRESENT,
        source="civitai",
        name=file.name,
        ids=HubIds(civitai_model=version.model_id or None, civitai_version=version.id, civitai_file=file_id),
        url=build_civitai_url(hit.base_url, version.id, file_id),
        size=file.size_bytes,
        size_is_exact=False,
        sha256=file.sha256,
        model_type=version.model_type,
        file_type=file.type,
        format=file.metadata.format if file.metadata is not None else None,
        scans=tuple(scan for scan in (file.pickle_scan_result, file.virus_scan_result) if scan),
        base_model=version.base_model,
        note=_describe_access(version),
    )


def _describe_access(version: CivitaiVersion) -> str | None:
    if version.paid_access is not None:
        until = version.paid_access.ends_at
        return f"Early access: only buyers may download it until {until}" if until else "Only buyers may download it"
    if version.usage_control not in {None, "Download"}:
        return "Its creator does not allow downloads"
    return None


def _read_hugging_face_records(proposal: Proposal, query: ModelQuery, hub: HuggingFace) -> Iterator[HubRecord]:
    ids = proposal.ids
    repo, revision = ids.repo or "", ids.revision or "main"
    if ids.path is not None:
        yield _read_hugging_face_file(proposal, hub, HuggingFaceFile(repo, revision, ids.path))
        return
    listed = hub.list_files(repo, revision=revision)
    if isinstance(listed, (HubNotFound, GatedRepo)):
        yield _build_absent_record(proposal, listed, ids)
        return
    paths = [file.path for file in listed if _may_match(query, base_name(file.path))]
    if not paths:
        reason = f"{repo} has no file of that name."
        yield HubRecord(proposal, HubState.ABSENT, "huggingface", ids=ids, reason=reason)
    # A repository may hold the same model in a dozen precisions; the wanted name is read first.
    paths.sort(key=lambda path: not _has_same_name(query, base_name(path)))
    for path in paths[:_MAX_FILES_PER_REPO]:
        yield _read_hugging_face_file(proposal, hub, HuggingFaceFile(repo, revision, path))


def _read_hugging_face_file(proposal: Proposal, hub: HuggingFace, file: HuggingFaceFile) -> HubRecord:
    remote = hub.head_file(file.repo, file.revision, file.path)
    if not isinstance(remote, RemoteFile):
        ids = HubIds(repo=file.repo, revision=file.revision, path=file.path)
        return _build_absent_record(proposal, remote, ids)
    # The URL names the commit, so that a later download gets the verified bytes.
    pinned = HuggingFaceFile(remote.repo, remote.commit, remote.path)
    return HubRecord(
        proposal=proposal,
        state=HubState.PRESENT,
        source="huggingface",
        name=base_name(remote.path),
        ids=HubIds(repo=remote.repo, revision=remote.commit, path=remote.path),
        url=build_hugging_face_url(hub.base_url, pinned),
        size=remote.size,
        sha256=remote.sha256,
    )


def _build_absent_record(proposal: Proposal, absence: HubNotFound | GatedRepo, ids: HubIds) -> HubRecord:
    state = HubState.GATED if isinstance(absence, GatedRepo) else HubState.ABSENT
    name = base_name(ids.path or "") or proposal.name
    return HubRecord(proposal, state, "huggingface", name, ids, reason=absence.message)


def _read_archive_records(proposal: Proposal, query: ModelQuery, archive: CivArchive, digest: str) -> list[HubRecord]:
    version = archive.find_by_sha256(digest)
    if version is None:
        return []
    records = []
    for file in version.files:
        mirrors = [mirror for mirror in file.mirrors if mirror.deleted_at is None]
        record = HubRecord(
            proposal=proposal,
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
        state=HubState.UNREACHABLE if is_unreachable else HubState.FAILED,
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


def _may_match(query: ModelQuery, name: str) -> bool:
    return _has_same_name(query, name) or any(is_precision_variant(wanted, name) for wanted in query.names)


def _has_same_name(query: ModelQuery, name: str) -> bool:
    return any(is_same_name(wanted, name) for wanted in query.names)


def _hub_name(ids: HubIds) -> str:
    if ids.repo is not None:
        return "huggingface"
    if ids.civitai_version is not None or ids.civitai_model is not None:
        return "civitai"
    return "elsewhere"
