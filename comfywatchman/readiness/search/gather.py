"""Ask the hubs about proposals and names, and let `readiness.search.verify` decide on what they say.

Every address is built here from ids; an address that somebody else wrote is read for its ids and never asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.readiness.search.claims import Facts, Proposal, State, Wanted
from comfywatchman.readiness.search.results import Ids, SearchResult, doubted, left_unseen, silence_of
from comfywatchman.readiness.search.verify import Policy, judge, reason_invalid
from comfywatchman.sources.civarchive import CivArchive
from comfywatchman.sources.civitai.client import Civitai, CivitaiHit
from comfywatchman.sources.civitai.schema import CivitaiVersion
from comfywatchman.sources.file_names import base_name, is_precision_variant, same_name, search_terms
from comfywatchman.sources.huggingface import Gated, HuggingFace, NotThere, RemoteFile
from comfywatchman.sources.urls import HuggingFaceFile, civitai_url, hugging_face_url

MOST_PROPOSALS: Final = 40
_MOST_FILES_OF_A_REPO: Final = 4
_REPOS_PER_TERM: Final = 5
_TERMS: Final = 2


@dataclass(frozen=True, slots=True)
class Hubs:
    """Whom the search may ask; None for a hub that is not to be asked."""

    civitai: Civitai | None = None
    huggingface: HuggingFace | None = None
    civarchive: CivArchive | None = None


def verify(
    wanted: Wanted, proposals: Iterable[Proposal], hubs: Hubs, *, policy: Policy, searched_at: str
) -> SearchResult:
    """Return what proposals prove for a model, by asking the hubs that they name; never raises for a hub's trouble.

    Args:
        wanted: The model.
        proposals: Claims, the most trusted first; no more than `MOST_PROPOSALS` are looked into.
        hubs: Whom to ask.
        policy: What may become FOUND.
        searched_at: The moment of asking, as state files write it.
    """
    facts: list[Facts] = []
    claims = list(dict.fromkeys(proposals)) if reason_invalid(wanted) is None else []
    for proposal in claims[:MOST_PROPOSALS]:
        facts.extend(facts_of(proposal, wanted, hubs))
    left = len(claims) - MOST_PROPOSALS
    unseen = (f"Of {len(claims)} proposals, the last {left} were not looked into.",) if left > 0 else ()
    return doubted(judge(wanted, facts, policy=policy, searched_at=searched_at), unseen)


def facts_of(proposal: Proposal, wanted: Wanted, hubs: Hubs) -> tuple[Facts, ...]:
    """Return what the hubs say of a proposal: one entry for each file that it may mean."""
    ids = proposal.ids
    try:
        if ids.repo is not None and hubs.huggingface is not None:
            return tuple(_on_hugging_face(proposal, wanted, hubs.huggingface))
        if (ids.civitai_version is not None or ids.civitai_model is not None) and hubs.civitai is not None:
            return tuple(_on_civitai(proposal, hubs.civitai))
    except Failure as failure:
        return (_unanswered(proposal, _hub(ids), failure, _address(ids, hubs)),)
    said = "its host gives no hash before a download, so it cannot be verified"
    if ids != Ids():
        said = "its hub is not to be asked"
    return (Facts(proposal, "unverifiable", _hub(ids), name=proposal.name, ids=ids, said=said),)


def search_civitai(
    wanted: Wanted, hubs: Hubs, *, policy: Policy, searched_at: str, terms: Sequence[str] = ()
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
        return judge(wanted, (), policy=policy, searched_at=searched_at)
    cut: tuple[str, ...] = ()
    try:
        hits, cut = _civitai_hits(wanted, hubs.civitai, terms)
        facts = [_civitai_file(proposal, hit) for hit in hits]
    except Failure as failure:
        facts = [_unanswered(proposal, "civitai", failure)]
    answer = judge(wanted, facts, policy=policy, searched_at=searched_at)
    return doubted(answer, left_unseen("civitai", cut))


def search_hugging_face(
    wanted: Wanted, hubs: Hubs, *, policy: Policy, searched_at: str, terms: Sequence[str] = ()
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
        return judge(wanted, (), policy=policy, searched_at=searched_at)
    facts: list[Facts] = []
    cut: list[str] = []
    closed: list[str] = []
    try:
        ladder = tuple(dict.fromkeys((*terms, *search_terms(wanted.names[-1]))))[: _TERMS + len(terms)]
        for repo in _repos(hub, ladder, cut):
            found = Proposal("search", "Hugging Face's search", Ids(repo=repo))
            for one in _on_hugging_face(found, wanted, hub):
                if one.state == "gated" and one.ids.path is None:
                    closed.append(one.said)
                elif one.state != "absent":
                    facts.append(one)
    except Failure as failure:
        facts.append(_unanswered(proposal, "huggingface", failure))
    answer = judge(wanted, facts, policy=policy, searched_at=searched_at)
    return doubted(answer, (*left_unseen("huggingface", cut), *closed))


def search_civarchive(wanted: Wanted, hubs: Hubs, *, policy: Policy, searched_at: str) -> SearchResult:
    """Return what is remembered of a model whose hash is declared; a hint for a person, never FOUND."""
    proposal = Proposal("search", "CivArchive")
    facts: list[Facts] = []
    if hubs.civarchive is not None and wanted.sha256 is not None:
        try:
            facts.extend(_remembered(proposal, wanted, hubs.civarchive, wanted.sha256))
        except Failure as failure:
            facts.append(_unanswered(proposal, "civarchive", failure))
    return judge(wanted, facts, policy=policy, searched_at=searched_at)


def _civitai_hits(
    wanted: Wanted, civitai: Civitai, terms: Sequence[str]
) -> tuple[tuple[CivitaiHit, ...], tuple[str, ...]]:
    """Return files, and the search terms for which there was more than was looked through."""
    if wanted.sha256 is not None:
        known = civitai.by_hash(wanted.sha256)
        if known is not None and known.hit is not None:
            return (known.hit,), ()
    found = civitai.find_by_file_name(wanted.names[0], also=wanted.names[1:], terms=terms)
    return (*found.exact, *found.variants), found.cut


def _repos(hub: HuggingFace, ladder: Sequence[str], cut: list[str]) -> tuple[str, ...]:
    """Return the repositories that search terms lead to; terms that lead to more are added to `cut`."""
    repos: dict[str, None] = {}
    for term in ladder:
        listed = hub.search_repos(term, limit=_REPOS_PER_TERM + 1)
        cut.extend([term] if len(listed) > _REPOS_PER_TERM else [])
        repos |= dict.fromkeys(one.id for one in listed[:_REPOS_PER_TERM])
    return tuple(repos)


def _on_civitai(proposal: Proposal, civitai: Civitai) -> Iterator[Facts]:
    ids = proposal.ids
    base_url, versions = _civitai_versions(ids, civitai)
    files = [CivitaiHit(base_url, version, file) for version in versions for file in version.files]
    meant = [hit for hit in files if ids.civitai_file in {None, hit.file.id}]
    if not meant:
        what = f"version {ids.civitai_version}" if ids.civitai_version else f"model {ids.civitai_model}"
        yield Facts(proposal, "absent", "civitai", ids=ids, said=f"Civitai has no such file of {what}.")
    for hit in meant:
        yield _civitai_file(proposal, hit)


def _civitai_versions(ids: Ids, civitai: Civitai) -> tuple[str, tuple[CivitaiVersion, ...]]:
    if ids.civitai_version is not None:
        version = civitai.version(ids.civitai_version)
        return (version[0], (version[1],)) if version is not None else ("", ())
    model = civitai.model(ids.civitai_model or 0)
    return (model[0], model[1].versions) if model is not None else ("", ())


def _civitai_file(proposal: Proposal, hit: CivitaiHit) -> Facts:
    version, file = hit.version, hit.file
    return Facts(
        proposal=proposal,
        state="there",
        source="civitai",
        name=file.name,
        ids=Ids(civitai_model=version.model_id or None, civitai_version=version.id, civitai_file=file.id or None),
        url=civitai_url(hit.base_url, version.id, file.id or None),
        size=file.size_bytes,
        size_is_exact=False,
        sha256=file.sha256,
        model_type=version.model_type,
        file_type=file.type,
        format=file.metadata.format if file.metadata is not None else None,
        scans=tuple(scan for scan in (file.pickle_scan_result, file.virus_scan_result) if scan),
        base_model=version.base_model,
        note=_access_note(version),
    )


def _access_note(version: CivitaiVersion) -> str | None:
    if version.paid_access is not None:
        until = version.paid_access.ends_at
        return f"Early access: only buyers may download it until {until}" if until else "Only buyers may download it"
    if version.usage_control not in {None, "Download"}:
        return "Its creator does not let it be downloaded"
    return None


def _on_hugging_face(proposal: Proposal, wanted: Wanted, hub: HuggingFace) -> Iterator[Facts]:
    ids = proposal.ids
    repo, revision = ids.repo or "", ids.revision or "main"
    if ids.path is not None:
        yield _hugging_face_file(proposal, hub, HuggingFaceFile(repo, revision, ids.path))
        return
    listed = hub.files(repo, revision=revision)
    if isinstance(listed, (NotThere, Gated)):
        yield _not_there(proposal, listed, ids)
        return
    named = [file.path for file in listed if _could_be(wanted, base_name(file.path))]
    # A repository may hold the same model in a dozen precisions.
    named.sort(key=lambda path: not _is_named(wanted, base_name(path)))
    for path in named[:_MOST_FILES_OF_A_REPO]:
        yield _hugging_face_file(proposal, hub, HuggingFaceFile(repo, revision, path))
    if not named:
        yield Facts(proposal, "absent", "huggingface", ids=ids, said=f"{repo} has no file of that name.")


def _hugging_face_file(proposal: Proposal, hub: HuggingFace, file: HuggingFaceFile) -> Facts:
    answer = hub.head_file(file.repo, file.revision, file.path)
    if not isinstance(answer, RemoteFile):
        return _not_there(proposal, answer, Ids(repo=file.repo, revision=file.revision, path=file.path))
    pinned = HuggingFaceFile(answer.repo, answer.commit, answer.path)
    return Facts(
        proposal=proposal,
        state="there",
        source="huggingface",
        name=base_name(answer.path),
        ids=Ids(repo=answer.repo, revision=answer.commit, path=answer.path),
        url=hugging_face_url(hub.base_url, pinned),
        size=answer.size,
        sha256=answer.sha256,
    )


def _not_there(proposal: Proposal, answer: NotThere | Gated, ids: Ids) -> Facts:
    state: State = "gated" if isinstance(answer, Gated) else "absent"
    name = base_name(ids.path or "") or proposal.name
    return Facts(proposal, state, "huggingface", name, ids, said=answer.message)


def _remembered(proposal: Proposal, wanted: Wanted, archive: CivArchive, digest: str) -> Iterator[Facts]:
    version = archive.by_sha256(digest)
    for file in version.files if version is not None else ():
        living = [mirror for mirror in file.mirrors if mirror.deleted_at is None]
        yield Facts(
            proposal=proposal,
            state="unverifiable",
            source="civarchive",
            name=file.name or wanted.names[0],
            sha256=digest,
            base_model=version.base_model if version is not None else None,
            said=f"CivArchive remembers it with {len(living)} mirrors; look there, and compare the hash.",
        )


def _unanswered(proposal: Proposal, source: str, failure: Failure, url: str | None = None) -> Facts:
    said = silence_of(source) if failure.code == "http-unreachable" else failure.message
    name = base_name(proposal.ids.path or "") or proposal.name
    return Facts(proposal, "unknown", source, name=name, ids=proposal.ids, url=url, said=said)


def _address(ids: Ids, hubs: Hubs) -> str | None:
    """Return where a file is that could not be verified, as far as its ids tell."""
    if ids.repo is not None and ids.path is not None and hubs.huggingface is not None:
        file = HuggingFaceFile(ids.repo, ids.revision or "main", ids.path)
        return hugging_face_url(hubs.huggingface.base_url, file)
    if ids.civitai_version is not None and hubs.civitai is not None:
        return civitai_url(hubs.civitai.base_urls[0], ids.civitai_version, ids.civitai_file)
    return None


def _could_be(wanted: Wanted, name: str) -> bool:
    return _is_named(wanted, name) or any(is_precision_variant(one, name) for one in wanted.names)


def _is_named(wanted: Wanted, name: str) -> bool:
    return any(same_name(one, name) for one in wanted.names)


def _hub(ids: Ids) -> str:
    if ids.repo is not None:
        return "huggingface"
    return "civitai" if ids.civitai_version is not None or ids.civitai_model is not None else "elsewhere"
