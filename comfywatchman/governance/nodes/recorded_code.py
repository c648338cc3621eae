"""Take the code of nodes back to what was recorded: a commit of git, or a copy kept at the promotion."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.code_tree import copy_code_tree, hash_code_tree, replace_code_tree
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import fsync_folder, unwritable_failure
from comfywatchman.base.git import is_dirty, read_head
from comfywatchman.base.git_clone import check_out_commit
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import NodeRegistry, RegisteredNode

_GIT_SECONDS: Final = 600.0
_STATUS_SECONDS: Final = 20.0
_MAX_COPIES: Final = 20
"""How many copies of the code of one node are kept."""

_UNFINISHED: Final = ".unfinished"


class CodeChange(msgspec.Struct, frozen=True, kw_only=True):
    """The code of one node before and after a restoration: a commit, or the hash of the code of a folder without git.

    Attributes:
        node_id: The node.
        before: What it was; None when its folder was gone.
        after: What it is now.
        error: Why it could not be taken back; empty when it was.
    """

    node_id: str
    before: str | None
    after: str
    error: str = ""


def keep_copy(layout: GovLayout, node_id: str, folder: Path, *, needed: str | None = None) -> None:
    """Keep a copy of the code of a folder without git; nothing is done for one with git, or that has a copy.

    Args:
        layout: The governed root.
        node_id: The node.
        folder: Its folder.
        needed: The hash of a copy that is not deleted, however old it is.

    Raises:
        Failure: `state-unwritable`.
    """
    if not folder.is_dir():
        # A pack that is a single file has no copy.
        return
    tree = hash_code_tree(folder)
    if tree is None or read_head(folder) is not None or _find_copy(layout, node_id, tree) is not None:
        return
    place = _copy_place(layout, node_id, tree)
    unfinished = place.with_name(f"{_UNFINISHED}-{os.getpid()}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(unfinished, ignore_errors=True)
        copy_code_tree(folder, unfinished)
        unfinished.replace(place)
        fsync_folder(place.parent)
        _delete_oldest(place.parent, but=needed)
    except OSError as error:
        raise unwritable_failure(place, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def find_obstacles(context: GovContext, registry: NodeRegistry) -> dict[str, str]:
    """Return why the code of registered nodes cannot be taken back to what is recorded, by node; nothing is changed."""
    obstacles = {}
    for node_id, node in sorted(registry.plugins.items()):
        folder = context.custom_nodes / node_id
        reason = _find_obstacle(context.layout, node, folder) if _is_changed(node, folder) else ""
        if reason:
            obstacles[node_id] = reason
    return obstacles


def restore_code(context: GovContext, registry: NodeRegistry) -> tuple[CodeChange, ...]:
    """Take the code of registered nodes back to what is recorded; local changes are never overwritten.

    Args:
        context: The governed root; its lock must be held.
        registry: The nodes as they are recorded.

    Returns:
        One result per node whose code was not the recorded one.
    """
    changes = []
    for node_id, node in sorted(registry.plugins.items()):
        folder = context.custom_nodes / node_id
        if _is_changed(node, folder):
            before = _describe_code(folder)
            try:
                _restore(context.layout, node, folder, context.uv.network)
                error = ""
            except Failure as failure:
                error = failure.message
            except OSError as failure:
                error = f"{folder}: {failure.strerror}"
            changes.append(
                CodeChange(node_id=node_id, before=before, after=node.commit or node.tree or "", error=error)
            )
    return tuple(changes)


def _delete_oldest(folder: Path, *, but: str | None) -> None:
    copies = sorted(folder.iterdir(), key=lambda path: path.stat().st_ctime_ns)
    for path in copies[:-_MAX_COPIES]:
        if path.name != but:
            shutil.rmtree(path, ignore_errors=True)


def _is_changed(node: RegisteredNode, folder: Path) -> bool:
    if node.commit is not None:
        return read_head(folder) != node.commit
    return node.tree is not None and hash_code_tree(folder) != node.tree


def _describe_code(folder: Path) -> str | None:
    return read_head(folder) or hash_code_tree(folder)


def _find_obstacle(layout: GovLayout, node: RegisteredNode, folder: Path) -> str:
    if node.commit is None:
        has_copy = node.tree is not None and _find_copy(layout, node.id, node.tree) is not None
        return _find_unkept(folder) if has_copy else "no copy of its code was kept"
    if not folder.is_dir():
        return f"its folder is gone; clone it again: {node.git_url}"
    if read_head(folder) is None:
        return "its folder is no working copy of git any more"
    return "" if is_dirty(folder, timeout_seconds=_STATUS_SECONDS) is False else "it has local changes"


def _find_unkept(folder: Path) -> str:
    """Return why the present code of a folder cannot be copied before it is replaced; empty when it can."""
    if not folder.exists():
        return ""
    if read_head(folder) is not None:
        return "its folder has become a working copy of git"
    if not folder.is_dir() or hash_code_tree(folder) is None:
        return "its present code cannot be copied"
    return ""


def _restore(layout: GovLayout, node: RegisteredNode, folder: Path, network: Mapping[str, str]) -> None:
    reason = _find_obstacle(layout, node, folder)
    if reason:
        raise Failure("gov-code-refused", reason)
    if node.commit is not None:
        check_out_commit(folder, node.commit, timeout_seconds=_GIT_SECONDS, network=network)
        return
    if folder.is_dir():
        # What is replaced can be brought back by the next rollback.
        present = hash_code_tree(folder)
        keep_copy(layout, node.id, folder, needed=node.tree)
        if present is None or _find_copy(layout, node.id, present) is None:
            raise Failure("gov-code-refused", "no copy of its present code could be kept")
    _swap_code(_copy_place(layout, node.id, node.tree or ""), folder)


def _swap_code(copy: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    # A linked folder may be on another disk, and files are moved within one. ComfyUI skips names that end so.
    real = folder.resolve()
    new, aside = (real.with_name(f".{real.name}.{part}.disabled") for part in ("new", "old"))
    for leftover in (new, aside):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        copy_code_tree(copy, new)
        replace_code_tree(new, real, aside)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _find_copy(layout: GovLayout, node_id: str, tree: str) -> Path | None:
    place = _copy_place(layout, node_id, tree)
    return place if place.is_dir() else None


def _copy_place(layout: GovLayout, node_id: str, tree: str) -> Path:
    return layout.code / node_id / tree
