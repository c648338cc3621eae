"""Reads what Civitai and Hugging Face report about proposed files, and proofs that a declared place lacks them.

Every URL is built here from ids. A URL from a workflow, a note or a web page is parsed for its ids and never requested.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from comfywatchman.readiness.search.absence import prove_by_listing
from comfywatchman.readiness.search.claims import HubRecord, HubState, ModelQuery, Proposal
from comfywatchman.readiness.search.results import FileDetails, HubIds
from comfywatchman.sources.civitai.client import Civitai
from comfywatchman.sources.civitai.lookups import CivitaiHit
from comfywatchman.sources.civitai.schema import CivitaiModel, CivitaiVersion, FileMetadata, ModelMode
from comfywatchman.sources.file_names import (
    base_name,
    find_precision,
    is_precision_variant,
    is_same_name,
    may_belong_to,
)
from comfywatchman.sources.huggingface import GatedRepo, HubNotFound, HuggingFace, RemoteFile, RepoFiles
from comfywatchman.sources.urls import (
    HuggingFaceFile,
    build_civitai_page_url,
    build_civitai_url,
    build_hugging_face_page_url,
    build_hugging_face_url,
)

_MAX_FILES_PER_REPO: Final = 4
_DEFAULT_REVISION: Final = "main"
_WITHDRAWN: Final = {
    ModelMode.ARCHIVED: (HubState.ARCHIVED, "is archived by its author, so Civitai offers no download"),
    ModelMode.TAKEN_DOWN: (HubState.TAKEN_DOWN, "was taken down by Civitai"),
}
_ABSENCE_STATES: Final = {
    "repo": HubState.HIDDEN,
    "disabled": HubState.TAKEN_DOWN,
    "revision": HubState.ABSENT,
    "entry": HubState.ABSENT,
    "address": HubState.ABSENT,
}
_EARLY_ACCESS: Final = "EarlyAccess"
_GENERATION_ONLY: Final = frozenset({"Generation", "InternalGeneration"})
_PRUNED_MODEL: Final = "Pruned Model"
_NOT_IN_REPO: Final = frozenset({"revision", "entry"})


def has_same_name(query: ModelQuery, name: str) -> bool:
    """Return whether a file has one of the wanted names, ignoring case."""
    return any(is_same_name(wanted, name) for wanted in query.names)


def build_unreadable_record(proposal: Proposal, source: str, reason: str, ids: HubIds | None = None) -> HubRecord:
    """Return the record of something that could not be read, and so may be the file."""
    return HubRecord(proposal, HubState.UNREADABLE, source, proposal.name, ids or proposal.ids, reason=reason)


def describe_unreadable_entries(site: str, count: int) -> str:
    """Return the sentence for entries of a response that could not be read."""
    entries = "1 entry" if count == 1 else f"{count} entries"
    return f"{entries} in the answer of {site} could not be read."


def read_civitai_records(proposal: Proposal, query: ModelQuery, civitai: Civitai) -> list[HubRecord]:
    """Return a record for each file that a proposal on Civitai may mean.

    Raises:
        Failure: Civitai could not be queried.
    """
    ids = proposal.ids
    base_url, versions = _read_civitai_versions(ids, civitai)
    subject = f"version {ids.civitai_version}" if ids.civitai_version else f"model {ids.civitai_model}"
    is_declared = proposal.by == "workflow"
    if not base_url:
        # To others, a private or unpublished version looks like one that does not exist.
        state = HubState.HIDDEN if is_declared else HubState.ABSENT
        reason = f"Civitai has no {subject}, or it is private."
        return [HubRecord(proposal, state, "civitai", proposal.name, ids, reason=reason)]
    hits = [CivitaiHit(base_url, version, file) for version in versions for file in version.files]
    chosen = [hit for hit in hits if ids.civitai_file is None or hit.file.id == ids.civitai_file]
    if not chosen and is_declared:
        # The file got another id, for example when its author uploaded it again.
        chosen = [hit for hit in hits if has_same_name(query, hit.file.name)]
    # All versions of a model come as a list; a single version tells everything about itself.
    is_listed = ids.civitai_version is None
    records = [build_civitai_record(proposal, hit, is_listed=is_listed) for hit in chosen]
    records += _read_withdrawn_versions(proposal, query, versions)
    unreadable = sum(version.unreadable for version in versions)
    if unreadable and not any(_is_wanted(query, hit) for hit in chosen):
        reason = describe_unreadable_entries("Civitai", unreadable)
        records.append(build_unreadable_record(proposal, "civitai", reason))
    if records:
        return records
    proof = None
    if is_declared:
        names = [hit.file.name for hit in hits]
        proof = prove_by_listing(query.names, names, unreadable=unreadable, source="civitai", place=subject)
    reason = f"Civitai has no such file of {subject}."
    return [HubRecord(proposal, HubState.ABSENT, "civitai", ids=ids, reason=reason, absence=proof)]


def _is_wanted(query: ModelQuery, hit: CivitaiHit) -> bool:
    has_same_hash = query.sha256 is not None and hit.file.sha256 == query.sha256
    return has_same_hash or has_same_name(query, hit.file.name)


def _read_civitai_versions(ids: HubIds, civitai: Civitai) -> tuple[str, tuple[CivitaiVersion, ...]]:
    """Return the base URL of the server that has the version or model, and the versions; empty if there is none."""
    if ids.civitai_version is not None:
        found_version = civitai.fetch_version(ids.civitai_version)
        if found_version is None:
            return "", ()
        base_url, version = found_version
        return base_url, (version,)
    found_model = civitai.fetch_model(ids.civitai_model or 0)
    if found_model is None:
        return "", ()
    base_url, model = found_model
    return base_url, model.versions


def _read_withdrawn_versions(
    proposal: Proposal, query: ModelQuery, versions: Sequence[CivitaiVersion]
) -> Iterator[HubRecord]:
    """Yield a record for each version whose files are not listed because its model was withdrawn."""
    for version in versions:
        model_name = (version.model.name if version.model is not None else None) or ""
        is_meant = proposal.by != "note" or any(may_belong_to(name, model_name) for name in query.names)
        if version.mode is not None and not version.files and is_meant:
            ids = HubIds(civitai_model=version.model_id or None, civitai_version=version.id)
            yield build_withdrawn_record(proposal, version.mode, model_name, ids)


def build_withdrawn_record(proposal: Proposal, mode: ModelMode, model_name: str, ids: HubIds) -> HubRecord:
    """Return the record of a model on Civitai that was archived or taken down."""
    state, text = _WITHDRAWN[mode]
    reason = f"{model_name or 'The model'} {text}."
    return HubRecord(proposal, state, "civitai", proposal.name, ids, reason=reason)


def build_withdrawn_model_record(proposal: Proposal, model: CivitaiModel, mode: ModelMode) -> HubRecord:
    """Return the record of a withdrawn model whose files are not listed."""
    return build_withdrawn_record(proposal, mode, model.name or "", HubIds(civitai_model=model.id or None))


def build_civitai_record(proposal: Proposal, hit: CivitaiHit, *, is_listed: bool = False) -> HubRecord:
    """Return the record of a file on Civitai.

    Args:
        proposal: The claim that led to it.
        hit: The file.
        is_listed: Whether it comes from a list, which leaves out whether the file may be downloaded.
    """
    version, file = hit.version, hit.file
    file_id = file.id or None
    # A version may list the VAE of another one, which has it under its own address only.
    version_id = file.download_version or version.id
    model_id = version.model_id or None if version_id == version.id else None
    state, reason = HubState.PRESENT, ""
    if version.mode is not None:
        state, text = _WITHDRAWN[version.mode]
        reason = f"The model {text}."
    return HubRecord(
        proposal=proposal,
        state=state,
        source="civitai",
        name=file.name,
        ids=HubIds(civitai_model=model_id, civitai_version=version_id, civitai_file=file_id),
        url=build_civitai_url(hit.base_url, version_id, file_id) if state is HubState.PRESENT else None,
        size=file.size_bytes,
        size_is_exact=False,
        sha256=file.sha256,
        model_type=version.model_type,
        file_type=file.type,
        format=file.metadata.format if file.metadata is not None else None,
        scans=tuple(scan for scan in (file.pickle_scan_result, file.virus_scan_result) if scan),
        base_model=version.base_model,
        details=_read_civitai_details(hit, version_id),
        restriction=_describe_restriction(version),
        is_complete=not is_listed and version_id == version.id,
        reason=reason,
        unreadable=file.unreadable,
    )


def _read_civitai_details(hit: CivitaiHit, version_id: int) -> FileDetails:
    version, file = hit.version, hit.file
    metadata = file.metadata or FileMetadata()
    page = None
    if version.model_id and version_id == version.id:
        page = build_civitai_page_url(hit.base_url, version.model_id, version.id)
    return FileDetails(
        precision=metadata.quant_type or metadata.fp or find_precision(file.name),
        pruning="pruned" if file.type == _PRUNED_MODEL else metadata.size,
        is_primary=bool(file.primary),
        version=version.name,
        page=page,
        licence=hit.licence,
    )


def _describe_restriction(version: CivitaiVersion) -> str | None:
    if version.paid_access is not None:
        until = version.paid_access.ends_at
        if until:
            return f"Early access: only buyers may download it until {until}"
        return "Only buyers may download it"
    if version.availability == _EARLY_ACCESS:
        return "Early access: only buyers may download it"
    if version.usage_control in _GENERATION_ONLY:
        return "Its creator allows it for generation on Civitai only, not for download"
    if version.usage_control not in {None, "Download"}:
        return "Its creator does not allow downloads"
    return None


def read_hugging_face_records(proposal: Proposal, query: ModelQuery, hub: HuggingFace) -> Iterator[HubRecord]:
    """Yield a record for each file that a proposal on Hugging Face may mean, those before a failure included.

    Raises:
        Failure: Hugging Face could not be queried.
    """
    ids = proposal.ids
    repo, revision = ids.repo or "", ids.revision or _DEFAULT_REVISION
    if ids.path is None:
        yield from _read_repository(proposal, query, hub, (revision,))
        return
    remote = hub.head_file(repo, revision, ids.path)
    if isinstance(remote, HubNotFound) and remote.what in _NOT_IN_REPO and proposal.by == "workflow":
        # The file may have been moved; only the list of all files shows that it is gone.
        yield from _read_repository(proposal, query, hub, tuple(dict.fromkeys((revision, _DEFAULT_REVISION))))
    else:
        yield _build_file_record(proposal, hub, HuggingFaceFile(repo, revision, ids.path), remote)


def _read_repository(
    proposal: Proposal, query: ModelQuery, hub: HuggingFace, revisions: Sequence[str]
) -> Iterator[HubRecord]:
    """Yield the files of a repository that may be the model; without any, a record with what its listing proves."""
    repo = proposal.ids.repo or ""
    listed: dict[str, RepoFiles] = {}
    for revision in revisions:
        answer = hub.list_files(repo, revision=revision)
        if isinstance(answer, RepoFiles):
            listed[revision] = answer
        elif len(revisions) == 1 or not (isinstance(answer, HubNotFound) and answer.what in _NOT_IN_REPO):
            yield _build_absent_record(proposal, answer, proposal.ids)
            return
    # The file may be stored under another name than the workflow gives it.
    names = tuple(dict.fromkeys((*query.names, base_name(proposal.ids.path or query.names[0]))))
    has_match = False
    for revision, files in listed.items():
        paths = [file.path for file in files.files if _may_match(names, base_name(file.path))]
        # A repository may hold the same model in a dozen precisions; the wanted name is read first.
        paths.sort(key=lambda path: not _has_any_name(names, path))
        for path in paths[:_MAX_FILES_PER_REPO]:
            has_match = has_match or _has_any_name(names, path)
            file = HuggingFaceFile(repo, revision, path)
            yield _build_file_record(proposal, hub, file, hub.head_file(repo, revision, path))
    if not has_match:
        yield _build_listing_record(proposal, names, listed)


def _build_listing_record(proposal: Proposal, names: Sequence[str], listed: dict[str, RepoFiles]) -> HubRecord:
    """Return the record of a repository in whose listings no file has one of the wanted names."""
    repo = proposal.ids.repo or ""
    unreadable = sum(files.unreadable for files in listed.values())
    if unreadable:
        return build_unreadable_record(proposal, "huggingface", describe_unreadable_entries(repo, unreadable))
    if not all(files.is_complete for files in listed.values()):
        reason = f"{repo} has more files than were read."
        return HubRecord(proposal, HubState.CUT, "huggingface", proposal.name, proposal.ids, reason=reason)
    proof = None
    if proposal.by == "workflow" and listed:
        paths = [file.path for files in listed.values() for file in files.files]
        proof = prove_by_listing(
            names, paths, unreadable=unreadable, source="huggingface", place=repo, revisions=tuple(listed)
        )
    reason = f"{repo} has no file of that name."
    return HubRecord(proposal, HubState.ABSENT, "huggingface", ids=proposal.ids, reason=reason, absence=proof)


def _build_file_record(
    proposal: Proposal, hub: HuggingFace, file: HuggingFaceFile, remote: RemoteFile | HubNotFound | GatedRepo
) -> HubRecord:
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
        details=FileDetails(
            precision=find_precision(base_name(remote.path)), page=build_hugging_face_page_url(hub.base_url, pinned)
        ),
        unreadable=remote.unreadable,
    )


def _build_absent_record(proposal: Proposal, absence: HubNotFound | GatedRepo, ids: HubIds) -> HubRecord:
    state = HubState.GATED if isinstance(absence, GatedRepo) else _ABSENCE_STATES[absence.what]
    name = base_name(ids.path or "") or proposal.name
    return HubRecord(proposal, state, "huggingface", name, ids, reason=absence.message)


def _has_any_name(names: Sequence[str], path: str) -> bool:
    return any(is_same_name(name, base_name(path)) for name in names)


def _may_match(names: Sequence[str], name: str) -> bool:
    return any(is_same_name(wanted, name) or is_precision_variant(wanted, name) for wanted in names)
