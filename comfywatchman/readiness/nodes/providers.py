"""Asking catalogues who brings a node class that this host lacks; only when some class is missing."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.install.install import list_manager_paths
from comfywatchman.readiness.context import CycleContext
from comfywatchman.readiness.database import Database, TableStore
from comfywatchman.readiness.nodes.class_map_cache import refresh_class_map
from comfywatchman.readiness.nodes.classify import build_missing_node, judge_class
from comfywatchman.readiness.nodes.facts import HostNodeFacts, NodePackHints, ProviderClaims
from comfywatchman.readiness.status import MissingNode
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

if TYPE_CHECKING:
    from comfywatchman.base.http import HttpSession

REGISTRY: Final = "the Comfy Registry"
DAY_SECONDS: Final = 86400.0
_ANY_CLASS: Final = ""
"""Where it is remembered that the registry could not be asked: an hour without it, not a try for each class."""


class StoredRegistryAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the registry said of a class: a package, or nobody, or that it could not be asked."""

    package: PackageRef | None = None
    failed: str | None = None

    @property
    def lifetime_seconds(self) -> float:
        """How long this is taken as still true: a package 30 days, nobody 7 days, a failure one hour."""
        if self.failed:
            return DAY_SECONDS / 24
        return 30 * DAY_SECONDS if self.package else 7 * DAY_SECONDS


class NodeProviders:
    """The catalogues of one cycle: ComfyUI-Manager's map, then the Comfy Registry.

    Args:
        run: The cycle under way.
        custom_nodes: Where the Manager may be installed.
        database: Keeps what the registry said.
    """

    def __init__(self, run: CycleContext, custom_nodes: tuple[Path, ...], database: Database) -> None:
        self._run = run
        self._folder, self._source = _find_class_map(run, custom_nodes)
        self._map: ClassMap | None = None
        self._trouble: Failure | None = None
        self._store = TableStore(database, name="memory of the Comfy Registry")
        self._now = run.request.clock.now().timestamp()
        self._known: dict[str, StoredRegistryAnswer] | None = None
        self._stack = ExitStack()
        self._session: HttpSession | None = None
        self._until: float | None = None

    @property
    def problems(self) -> tuple[str, ...]:
        """Return what went wrong with the memory of the registry, in words."""
        return tuple(self._store.problems)

    @property
    def fingerprint(self) -> str:
        """What a verdict depends on here; it changes when something that is remembered has become too old."""
        asks = self._run.request.settings.nodes.ask_registry
        rows = self._store.read("SELECT class_type, asked_at, answer FROM registry_answer ORDER BY class_type")
        old = [name for name, asked_at, answer in rows if asks and self._is_old(asked_at, _decode_answer(answer))]
        answers = [f"{name} {answer!r}" for name, _asked_at, answer in rows]
        return "\n".join([build_map_stamp(self._folder) if self._folder else "", str(asks), *answers, *old])

    def claims(self, class_type: str) -> ProviderClaims:
        """Return what the catalogues say of a class; the registry is asked only when the map knows nobody."""
        class_map = self._class_map()
        owners = class_map.find_providers(class_type) if class_map else ()
        asked = (class_map.source,) if class_map else ()
        silent = () if class_map else (self._trouble.message if self._trouble else "ComfyUI-Manager's map (not here)",)
        if owners or not self._run.request.settings.nodes.ask_registry:
            return ProviderClaims(owners, asked, silent)
        answer = self._registry(class_type)
        if answer is None or answer.failed:
            why = answer.failed if answer else "the time for asking is over; the next cycle goes on"
            return ProviderClaims(owners, asked, (*silent, f"{REGISTRY} ({why})"))
        return ProviderClaims((answer.package,) if answer.package else (), (*asked, REGISTRY), silent)

    def close(self) -> None:
        """Close the connection to the registry, if one was opened."""
        self._stack.close()

    def _class_map(self) -> ClassMap | None:
        if self._map is None and self._folder is not None and self._trouble is None:
            try:
                self._map = self._load(self._folder)
            except Failure as failure:
                self._trouble = failure
                self._run.add_problem(failure)
        return self._map

    def _load(self, folder: Path) -> ClassMap:
        if not self._run.request.may_write:
            return read_class_map(folder, source=self._source)
        return load_class_map(folder, cache=self._run.request.layout.class_map, source=self._source)

    def _registry(self, class_type: str) -> StoredRegistryAnswer | None:
        """Return what the registry says, from memory where that is young enough; None when time is up."""
        kept = self._answers().get(class_type) or self._answers().get(_ANY_CLASS)
        if kept is not None:
            return kept
        from comfywatchman.sources.registry import find_registry_provider

        section, monotonic = self._run.request.settings.nodes, self._run.request.clock.monotonic
        is_first = self._until is None
        if self._until is None:
            self._until = monotonic() + section.registry_budget_seconds
        left = self._until - monotonic()
        if left <= 0:
            return None
        answer = find_registry_provider(self._connected(left), section.registry_url, class_type)
        fresh = StoredRegistryAnswer(answer.package, answer.failure.message if answer.failure else None)
        if fresh.failed and not is_first and monotonic() >= self._until:
            return None  # the registry answers, but there was no time left for this one
        place = _ANY_CLASS if fresh.failed else class_type
        self._answers()[place] = fresh
        row = (place, self._now, msgspec.json.encode(fresh))
        self._store.write([("INSERT OR REPLACE INTO registry_answer VALUES (?, ?, ?)", [row])])
        return fresh

    def _connected(self, seconds: float) -> HttpSession:
        if self._session is None:
            from comfywatchman.base.http import HttpSession

            session = HttpSession(timeout_seconds=seconds, budget_seconds=seconds, max_bytes=1 << 20)
            self._session = self._stack.enter_context(session)
        return self._session

    def _answers(self) -> dict[str, StoredRegistryAnswer]:
        if self._known is None:
            rows = self._store.read("SELECT class_type, asked_at, answer FROM registry_answer")
            found = {name: (asked_at, _decode_answer(answer)) for name, asked_at, answer in rows}
            self._known = {name: one for name, (at, one) in found.items() if one and not self._is_old(at, one)}
        return self._known

    def _is_old(self, asked_at: float, answer: StoredRegistryAnswer | None) -> bool:
        return answer is None or not 0 <= self._now - asked_at <= answer.lifetime_seconds


