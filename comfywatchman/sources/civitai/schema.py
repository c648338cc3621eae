"""The parts of Civitai's API responses that are used; other fields are ignored.

Each field is read by itself. What cannot be read is counted, because it may be the file that is looked for.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, Final

import msgspec

from comfywatchman.sources.identifiers import parse_sha256
from comfywatchman.sources.site_responses import convert_fields

_DOWNLOAD_VERSION: Final = re.compile(r"https?://[^/?#]+/api/download/models/([1-9][0-9]{0,17})(?:[?#].*)?")

# Larger sizes are nonsense, and infinity could not be converted to an integer.
_MAX_SIZE_KB: Final = 1 << 40


class ModelMode(StrEnum):
    """Why a model cannot be downloaded any more; the files of an archived one are not listed."""

    ARCHIVED = "Archived"
    TAKEN_DOWN = "TakenDown"


class FileMetadata(msgspec.Struct, frozen=True, rename="camel"):
    """`metadata` of a file.

    Attributes:
        format: `SafeTensor`, `PickleTensor`, `GGUF`, …
        fp: `fp16`, `fp32`, `bf16`, …
        size: `pruned` or `full`.
        quant_type: `Q4_K_M`, …
    """

    format: str | None = None
    fp: str | None = None
    size: str | None = None
    quant_type: str | None = None


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
        primary: Whether it is the main file of its version.
        hashes: By kind (`SHA256`, `AutoV2`, …).
        download_url: Read for the id of the version that has the file; it is never requested.
        unreadable: Names of fields that Civitai sent in a form that cannot be read.
    """

    id: int = 0
    name: str = ""
    size_kb: float | None = msgspec.field(name="sizeKB", default=None)
    type: str | None = None
    pickle_scan_result: str | None = None
    virus_scan_result: str | None = None
    metadata: FileMetadata | None = None
    primary: bool | None = None
    hashes: dict[str, str | None] = {}
    download_url: str | None = None
    unreadable: tuple[str, ...] = ()

    @property
    def sha256(self) -> str | None:
        """Return the SHA-256 as lower-case hex, or None when missing or malformed."""
        return parse_sha256(self.hashes.get("SHA256"))

    @property
    def download_version(self) -> int | None:
        """Return the id of the version that offers the file for download; None when Civitai gives no usable one."""
        match = _DOWNLOAD_VERSION.fullmatch(self.download_url or "")
        return int(match[1]) if match is not None else None

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
    """The model of a version, as the version describes it; `mode` is a `ModelMode`, or null."""

    name: str | None = None
    type: str | None = None
    mode: str | None = None


class CivitaiVersion(msgspec.Struct, frozen=True, rename="camel"):
    """A version of a model.

    Attributes:
        id: Id of the version.
        model_id: Id of its model; 0 when missing.
        name: `v1.0`.
        base_model: `SD 1.5`, `Flux.1 D`, …
        availability: `Public`, `EarlyAccess`, …; only lists have it.
        usage_control: `Download`, or another permitted use; lists leave it out.
        paid_access: Early access, if any.
        model: Name, type (`LORA`, `Checkpoint`, …) and mode of the model.
        files: Its files.
        unreadable: Number of files that could not be read; a list of files that could not be read counts as one.
    """

    id: int
    model_id: int = 0
    name: str | None = None
    base_model: str | None = None
    availability: str | None = None
    usage_control: str | None = None
    paid_access: PaidAccess | None = None
    model: VersionModel | None = None
    files: tuple[CivitaiFile, ...] = ()
    unreadable: int = 0

    @property
    def hides_hashes(self) -> bool:
        """Return whether a file of this version could not be read, or not its hashes."""
        return self.unreadable > 0 or any("hashes" in file.unreadable for file in self.files)

    @property
    def mode(self) -> ModelMode | None:
        """Return why the model cannot be downloaded any more, or None."""
        return parse_mode(self.model.mode if self.model is not None else None)

    @property
    def model_type(self) -> str | None:
        """Return the model's type in Civitai's terms, or None when missing."""
        return self.model.type if self.model is not None else None


