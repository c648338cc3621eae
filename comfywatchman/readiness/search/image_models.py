"""The models a picture was made with: joined from what it says in several places, and compared with a host's. Pure."""

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
    **{kind.lower(): folders for kind, folders in FOLDERS_BY_MODEL_TYPE.items()},
    "embedding": FOLDERS_BY_MODEL_TYPE["TextualInversion"],
}
_MODEL_FILES: Final = frozenset({None, "Model", "Pruned Model"})
_DIGEST: Final = re.compile(r"[0-9a-f]+")
_HASH_KIND_BY_LENGTH: Final = {10: "AutoV2", 12: "AutoV3", 64: "SHA-256"}

ResourceVersion = tuple[ImageResource, CivitaiVersion | None]
"""A model as a picture names it, and what Civitai says of it."""


class Presence(StrEnum):
    """Whether this host has a model that a picture was made with."""

    HERE = "here"
    BY_NAME = "here by name only"
    NOT_HERE = "not here"
    UNKNOWN = "unknown"


class UsedModel(msgspec.Struct, frozen=True):
    """A model that a picture was made with.

    Attributes:
        type: `checkpoint`, `lora`, `embedding`, …; `model` where nobody says more. Lower case.
        name: As the picture's maker had it.
        weight: Its strength.
        hash: As the picture has it, lower case.
        hash_kind: `AutoV2`, `AutoV3` or `SHA-256`, by its length; null for others.
        model: What Civitai calls the model and its version.
        model_id: Civitai's model.
        version_id: Civitai's version.
        files: What Civitai calls the files that are meant.
        state: Whether it is here.
        found_by: By what: `SHA-256`, `AutoV2`, `AutoV3`, `file name`.
        path: Where it is here, printable; for `not here`, a file of that name with other content.
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
    """The models of this host, ready to be compared.

    Attributes:
        by_digest: A file for every SHA-256, AutoV2 and AutoV3, lower case.
        by_name: Files by their last name, lower case, and by that without its extension.
        hashes: What is known of their bytes.
        not_hashed: How many of them have no hash yet.
    """

    by_digest: Mapping[str, ModelFile]
    by_name: Mapping[str, tuple[ModelFile, ...]]
    hashes: Mapping[FileKey, FileHashes]
    not_hashed: int


def index_host_models(files: Iterable[ModelFile], hashes: Mapping[FileKey, FileHashes]) -> HostModels:
    """Return the healthy ones of some files, ready to be compared."""
    healthy = [file for file in files if file.problem is None]
    by_digest: dict[str, ModelFile] = {}
    by_name: dict[str, list[ModelFile]] = {}
    for file in healthy:
        for digest in _list_digests(hashes.get(file.key)):
            by_digest.setdefault(digest, file)
        name = _name_key(base_name(file.name))
        for key in (name, name.removesuffix(extension(name))):
            by_name.setdefault(key, []).append(file)
    waiting = {file.key for file in healthy if file.key not in hashes}
    return HostModels(by_digest, {key: tuple(found) for key, found in by_name.items()}, hashes, len(waiting))


def merge_resources(resources: Iterable[ImageResource]) -> tuple[ImageResource, ...]:
    """Join what a picture says in several places of one model; real hashes in lower case, types in one spelling."""
    kept: list[ImageResource] = []
    for given in resources:
        digest = given.hash.strip().lower() if given.hash else ""
        digest_or_none = digest if _DIGEST.fullmatch(digest) else None
        one = replace(given, type=_TYPE_ALIASES.get(given.type, given.type), hash=digest_or_none)
        place = next((place for place, other in enumerate(kept) if _is_same_model(one, other)), None)
        if place is None:
            kept.append(one)
        else:
            kept[place] = _join_resources(kept[place], one)
    return tuple(kept)


def match_versions(known: Sequence[ResourceVersion]) -> list[ResourceVersion]:
    """Join bare version ids with the entries that name, or bear the hash of, a file of theirs."""
    found = [pair for pair in known if not _is_bare_version(pair[0])]
    for bare, version in (pair for pair in known if _is_bare_version(pair[0])):
        place = next((place for place, pair in enumerate(found) if _is_file_of(pair, bare.version_id, version)), None)
        if place is None:
            found.append((bare, version))
        else:
            one, own = found[place]
            found[place] = (_join_resources(one, bare), own or version)
    return found


def compare_with_host(resource: ImageResource, version: CivitaiVersion | None, host: HostModels | None) -> UsedModel:
    """Say whether this host has a model: by its hashes, else by its exact file name.

    A name proves nothing, so a file that is known to have other bytes is not it, and a title is no file name.

    Args:
        resource: What the picture says, as `merged` gives it.
        version: What Civitai says of it; None when nothing.
        host: What this host has; None when there is nothing to compare with.
    """
    files = _select_files(resource, version)
    used = _describe_model(resource, version, files)
    if host is None:
        return used
    digests = tuple(dict.fromkeys(_list_query_digests(resource, files)))
    for digest in digests:
        if digest in host.by_digest:
            path = printable_path(host.by_digest[digest].path)
            return msgspec.structs.replace(
                used, state=Presence.HERE, found_by=_HASH_KIND_BY_LENGTH[len(digest)], path=path
            )
    names = [name for name in (base_name(resource.name or ""), *used.files) if name and not is_generic(name)]
    other: str | None = None
    for file in _find_files_named(names, used.type, host):
        if not _has_other_bytes(file, digests, host):
            path = printable_path(file.path)
            return msgspec.structs.replace(used, state=Presence.BY_NAME, found_by="file name", path=path)
        other = other or printable_path(file.path)
    if digests or any(extension(name) in MODEL_EXTENSIONS for name in names):
        return msgspec.structs.replace(used, state=Presence.NOT_HERE, path=other)
    return used


def _is_same_model(one: ImageResource, other: ImageResource) -> bool:
    if one.hash and other.hash:
        short, long = sorted((one.hash, other.hash), key=len)
        return short == long or (len(short) in _HASH_KIND_BY_LENGTH and long.startswith(short))
    if one.version_id is not None and other.version_id is not None:
        return one.version_id == other.version_id
    alike = one.type == other.type or "model" in {one.type, other.type}
    return alike and one.name is not None and other.name is not None and _stem(one.name) == _stem(other.name)


def _is_bare_version(one: ImageResource) -> bool:
    return not one.hash and not one.name


def _is_file_of(pair: ResourceVersion, version_id: int | None, version: CivitaiVersion | None) -> bool:
    one, own = pair
    if own is not None:
        return own.id == version_id
    files = version.files if version is not None else ()
    return any(file.has_hash(one.hash) if one.hash else _has_name(file, one) for file in files)


def _has_name(file: CivitaiFile, one: ImageResource) -> bool:
    return not is_generic(file.name) and is_same_name(file.name, base_name(one.name or ""))


def _join_resources(one: ImageResource, other: ImageResource) -> ImageResource:
    names = sorted(filter(None, (one.name, other.name)), key=lambda name: extension(name) not in MODEL_EXTENSIONS)
    return ImageResource(
        type=one.type if one.type != "model" else other.type,
        name=names[0] if names else None,
        hash=max(one.hash or "", other.hash or "", key=len) or None,
        version_id=one.version_id if one.version_id is not None else other.version_id,
        weight=one.weight if one.weight is not None else other.weight,
    )


def _select_files(resource: ImageResource, version: CivitaiVersion | None) -> tuple[CivitaiFile, ...]:
    """Return the files of a version that can be meant: with the hash given, else of the name, else all models."""
    files = version.files if version is not None else ()
    if resource.hash:
        return tuple(file for file in files if file.has_hash(resource.hash))
    named = tuple(file for file in files if _has_name(file, resource))
    return named or tuple(file for file in files if file.type in _MODEL_FILES) or files


def _describe_model(
    resource: ImageResource, version: CivitaiVersion | None, files: tuple[CivitaiFile, ...]
) -> UsedModel:
    titles = (version.model.name if version.model else None, version.name) if version is not None else ()
    own_type = (version.model_type or "").lower() if version is not None else ""
    own_type = _TYPE_ALIASES.get(own_type, own_type)
    return UsedModel(
        type=own_type if own_type and resource.type == "model" else resource.type,
        name=resource.name,
        weight=resource.weight,
        hash=resource.hash,
        hash_kind=_HASH_KIND_BY_LENGTH.get(len(resource.hash or "")),
        model=" ".join(filter(None, titles)) or None,
        model_id=(version.model_id or None) if version is not None else None,
        version_id=version.id if version is not None else resource.version_id,
        files=tuple(file.name for file in files if file.name),
    )


def _list_query_digests(resource: ImageResource, files: Iterable[CivitaiFile]) -> Iterator[str]:
    """Yield what can be compared with the index, the surest first."""
    for file in files:
        if file.sha256 is not None:
            yield file.sha256
    if resource.hash and len(resource.hash) in _HASH_KIND_BY_LENGTH:
        yield resource.hash
    for file in files:
        own = (file.hashes.get(kind) for kind in ("AutoV2", "AutoV3"))
        yield from (digest.lower() for digest in own if digest and len(digest) in _HASH_KIND_BY_LENGTH)


def _find_files_named(names: Iterable[str], kind: str, host: HostModels) -> Iterator[ModelFile]:
    fitting = _FOLDERS.get(kind)
    for name in names:
        for file in host.by_name.get(_name_key(name), ()):
            if fitting is None or file.folder in fitting:
                yield file


def _has_other_bytes(file: ModelFile, digests: Iterable[str], host: HostModels) -> bool:
    """Say whether a file that bears none of the digests could have been recognised by one of them."""
    own = {len(digest) for digest in _list_digests(host.hashes.get(file.key))}
    return any(len(digest) in own for digest in digests)


def _list_digests(hashes: FileHashes | None) -> tuple[str, ...]:
    if hashes is None:
        return ()
    return (hashes.sha256, hashes.autov2, *((hashes.autov3,) if hashes.autov3 else ()))


def _name_key(name: str) -> str:
    return to_nfc(name).lower()


def _stem(name: str) -> str:
    key = _name_key(base_name(name))
    end = extension(key)
    return key.removesuffix(end) if end in MODEL_EXTENSIONS else key
