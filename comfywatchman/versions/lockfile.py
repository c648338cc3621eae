"""The version lock: exactly which ComfyUI, custom nodes, packages, models and workflows made a working state.

A lock has no times, no absolute paths and no credentials, and everything in it is sorted: the same state gives the same
bytes in any locale, time zone and order of folders.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final, Literal

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular, to_json, write_atomic
from comfywatchman.base.json_values import decode_json

SCHEMA: Final = "comfywatchman/lock@1"
_TAG: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MAX_LOCK_BYTES: Final = 64 << 20
_MAX_MODEL_BYTES: Final = 1 << 53
"""More would not survive JSON tools that read numbers as doubles."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")

CodeSource = Literal["git", "folder", "file", "comfyui"]
PackageSource = Literal["index", "url", "git", "path", "editable"]


class LockedCode(msgspec.Struct, frozen=True, kw_only=True):
    """The code of ComfyUI or of one custom node.

    Attributes:
        name: `ComfyUI`, or the name of the pack's folder or file in `custom_nodes`.
        source: `git` for a working copy, `comfyui` for a node that is part of ComfyUI's own repository; otherwise the
            code itself is all that identifies it.
        repo: The address it was cloned from, without credentials; None when there is none.
        commit: The checked-out commit; None without git.
        tree: The hash of the commit's tree; None without git.
        dirty_tree: The hash of the tree of the files as they are, when they differ from the commit.
        changed_files: The files that differ from the commit, sorted.
        code_sha256: The hash over the code of a `folder` or `file`, which has no commit.
        version: The version that the code states; None when it states none.
        is_enabled: Whether ComfyUI loads it.
        licence: The licence that its files state; left out when they state none.
    """

    name: str
    source: CodeSource
    repo: str | None = None
    commit: str | None = None
    tree: str | None = None
    dirty_tree: str | None = None
    changed_files: tuple[str, ...] = ()
    code_sha256: str | None = None
    version: str | None = None
    is_enabled: bool = True
    licence: str | msgspec.UnsetType = msgspec.UNSET


