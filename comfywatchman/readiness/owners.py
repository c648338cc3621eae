"""Asking catalogues who brings a node class that this host lacks; only when some class is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.readiness.facts import ClassUse
from comfywatchman.readiness.judging import NodeJudge
from comfywatchman.readiness.node_facts import Claims, Hints, NodeFacts
from comfywatchman.readiness.nodes import judge_class, missing_node
from comfywatchman.readiness.run import Run
from comfywatchman.readiness.status import MissingNode
from comfywatchman.sources.class_map import ClassMap, find_manager_maps, load_class_map, map_stamp

_MANAGER_FOLDERS: Final = ("ComfyUI-Manager", "comfyui-manager")
_SITE_PACKAGES: Final = ("venv", ".venv")


class Owners:
    """The catalogues of one cycle: ComfyUI-Manager's map, then the Comfy Registry.

    Args:
        run: The cycle under way.
        custom_nodes: Where the Manager may be installed.
    """

    def __init__(self, run: Run, custom_nodes: tuple[Path, ...]) -> None:
        self._run = run
        self._folder = _map_folder(run, custom_nodes)
        self._map: ClassMap | None = None
        self._trouble: Failure | None = None

    @property
    def fingerprint(self) -> str:
        """What a verdict depends on here; reads only file times."""
        return map_stamp(self._folder) if self._folder else ""

    def claims(self, class_type: str) -> Claims:
        """Return what the catalogues say of a class."""
        class_map = self._class_map()
        if class_map is not None:
            return Claims(owners=class_map.owners(class_type), asked=(class_map.source,))
        silent = self._trouble.message if self._trouble else "ComfyUI-Manager's map: it is not installed"
        return Claims(silent=(silent,))

    def _class_map(self) -> ClassMap | None:
        if self._map is None and self._folder is not None and self._trouble is None:
            try:
                self._map = load_class_map(
                    self._folder,
                    cache=self._run.request.layout.class_map,
                    source="ComfyUI-Manager's map installed on this host",
                )
            except Failure as failure:
                self._trouble = failure
                self._run.note(failure)
        return self._map


def node_judge(facts: NodeFacts, owners: Owners) -> NodeJudge:
    """Return the judge of this host's node classes; each class and hint is judged once."""
    known: dict[tuple[str, Hints], MissingNode | None] = {}

    def judge_node(class_type: str, use: ClassUse) -> MissingNode | None:
        hints = Hints(use.cnr_id, use.aux_id, use.version)
        key = (class_type, hints)
        if key not in known:
            verdict = judge_class(class_type, hints, facts)
            if verdict.wants_claims:
                verdict = judge_class(class_type, hints, facts, owners.claims(class_type))
            known[key] = missing_node(verdict, ())
        found = known[key]
        return None if found is None else _at(found, use.node_paths)

    return judge_node


def _at(node: MissingNode, node_paths: tuple[str, ...]) -> MissingNode:
    return msgspec.structs.replace(node, node_paths=node_paths)


def _map_folder(run: Run, custom_nodes: tuple[Path, ...]) -> Path | None:
    named = run.request.settings.nodes.class_map
    if named:
        return Path(named).parent if Path(named).suffix == ".json" else Path(named)
    root = run.request.installation.root
    places = [folder / name for folder in custom_nodes for name in _MANAGER_FOLDERS]
    places += [
        site / "comfyui_manager" for name in _SITE_PACKAGES for site in (root / name).glob("lib/python3*/site-packages")
    ]
    return find_manager_maps(places)
