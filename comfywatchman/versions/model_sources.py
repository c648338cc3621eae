"""Addresses of models in short forms (`hf://`, `civitai://`, `gs://`, `file://`), and models that a user declares."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular
from comfywatchman.base.json_values import decode_json
from comfywatchman.sources.urls import (
    HuggingFaceFile,
    build_civitai_url,
    build_hugging_face_url,
    is_hugging_face_file,
    strip_secrets,
)
from comfywatchman.versions.licences import shorten_licence
from comfywatchman.versions.lockfile import VersionLock

_HUGGING_FACE: Final = "https://huggingface.co"
_CIVITAI: Final = "https://civitai.com"
_GOOGLE_STORAGE: Final = "https://storage.googleapis.com"
_MAX_SPEC_BYTES: Final = 4 << 20
_CIVITAI_SOURCE: Final = re.compile(
    r"civitai://(?:models|model-versions)/([1-9][0-9]{0,17})(?:\?fileId=([1-9][0-9]{0,17}))?"
)
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_SHA256: Final = re.compile(r"(?:sha256:)?([0-9a-f]{64})", re.IGNORECASE)
_MODELS_PREFIX: Final = re.compile(r"^(?:\$\{?MODELS_DIR\}?/|(?:\$\{?COMFY_HOME\}?/)?(?:ComfyUI/)?models/)")


@dataclass(frozen=True, slots=True)
class ModelDeclaration:
    """A model that a user declares as part of a version.

    Attributes:
        path: Its place below `models`, with `/`.
        sources: Its addresses, in any form that `resolve_source` accepts.
        sha256: Its SHA-256 in lower case; None when it is not stated.
        licence: Its licence; None when it is not stated.
    """

    path: str
    sources: tuple[str, ...]
    sha256: str | None
    licence: str | None = None


def resolve_source(source: str) -> str:
    """Return the https, http or file address of a source.

    Args:
        source: An address, `hf://OWNER/NAME[@REVISION]/FILE`, `civitai://models/VERSION` (the number in Civitai's
            download address), `gs://BUCKET/OBJECT` for a public object, or `file:///PATH`.

    Raises:
        Failure: `version-bad-source`.
    """
    scheme, _, rest = source.partition("://")
    if scheme == "hf":
        return _resolve_hugging_face(source, rest)
    if scheme == "civitai":
        match = _CIVITAI_SOURCE.fullmatch(source)
        if match is None:
            raise _bad_source(source, "Write civitai://models/VERSION, with the number in Civitai's download address.")
        return build_civitai_url(_CIVITAI, int(match[1]), int(match[2]) if match[2] else None)
    if scheme == "gs":
        bucket, _, name = rest.partition("/")
        if not _BUCKET.fullmatch(bucket) or not name:
            raise _bad_source(source, "Write gs://BUCKET/OBJECT.")
        return f"{_GOOGLE_STORAGE}/{bucket}/{quote(name)}"
    if scheme == "file" and urlsplit(source).netloc:
        raise _bad_source(source, "Write file:///PATH, with three slashes.")
    if scheme in {"https", "http", "file"} and rest:
        return source
    raise _bad_source(source, "Use https, hf, civitai, gs or file.")


def find_source_file(address: str) -> Path | None:
    """Return the path that a `file` address names; None for other addresses."""
    parts = urlsplit(address)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def read_declared_models(path: Path) -> tuple[ModelDeclaration, ...]:
    """Read a JSON file of models: a list, or an object with the list as `models`.

    Each entry has `path` or `target_path`, `sources` or `source`, and `checksum` or `sha256`, `licence` or `license` if
    they are known.

    Raises:
        Failure: `version-bad-models`, `version-bad-source`, or a `file-…` code.
    """
    try:
        content = decode_json(read_regular(path, max_bytes=_MAX_SPEC_BYTES), object)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _bad_models(path, f"is not JSON: {error}") from error
    entries = content.get("models") if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise _bad_models(path, "holds no list of models")
    return tuple(_read_entry(path, number, entry) for number, entry in enumerate(entries, 1))


def check_declared_models(lock: VersionLock, declared: Iterable[ModelDeclaration]) -> None:
    """Check that the models of a lock have the hashes that were declared for them.

    Raises:
        Failure: `version-model-differs`.
    """
    actual = {model.path: model.sha256 for model in lock.models}
    for model in declared:
        sha256 = actual.get(model.path)
        if model.sha256 is not None and sha256 is not None and sha256 != model.sha256:
            raise Failure(
                "version-model-differs",
                f"{model.path} has the SHA-256 {sha256[:12]}…; {model.sha256[:12]}… was declared.",
                hint="Replace the file, or correct its checksum in the list of models.",
            )


def find_declared(
    declared: Iterable[ModelDeclaration], find_model: Callable[[str], Path | None]
) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Return the files of declared models by their place, and the places without a file, sorted."""
    files, missing = {}, set()
    for model in declared:
        file = find_model(model.path)
        if file is None:
            missing.add(model.path)
        else:
            files[model.path] = file
    return files, tuple(sorted(missing))


def _resolve_hugging_face(source: str, rest: str) -> str:
    owner, _, below = rest.partition("/")
    name, _, path = below.partition("/")
    name, _, revision = name.partition("@")
    file = HuggingFaceFile(f"{owner}/{name}", revision or "main", path)
    if not path or not is_hugging_face_file(file):
        raise _bad_source(source, "Write hf://OWNER/NAME/FILE or hf://OWNER/NAME@REVISION/FILE.")
    return build_hugging_face_url(_HUGGING_FACE, file)


def _read_entry(path: Path, number: int, entry: Any) -> ModelDeclaration:
    if not isinstance(entry, dict):
        raise _bad_models(path, f"has an entry {number} that is not an object")
    place = entry.get("path") or entry.get("target_path")
    sources = entry.get("sources") or entry.get("source") or []
    sources = [sources] if isinstance(sources, str) else sources
    checksum = entry.get("checksum") or entry.get("sha256")
    if not isinstance(place, str) or not isinstance(sources, list) or not all(isinstance(s, str) for s in sources):
        raise _bad_models(path, f"has an entry {number} without `path` and `sources` as texts")
    place = _MODELS_PREFIX.sub("", place.replace("\\", "/"))
    if not {"", ".", ".."}.isdisjoint(place.split("/")) or "$" in place:
        raise _bad_models(path, f"has an entry {number} whose path is not one below `models`")
    match = _SHA256.fullmatch(checksum) if isinstance(checksum, str) else None
    if checksum and match is None:
        raise _bad_models(path, f"has an entry {number} whose checksum is not a SHA-256 hash")
    for source in sources:
        resolve_source(source)
    licence = entry.get("licence") or entry.get("license")
    if licence is not None and not isinstance(licence, str):
        raise _bad_models(path, f"has an entry {number} whose licence is not a text")
    return ModelDeclaration(
        place,
        tuple(sources),
        match[1].lower() if match else None,
        shorten_licence(licence) if licence else None,
    )


def _bad_models(path: Path, problem: str) -> Failure:
    return Failure(
        "version-bad-models",
        f"{printable_path(path)} {problem}.",
        hint='Write [{"path": "loras/x.safetensors", "sources": ["hf://owner/name/x.safetensors"]}].',
    )


def _bad_source(source: str, hint: str) -> Failure:
    return Failure("version-bad-source", f"{strip_secrets(source)!r} is not a valid address of a model.", hint=hint)
