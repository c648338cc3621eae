"""Register custom nodes: clone them from a URL or an id of the Comfy Registry, or adopt an existing folder.

Nothing of a node is run and none of its packages are installed before its trial (`transactions.run`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.clock import format_utc
from comfywatchman.base.code_tree import hash_code_tree
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import fsync_folder, printable_path
from comfywatchman.base.git import read_head, read_origin
from comfywatchman.base.git_clone import Repository, clone_repository
from comfywatchman.base.text import describe_os_remedy, os_error_text
from comfywatchman.comfyui.packs.scan import find_node_folders
from comfywatchman.governance.environments import commit, generation, snapshot, staging
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.nodes.deny_list import build_deny_list, enforce_deny_list
from comfywatchman.governance.nodes.identity import (
    NodeOrigin,
    check_existing_id,
    check_id,
    check_ref,
    derive_id,
    find_conflicting_id,
    is_address,
    is_same_origin,
    parse_origin,
)
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import RegisteredNode
from comfywatchman.governance.store.settings import PolicyTable
from comfywatchman.governance.store.truth import node_group

_CLONE_SECONDS: Final = 1800.0
_DISABLED_SUFFIX: Final = ".disabled"
"""ComfyUI skips folders with this ending: an unfinished clone is not imported by a start meanwhile."""

FindPack = Callable[[str], str | None]
"""Returns the repository's URL of a pack of the Comfy Registry by its id; None for an unknown pack."""


@dataclass(frozen=True, slots=True)
class AddRequest:
    """A node to be added.

    Attributes:
        target: A URL, or an id of the Comfy Registry.
        ref: Branch, tag or commit; empty for the default branch.
        node_id: The id; empty for the repository's name, or the registry's id.
        allow_local: Whether the target may be a folder of this machine.
    """

    target: str
    ref: str = ""
    node_id: str = ""
    allow_local: bool = False


def add_node(
    context: GovContext,
    request: AddRequest,
    *,
    find_pack: FindPack,
    progress: Callable[[str], None] = lambda _line: None,
) -> RegisteredNode:
    """Clone a node into `custom_nodes` and register it.

    Args:
        context: The governed root; its lock must be held.
        request: The node to be added.
        find_pack: Looks up a pack in the Comfy Registry.
        progress: Receives the progress lines of git.

    Raises:
        Failure: `gov-bad-id`, `gov-bad-url`, `gov-bad-ref`, `gov-denied`, `gov-pack-unknown`, `gov-node-there`,
            `git-missing`, `git-failed`, `child-timeout` or `state-unwritable`: nothing changed.
    """
    ref = check_ref(request.ref)
    node_id, origin = _resolve_request(request, find_pack)
    _enforce_deny_list(context.settings.policy, node_id, origin.url)
    _require_unregistered(context.layout, node_id)
    _require_free_folder(context.custom_nodes, node_id, origin)
    _prune_partial_clones(context.custom_nodes)
    repository = Repository(origin.url, origin.user, origin.secret, origin.is_local, context.uv.network)
    folder = context.custom_nodes / node_id
    _clone(repository, folder, ref=ref, progress=progress, pass_on=context.pass_on)
    try:
        return _register(context, {node_id: origin.url}, ref, note=f"{node_id} was added from {origin.url}")[0]
    except (Failure, OSError):
        # Before the commit point nothing refers to the folder; after it, recovery registers the folder.
        if not context.layout.journal.exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def adopt_node(context: GovContext, node_id: str) -> RegisteredNode:
    """Register an existing folder of `custom_nodes` as it is; it may be a link to another folder.

    Raises:
        Failure: As `adopt_nodes`.
    """
    return adopt_nodes(context, [node_id])[0]


def adopt_nodes(context: GovContext, node_ids: Sequence[str]) -> tuple[RegisteredNode, ...]:
    """Register existing folders of `custom_nodes` as they are, all of them or none, in one operation.

    Raises:
        Failure: `gov-bad-id`, `gov-denied`, `gov-node-there` when one is registered, `gov-node-unknown` when there is
            no such folder.
    """
    urls = {node_id: _check_folder(context, node_id) for node_id in node_ids}
    names = ", ".join(urls)
    verb = "was" if len(urls) == 1 else "were"
    return _register(context, urls, "", note=f"{names} {verb} adopted as found")


