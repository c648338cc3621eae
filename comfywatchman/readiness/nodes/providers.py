"""Looks up who provides a node class that this host lacks: in ComfyUI-Manager's map, then in the Comfy Registry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.install.install import list_manager_paths
from comfywatchman.readiness.context import CycleContext
from comfywatchman.readiness.database import Database
from comfywatchman.readiness.nodes.class_map_cache import refresh_class_map
from comfywatchman.readiness.nodes.classify import build_missing_node, judge_class
from comfywatchman.readiness.nodes.facts import HostNodeFacts, NodePackHints, ProviderClaims
from comfywatchman.readiness.nodes.registry_lookup import RegistryLookup
from comfywatchman.readiness.verdicts.findings import ClassFinding
from comfywatchman.readiness.verdicts.workflow import NodeJudge
from comfywatchman.readiness.workflow_facts import ClassUse
from comfywatchman.sources.class_map import (
    ClassMap,
    PackageRef,
    build_map_stamp,
    find_manager_map_folder,
    load_class_map,
    read_class_map,
)

REGISTRY: Final = "the Comfy Registry"


class NodeProviders:
    """The catalogues of one cycle.

    Args:
        cycle: The cycle.
        custom_nodes: Folders in which the Manager may be installed.
        database: Stores the answers of the registry.
    """

    def __init__(self, cycle: CycleContext, custom_nodes: tuple[Path, ...], database: Database) -> None:
        self._cycle = cycle
        self._section = cycle.request.settings.nodes
        self._map_folder, self._map_name = _find_class_map(cycle, custom_nodes)
        self._map: ClassMap | None = None
        self._map_failure: Failure | None = None
        self._registry = RegistryLookup(self._section, cycle.request.clock, database)

    @property
    def problems(self) -> tuple[str, ...]:
        """Problems of the stored registry answers, for people."""
        return self._registry.problems

    @property
    def fingerprint(self) -> str:
        """Changes with everything here that a verdict depends on."""
        map_stamp = build_map_stamp(self._map_folder) if self._map_folder else ""
        parts = [map_stamp, str(self._section.ask_registry)]
        if self._section.ask_registry:
            parts += self._registry.fingerprint_parts()
        return "\n".join(parts)

    def claims(self, class_type: str) -> ProviderClaims:
        """Return the listed providers of a class; the registry is queried only when the map lists none."""
        providers: tuple[PackageRef, ...] = ()
        queried: tuple[str, ...] = ()
        unavailable: tuple[str, ...] = ()
        class_map = self._load_class_map()
        if class_map is not None:
            providers = class_map.find_providers(class_type)
            queried = (class_map.source,)
        elif self._map_failure is not None:
            unavailable = (self._map_failure.message,)
        else:
            unavailable = ("ComfyUI-Manager's map (not here)",)
        if providers or not self._section.ask_registry:
            return ProviderClaims(providers, queried, unavailable)
        answer = self._registry.find(class_type)
        if answer is None:
            reason = "the time budget is spent; the next cycle continues"
            return ProviderClaims((), queried, (*unavailable, f"{REGISTRY} ({reason})"))
        if answer.failed:
            return ProviderClaims((), queried, (*unavailable, f"{REGISTRY} ({answer.failed})"))
        if answer.package is not None:
            providers = (answer.package,)
        return ProviderClaims(providers, (*queried, REGISTRY), unavailable)

    def close(self) -> None:
        """Close the connection to the registry, if one was opened."""
        self._registry.close()

    def _load_class_map(self) -> ClassMap | None:
        """Return the map, loaded at its first use; None when there is none, or it cannot be read."""
        if self._map is None and self._map_folder is not None and self._map_failure is None:
            try:
                self._map = self._read_class_map(self._map_folder)
            except Failure as failure:
                self._map_failure = failure
                self._cycle.add_problem(failure)
        return self._map

    def _read_class_map(self, folder: Path) -> ClassMap:
        request = self._cycle.request
        if not request.may_write:
            return read_class_map(folder, source=self._map_name)
        return load_class_map(folder, cache=request.layout.class_map, source=self._map_name)


def make_node_judge(facts: HostNodeFacts, providers: NodeProviders) -> NodeJudge:
    """Return a function that judges node classes of this host; each class with the same hints is judged once."""
    known: dict[tuple[str, NodePackHints], ClassFinding] = {}

    def judge_node(class_type: str, use: ClassUse) -> ClassFinding:
        hints = NodePackHints(use.cnr_id, use.aux_id, use.version, use.in_prompt)
        key = (class_type, hints)
        if key not in known:
            verdict = judge_class(class_type, hints, facts)
            if verdict.needs_catalogues:
                verdict = judge_class(class_type, hints, facts, providers.claims(class_type))
            known[key] = ClassFinding(build_missing_node(verdict, ()), verdict.unconfirmed_packs)
        finding = known[key]
        if finding.missing is None:
            return finding
        return replace(finding, missing=msgspec.structs.replace(finding.missing, node_paths=use.node_paths))

    return judge_node


def _find_class_map(cycle: CycleContext, custom_nodes: tuple[Path, ...]) -> tuple[Path | None, str]:
    """Return the folder of a class map and its name for people: configured, installed, or downloaded."""
    configured = cycle.request.settings.nodes.class_map
    if configured:
        path = Path(configured)
        folder = path.parent if path.suffix == ".json" else path
        return folder, "the configured class map"
    installed = find_manager_map_folder(list_manager_paths(cycle.request.installation.root, custom_nodes))
    if installed is not None:
        return installed, "ComfyUI-Manager's map installed on this host"
    return refresh_class_map(cycle)
