"""Read the metadata of a node pack: name, version, repository, nodes, and requirements (pyproject.toml and others)."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular
from comfywatchman.base.git import is_dirty, read_head, read_origin
from comfywatchman.base.parsing.toml_text import parse_toml
from comfywatchman.comfyui.loaders.table import LoaderInput, load_builtin_table
from comfywatchman.comfyui.loaders.tiny_vaes import TinyVaes
from comfywatchman.comfyui.loaders.upload_inputs import FileInput
from comfywatchman.comfyui.packs.definitions import NodeDefinitions, read_pack_definitions
from comfywatchman.comfyui.packs.scan import PackListing
from comfywatchman.comfyui.packs.source_marks import find_source_marks
from comfywatchman.comfyui.static_analysis.server_checks import read_server_checks
from comfywatchman.comfyui.validation.rules import UNKNOWN_CHECKS, ServerChecks
from comfywatchman.comfyui.validation.signature import NodeSignature

READER_VERSION: Final = f"20.{sys.version_info.major}.{sys.version_info.minor}"
"""Part of the key under which packs are cached. Raise it whenever a pack may be read differently.

A newer Python parses source that an older one does not."""

GIT_TIMEOUT_SECONDS: Final = 10.0
"""How long `git status` of one pack may take; after that it is unknown whether the pack was modified."""

_SIGNATURES: Final = msgspec.msgpack.Decoder(dict[str, NodeSignature])
_MAX_METADATA_BYTES: Final = 1 << 20
_MAX_REQUIREMENTS: Final = 500
_USER_INFORMATION: Final = re.compile(r"^([a-z+]+://)[^/@]*@")
_GIT_ENDING: Final = re.compile(r"(\.git)?/*$")
_OWNER_AND_NAME: Final = re.compile(r"[:/]([^/:]+/[^/:]+)$")


@dataclass(frozen=True, slots=True)
class GitState:
    """A pack's git state.

    Attributes:
        url: The remote that it was cloned from.
        commit: The commit that is checked out.
        dirty: Whether tracked files were modified; None when that is unknown.
    """

    url: str | None = None
    commit: str | None = None
    dirty: bool | None = None


class NodePack(msgspec.Struct, frozen=True, omit_defaults=True):
    """A node pack.

    Attributes:
        folder: Its name in `custom_nodes`, without `.disabled`; ComfyUI calls its module `custom_nodes.<folder>`.
        path: Its folder, or its one file.
        id: Name in its pyproject.toml, which is its Comfy Registry id; else the folder's name.
        enabled: Whether ComfyUI would load it.
        version: Version in its pyproject.toml.
        publisher: Comfy Registry publisher.
        display_name: Its name for people.
        url: Its repository: the remote of its clone, else that in pyproject.toml; never with a password.
        git_commit: The commit that is checked out; None when the pack is not a repository of its own.
        dirty: Whether tracked files were modified; None when that is unknown.
        requirements: Declared Python packages, as text: requirements.txt first, then pyproject.toml.
        classes: Node classes that it maps.
        possible_classes: Node classes that it maps under a condition that static analysis cannot decide.
        loader_inputs: Inputs that take a model name.
        file_inputs: Inputs that take a file of the input folder.
        signatures: What ComfyUI checks of each class: a dict of `NodeSignature` by class, encoded as MessagePack. It is
            large and seldom needed.
        complete: Whether these are all its classes; False when names are computed, so that absence proves nothing.
        outline: What must succeed for the pack to be imported: a `PackOutline`, encoded as MessagePack. It is large and
            seldom needed.
        server_checks: For ComfyUI itself, the checks that its version makes of a prompt.
        problems: Files that could not be read, for people.
        replacements: New class by old class, as the source names them; None for a ComfyUI that replaces nothing in
            prompts.
        computes_replacements: Whether it replaces further classes, whose names the source does not show.
        extends_samplers: Whether it may add to ComfyUI's lists of samplers and schedulers.
        tiny_vaes: Of ComfyUI itself, the approximations of a VAE that its loader offers; None where unknown.
        input_names: The names of all inputs of the classes that the loader table knows, where the source shows them.
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
    signatures: bytes = b""
    complete: bool = True
    outline: bytes = b""
    server_checks: ServerChecks = UNKNOWN_CHECKS
    problems: tuple[str, ...] = ()
    replacements: dict[str, str] | None = None
    computes_replacements: bool = False
    extends_samplers: bool = False
    tiny_vaes: TinyVaes | None = None
    input_names: dict[str, tuple[str, ...]] = {}

    @property
    def repository(self) -> str | None:
        """`owner/name` in lower case, as workflows write it in `aux_id`; None without a repository."""
        return parse_repository(self.url) if self.url else None

    def read_signatures(self) -> dict[str, NodeSignature]:
        """Decode and return the signatures of its classes."""
        return _SIGNATURES.decode(self.signatures) if self.signatures else {}

    def is_called(self, name: str) -> bool:
        """Return whether a registry id or `owner/name` means this pack."""
        wanted = name.strip().lower()
        return bool(wanted) and wanted in {self.id.lower(), self.folder.lower(), self.repository}


def read_pack(listing: PackListing, git: GitState) -> NodePack:
    """Read a pack's metadata and source. Nothing of it is imported or run; problems are reported in the result."""
    problems = list(listing.problems)
    project = _read_project(listing.path, problems)
    identity = _get_table(project, "project")
    comfy = _get_table(_get_table(project, "tool"), "comfy")
    requirements = _read_requirements(listing.path, identity, problems)
    pack = NodePack(
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
        requirements=requirements,
        problems=tuple(problems),
    )
    marks = find_source_marks(listing.path, listing.sources)
    pack = msgspec.structs.replace(
        pack,
        replacements=marks.replacements or None,
        computes_replacements=marks.computes_replacements,
        extends_samplers=marks.extends_samplers,
    )
    definitions = read_pack_definitions(listing.path, listing.sources, label=printable_path(listing.folder))
    return _add_definitions(pack, definitions)


