"""Registering custom nodes: cloned from an address, from an id of the Comfy Registry, or as a folder that is there.

Nothing of a node is run, and none of its packages installed, until it is tried (`transaction.run`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
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
from comfywatchman.base.text import os_error_text
from comfywatchman.governance.environments import commit, generation, snapshot, staging
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.nodes.deny_list import DenyEntry, build_deny_list, refuse_denied
from comfywatchman.governance.nodes.identity import (
    NodeOrigin,
    check_id,
    check_ref,
    derive_id,
    find_conflicting_id,
    is_address,
    is_same_origin,
    parse_origin,
)
from comfywatchman.governance.store.records import RegisteredNode
from comfywatchman.governance.store.truth import node_group

_CLONE_SECONDS: Final = 1800.0
_DISABLED_SUFFIX: Final = ".disabled"
"""ComfyUI passes over folders that end so: a clone under way is not imported by one that starts meanwhile."""

FindPack = Callable[[str], str | None]
"""Gives the repository's address of a pack of the Comfy Registry by its id; None for one that it does not know."""


@dataclass(frozen=True, slots=True)
class AddRequest:
    """What is to be added.

    Attributes:
        target: An address, or an id of the Comfy Registry.
        ref: Branch, tag or commit; empty for the default branch.
        node_id: The id; empty for the repository's name, or the registry's id.
        allow_local: Whether the target may be a folder of this machine.
    """

    target: str
    ref: str = ""
    node_id: str = ""
    allow_local: bool = False


