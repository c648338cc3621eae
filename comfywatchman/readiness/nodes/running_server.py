"""Queries the running ComfyUI of the watched installation (`/object_info`) for nodes, lists and validation rules."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import msgspec
import orjson

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.comfyui.install.folders import ModelFolders
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.packs.replacements import NO_REPLACEMENTS, ClassReplacements, choose_replacements
from comfywatchman.comfyui.server.object_info import LiveNodes
from comfywatchman.readiness.context import CycleContext
from comfywatchman.readiness.nodes.remembered_server import build_server_key, read_remembered_nodes, remember_nodes

if TYPE_CHECKING:
    from comfywatchman.comfyui.server.api import RunningComfyUI
    from comfywatchman.comfyui.server.identity import Identification, ServerStart

_PACK_PREFIX: Final = "custom_nodes."
"""Begins the module of a pack's class in `/object_info`."""


@dataclass(frozen=True, slots=True)
class ServerSnapshot:
    """The nodes of a running server; without a server, everything is empty.

    Attributes:
        nodes: Its nodes; None when no server of this installation answered.
        replacements: Replacements that it or its editor applies.
        version: Its version.
        fingerprint: Changes with all of these.
        ignored: Why the server that responded is not queried, as text; None when none is ignored.
        started_at: When it was started, as a POSIX time; None when its process cannot be seen.
    """

    nodes: LiveNodes | None = None
    replacements: ClassReplacements = NO_REPLACEMENTS
    version: str | None = None
    fingerprint: str = ""
    ignored: str | None = None
    started_at: float | None = None

    @property
    def classes(self) -> frozenset[str] | None:
        """The classes that it lists; None without a server."""
        return None if self.nodes is None else self.nodes.classes

    @property
    def packs(self) -> frozenset[str]:
        """Folders of the packs whose classes it lists."""
        modules = () if self.nodes is None else self.nodes.packs.values()
        return frozenset(name.removeprefix(_PACK_PREFIX) for name in modules if name.startswith(_PACK_PREFIX))

    def choices(self, class_type: str, name: str) -> Collection[str] | None:
        """Return its list for an input; None when it has none."""
        if self.nodes is None:
            return None
        return self.nodes.combos.get(class_type, {}).get(name)


def query_server(
    cycle: CycleContext, folders: ModelFolders, names: Mapping[str, Collection[str]], host_key: Sequence[str] = ()
) -> ServerSnapshot:
    """Query the server of the watched installation; any failure becomes a problem and counts as no server.

    Args:
        cycle: The cycle.
        folders: The model folders, without those that only packs have.
        names: File names by canonical model folder.
        host_key: Texts that change with the models and packs of this host: while they and the process of the server
            stay the same, its nodes are not fetched again.
    """
    request = cycle.request
    url, timeout_seconds = request.settings.comfyui.url, request.settings.comfyui.timeout_seconds
    # The sample host has no server; one that answers at the configured URL is somebody else's.
    if not url or request.sample:
        return ServerSnapshot()
    # Imported here, because the HTTP client is slow to load.
    from comfywatchman.comfyui.server.api import fetch_nodes, probe_server
    from comfywatchman.comfyui.server.identity import (
        ServerIdentity,
        WatchedComfyUI,
        find_server_start,
        identify_server,
    )

    try:
        server = probe_server(url, timeout_seconds=timeout_seconds)
        if server is None:
            return ServerSnapshot()

        start = find_server_start(server)
        key = _build_key(cycle, server, start, host_key)

        @cache
        def load_nodes() -> LiveNodes:
            return _load_nodes(cycle, key, lambda: fetch_nodes(server, names, timeout_seconds=timeout_seconds))

        watched = WatchedComfyUI(request.installation, folders, names)
        identification = identify_server(server, watched, lambda: load_nodes().packs, timeout_seconds=timeout_seconds)
        if identification.identity is not ServerIdentity.WATCHED:
            note = _describe_ignored_server(url, identification, request.installation)
            cycle.add_problem(note)
            return ServerSnapshot(ignored=note)
        nodes = load_nodes()
    except Failure as failure:
        cycle.add_problem(f"The ComfyUI at {url} could not be queried: {failure.message}")
        return ServerSnapshot()
    replacements = choose_replacements(server.replacements, nodes.classes)
    started_at = None if start is None else start.started_at
    fingerprint = _compute_fingerprint(nodes, replacements)
    return ServerSnapshot(nodes, replacements, server.version, fingerprint, started_at=started_at)


def _build_key(
    cycle: CycleContext, server: RunningComfyUI, start: ServerStart | None, host_key: Sequence[str]
) -> str | None:
    """Return the key under which the nodes of a server are remembered; None when its start is not known."""
    if start is None or not host_key:
        return None
    process = f"{start.pid} {start.started_at!r}"
    return build_server_key([cycle.comfyui.id, server.url, process, server.version or "", *server.argv, *host_key])


def _load_nodes(cycle: CycleContext, key: str | None, fetch: Callable[[], LiveNodes]) -> LiveNodes:
    """Return the nodes of a server, fetched only when they are not remembered."""
    path, now = cycle.request.layout.server_nodes, cycle.request.clock.now().timestamp()
    remembered = read_remembered_nodes(path, key, now=now) if key is not None else None
    if remembered is not None:
        return remembered
    nodes = fetch()
    if key is not None and cycle.request.may_write:
        remember_nodes(path, key, nodes, now=now)
    return nodes


def _describe_ignored_server(url: str, identification: Identification, installation: Installation) -> str:
    base = printable_path(installation.base)
    if identification.identity == "other":
        text = f"Another ComfyUI responds at {url} and is ignored: {identification.reason}."
        return f"{text} The watched one is in {base}: set [comfyui] url to its URL."
    return (
        f"The ComfyUI at {url} is ignored, because it is not known whether it is the one in {base}: "
        f"{identification.reason}. Run comfywatchman as the user that runs ComfyUI, or correct [comfyui] url."
    )


def _compute_fingerprint(nodes: LiveNodes, replacements: ClassReplacements) -> str:
    facts = orjson.dumps(
        [sorted(nodes.classes), replacements.in_prompts, replacements.in_editor, nodes.combos],
        option=orjson.OPT_SORT_KEYS,
    )
    facts += msgspec.json.encode(nodes.signatures, order="deterministic")
    return hashlib.blake2b(facts, digest_size=16).hexdigest()