def make_node_judge(facts: HostNodeFacts, owners: NodeProviders) -> NodeJudge:
    """Return the judge of this host's node classes; each class and hint is judged once."""
    known: dict[tuple[str, NodePackHints], MissingNode | None] = {}

    def judge_node(class_type: str, use: ClassUse) -> MissingNode | None:
        hints = NodePackHints(use.cnr_id, use.aux_id, use.version)
        key = (class_type, hints)
        if key not in known:
            verdict = judge_class(class_type, hints, facts)
            if verdict.wants_claims:
                verdict = judge_class(class_type, hints, facts, owners.claims(class_type))
            known[key] = build_missing_node(verdict, ())
        found = known[key]
        return None if found is None else msgspec.structs.replace(found, node_paths=use.node_paths)

    return judge_node


def _decode_answer(answer: bytes) -> StoredRegistryAnswer | None:
    try:
        return msgspec.json.decode(answer, type=StoredRegistryAnswer)
    except msgspec.MsgspecError:
        return None


def _find_class_map(run: CycleContext, custom_nodes: tuple[Path, ...]) -> tuple[Path | None, str]:
    """Return where a map of classes is and what the evidence calls it: configured, installed, or a fetched copy."""
    named = run.request.settings.nodes.class_map
    if named:
        folder = Path(named).parent if Path(named).suffix == ".json" else Path(named)
        return folder, "the configured class map"
    installed = find_manager_map_folder(list_manager_paths(run.request.installation.root, custom_nodes))
    if installed is not None:
        return installed, "ComfyUI-Manager's map installed on this host"
    return refresh_class_map(run)