def add_node(
    ground: GovContext, wish: AddRequest, *, find_pack: FindPack, progress: Callable[[str], None] = lambda _line: None
) -> RegisteredNode:
    """Clone a node into `custom_nodes` and register it.

    Raises:
        Failure: `gov-bad-id`, `gov-bad-url`, `gov-bad-ref`, `gov-denied`, `gov-pack-unknown`, `gov-node-there`,
            `git-missing`, `git-failed`, `child-timeout` or `state-unwritable`. Registry and `custom_nodes` are as
            before then.
    """
    ref = check_ref(wish.ref)
    node_id, origin = _resolve_request(wish, find_pack)
    refuse_denied(_find_denied(ground, node_id, origin.url), f"The pack {node_id}")
    _require_free(ground, node_id, origin)
    folder = ground.custom_nodes / node_id
    _prune_unfinished_clones(ground)
    unfinished = ground.custom_nodes / f".{node_id}.tmp-{os.getpid()}{_DISABLED_SUFFIX}"
    try:
        ground.custom_nodes.mkdir(parents=True, exist_ok=True)
        source = Repository(origin.url, origin.user, origin.secret, origin.is_local, ground.uv.network)
        clone_repository(
            source, unfinished, ref=ref, timeout_seconds=_CLONE_SECONDS, progress=progress, pass_on=ground.pass_on
        )
        unfinished.rename(folder)
        fsync_folder(ground.custom_nodes)
    except OSError as error:
        raise Failure(
            "state-unwritable",
            f"{printable_path(ground.custom_nodes)} cannot be written: {os_error_text(error)}.",
            hint="Free space or fix the permissions of that folder, then run the command again.",
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    try:
        return _register(ground, node_id, origin.url, ref, note=f"{node_id} was added from {origin.url}")
    except (Failure, OSError):
        # Until the commit point the folder is only ours; after it, recovery registers it.
        if not ground.layout.journal.exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def adopt_node(ground: GovContext, node_id: str) -> RegisteredNode:
    """Register a folder that is in `custom_nodes` already, as it is; a link to a folder elsewhere is one, too.

    Raises:
        Failure: `gov-bad-id`, `gov-denied`, `gov-node-there` when it is registered, `gov-node-unknown` when there is
            no such folder.
    """
    check_id(node_id)
    folder = ground.custom_nodes / node_id
    if not folder.is_dir():
        raise Failure(
            "gov-node-unknown",
            f"There is no folder {node_id} in {printable_path(ground.custom_nodes)}.",
            hint="Clone a node with `gov node add URL`; `gov check` lists folders that are not registered.",
        )
    _require_unregistered(ground, node_id)
    origin = read_origin(folder) or ""
    refuse_denied(_find_denied(ground, node_id, origin), f"The pack {node_id}")
    return _register(ground, node_id, origin, "", note=f"{node_id} was adopted as it is")


def _resolve_request(wish: AddRequest, find_pack: FindPack) -> tuple[str, NodeOrigin]:
    if wish.node_id:
        check_id(wish.node_id)
    if is_address(wish.target):
        origin = parse_origin(wish.target, allow_local=wish.allow_local)
        return wish.node_id or derive_id(origin.url), origin
    pack_id = check_id(wish.target)
    url = find_pack(pack_id)
    if url is None:
        raise Failure(
            "gov-pack-unknown",
            f"The Comfy Registry knows no pack {pack_id!r}, or not where its code is.",
            hint="Give the repository's address: gov node add https://github.com/OWNER/NAME",
        )
    return wish.node_id or pack_id, parse_origin(url)


def _find_denied(ground: GovContext, node_id: str, url: str) -> DenyEntry | None:
    policy = ground.settings.policy
    return build_deny_list(policy.deny, policy.allow).find_pack(node_id, url)


def _require_free(ground: GovContext, node_id: str, origin: NodeOrigin) -> None:
    _require_unregistered(ground, node_id)
    folders = (path.name.removesuffix(_DISABLED_SUFFIX) for path in _list_folder(ground.custom_nodes))
    taken = find_conflicting_id(node_id, folders)
    if taken is None:
        return
    is_same = is_same_origin(read_origin(ground.custom_nodes / taken) or "", origin.url)
    what = "a clone of the same repository" if is_same else "something else, or another clone"
    raise Failure(
        "gov-node-there",
        f"{printable_path(ground.custom_nodes)} holds {taken} already: {what}.",
        hint=f"Register it as it is: gov node add --adopt {taken}. Or choose another id: --id.",
    )


def _require_unregistered(ground: GovContext, node_id: str) -> None:
    registered = find_conflicting_id(node_id, staging.read_registry(ground.layout).plugins)
    if registered is not None:
        raise Failure(
            "gov-node-there",
            f"The node {registered} is registered already.",
            hint=f"See `gov node list`; to begin anew: gov node remove {registered} --purge-code.",
        )


def _register(ground: GovContext, node_id: str, url: str, ref: str, *, note: str) -> RegisteredNode:
    layout = ground.layout
    folder = ground.custom_nodes / node_id
    now = format_utc(ground.clock.now())
    plugin = RegisteredNode(
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
    key = generation.current_key(layout)
    if key is None:
        raise Failure("gov-not-initialised", "There is no environment in production.", hint="Run: gov init")
    with staging.open_staging(ground.layout) as work:
        plugins = work.read_registry()
        work.write_registry(msgspec.structs.replace(plugins, plugins={**plugins.plugins, node_id: plugin}))
        pre = snapshot.create(layout, ground.clock, reason="node_add_pre", ref=node_id, generation=key)
        journal = commit.prepare(
            ground.layout,
            ground.clock,
            work,
            kind="node_add",
            ref=node_id,
            key=key,
            pre_snapshot=pre.id,
            note=note,
            started_at=now,
        )
        commit.publish(ground, journal)
    return plugin


def _prune_unfinished_clones(ground: GovContext) -> None:
    """Delete what clones left that were killed; whoever made them has ended, as the lock of the root is ours."""
    for path in _list_folder(ground.custom_nodes):
        if path.name.startswith(".") and ".tmp-" in path.name and path.name.endswith(_DISABLED_SUFFIX):
            shutil.rmtree(path, ignore_errors=True)


def _list_folder(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
