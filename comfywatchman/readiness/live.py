"""The running ComfyUI of a cycle: whether it is the watched one, and what it says of its nodes."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import orjson

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.object_info import LiveNodes
from comfywatchman.readiness.run import Run


@dataclass(frozen=True, slots=True)
class LiveView:
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


def ask_server(run: Run, folders: Mapping[str, Collection[str]]) -> LiveView:
    """Ask the server of the watched installation; trouble is noted and counts as no server.

    Args:
        run: The cycle under way.
        folders: File names by canonical model folder.
    """
    section, installation = run.request.settings.comfyui, run.request.installation
    if not section.url or run.request.sample:
        return LiveView()
    from comfywatchman.comfyui.api import ask_nodes, ask_running, is_installation

    try:
        running = ask_running(section.url, timeout_seconds=section.timeout_seconds)
        if running is None:
            return LiveView()
        if is_installation(running, installation) is False:
            run.note(
                f"Another ComfyUI answers at {section.url}; it is not asked. Set [comfyui] url to this one's address."
            )
            return LiveView()
        nodes = ask_nodes(running, folders, timeout_seconds=section.timeout_seconds)
    except Failure as failure:
        run.note(f"The ComfyUI at {section.url} could not be asked: {failure.message}")
        return LiveView()
    replaced = running.replaced(nodes.classes)
    facts = orjson.dumps([sorted(nodes.classes), sorted(replaced), nodes.combos], option=orjson.OPT_SORT_KEYS)
    return LiveView(nodes, replaced, running.version, hashlib.blake2b(facts, digest_size=16).hexdigest())