def find_unregistered_nodes(context: GovContext) -> tuple[str, ...]:
    """Return the enabled packs of `custom_nodes` that are not registered, sorted.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    registered = staging.read_registry(context.layout).plugins
    folders = {name for name, listing in find_node_folders(context.custom_nodes).items() if listing.enabled}
    return tuple(sorted(folder for folder in folders if find_conflicting_id(folder, registered) is None))


def _check_folder(context: GovContext, node_id: str) -> str:
    """Require that a folder can be registered; return the URL of its repository, empty without one."""
    folder = context.custom_nodes / node_id
    check_existing_id(node_id, is_file=folder.is_file())
    if not folder.exists():
        raise Failure(
            "gov-node-unknown",
            f"There is no node pack {node_id} in {printable_path(context.custom_nodes)}.",
            hint="Clone a node with `gov node add URL`; `gov check` lists unregistered folders.",
        )
    _require_unregistered(context.layout, node_id)
    origin_url = read_origin(folder) or ""
    _enforce_deny_list(context.settings.policy, node_id, origin_url)
    return origin_url


def _resolve_request(request: AddRequest, find_pack: FindPack) -> tuple[str, NodeOrigin]:
    """Return the id and the origin of a node to be added."""
    if request.node_id:
        check_id(request.node_id)
    if is_address(request.target):
        origin = parse_origin(request.target, allow_local=request.allow_local)
        return request.node_id or derive_id(origin.url), origin
    pack_id = check_id(request.target)
    url = find_pack(pack_id)
    if url is None:
        raise Failure(
            "gov-pack-unknown",
            f"The Comfy Registry has no pack {pack_id!r}, or no repository for it.",
            hint="Give the repository's URL: gov node add https://github.com/OWNER/NAME",
        )
    # URLs from the registry are validated like those of the user: local folders are refused.
    return request.node_id or pack_id, parse_origin(url)


def _enforce_deny_list(policy: PolicyTable, node_id: str, url: str) -> None:
    entry = build_deny_list(policy.deny, policy.allow).find_pack(node_id, url)
    enforce_deny_list(entry, f"The pack {node_id}")


def _require_unregistered(layout: GovLayout, node_id: str) -> None:
    registered = find_conflicting_id(node_id, staging.read_registry(layout).plugins)
    if registered is not None:
        raise Failure(
            "gov-node-there",
            f"The node {registered} is already registered.",
            hint=f"See `gov node list`; to start over: gov node remove {registered} --purge-code",
        )


def _require_free_folder(custom_nodes: Path, node_id: str, origin: NodeOrigin) -> None:
    folders = (path.name.removesuffix(_DISABLED_SUFFIX) for path in _list_folder(custom_nodes))
    existing = find_conflicting_id(node_id, folders)
    if existing is None:
        return
    is_same = is_same_origin(read_origin(custom_nodes / existing) or "", origin.url)
    content = "a clone of the same repository" if is_same else "something else, or another clone"
    raise Failure(
        "gov-node-there",
        f"{printable_path(custom_nodes)} already contains {existing}: {content}.",
        hint=f"Register it as it is: gov node add --adopt {existing}. Or choose another id: --id.",
    )


def _clone(
    repository: Repository, folder: Path, *, ref: str, progress: Callable[[str], None], pass_on: tuple[int, ...]
) -> None:
    """Clone a repository into a folder that appears at once and complete."""
    custom_nodes = folder.parent
    unfinished = custom_nodes / f".{folder.name}.tmp-{os.getpid()}{_DISABLED_SUFFIX}"
    try:
        custom_nodes.mkdir(parents=True, exist_ok=True)
        clone_repository(
            repository, unfinished, ref=ref, timeout_seconds=_CLONE_SECONDS, progress=progress, pass_on=pass_on
        )
        unfinished.rename(folder)
        fsync_folder(custom_nodes)
    except OSError as error:
        raise Failure(
            "state-unwritable",
            f"{printable_path(custom_nodes)} cannot be written: {os_error_text(error)}.",
            hint=f"{describe_os_remedy(error)} Then run the command again.",
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _register(context: GovContext, urls: Mapping[str, str], ref: str, *, note: str) -> tuple[RegisteredNode, ...]:
    """Register nodes in one operation.

    Args:
        context: The governed root; its lock must be held.
        urls: The URL of each node's repository, by id; empty for a node without one.
        ref: The requested branch, tag or commit.
        note: A description of the operation.
    """
    layout, clock = context.layout, context.clock
    now = format_utc(clock.now())
    nodes = []
    for node_id, url in urls.items():
        folder = context.custom_nodes / node_id
        node = RegisteredNode(
            id=node_id,
            git_url=url,
            ref=ref,
            path=str(folder),
            group=node_group(node_id),
            commit=read_head(folder),
            tree=hash_code_tree(folder),
            created_at=now,
            updated_at=now,
        )
        nodes.append(node)
    key = generation.current_key(layout)
    if key is None:
        raise Failure("gov-not-initialised", "There is no environment in production.", hint="Run: gov init")
    with staging.open_staging(layout) as work:
        registry = work.read_registry()
        plugins = {**registry.plugins, **{node.id: node for node in nodes}}
        work.write_registry(msgspec.structs.replace(registry, plugins=plugins))
        names = ", ".join(urls)
        pre = snapshot.create(layout, clock, reason="node_add_pre", ref=names, generation=key)
        journal = commit.prepare(
            layout,
            clock,
            work,
            kind="node_add",
            ref=names,
            key=key,
            pre_snapshot=pre.id,
            note=note,
            started_at=now,
        )
        commit.publish(context, journal)
    return tuple(nodes)


def _prune_partial_clones(custom_nodes: Path) -> None:
    """Delete the unfinished clones of killed commands; no other command is running, as we hold the root's lock."""
    for path in _list_folder(custom_nodes):
        if path.name.startswith(".") and ".tmp-" in path.name and path.name.endswith(_DISABLED_SUFFIX):
            shutil.rmtree(path, ignore_errors=True)


def _list_folder(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
