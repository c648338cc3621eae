"""Write `state/model_cache.json`: the models of this host for people and other programs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from comfywatchman.base.clock import format_utc
from comfywatchman.base.files import printable_path
from comfywatchman.base.state.state_file import write_state
from comfywatchman.comfyui.install.identity import ComfyUIIdentity
from comfywatchman.readiness.models.index import FileHashes, ModelIndex
from comfywatchman.readiness.models.inventory import FileKey, Inventory, ModelFile

SCHEMA_VERSION: Final = 1
_NOTE: Final = "model-cache"
_NO_HASHES: Final = {"sha256": None, "autov2": None, "autov3": None, "blake3": None}


class CachedModel(msgspec.Struct, frozen=True):
    """One model in `state/model_cache.json`.

    Attributes:
        name: Relative to its folder, as ComfyUI lists it.
        path: Absolute path, printable.
        size: In bytes.
        mtime: Modification time, UTC; null when the file system holds no valid time.
        format: `safetensors`, `gguf`, `pickle`, `zip-pickle`, `onnx`, `diffusers` or `unknown`.
        problem: Why it cannot be loaded; null when no problem is known.
        sha256: SHA-256 of the whole file, lower-case hex; all four hashes are null until the file was hashed.
        autov2: First 10 digits of the SHA-256.
        autov3: First 12 digits of the SHA-256 of everything after a safetensors header.
        blake3: BLAKE3 of the whole file, 256 bit.
    """

    name: str
    path: str
    size: int
    mtime: str | None
    format: str
    problem: str | None
    sha256: str | None
    autov2: str | None
    autov3: str | None
    blake3: str | None


class ModelCache(msgspec.Struct, frozen=True):
    """The content of the file: models by canonical folder name, without empty folders, and the ComfyUI they are of."""

    schema_version: Literal[1]
    folders: dict[str, list[CachedModel]]
    comfyui: ComfyUIIdentity


def write_model_cache(path: Path, comfyui: ComfyUIIdentity, inventory: Inventory, index: ModelIndex) -> bool:
    """Write the cache when its content has changed; return whether it was written.

    When inventory, hashes and the file itself are unchanged since the last call, the content is not even built.

    Raises:
        Failure: `state-newer`, `state-unwritable`.
    """
    # The identity of the file is part of the note because a person may edit or delete the file.
    content_token = f"{SCHEMA_VERSION} {comfyui.id} {comfyui.root} {inventory.fingerprint} {index.hash_revision()}"
    if index.note(_NOTE) == f"{content_token} {_describe_identity(path)}":
        return False
    written = write_state(path, build_model_cache(comfyui, inventory, index.hashes()))
    index.set_note(_NOTE, f"{content_token} {_describe_identity(path)}")
    return written


def build_model_cache(
    comfyui: ComfyUIIdentity, inventory: Inventory, hashes: Mapping[FileKey, FileHashes]
) -> ModelCache:
    """Build the content of the cache."""
    folders: dict[str, list[CachedModel]] = {}
    for folder, models in inventory.folders.items():
        if models:
            folders[folder] = [_build_cached_model(model, hashes.get(model.key)) for model in models.values()]
    return ModelCache(SCHEMA_VERSION, folders, comfyui)


def _build_cached_model(model: ModelFile, hashes: FileHashes | None) -> CachedModel:
    digests: dict[str, Any] = dict(_NO_HASHES)
    if hashes is not None:
        digests = {
            "sha256": hashes.sha256,
            "autov2": hashes.autov2,
            "autov3": hashes.autov3,
            "blake3": hashes.blake3,
        }
    return CachedModel(
        name=model.name,
        path=printable_path(model.path),
        size=model.size,
        mtime=_format_mtime(model.mtime_ns),
        format=model.format,
        problem=model.problem,
        **digests,
    )


def _format_mtime(mtime_ns: int) -> str | None:
    # File systems can hold times that datetime cannot, such as the year 20000.
    try:
        return format_utc(datetime.fromtimestamp(mtime_ns // 1_000_000_000, UTC))
    except (ValueError, OverflowError, OSError):
        return None


def _describe_identity(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "absent"
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns}"