def read_git_state(listing: PackListing) -> GitState:
    """Return a pack's git state; empty for a pack that is not a repository of its own."""
    if not listing.git_fingerprint:
        return GitState()
    return GitState(
        url=read_origin(listing.path),
        commit=read_head(listing.path),
        dirty=is_dirty(listing.path, timeout_seconds=GIT_TIMEOUT_SECONDS),
    )


def refresh_pack(pack: NodePack, listing: PackListing, git: GitState) -> NodePack:
    """Return a pack whose source is unchanged with its present path and git state."""
    return msgspec.structs.replace(
        pack,
        folder=printable_path(listing.folder),
        path=printable_path(listing.path),
        enabled=listing.enabled,
        # The source did not change, so the address in its pyproject.toml is still the one of the last reading.
        url=normalize_url(git.url) or pack.url,
        git_commit=git.commit,
        dirty=git.dirty,
    )


def build_core_pack(
    definitions: NodeDefinitions,
    *,
    root: Path,
    version: str | None,
    replacements: dict[str, str] | None = None,
    tiny_vaes: TinyVaes | None = None,
) -> NodePack:
    """Return ComfyUI's own classes as a pack, so that they are cached and compared in the same way."""
    pack = NodePack(
        folder="comfyui",
        path=printable_path(root),
        id="comfy-core",
        enabled=True,
        version=version,
        replacements=replacements,
        tiny_vaes=tiny_vaes,
        server_checks=read_server_checks(root),
    )
    return _add_definitions(pack, definitions)


def _add_definitions(pack: NodePack, definitions: NodeDefinitions) -> NodePack:
    return msgspec.structs.replace(
        pack,
        classes=frozenset(definitions.classes),
        possible_classes=frozenset(definitions.possible_classes),
        loader_inputs=tuple(definitions.loader_inputs),
        file_inputs=tuple(definitions.file_inputs),
        signatures=msgspec.msgpack.encode(definitions.signatures),
        complete=definitions.complete,
        outline=msgspec.msgpack.encode(definitions.outline),
        problems=(*pack.problems, *definitions.problems),
        input_names=_list_input_names(definitions.signatures),
    )


def _list_input_names(signatures: Mapping[str, NodeSignature]) -> dict[str, tuple[str, ...]]:
    table = load_builtin_table()
    return {
        class_type: tuple(declared.name for declared in signature.inputs)
        for class_type, signature in signatures.items()
        if signature.has_all_inputs and table.inputs(class_type)
    }


def normalize_url(url: str | None) -> str | None:
    """Return a repository's address for a browser: without user name, password and `.git`."""
    if not url:
        return None
    clean = _GIT_ENDING.sub("", _USER_INFORMATION.sub(r"\1", url.strip()))
    # The short form of SSH addresses: git@github.com:owner/name.
    if clean.startswith("git@") and ":" in clean:
        host, _, path = clean.removeprefix("git@").partition(":")
        clean = f"https://{host}/{path}"
    return clean or None


def parse_repository(url: str) -> str | None:
    """Return `owner/name` of a repository's address, in lower case."""
    match = _OWNER_AND_NAME.search(_GIT_ENDING.sub("", url.strip()))
    return match.group(1).lower() if match else None


def _read_project(path: Path, problems: list[str]) -> dict[str, Any]:
    text = _read_optional_text(path, "pyproject.toml", problems)
    try:
        return parse_toml(text)
    except tomllib.TOMLDecodeError as error:
        problems.append(f"pyproject.toml is not valid TOML: {error}")
        return {}


def _read_optional_text(path: Path, name: str, problems: list[str]) -> str:
    try:
        return read_regular(path / name, max_bytes=_MAX_METADATA_BYTES).decode("utf-8", "replace")
    except Failure as failure:
        # An absent file is fine; a pack of one file is not even a directory.
        if not isinstance(failure.__cause__, FileNotFoundError | NotADirectoryError):
            problems.append(failure.message)
        return ""


def _read_requirements(path: Path, identity: dict[str, Any], problems: list[str]) -> tuple[str, ...]:
    requirements: list[str] = []
    for line in _read_optional_text(path, "requirements.txt", problems).splitlines():
        requirement = line.partition(" #")[0].strip()
        if requirement and not requirement.startswith("#"):
            # A requirement may be the address of a repository, with a token in it.
            requirements.append(normalize_url(requirement) or requirement)
    dependencies = identity.get("dependencies")
    if isinstance(dependencies, list):
        requirements.extend(entry for entry in dependencies if isinstance(entry, str))
    return tuple(dict.fromkeys(requirements))[:_MAX_REQUIREMENTS]


def _get_repository_url(identity: dict[str, Any]) -> str | None:
    urls = _get_table(identity, "urls")
    # Comfy Registry's template writes it with a capital letter; the Python standard allows both.
    return _get_text(urls, "Repository") or _get_text(urls, "repository")


def _get_table(parent: dict[str, Any], name: str) -> dict[str, Any]:
    value = parent.get(name)
    return value if isinstance(value, dict) else {}


def _get_text(parent: dict[str, Any], name: str) -> str | None:
    value = parent.get(name)
    return value if isinstance(value, str) and value else None
