"""The running ComfyUI of a cycle: whether it is the watched one, and what it says of its nodes."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import msgspec
import orjson

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.packs.metadata import NodePack
from comfywatchman.comfyui.server.object_info import LiveNodes
from comfywatchman.comfyui.server.validation import NO_RULES, ValidationRules, keep_server_checked_lists
from comfywatchman.readiness.context import CycleContext


@dataclass(frozen=True, slots=True)
class ServerSnapshot:
    """What a running server says; the one of a stopped ComfyUI is empty.

    Attributes:
        nodes: Its nodes; None when no server of this installation answered.
        replaced: Old class names that it still runs.
        version: What it calls itself.
        fingerprint: Changes with all of this.
    """

    nodes: LiveNodes | None = None
    replaced: frozenset[str] = frozenset()
    version: str | None = None
    fingerprint: str = ""

    @property
    def classes(self) -> frozenset[str] | None:
        """The classes it lists; None when there is no server."""
        return None if self.nodes is None else self.nodes.classes

    def choices(self, class_type: str, name: str) -> Collection[str] | None:
        """Return what it offers for an input, or None when it has no list for it."""
        return None if self.nodes is None else self.nodes.combos.get(class_type, {}).get(name)

    def rules(self, sources: Iterable[NodePack]) -> ValidationRules:
        """Return what it refuses in a prompt; none when there is no server.

        Args:
            sources: What the source of ComfyUI and of its packs says, for what the server does not.
        """
        if self.nodes is None:
            return NO_RULES
        read, own = set[str](), set[str]()
        for pack in sources:
            read |= pack.classes | pack.possible_classes
            own |= pack.own_checks
        return keep_server_checked_lists(self.nodes.rules, read - own)


def query_server(run: CycleContext, folders: Mapping[str, Collection[str]]) -> ServerSnapshot:
    """Ask the server of the watched installation; trouble is noted and counts as no server.

    Args:
        run: The cycle under way.
        folders: File names by canonical model folder.
    """
    section, installation = run.request.settings.comfyui, run.request.installation
    if not section.url or run.request.sample:
        return ServerSnapshot()
    from comfywatchman.comfyui.server.api import fetch_nodes, is_server_of, probe_server

    try:
        running = probe_server(section.url, timeout_seconds=section.timeout_seconds)
        if running is None:
            return ServerSnapshot()
        if is_server_of(running, installation) is False:
            run.add_problem(
                f"Another ComfyUI answers at {section.url}; it is not asked. Set [comfyui] url to this one's address."
            )
            return ServerSnapshot()
        nodes = fetch_nodes(running, folders, timeout_seconds=section.timeout_seconds)
    except Failure as failure:
        run.add_problem(f"The ComfyUI at {section.url} could not be asked: {failure.message}")
        return ServerSnapshot()
    replaced = running.find_replaceable(nodes.classes)
    facts = orjson.dumps([sorted(nodes.classes), sorted(replaced), nodes.combos], option=orjson.OPT_SORT_KEYS)
    facts += msgspec.json.encode(nodes.rules, order="deterministic")
    return ServerSnapshot(nodes, replaced, running.version, hashlib.blake2b(facts, digest_size=16).hexdigest())
