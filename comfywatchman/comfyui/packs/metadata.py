"""What one custom node pack says of itself: who it is, where it came from, which nodes it brings."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular
from comfywatchman.base.git import is_dirty, read_head, read_origin
from comfywatchman.comfyui.loaders.table import LoaderInput
from comfywatchman.comfyui.loaders.upload_inputs import FileInput
from comfywatchman.comfyui.packs.definitions import NodeDefinitions, read_pack_definitions
from comfywatchman.comfyui.packs.scan import PackListing

READER_VERSION: Final = 4
"""Raised when the reading of packs changes, so that what an older version read is read again."""

GIT_TIMEOUT_SECONDS: Final = 10.0
"""How long one pack's `git status` may take; after that it is not known whether the pack was changed."""

_MAX_METADATA_BYTES: Final = 1 << 20
_MAX_REQUIREMENTS: Final = 500
_USER_INFORMATION: Final = re.compile(r"^([a-z+]+://)[^/@]*@")
_GIT_ENDING: Final = re.compile(r"(\.git)?/*$")
_OWNER_AND_NAME: Final = re.compile(r"[:/]([^/:]+/[^/:]+)$")


@dataclass(frozen=True, slots=True)
class GitState:
    """A pack's git state.

    Attributes:
        url: Where it was cloned from.
        commit: What is checked out.
        dirty: Tracked files differ from it; None when that is not known.
    """

    url: str | None = None
    commit: str | None = None
    dirty: bool | None = None


class NodePack(msgspec.Struct, frozen=True, omit_defaults=True):
    """One custom node pack.

    Attributes:
        folder: Its name in `custom_nodes`, without `.disabled`; ComfyUI calls its module `custom_nodes.<folder>`.
        path: Its folder, or its one file.
        id: Name in its pyproject.toml, which is its Comfy Registry id; else the folder's name.
        enabled: ComfyUI would load it.
        version: As its pyproject.toml states it.
        publisher: Comfy Registry publisher.
        display_name: Its name for people.
        url: Its repository: where git cloned it from, else as pyproject.toml states it; never with a password.
        git_commit: What is checked out; None when it is no repository of its own.
        dirty: Tracked files were changed; None when that is not known.
        requirements: Declared Python packages, as text: requirements.txt first, then pyproject.toml.
        classes: Node classes that it maps.
        possible_classes: Node classes that it maps only under a condition that reading cannot decide.
        loader_inputs: Inputs that take a model name.
        file_inputs: Inputs that take a file of the input folder.
        own_checks: Those of the classes that check some input by themselves, or may.
        complete: These are all its classes; False when their names are computed, so that absence proves nothing.
        problems: What could not be read, in words.
    """

    folder: str
    path: str
    id: str
    enabled: bool
    version: str | None = None
    publisher: str | None = None
    display_name: str | None = None
    url: str | None = None
    git_commit: str | None = None
    dirty: bool | None = None
    requirements: tuple[str, ...] = ()
    classes: frozenset[str] = frozenset()
    possible_classes: frozenset[str] = frozenset()
    loader_inputs: tuple[LoaderInput, ...] = ()
    file_inputs: tuple[FileInput, ...] = ()
    own_checks: frozenset[str] = frozenset()
    complete: bool = True
    problems: tuple[str, ...] = ()

    @property
    def repository(self) -> str | None:
        """Return `owner/name` in lower case, as workflows write it in `aux_id`; None without a repository."""
        return parse_repository(self.url) if self.url else None

    def is_called(self, name: str) -> bool:
        """Say whether a registry id or `owner/name` means this pack."""
        wanted = name.strip().lower()
        return bool(wanted) and wanted in {self.id.lower(), self.folder.lower(), self.repository}


def read_pack(listing: PackListing, git: GitState) -> NodePack:
    """Read a pack's facts and its source; nothing of it is imported or run, and nothing raises."""
    problems = list(listing.problems)
    project = _read_project(listing.path, problems)
    identity = _get_table(project, "project")
    comfy = _get_table(_get_table(project, "tool"), "comfy")
    specs = read_pack_definitions(listing.path, listing.sources, label=printable_path(listing.folder))
    return NodePack(
        folder=printable_path(listing.folder),
        path=printable_path(listing.path),
        id=_get_text(identity, "name") or printable_path(listing.folder),
        enabled=listing.enabled,
        version=_get_text(identity, "version"),
        publisher=_get_text(comfy, "PublisherId"),
        display_name=_get_text(comfy, "DisplayName"),
        url=normalize_url(git.url or _get_repository_url(identity)),
        git_commit=git.commit,
        dirty=git.dirty,
        requirements=_read_requirements(listing.path, identity, problems),
        classes=frozenset(specs.classes),
        possible_classes=frozenset(specs.possible_classes),
        loader_inputs=tuple(specs.loader_inputs),
        file_inputs=tuple(specs.file_inputs),
        own_checks=frozenset(specs.own_checks),
        complete=specs.complete,
        problems=(*problems, *specs.problems),
    )


