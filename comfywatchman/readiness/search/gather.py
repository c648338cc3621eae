"""Ask the hubs about proposals and names, and let `readiness.search.verify` decide on what they say.

Every address is built here from ids; an address that somebody else wrote is read for its ids and never asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.readiness.search.claims import HubRecord, HubState, ModelQuery, Proposal
from comfywatchman.readiness.search.results import (
    HubIds,
    SearchResult,
    add_doubts,
    describe_truncated_search,
    silence_text,
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
    """Whom the search may ask; None for a hub that is not to be asked."""

    civitai: Civitai | None = None
    huggingface: HuggingFace | None = None
    civarchive: CivArchive | None = None


def verify_proposals(
    wanted: ModelQuery, proposals: Iterable[Proposal], hubs: Hubs, *, policy: SearchPolicy, searched_at: str
) -> SearchResult:
    """Return what proposals prove for a model, by asking the hubs that they name; never raises for a hub's trouble.

    Args:
        wanted: The model.
        proposals: Claims, the most trusted first; no more than `MOST_PROPOSALS` are looked into.
        hubs: Whom to ask.
        policy: What may become FOUND.
        searched_at: The moment of asking, as state files write it.
    """
    facts: list[HubRecord] = []
    claims = list(dict.fromkeys(proposals)) if reason_invalid(wanted) is None else []
    for proposal in claims[:MAX_PROPOSALS]:
        facts.extend(fetch_records(proposal, wanted, hubs))
    left = len(claims) - MAX_PROPOSALS
    unseen = (f"Of {len(claims)} proposals, the last {left} were not looked into.",) if left > 0 else ()
    return add_doubts(decide_result(wanted, facts, policy=policy, searched_at=searched_at), unseen)


def fetch_records(proposal: Proposal, wanted: ModelQuery, hubs: Hubs) -> tuple[HubRecord, ...]:
    """Return what the hubs say of a proposal: one entry for each file that it may mean."""
    ids = proposal.ids
    try:
        if ids.repo is not None and hubs.huggingface is not None:
            return tuple(_read_hugging_face_records(proposal, wanted, hubs.huggingface))
        if (ids.civitai_version is not None or ids.civitai_model is not None) and hubs.civitai is not None:
            return tuple(_read_civitai_records(proposal, hubs.civitai))
    except Failure as failure:
        return (_build_unanswered_record(proposal, _hub_name(ids), failure, _build_url(ids, hubs)),)
    said = "its host gives no hash before a download, so it cannot be verified"
    if ids != HubIds():
        said = "its hub is not to be asked"
    return (HubRecord(proposal, "unverifiable", _hub_name(ids), name=proposal.name, ids=ids, said=said),)


def search_civitai(
    wanted: ModelQuery, hubs: Hubs, *, policy: SearchPolicy, searched_at: str, terms: Sequence[str] = ()
) -> SearchResult:
    """Return what Civitai's catalogue has under a model's exact name (and under its hash, where one is declared).

    Args:
        wanted: The model.
        hubs: Only Civitai is asked.
        policy: What may become FOUND.
        searched_at: The moment of asking.
        terms: Further search terms, such as a language model proposes.
    """
    proposal = Proposal("search", "Civitai's search")
    if hubs.civitai is None or reason_invalid(wanted) is not None:
        return decide_result(wanted, (), policy=policy, searched_at=searched_at)
    cut: tuple[str, ...] = ()
    try:
        hits, cut = _find_civitai_hits(wanted, hubs.civitai, terms)
        facts = [_build_civitai_record(proposal, hit) for hit in hits]
    except Failure as failure:
        facts = [_build_unanswered_record(proposal, "civitai", failure)]
    answer = decide_result(wanted, facts, policy=policy, searched_at=searched_at)
    return add_doubts(answer, describe_truncated_search("civitai", cut))


def search_hugging_face(
    wanted: ModelQuery, hubs: Hubs, *, policy: SearchPolicy, searched_at: str, terms: Sequence[str] = ()
) -> SearchResult:
    """Return what repositories whose ids hold a model's words have under its exact name.

    Args:
        wanted: The model.
        hubs: Only Hugging Face is asked.
        policy: What may become FOUND.
        searched_at: The moment of asking.
        terms: Further search terms.
    """
    proposal = Proposal("search", "Hugging Face's search")
    hub = hubs.huggingface
    if hub is None or reason_invalid(wanted) is not None:
        return decide_result(wanted, (), policy=policy, searched_at=searched_at)
    facts: list[HubRecord] = []
    cut: list[str] = []
    closed: list[str] = []
    try:
        ladder = tuple(dict.fromkeys((*terms, *build_search_terms(wanted.names[-1]))))[: _MAX_TERMS + len(terms)]
        for repo in _find_repos(hub, ladder, cut):
            found = Proposal("search", "Hugging Face's search", HubIds(repo=repo))
            for one in _read_hugging_face_records(found, wanted, hub):
                if one.state == "gated" and one.ids.path is None:
                    closed.append(one.said)
                elif one.state != "absent":
                    facts.append(one)
    except Failure as failure:
        facts.append(_build_unanswered_record(proposal, "huggingface", failure))
    answer = decide_result(wanted, facts, policy=policy, searched_at=searched_at)
    return add_doubts(answer, (*describe_truncated_search("huggingface", cut), *closed))


def search_civarchive(wanted: ModelQuery, hubs: Hubs, *, policy: SearchPolicy, searched_at: str) -> SearchResult:
    """Return what is remembered of a model whose hash is declared; a hint for a person, never FOUND."""
    proposal = Proposal("search", "CivArchive")
    facts: list[HubRecord] = []
    if hubs.civarchive is not None and wanted.sha256 is not None:
        try:
            facts.extend(_read_archive_records(proposal, wanted, hubs.civarchive, wanted.sha256))
        except Failure as failure:
            facts.append(_build_unanswered_record(proposal, "civarchive", failure))
    return decide_result(wanted, facts, policy=policy, searched_at=searched_at)


def _find_civitai_hits(
    wanted: ModelQuery, civitai: Civitai, terms: Sequence[str]
) -> tuple[tuple[CivitaiHit, ...], tuple[str, ...]]:
    """Return files, and the search terms for which there was more than was looked through."""
    if wanted.sha256 is not None:
        known = civitai.find_by_hash(wanted.sha256)
        if known is not None and known.hit is not None:
            return (known.hit,), ()
    found = civitai.find_by_file_name(wanted.names[0], also=wanted.names[1:], terms=terms)
    return (*found.exact, *found.variants), found.cut


def _find_repos(hub: HuggingFace, ladder: Sequence[str], cut: list[str]) -> tuple[str, ...]:
    """Return the repositories that search terms lead to; terms that lead to more are added to `cut`."""
    repos: dict[str, None] = {}
    for term in ladder:
        listed = hub.search_repos(term, limit=_REPOS_PER_TERM + 1)
        cut.extend([term] if len(listed) > _REPOS_PER_TERM else [])
        repos |= dict.fromkeys(one.id for one in listed[:_REPOS_PER_TERM])
    return tuple(repos)


def _read_civitai_records(proposal: Proposal, civitai: Civitai) -> Iterator[HubRecord]:
    ids = proposal.ids
    base_url, versions = _read_civitai_versions(ids, civitai)
    files = [CivitaiHit(base_url, version, file) for version in versions for file in version.files]
    meant = [hit for hit in files if ids.civitai_file in {None, hit.file.id}]
    if not meant:
        what = f"version {ids.civitai_version}" if ids.civitai_version else f"model {ids.civitai_model}"
        yield HubRecord(proposal, "absent", "civitai", ids=ids, said=f"Civitai has no such file of {what}.")
    for hit in meant:
        yield _build_civitai_record(proposal, hit)


def _read_civitai_versions(ids: HubIds, civitai: Civitai) -> tuple[str, tuple[CivitaiVersion, ...]]:
    if ids.civitai_version is not None:
        version = civitai.fetch_version(ids.civitai_version)
        return (version[0], (version[1],)) if version is not None else ("", ())
    model = civitai.fetch_model(ids.civitai_model or 0)
    return (model[0], model[1].versions) if model is not None else ("", ())


def _build_civitai_record(proposal: Proposal, hit: CivitaiHit) -> HubRecord:
    version, file = hit.version, hit.file
    return HubRecord(
        proposal=proposal,
        state="there",
        source="civitai",
        name=file.name,
        ids=HubIds(civitai_model=version.model_id or None, civitai_version=version.id, civitai_file=file.id or None),
        url=build_civitai_url(hit.base_url, version.id, file.id or None),
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
        return "Its creator does not let it be downloaded"
    return None


def _read_hugging_face_records(proposal: Proposal, wanted: ModelQuery, hub: HuggingFace) -> Iterator[HubRecord]:
    ids = proposal.ids
    repo, revision = ids.repo or "", ids.revision or "main"
    if ids.path is not None:
        yield _read_hugging_face_file(proposal, hub, HuggingFaceFile(repo, revision, ids.path))
        return
    listed = hub.list_files(repo, revision=revision)
    if isinstance(listed, (HubNotFound, GatedRepo)):
        yield _build_absent_record(proposal, listed, ids)
        return
    named = [file.path for file in listed if _may_match(wanted, base_name(file.path))]
    # A repository may hold the same model in a dozen precisions.
    named.sort(key=lambda path: not _has_wanted_name(wanted, base_name(path)))
    for path in named[:_MAX_FILES_PER_REPO]:
        yield _read_hugging_face_file(proposal, hub, HuggingFaceFile(repo, revision, path))
    if not named:
        yield HubRecord(proposal, "absent", "huggingface", ids=ids, said=f"{repo} has no file of that name.")


def _read_hugging_face_file(proposal: Proposal, hub: HuggingFace, file: HuggingFaceFile) -> HubRecord:
    answer = hub.head_file(file.repo, file.revision, file.path)
    if not isinstance(answer, RemoteFile):
        return _build_absent_record(proposal, answer, HubIds(repo=file.repo, revision=file.revision, path=file.path))
    pinned = HuggingFaceFile(answer.repo, answer.commit, answer.path)
    return HubRecord(
        proposal=proposal,
        state="there",
        source="huggingface",
        name=base_name(answer.path),
        ids=HubIds(repo=answer.repo, revision=answer.commit, path=answer.path),
        url=build_hugging_face_url(hub.base_url, pinned),
        size=answer.size,
        sha256=answer.sha256,
    )


def _build_absent_record(proposal: Proposal, answer: HubNotFound | GatedRepo, ids: HubIds) -> HubRecord:
    state: HubState = "gated" if isinstance(answer, GatedRepo) else "absent"
    name = base_name(ids.path or "") or proposal.name
    return HubRecord(proposal, state, "huggingface", name, ids, said=answer.message)


def _read_archive_records(
    proposal: Proposal, wanted: ModelQuery, archive: CivArchive, digest: str
) -> Iterator[HubRecord]:
    version = archive.find_by_sha256(digest)
    for file in version.files if version is not None else ():
        living = [mirror for mirror in file.mirrors if mirror.deleted_at is None]
        yield HubRecord(
            proposal=proposal,
            state="unverifiable",
            source="civarchive",
            name=file.name or wanted.names[0],
            sha256=digest,
            base_model=version.base_model if version is not None else None,
            said=f"CivArchive remembers it with {len(living)} mirrors; look there, and compare the hash.",
        )


def _build_unanswered_record(proposal: Proposal, source: str, failure: Failure, url: str | None = None) -> HubRecord:
    said = silence_text(source) if failure.code == "http-unreachable" else failure.message
    name = base_name(proposal.ids.path or "") or proposal.name
    return HubRecord(proposal, "unknown", source, name=name, ids=proposal.ids, url=url, said=said)


def _build_url(ids: HubIds, hubs: Hubs) -> str | None:
    """Return where a file is that could not be verified, as far as its ids tell."""
    if ids.repo is not None and ids.path is not None and hubs.huggingface is not None:
        file = HuggingFaceFile(ids.repo, ids.revision or "main", ids.path)
        return build_hugging_face_url(hubs.huggingface.base_url, file)
    if ids.civitai_version is not None and hubs.civitai is not None:
        return build_civitai_url(hubs.civitai.base_urls[0], ids.civitai_version, ids.civitai_file)
    return None


def _may_match(wanted: ModelQuery, name: str) -> bool:
    return _has_wanted_name(wanted, name) or any(is_precision_variant(one, name) for one in wanted.names)


def _has_wanted_name(wanted: ModelQuery, name: str) -> bool:
    return any(is_same_name(one, name) for one in wanted.names)


def _hub_name(ids: HubIds) -> str:
    if ids.repo is not None:
        return "huggingface"
    return "civitai" if ids.civitai_version is not None or ids.civitai_model is not None else "elsewhere"
