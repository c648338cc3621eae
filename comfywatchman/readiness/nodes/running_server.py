"""Queries the running ComfyUI of the watched installation (`/object_info`) for nodes, lists and validation rules."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import msgspec
import orjson

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.packs.metadata import NodePack
from comfywatchman.comfyui.packs.replacements import NO_REPLACEMENTS, ClassReplacements, choose_replacements
from comfywatchman.comfyui.server.object_info import LiveNodes
from comfywatchman.comfyui.server.validation import NO_RULES, ValidationRules, keep_server_checked_lists
from comfywatchman.readiness.context import CycleContext


@dataclass(frozen=True, slots=True)
class ServerSnapshot:
    """The nodes of a running server; without a server, everything is empty.

    Attributes:
        nodes: Its nodes; None when no server of this installation answered.
        replacements: Replacements that it or its editor applies.
        version: Its version.
        fingerprint: Changes with all of these.
    """

    nodes: LiveNodes | None = None
    replacements: ClassReplacements = NO_REPLACEMENTS
    version: str | None = None
    fingerprint: str = ""

    @property
    def classes(self) -> frozenset[str] | None:
        """The classes that it lists; None without a server."""
        return None if self.nodes is None else self.nodes.classes

    def choices(self, class_type: str, name: str) -> Collection[str] | None:
        """Return its list for an input; None when it has none."""
        if self.nodes is None:
            return None
        return self.nodes.combos.get(class_type, {}).get(name)

    def rules(self, sources: Iterable[NodePack]) -> ValidationRules:
        """Return its validation rules; empty without a server.

        Args:
            sources: ComfyUI and its packs as static analysis finds them. Only the source shows which classes check
                their inputs themselves, and a list says nothing about those.
        """
        if self.nodes is None:
            return NO_RULES
        analysed: set[str] = set()
        self_checking: set[str] = set()
        for pack in sources:
            analysed |= pack.classes | pack.possible_classes
            self_checking |= pack.own_checks
        return keep_server_checked_lists(self.nodes.rules, analysed - self_checking)


def query_server(cycle: CycleContext, folders: Mapping[str, Collection[str]]) -> ServerSnapshot:
    """Query the server of the watched installation; any failure becomes a problem and counts as no server.

    Args:
        cycle: The cycle.
        folders: File names by canonical model folder.
    """
    request = cycle.request
    url, timeout_seconds = request.settings.comfyui.url, request.settings.comfyui.timeout_seconds
    # The sample host has no server; one that answers at the configured URL is somebody else's.
    if not url or request.sample:
        return ServerSnapshot()
    # Imported here, because the HTTP client is slow to load.
    from comfywatchman.comfyui.server.api import fetch_nodes, is_server_of, probe_server

    try:
        server = probe_server(url, timeout_seconds=timeout_seconds)
        if server is None:
            return ServerSnapshot()
        # None means that its arguments do not tell; then it is taken for the watched one.
        if is_server_of(server, request.installation) is False:
            cycle.add_problem(
                f"Another ComfyUI responds at {url} and is ignored. Set [comfyui] url to the URL of the watched one."
            )
            return ServerSnapshot()
        nodes = fetch_nodes(server, folders, timeout_seconds=timeout_seconds)
    except Failure as failure:
        cycle.add_problem(f"The ComfyUI at {url} could not be queried: {failure.message}")
        return ServerSnapshot()
    replacements = choose_replacements(server.replacements, nodes.classes)
    return ServerSnapshot(nodes, replacements, server.version, _compute_fingerprint(nodes, replacements))


def _compute_fingerprint(nodes: LiveNodes, replacements: ClassReplacements) -> str:
    facts = orjson.dumps(
        [sorted(nodes.classes), replacements.in_prompts, replacements.in_editor, nodes.combos],
        option=orjson.OPT_SORT_KEYS,
    )
    facts += msgspec.json.encode(nodes.rules, order="deterministic")
    return hashlib.blake2b(facts, digest_size=16).hexdigest()
