"""The parts of Civitai's answers that we read; everything else in them is ignored."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from comfywatchman.sources.site_responses import convert_entries, convert_or_none

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class FileMetadata(msgspec.Struct, frozen=True):
    """`metadata` of a file; `format` is `SafeTensor`, `PickleTensor`, `GGUF`."""

    format: str | None = None


class CivitaiFile(msgspec.Struct, frozen=True, rename="camel"):
    """One file of a version.

    Attributes:
        id: For `?fileId=`; 0 when Civitai does not tell.
        name: As a download would be called.
        size_kb: In units of 1024 bytes, rounded by Civitai.
        type: `Model`, `Pruned Model`, `VAE`, `Text Encoder`, `Training Data`, `Config`, …
        pickle_scan_result: `Success`, `Pending`, `Danger` or `Error`; for safetensors by extension only.
        virus_scan_result: The same words.
        metadata: Its format.
        hashes: By kind (`SHA256`, `AutoV2`, …).
    """

    id: int = 0
    name: str = ""
    size_kb: float | None = msgspec.field(name="sizeKB", default=None)
    type: str | None = None
    pickle_scan_result: str | None = None
    virus_scan_result: str | None = None
    metadata: FileMetadata | None = None
    hashes: dict[str, str | None] = {}

    @property
    def sha256(self) -> str | None:
        """Return the file's SHA-256 as lower-case hex, or None when Civitai gives none."""
        digest = (self.hashes.get("SHA256") or "").lower()
        return digest if _SHA256.fullmatch(digest) else None

    @property
    def size_bytes(self) -> int | None:
        """Return the size in bytes, exact to a few bytes only; None when Civitai gives none."""
        return round(self.size_kb * 1024) if self.size_kb is not None and 0 < self.size_kb < 1 << 40 else None

    def has_hash(self, digest: str) -> bool:
        """Say whether one of the file's hashes, of whatever kind, is this one."""
        return any((own or "").lower() == digest.lower() for own in self.hashes.values())


class PaidAccess(msgspec.Struct, frozen=True, rename="camel"):
    """Early access: until `ends_at` only buyers may download."""

    ends_at: str | None = None


class VersionModel(msgspec.Struct, frozen=True):
    """What a version says of its model."""

    name: str | None = None
    type: str | None = None


class CivitaiVersion(msgspec.Struct, frozen=True, rename="camel"):
    """A version of a model.

    Attributes:
        id: The version.
        model_id: Its model; 0 when the answer leaves it out.
        name: `v1.0`.
        base_model: `SD 1.5`, `Flux.1 D`, …
        usage_control: `Download`, or how else it may be used.
        paid_access: Early access, if any.
        model: Name and type of the model (`LORA`, `Checkpoint`, …).
        files: Its files.
    """

    id: int
    model_id: int = 0
    name: str | None = None
    base_model: str | None = None
    usage_control: str | None = None
    paid_access: PaidAccess | None = None
    model: VersionModel | None = None
    files: tuple[CivitaiFile, ...] = ()

    @property
    def model_type(self) -> str | None:
        """Return the model's type as Civitai calls it, or None when the answer leaves it out."""
        return self.model.type if self.model is not None else None


class CivitaiModel(msgspec.Struct, frozen=True, rename="camel"):
    """A model with its versions, each of which knows the model's name and type."""

    id: int
    name: str | None = None
    type: str | None = None
    versions: tuple[CivitaiVersion, ...] = msgspec.field(name="modelVersions", default=())


def parse_version(payload: Any, model: CivitaiModel | None = None) -> CivitaiVersion | None:
    """Return a version, with those of its files that have the known form; None when it has no readable id.

    Args:
        payload: The answer, or one of a model's `modelVersions`.
        model: The model it stands in, whose name and type the version itself then leaves out.
    """
    if not isinstance(payload, dict):
        return None
    version = convert_or_none({**payload, "files": []}, CivitaiVersion)
    if version is None:
        return None
    version = msgspec.structs.replace(version, files=convert_entries(payload.get("files"), CivitaiFile))
    if model is None:
        return version
    return msgspec.structs.replace(version, model_id=model.id, model=VersionModel(model.name, model.type))


def parse_model(payload: Any) -> CivitaiModel | None:
    """Return a model with those of its versions that have the known form; None when it has no readable id."""
    if not isinstance(payload, dict):
        return None
    model = convert_or_none({**payload, "modelVersions": []}, CivitaiModel)
    if model is None:
        return None
    listed = payload.get("modelVersions")
    versions = [parse_version(entry, model) for entry in (listed if isinstance(listed, list) else ())]
    return msgspec.structs.replace(model, versions=tuple(one for one in versions if one is not None))
