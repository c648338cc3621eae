"""The models a picture was made with: merged from its metadata, and compared to the models of a host. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import msgspec

from comfywatchman.base.files import printable_path, to_nfc
from comfywatchman.readiness.models.index import FileHashes
from comfywatchman.readiness.models.inventory import FileKey, ModelFile
from comfywatchman.readiness.search.model_types import FOLDERS_BY_MODEL_TYPE
from comfywatchman.sources.civitai.images import ImageResource
from comfywatchman.sources.civitai.schema import CivitaiFile, CivitaiVersion
from comfywatchman.sources.file_names import MODEL_EXTENSIONS, base_name, extension, is_generic, is_same_name

_TYPE_ALIASES: Final = {
    "embed": "embedding",
    "ti": "embedding",
    "textualinversion": "embedding",
    "hypernet": "hypernetwork",
}
_FOLDERS: Final = {
    **{model_type.lower(): folders for model_type, folders in FOLDERS_BY_MODEL_TYPE.items()},
    "embedding": FOLDERS_BY_MODEL_TYPE["TextualInversion"],
}
_MODEL_FILES: Final = frozenset({None, "Model", "Pruned Model"})
_DIGEST: Final = re.compile(r"[0-9a-f]+")
_HASH_KIND_BY_LENGTH: Final = {10: "AutoV2", 12: "AutoV3", 64: "SHA-256"}


@dataclass(frozen=True, slots=True)
class ResourceVersion:
    """A model as the metadata of a picture names it, and its version on Civitai if known."""

    resource: ImageResource
    version: CivitaiVersion | None = None


class Presence(StrEnum):
    """Whether this host has a model that a picture was made with."""

    HERE = "here"
    BY_NAME = "here by name only"
    NOT_HERE = "not here"
    UNKNOWN = "unknown"


class UsedModel(msgspec.Struct, frozen=True):
    """A model that a picture was made with.

    Attributes:
        type: `checkpoint`, `lora`, `embedding`, …, in lower case; `model` if the metadata is not more specific.
        name: As the author's program wrote it.
        weight: Its strength.
        hash: Hash in the metadata, lower case.
        hash_kind: `AutoV2`, `AutoV3` or `SHA-256`, by its length; null for others.
        model: Names of the model and its version on Civitai.
        model_id: Id of the model on Civitai.
        version_id: Id of the version on Civitai.
        files: Names on Civitai of the files that may be meant.
        state: Whether this host has it.
        found_by: Evidence for the state: `SHA-256`, `AutoV2`, `AutoV3` or `file name`.
        path: Path on this host, printable; for `not here`, a file of that name with other content.
    """

    type: str
    name: str | None = None
    weight: float | None = None
    hash: str | None = None
    hash_kind: str | None = None
    model: str | None = None
    model_id: int | None = None
    version_id: int | None = None
    files: tuple[str, ...] = ()
    state: Presence = Presence.UNKNOWN
    found_by: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class HostModels:
    """Index of the models of this host, by hash and by name.

    Attributes:
        by_digest: A file for every SHA-256, AutoV2 and AutoV3, lower case.
        by_name: Files by lower-case file name, with and without its extension.
        hashes: Known hashes of the files.
        not_hashed: Number of files without a hash.
    """

    by_digest: Mapping[str, ModelFile]
    by_name: Mapping[str, tuple[ModelFile, ...]]
    hashes: Mapping[FileKey, FileHashes]
    not_hashed: int


def index_host_models(files: Iterable[ModelFile], hashes: Mapping[FileKey, FileHashes]) -> HostModels:
    """Index the healthy files of a host by hash and by name."""
    healthy = [file for file in files if file.problem is None]
    by_digest: dict[str, ModelFile] = {}
    by_name: dict[str, list[ModelFile]] = {}
    for file in healthy:
        for digest in _list_digests(hashes.get(file.key)):
            by_digest.setdefault(digest, file)
        name = _name_key(base_name(file.name))
        # Metadata names most models without their extension.
        for key in (name, name.removesuffix(extension(name))):
            by_name.setdefault(key, []).append(file)
    not_hashed = {file.key for file in healthy if file.key not in hashes}
    return HostModels(by_digest, {key: tuple(files) for key, files in by_name.items()}, hashes, len(not_hashed))


def merge_resources(resources: Iterable[ImageResource]) -> tuple[ImageResource, ...]:
    """Merge entries for the same model; hashes become lower case, malformed ones are dropped."""
    merged: list[ImageResource] = []
    for raw in resources:
        digest = raw.hash.strip().lower() if raw.hash else ""
        valid_digest = digest if _DIGEST.fullmatch(digest) else None
        resource = replace(raw, type=_TYPE_ALIASES.get(raw.type, raw.type), hash=valid_digest)
        for index, other in enumerate(merged):
            if _is_same_model(resource, other):
                merged[index] = _join_resources(other, resource)
                break
        else:
            merged.append(resource)
    return tuple(merged)


def match_versions(entries: Sequence[ResourceVersion]) -> list[ResourceVersion]:
    """Merge each entry that is only a version id into the entry with a file of that version, by name or hash."""
    matched = [entry for entry in entries if not _is_bare_version(entry.resource)]
    bare_entries = [entry for entry in entries if _is_bare_version(entry.resource)]
    for bare in bare_entries:
        for index, entry in enumerate(matched):
            if _is_file_of(entry, bare):
                joined = _join_resources(entry.resource, bare.resource)
                matched[index] = ResourceVersion(joined, entry.version or bare.version)
                break
        else:
            matched.append(bare)
    return matched


def compare_with_host(entry: ResourceVersion, host: HostModels | None) -> UsedModel:
    """Return whether this host has a model: by its hashes, else by its exact file name.

    A name proves little: a file with a known other hash is not the model, and a title is not a file name.

    Args:
        entry: The model, merged by `merge_resources` and `match_versions`.
        host: Models of this host; None to compare nothing.
    """
    files = _select_files(entry.resource, entry.version)
    used = _describe_model(entry.resource, entry.version, files)
    if host is None:
        return used
    digests = tuple(dict.fromkeys(_list_query_digests(entry.resource, files)))
    for digest in digests:
        if digest in host.by_digest:
            path = printable_path(host.by_digest[digest].path)
            found_by = _HASH_KIND_BY_LENGTH[len(digest)]
            return msgspec.structs.replace(used, state=Presence.HERE, found_by=found_by, path=path)
    all_names = (base_name(entry.resource.name or ""), *used.files)
    names = [name for name in all_names if name and not is_generic(name)]
    other_path: str | None = None
    for file in _find_files_by_name(names, used.type, host):
        if not _has_other_bytes(file, digests, host):
            path = printable_path(file.path)
            return msgspec.structs.replace(used, state=Presence.BY_NAME, found_by="file name", path=path)
        other_path = other_path or printable_path(file.path)
    # Without a hash or a file name nothing was compared, so the state stays UNKNOWN.
    if digests or any(extension(name) in MODEL_EXTENSIONS for name in names):
        return msgspec.structs.replace(used, state=Presence.NOT_HERE, path=other_path)
    return used


def _is_same_model(resource: ImageResource, other: ImageResource) -> bool:
    if resource.hash and other.hash:
        # An AutoV2 is the beginning of the SHA-256.
        short, long = sorted((resource.hash, other.hash), key=len)
        return short == long or (len(short) in _HASH_KIND_BY_LENGTH and long.startswith(short))
    if resource.version_id is not None and other.version_id is not None:
        return resource.version_id == other.version_id
    if resource.name is None or other.name is None:
        return False
    has_same_type = resource.type == other.type or "model" in {resource.type, other.type}
    return has_same_type and _stem(resource.name) == _stem(other.name)


def _is_bare_version(resource: ImageResource) -> bool:
    return not resource.hash and not resource.name


def _is_file_of(entry: ResourceVersion, bare: ResourceVersion) -> bool:
    """Return whether an entry is a file of the version that a bare entry names."""
    if entry.version is not None:
        return entry.version.id == bare.resource.version_id
    files = bare.version.files if bare.version is not None else ()
    digest = entry.resource.hash
    if digest:
        return any(file.has_hash(digest) for file in files)
    return any(_has_name(file, entry.resource) for file in files)


def _has_name(file: CivitaiFile, resource: ImageResource) -> bool:
    return not is_generic(file.name) and is_same_name(file.name, base_name(resource.name or ""))


def _join_resources(resource: ImageResource, other: ImageResource) -> ImageResource:
    """Merge two entries for one model; the first one wins where both state a fact."""
    names = [name for name in (resource.name, other.name) if name]
    # A file name says more than a title.
    names.sort(key=lambda name: extension(name) not in MODEL_EXTENSIONS)
    longest_hash = max(resource.hash or "", other.hash or "", key=len)
    return ImageResource(
        type=resource.type if resource.type != "model" else other.type,
        name=names[0] if names else None,
        hash=longest_hash or None,
        version_id=resource.version_id if resource.version_id is not None else other.version_id,
        weight=resource.weight if resource.weight is not None else other.weight,
    )


def _select_files(resource: ImageResource, version: CivitaiVersion | None) -> tuple[CivitaiFile, ...]:
    """Return the files of a version that may be meant: those with the hash, else with the name, else all models."""
    files = version.files if version is not None else ()
    if resource.hash:
        return tuple(file for file in files if file.has_hash(resource.hash))
    named = tuple(file for file in files if _has_name(file, resource))
    models = tuple(file for file in files if file.type in _MODEL_FILES)
    return named or models or files


def _describe_model(
    resource: ImageResource, version: CivitaiVersion | None, files: tuple[CivitaiFile, ...]
) -> UsedModel:
    used = UsedModel(
        type=resource.type,
        name=resource.name,
        weight=resource.weight,
        hash=resource.hash,
        hash_kind=_HASH_KIND_BY_LENGTH.get(len(resource.hash or "")),
        version_id=resource.version_id,
        files=tuple(file.name for file in files if file.name),
    )
    if version is None:
        return used
    model_name = version.model.name if version.model is not None else None
    version_type = (version.model_type or "").lower()
    if version_type and used.type == "model":
        used = msgspec.structs.replace(used, type=_TYPE_ALIASES.get(version_type, version_type))
    return msgspec.structs.replace(
        used,
        model=" ".join(title for title in (model_name, version.name) if title) or None,
        model_id=version.model_id or None,
        version_id=version.id,
    )


def _list_query_digests(resource: ImageResource, files: Iterable[CivitaiFile]) -> Iterator[str]:
    """Yield the hashes to look for in the index, the strongest first."""
    for file in files:
        if file.sha256 is not None:
            yield file.sha256
    if resource.hash and len(resource.hash) in _HASH_KIND_BY_LENGTH:
        yield resource.hash
    for file in files:
        for kind in ("AutoV2", "AutoV3"):
            digest = file.hashes.get(kind)
            if digest and len(digest) in _HASH_KIND_BY_LENGTH:
                yield digest.lower()


def _find_files_by_name(names: Iterable[str], model_type: str, host: HostModels) -> Iterator[ModelFile]:
    folders = _FOLDERS.get(model_type)
    for name in names:
        for file in host.by_name.get(_name_key(name), ()):
            if folders is None or file.folder in folders:
                yield file


def _has_other_bytes(file: ModelFile, digests: Iterable[str], host: HostModels) -> bool:
    """Return whether a file that matches none of the digests has a hash of the same kind as one of them."""
    own_lengths = {len(digest) for digest in _list_digests(host.hashes.get(file.key))}
    return any(len(digest) in own_lengths for digest in digests)


def _list_digests(hashes: FileHashes | None) -> tuple[str, ...]:
    if hashes is None:
        return ()
    digests = (hashes.sha256, hashes.autov2, hashes.autov3)
    return tuple(digest for digest in digests if digest)


def _name_key(name: str) -> str:
    return to_nfc(name).lower()


def _stem(name: str) -> str:
    key = _name_key(base_name(name))
    # Only known extensions are removed: in `model_v1.5` the end is part of the name.
    suffix = extension(key)
    return key.removesuffix(suffix) if suffix in MODEL_EXTENSIONS else key