class CivitaiModel(msgspec.Struct, frozen=True, rename="camel"):
    """A model with its versions, each of which has the model's name, type and mode.

    Attributes:
        id: Id of the model; 0 when missing.
        name: Its name.
        type: `LORA`, `Checkpoint`, …
        mode: A `ModelMode`, or null.
        allow_commercial_use: Permitted uses, such as `Image`, `Rent` and `Sell`; version pages leave it out.
        allow_derivatives: Whether derivatives are permitted.
        allow_no_credit: Whether its use without credit is permitted.
        versions: Its versions.
        unreadable: Number of files and versions that could not be read.
    """

    id: int = 0
    name: str | None = None
    type: str | None = None
    mode: str | None = None
    allow_commercial_use: str | tuple[str, ...] | None = None
    allow_derivatives: bool | None = None
    allow_no_credit: bool | None = None
    versions: tuple[CivitaiVersion, ...] = msgspec.field(name="modelVersions", default=())
    unreadable: int = 0

    @property
    def licence(self) -> str | None:
        """Return what the author permits, for people; None when Civitai does not state it."""
        uses = self.allow_commercial_use
        if uses is None:
            return None
        if isinstance(uses, str):
            # Older answers hold PostgreSQL's form of an array: `{Image,Rent}`.
            uses = tuple(uses.strip("{}").split(","))
        permitted = ", ".join(use for use in uses if use and use != "None")
        parts = [f"commercial use: {permitted}" if permitted else "no commercial use"]
        if self.allow_derivatives is False:
            parts.append("no derivatives")
        if self.allow_no_credit is False:
            parts.append("credit required")
        return "; ".join(parts)


def parse_version(payload: Any, model: CivitaiModel | None = None) -> CivitaiVersion | None:
    """Return a version with its readable files; None when it has no readable id.

    Args:
        payload: The response, or one of a model's `modelVersions`.
        model: The model that contains it; Civitai omits the model's name and type there.
    """
    if not isinstance(payload, dict):
        return None
    # The model and the files are read by themselves, so that an unreadable one does not hide the others.
    others = {name: value for name, value in payload.items() if name not in {"model", "files"}}
    version = convert_fields(others, CivitaiVersion)
    if version is None:
        return None
    own_model = convert_fields(payload.get("model"), VersionModel)
    if model is not None:
        version = msgspec.structs.replace(version, model_id=model.id)
        own_model = VersionModel(model.name, model.type, model.mode)
    files, unreadable = _parse_files(payload.get("files"))
    version = msgspec.structs.replace(version, model=own_model, files=files)
    # The files of an archived model are left out by Civitai itself.
    is_listed = version.mode is None or files or payload.get("files")
    return msgspec.structs.replace(version, unreadable=unreadable if is_listed else 0)


def parse_model(payload: Any) -> CivitaiModel | None:
    """Return a model with its readable versions; None when neither its id nor a version can be read."""
    if not isinstance(payload, dict):
        return None
    others = {name: value for name, value in payload.items() if name != "modelVersions"}
    model = convert_fields(others, CivitaiModel)
    if model is None:
        return None
    entries = payload.get("modelVersions")
    if not isinstance(entries, list):
        return msgspec.structs.replace(model, unreadable=int(parse_mode(model.mode) is None)) if model.id else None
    versions = []
    unreadable = 0
    for entry in entries:
        version = parse_version(entry, model)
        if version is None:
            unreadable += 1
        else:
            versions.append(version)
            unreadable += version.unreadable
    if not model.id and not versions:
        return None
    return msgspec.structs.replace(model, versions=tuple(versions), unreadable=unreadable)


def parse_mode(mode: str | None) -> ModelMode | None:
    """Return the mode of a model as an enum; None for null and for modes that do not withdraw it."""
    return ModelMode(mode) if mode in set(ModelMode) else None


def _parse_files(entries: object) -> tuple[tuple[CivitaiFile, ...], int]:
    """Return the readable files, and the number of those that are not."""
    if not isinstance(entries, list):
        return (), 1
    files = []
    unreadable = 0
    for entry in entries:
        file = _parse_file(entry)
        # Without a name, no file can be compared with the wanted name.
        if file is None or not file.name:
            unreadable += 1
        if file is not None and (file.name or file.sha256 is not None):
            files.append(file)
    return tuple(files), unreadable


def _parse_file(entry: object) -> CivitaiFile | None:
    if not isinstance(entry, dict):
        return None
    hashes = entry.get("hashes")
    file = convert_fields(entry, CivitaiFile)
    if file is not None and "hashes" in file.unreadable and isinstance(hashes, dict):
        # One unreadable hash does not hide the others.
        readable = {kind: digest for kind, digest in hashes.items() if isinstance(digest, str)}
        file = convert_fields({**entry, "hashes": readable}, CivitaiFile)
    if file is None:
        return None
    unreadable = dict.fromkeys(file.unreadable)
    if isinstance(hashes, dict) and hashes.get("SHA256") and file.sha256 is None:
        unreadable["hashes"] = None
    if file.size_kb is not None and file.size_bytes is None:
        unreadable["sizeKB"] = None
    return msgspec.structs.replace(file, unreadable=tuple(unreadable)) if unreadable else file