class LockedFile(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A distribution file of a package: `name-1.0-py3-none-any.whl`, and its SHA-256."""

    filename: str
    sha256: str


class LockedPackage(msgspec.Struct, frozen=True, kw_only=True):
    """An installed Python package.

    Attributes:
        name: Its normalised name.
        version: Its exact version, with a local part such as `+cu126`.
        source: Where it came from, as the installer recorded it.
        url: The address of a `url` or `git` source, without credentials.
        commit: The commit of a `git` source.
        hashes: The SHA-256 of each file that may be installed for it, sorted; empty when none is known.
        installed_sha256: The hash over its installed files (those of its RECORD), which shows changes made afterwards;
            None when it has no usable RECORD.
    """

    name: str
    version: str
    source: PackageSource = "index"
    url: str | None = None
    commit: str | None = None
    hashes: tuple[str, ...] = ()
    installed_sha256: str | None = None


class LockedPython(msgspec.Struct, frozen=True, kw_only=True):
    """The Python environment.

    Attributes:
        implementation: `cpython`.
        version: The exact version, `3.11.9`.
        platform: Operating system and machine, `linux-x86_64`.
        torch_backend: The local part of torch's version (`cu126`, `cpu`, `rocm6.2`); None for one without, or without
            torch.
        packages: The installed packages, sorted by name.
    """

    implementation: str
    version: str
    platform: str
    torch_backend: str | None = None
    packages: tuple[LockedPackage, ...] = ()


class LockedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model file that the workflows use.

    Attributes:
        path: Its place below the `models` folder, with `/`: `checkpoints/sd15/x.safetensors`.
        size: Its size in bytes.
        sha256: Its SHA-256.
        sources: Addresses that it can be downloaded from, without credentials, sorted; the hash decides.
        used_by: The workflows that use it, sorted.
        licence: The licence that the file or its declaration states; left out when neither does.
    """

    path: str
    size: int
    sha256: str
    sources: tuple[str, ...] = ()
    used_by: tuple[str, ...] = ()
    licence: str | msgspec.UnsetType = msgspec.UNSET


class LockedWorkflow(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow of the version.

    Attributes:
        path: Its name below the folder that was given, with `/`.
        sha256: The hash of its file.
        status: Its verdict when the version was made: `READY`, …
    """

    path: str
    sha256: str
    status: str


class Unpinned(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A part of the state that the lock cannot reproduce, and why.

    Attributes:
        kind: `code`, `package` or `model`.
        name: Its name.
        reason: A stable code: `modified`, `no-repository`, `no-hash`, `editable-source`, `no-source`, …
    """

    kind: str
    name: str
    reason: str


class VersionLock(msgspec.Struct, frozen=True, kw_only=True):
    """The whole lock, as `lockfiles/comfy-<tag>.lock.json` has it.

    Attributes:
        tag: The name of the version.
        content_sha256: The hash over everything else; it tells two locks apart and shows a lock edited by hand.
        comfyui: ComfyUI itself.
        nodes: The custom nodes, sorted by name.
        python: The Python environment; None when none was found.
        models: The models that the workflows use, sorted by path.
        workflows: The workflows, sorted by path.
        unpinned: What cannot be reproduced from this lock, sorted.
        schema: `comfywatchman/lock@1`.
    """

    tag: str
    comfyui: LockedCode
    nodes: tuple[LockedCode, ...] = ()
    python: LockedPython | None = None
    models: tuple[LockedModel, ...] = ()
    workflows: tuple[LockedWorkflow, ...] = ()
    unpinned: tuple[Unpinned, ...] = ()
    content_sha256: str = ""
    schema: str = SCHEMA


def get_licence(part: LockedCode | LockedModel) -> str | None:
    """Return the licence of a part; None when it is not known."""
    return part.licence if isinstance(part.licence, str) else None


def check_tag(tag: str) -> None:
    """Check the name of a version, which becomes part of a file name.

    Raises:
        Failure: `version-bad-tag`.
    """
    if not _TAG.fullmatch(tag):
        raise Failure(
            "version-bad-tag",
            f"{tag!r} cannot be the name of a version.",
            hint="Use up to 100 letters, digits, dots, dashes and underscores, beginning with a letter or digit.",
        )


def seal_lock(lock: VersionLock) -> VersionLock:
    """Return a lock with its content hash."""
    content = to_json(msgspec.structs.replace(lock, content_sha256=""))
    return msgspec.structs.replace(lock, content_sha256=hashlib.sha256(content).hexdigest())


def lock_path(folder: Path, tag: str) -> Path:
    """Return the path of a version's lock in the folder `lockfiles`."""
    return folder / f"comfy-{tag}.lock.json"


def write_lock(path: Path, lock: VersionLock) -> None:
    """Write a sealed lock; an existing file is replaced as a whole.

    Raises:
        Failure: `state-unwritable`.
    """
    write_atomic(path, to_json(lock))


def read_lock(path: Path) -> VersionLock:
    """Read a lock, and check that it is whole.

    Raises:
        Failure: `version-lock-missing`, or `version-lock-invalid` for one that is damaged, was edited, or has another
            schema.
    """
    try:
        content = read_regular(path, max_bytes=_MAX_LOCK_BYTES)
    except Failure as failure:
        if not isinstance(failure.__cause__, FileNotFoundError):
            raise
        raise Failure(
            "version-lock-missing",
            f"There is no lock file {printable_path(path)}.",
            hint="List the versions that exist: comfywatchman version list",
        ) from failure
    try:
        lock = decode_json(content, VersionLock)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise _invalid(path, f"is not a version lock: {error}") from error
    if lock.schema != SCHEMA:
        raise _invalid(path, f"has the schema {lock.schema!r}; this program reads {SCHEMA!r}")
    problem = find_lock_problem(lock)
    if problem is not None:
        raise _invalid(path, f"names {problem}")
    if seal_lock(lock).content_sha256 != lock.content_sha256:
        raise _invalid(path, "does not match its own hash: it was edited or damaged")
    return lock


def find_lock_problem(lock: VersionLock) -> str | None:
    """Return a value that no command of this program writes and that could do harm; None when there is none.

    Names become paths, and a lock may come from anybody.
    """
    if not _TAG.fullmatch(lock.tag):
        return f"the version {lock.tag!r}"
    for node in lock.nodes:
        if node.name in {"", ".", "..", ".git"} or "/" in node.name or not _is_name(node.name):
            return f"the node {node.name!r}"
    for model in lock.models:
        parts = model.path.split("/")
        if not {"", ".", ".."}.isdisjoint(parts) or not _is_name(model.path) or not 0 <= model.size < _MAX_MODEL_BYTES:
            return f"the model {model.path!r} of {model.size} bytes"
    names = [("node", node.name) for node in lock.nodes] + [("model", model.path) for model in lock.models]
    if len(set(names)) < len(names):
        return "a node or model twice"
    return None


def _is_name(name: str) -> bool:
    return "\\" not in name and _CONTROL.search(name) is None


def _invalid(path: Path, problem: str) -> Failure:
    return Failure(
        "version-lock-invalid",
        f"{printable_path(path)} {problem}.",
        hint="Make it again with `comfywatchman version create`, or restore it from version control.",
    )
