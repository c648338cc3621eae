"""The code of ComfyUI and of its custom nodes, as a lock records it."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.code_tree import hash_code_tree
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular
from comfywatchman.base.git import list_submodules, list_tracked_files, read_head, read_origin, read_working_tree
from comfywatchman.versions.licences import read_code_licence
from comfywatchman.versions.lockfile import LockedCode, Unpinned
from comfywatchman.versions.requirements import LOCAL_REPOSITORY

_MAX_NODE_FILE_BYTES: Final = 64 << 20
_GIT_SECONDS: Final = 120.0
_LOCAL: Final = re.compile(r"[/.~]|file:")
_DISABLED: Final = ".disabled"


def lock_code(folder: Path, name: str, *, version: str | None = None) -> LockedCode:
    """Record the code in a folder, or a single-file node: by commit and tree where git knows it, else by its bytes.

    Raises:
        Failure: `version-code-unknown`: it cannot be read, or git cannot compare it with its commit. A copy that cannot
            be compared is never recorded as unchanged.
    """
    is_enabled = not name.endswith(_DISABLED)
    licence = (read_code_licence(folder) if folder.is_dir() else None) or msgspec.UNSET
    if folder.is_file():
        content = read_regular(folder, max_bytes=_MAX_NODE_FILE_BYTES)
        digest = hashlib.sha256(content).hexdigest()
        return LockedCode(name=name, source="file", code_sha256=digest, version=version, is_enabled=is_enabled)
    if read_head(folder) is None:
        code_hash = hash_code_tree(folder)
        if code_hash is None:
            raise _unknown(name, "its files cannot be read, or there are more than 50,000 of them")
        return LockedCode(
            name=name,
            source="folder",
            code_sha256=code_hash,
            version=version,
            is_enabled=is_enabled,
            licence=licence,
        )
    tree = read_working_tree(folder, timeout_seconds=_GIT_SECONDS)
    if tree is None:
        raise _unknown(name, "git cannot compare it with its commit")
    changed_submodules = _find_changed_submodules(folder, name)
    dirty_tree = None if tree.is_clean else tree.tree
    if changed_submodules:
        # A tree names only the commit of a submodule, not its files.
        described = "\n".join((tree.tree, *(f"{path} {state}" for path, state in changed_submodules.items())))
        dirty_tree = hashlib.sha256(os.fsencode(described)).hexdigest()
    return LockedCode(
        name=name,
        source="git",
        repo=read_origin(folder),
        commit=tree.commit,
        tree=tree.commit_tree,
        dirty_tree=dirty_tree,
        changed_files=tuple(sorted({*tree.changed_files, *changed_submodules})),
        version=version,
        is_enabled=is_enabled,
        licence=licence,
    )


def _find_changed_submodules(folder: Path, name: str) -> dict[str, str]:
    """Return the submodules whose files are not those of their commit, with a hash of their state, by path.

    Raises:
        Failure: `version-code-unknown`.
    """
    paths = list_submodules(folder, timeout_seconds=_GIT_SECONDS)
    if paths is None:
        raise _unknown(name, "git cannot list its submodules")
    changed = {}
    for path in paths:
        place = folder / path
        if read_head(place) is None:
            # Never fetched, or no working copy any more.
            changed[path] = "absent"
            continue
        code = lock_code(place, f"{name}/{path}")
        if code.dirty_tree is not None:
            changed[path] = code.dirty_tree
    return changed


def lock_nodes(custom_nodes: Path) -> tuple[LockedCode, ...]:
    """Record every custom node in a folder, sorted by name: packs, single files, and those that are disabled.

    A file that is tracked by the repository around the folder, as ComfyUI's own examples are, belongs to that.

    Raises:
        Failure: `version-code-unknown`.
    """
    try:
        names = sorted(os.listdir(custom_nodes))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise _unknown("custom_nodes", f"it cannot be listed: {error.strerror}") from error
    tracked = list_tracked_files(custom_nodes.parent, custom_nodes.name, timeout_seconds=_GIT_SECONDS) or frozenset()
    nodes = []
    for name in names:
        if _is_node(custom_nodes, name):
            node = lock_code(custom_nodes / name, name)
            is_core = node.source == "file" and f"{custom_nodes.name}/{name}" in tracked
            nodes.append(msgspec.structs.replace(node, source="comfyui") if is_core else node)
    return tuple(nodes)


def find_unpinned_code(code: LockedCode) -> tuple[Unpinned, ...]:
    """Return why the lock alone cannot restore this code; empty when it can."""
    reasons = []
    if code.dirty_tree is not None:
        reasons.append("modified")
    if code.source != "comfyui" and (code.source != "git" or code.repo is None):
        reasons.append("no-repository")
    elif code.repo is not None and _LOCAL.match(code.repo):
        reasons.append(LOCAL_REPOSITORY)
    return tuple(Unpinned(kind="code", name=code.name, reason=reason) for reason in reasons)


def _is_node(custom_nodes: Path, name: str) -> bool:
    path = custom_nodes / name
    if name == "__pycache__":
        return False
    if not path.is_dir():
        return name.removesuffix(_DISABLED).endswith(".py")
    # ComfyUI (`init_external_custom_nodes`) would load hidden folders too; `.git` and the like hold no node.
    return not name.startswith(".") or (path / "__init__.py").is_file()


def _unknown(name: str, reason: str) -> Failure:
    return Failure(
        "version-code-unknown",
        f"The code of {name} cannot be recorded: {reason}.",
        hint="Repair or remove it; a version must not claim what it could not look at.",
    )
