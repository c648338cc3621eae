"""The parts of Civitai's API responses that are used; other fields are ignored."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from comfywatchman.base.json_values import as_list
from comfywatchman.sources.identifiers import parse_sha256
from comfywatchman.sources.site_responses import convert_entries, convert_or_none

# Larger sizes are nonsense, and infinity could not be converted to an integer.
_MAX_SIZE_KB: Final = 1 << 40


class FileMetadata(msgspec.Struct, frozen=True):
    """`metadata` of a file; `format` is `SafeTensor`, `PickleTensor`, `GGUF`."""

    format: str | None = None


class CivitaiFile(msgspec.Struct, frozen=True, rename="camel"):
    """One file of a version.

    Attributes:
        id: For `?fileId=`; 0 when missing.
        name: File name of a download.
        size_kb: In units of 1024 bytes, rounded by Civitai.
        type: `Model`, `Pruned Model`, `VAE`, `Text Encoder`, `Training Data`, `Config`, …
        pickle_scan_result: `Success`, `Pending`, `Danger` or `Error`; for safetensors by extension only.
        virus_scan_result: The same values.
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
        """Return the SHA-256 as lower-case hex, or None when missing or malformed."""
        return parse_sha256(self.hashes.get("SHA256"))

    @property
    def size_bytes(self) -> int | None:
        """Return the size in bytes, exact to a few bytes only; None when missing or impossible."""
        if self.size_kb is None or not 0 < self.size_kb < _MAX_SIZE_KB:
            return None
        return round(self.size_kb * 1024)

    def has_hash(self, digest: str) -> bool:
        """Return whether one of the file's hashes, of any kind, equals this one, ignoring case."""
        return any((own or "").lower() == digest.lower() for own in self.hashes.values())


class PaidAccess(msgspec.Struct, frozen=True, rename="camel"):
    """Early access: until `ends_at`, only buyers can download."""

    ends_at: str | None = None


class VersionModel(msgspec.Struct, frozen=True):
    """The model of a version, as the version describes it."""

    name: str | None = None
    type: str | None = None


class CivitaiVersion(msgspec.Struct, frozen=True, rename="camel"):
    """A version of a model.

    Attributes:
        id: Id of the version.
        model_id: Id of its model; 0 when missing.
        name: `v1.0`.
        base_model: `SD 1.5`, `Flux.1 D`, …
        usage_control: `Download`, or another permitted use.
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
        """Return the model's type in Civitai's terms, or None when missing."""
        return self.model.type if self.model is not None else None


class CivitaiModel(msgspec.Struct, frozen=True, rename="camel"):
    """A model with its versions, each of which has the model's name and type."""

    id: int
    name: str | None = None
    type: str | None = None
    versions: tuple[CivitaiVersion, ...] = msgspec.field(name="modelVersions", default=())


def parse_version(payload: Any, model: CivitaiModel | None = None) -> CivitaiVersion | None:
    """Return a version without its malformed files; None when it has no readable id.

    Args:
        payload: The response, or one of a model's `modelVersions`.
        model: The model that contains it; Civitai omits the model's name and type there.
    """
    if not isinstance(payload, dict):
        return None
    # The files are converted one by one, so that a malformed one does not hide the others.
    version = convert_or_none({**payload, "files": []}, CivitaiVersion)
    if version is None:
        return None
    version = msgspec.structs.replace(version, files=convert_entries(payload.get("files"), CivitaiFile))
    if model is None:
        return version
    return msgspec.structs.replace(version, model_id=model.id, model=VersionModel(model.name, model.type))


def parse_model(payload: Any) -> CivitaiModel | None:
    """Return a model without its malformed versions; None when it has no readable id."""
    if not isinstance(payload, dict):
        return None
    model = convert_or_none({**payload, "modelVersions": []}, CivitaiModel)
    if model is None:
        return None
    versions: list[CivitaiVersion] = []
    for entry in as_list(payload.get("modelVersions")):
        version = parse_version(entry, model)
        if version is not None:
            versions.append(version)
    return msgspec.structs.replace(model, versions=tuple(versions))