def read_git_state(listing: PackListing) -> GitState:
    """Return a pack's git state; empty for a pack that is no repository of its own, or is one file."""
    if not listing.git_fingerprint:
        return GitState()
    return GitState(
        url=read_origin(listing.path),
        commit=read_head(listing.path),
        dirty=is_dirty(listing.path, timeout_seconds=GIT_TIMEOUT_SECONDS),
    )


def refresh_pack(pack: NodePack, listing: PackListing, git: GitState) -> NodePack:
    """Return a pack whose source is as it was, with its present place and git state."""
    return msgspec.structs.replace(
        pack,
        folder=printable_path(listing.folder),
        path=printable_path(listing.path),
        enabled=listing.enabled,
        url=normalize_url(git.url) or pack.url,
        git_commit=git.commit,
        dirty=git.dirty,
    )


def build_core_pack(specs: NodeDefinitions, *, root: Path, version: str | None) -> NodePack:
    """Return ComfyUI's own classes in the shape of a pack, so that they are kept and compared the same way."""
    return NodePack(
        folder="comfyui",
        path=printable_path(root),
        id="comfy-core",
        enabled=True,
        version=version,
        classes=frozenset(specs.classes),
        possible_classes=frozenset(specs.possible_classes),
        loader_inputs=tuple(specs.loader_inputs),
        file_inputs=tuple(specs.file_inputs),
        own_checks=frozenset(specs.own_checks),
        complete=specs.complete,
        problems=tuple(specs.problems),
    )


def normalize_url(url: str | None) -> str | None:
    """Return a repository's address without user name or password, as a person would open it."""
    if not url:
        return None
    clean = _GIT_ENDING.sub("", _USER_INFORMATION.sub(r"\1", url.strip()))
    if clean.startswith("git@") and ":" in clean:
        host, _, path = clean.removeprefix("git@").partition(":")
        clean = f"https://{host}/{path}"
    return clean or None


def parse_repository(url: str) -> str | None:
    """Return `owner/name` of a repository's address, in lower case."""
    found = _OWNER_AND_NAME.search(_GIT_ENDING.sub("", url.strip()))
    return found.group(1).lower() if found else None


def _read_project(path: Path, problems: list[str]) -> dict[str, Any]:
    text = _read_optional_text(path, "pyproject.toml", problems)
    try:
        return tomllib.loads(text) if text else {}
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        problems.append(f"pyproject.toml is no TOML: {error}")
        return {}


def _read_optional_text(path: Path, name: str, problems: list[str]) -> str:
    try:
        return read_regular(path / name, max_bytes=_MAX_METADATA_BYTES).decode("utf-8", "replace")
    except Failure as failure:
        if not isinstance(failure.__cause__, FileNotFoundError | NotADirectoryError):
            problems.append(failure.message)
        return ""


def _read_requirements(path: Path, identity: dict[str, Any], problems: list[str]) -> tuple[str, ...]:
    lines = (
        line.partition(" #")[0].strip() for line in _read_optional_text(path, "requirements.txt", problems).splitlines()
    )
    declared = [normalize_url(line) or line for line in lines if line and not line.startswith("#")]
    stated = identity.get("dependencies")
    if isinstance(stated, list):
        declared.extend(entry for entry in stated if isinstance(entry, str))
    return tuple(dict.fromkeys(declared))[:_MAX_REQUIREMENTS]


def _get_repository_url(identity: dict[str, Any]) -> str | None:
    urls = _get_table(identity, "urls")
    return _get_text(urls, "Repository") or _get_text(urls, "repository")


def _get_table(parent: dict[str, Any], name: str) -> dict[str, Any]:
    value = parent.get(name)
    return value if isinstance(value, dict) else {}


def _get_text(parent: dict[str, Any], name: str) -> str | None:
    value = parent.get(name)
    return value if isinstance(value, str) and value else None
