"""The search step of a cycle: searches for missing models when due, and keeps the results for later cycles.

Every cycle imports this module, so the search itself, with its HTTP client, is imported only when a search is due.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.clock import format_utc, parse_utc
from comfywatchman.base.json_values import decode_json
from comfywatchman.base.settings import Settings
from comfywatchman.base.state.state_file import CorruptFile
from comfywatchman.readiness.assessment.assessment import Assessment
from comfywatchman.readiness.assessment.host_snapshot import HostSnapshot
from comfywatchman.readiness.context import CycleContext
from comfywatchman.readiness.database import Database
from comfywatchman.readiness.models.index import ModelIndex
from comfywatchman.readiness.plan_summary import PlanSummary
from comfywatchman.readiness.search.cache import digest_accounts
from comfywatchman.readiness.search.lifetimes import ERROR_SECONDS, RECHECK_SECONDS, lifetime_seconds
from comfywatchman.readiness.search.results import SearchResult, SearchStatus
from comfywatchman.readiness.states import SEARCHED_STATES
from comfywatchman.readiness.status import MissingModel, WorkflowEntry
from comfywatchman.readiness.workflow_facts import WorkflowFacts
from comfywatchman.sources.llm.detection import DetectedModel

ANSWERS_SCHEMA_VERSION: Final = 3
"""Raised when a field of `StoredAnswers` or `SearchResult` changes its meaning; older answers are dropped."""

_NOTE_NAME: Final = "answers of the search"
_MODEL_NOTE: Final = "language model of this machine"
_MODEL_SECONDS: Final = 3600.0


class StoredAnswers(msgspec.Struct, frozen=True):
    """The results of the last search, as they are kept in the state database.

    Attributes:
        digest: Digest of the missing models and of the configuration that the results belong to.
        asked_at: Time of the search, as a POSIX time.
        lifetime_seconds: Time until the first result must be searched for again.
        results: One for each model that was searched for.
        plan: The download plan made from the results.
        schema_version: See `ANSWERS_SCHEMA_VERSION`.
        comfyui: Id of the ComfyUI whose models were missing; the answers are used for no other one.
    """

    digest: str = ""
    asked_at: float = 0.0
    lifetime_seconds: float = 0.0
    results: tuple[SearchResult, ...] = ()
    plan: PlanSummary | None = None
    schema_version: int = ANSWERS_SCHEMA_VERSION
    comfyui: str = ""

    @property
    def ask_again_at(self) -> str:
        """Time of the next search, UTC; empty if the next cycle searches in any case."""
        if self.lifetime_seconds <= 0:
            return ""
        return format_utc(datetime.fromtimestamp(self.asked_at + self.lifetime_seconds, UTC))


class _KnownModel(msgspec.Struct, frozen=True):
    """The language model of this machine, with the open ports and the time at which it was looked for."""

    ports: tuple[int, ...]
    looked_at: float
    found: DetectedModel | None


class _AnswersHeader(msgspec.Struct):
    # Answers from before there were versions have none.
    schema_version: int = 1


@dataclass(frozen=True, slots=True)
class KnownAnswers:
    """The stored answers, compared with what is missing now.

    Attributes:
        answers: The stored answers; with their plan only if the same models are missing as then.
        digest: Digest of the present missing models and configuration.
        must_ask: Whether a search is due.
        settings: The settings of that search, with the language model that `driver = "auto"` stands for.
    """

    answers: StoredAnswers
    digest: str
    must_ask: bool
    settings: Settings


def read_known_answers(cycle: CycleContext, host: HostSnapshot, assessment: Assessment) -> KnownAnswers:
    """Return the results of the last search, and whether a new search is due. Sends no request."""
    missing = [(entry, model) for entry in assessment.entries for model in _list_searchable(entry)]
    if not missing:
        return KnownAnswers(StoredAnswers(), "", must_ask=False, settings=cycle.request.settings)
    stored = _read_stored_answers(host.models)
    if stored.comfyui != cycle.comfyui.id:
        stored = StoredAnswers()
    settings = _resolve_language_model(cycle, host.models)
    digest = _compute_digest(missing, cycle, settings)
    has_same_digest = stored.digest == digest
    age_seconds = cycle.request.clock.now().timestamp() - stored.asked_at
    # A negative age means that the clock was set back, so the real age is unknown.
    is_current = has_same_digest and 0 <= age_seconds < stored.lifetime_seconds
    section = settings.search
    may_search = section.budget_seconds > 0 and bool(section.backend_order)
    answers = stored if has_same_digest else msgspec.structs.replace(stored, plan=None)
    return KnownAnswers(answers, digest, must_ask=may_search and not is_current, settings=settings)


def run_search(
    cycle: CycleContext, host: HostSnapshot, assessment: Assessment, database: Database, known: KnownAnswers
) -> StoredAnswers:
    """Search for the missing models. Backend failures become ERROR results; nothing is raised.

    Args:
        cycle: The cycle.
        host: The host.
        assessment: The verdicts.
        database: Caches the result of each model.
        known: From `read_known_answers`.
    """
    now = cycle.request.clock.now().timestamp()
    with cycle.phase("search"):
        results, problems = _search_missing(cycle, host, assessment, database, known.settings)
    for problem in problems:
        cycle.add_problem(problem)
    return StoredAnswers(known.digest, now, _compute_lifetime(results, now), results, comfyui=cycle.comfyui.id)


def store_results(host: HostSnapshot, answers: StoredAnswers) -> None:
    """Store results for later cycles."""
    _write_answers(host.models, answers)


def expire_answers(database: Database) -> None:
    """Make the next cycle search again, because a person has searched or chosen a candidate in the meantime."""
    models = ModelIndex(database)
    stored = _read_stored_answers(models)
    if stored.digest:
        _write_answers(models, msgspec.structs.replace(stored, digest=""))


def _write_answers(models: ModelIndex, answers: StoredAnswers) -> None:
    models.set_note(_NOTE_NAME, msgspec.json.encode(answers).decode())


def _read_stored_answers(models: ModelIndex) -> StoredAnswers:
    """Return the stored answers; blank ones if they are absent, damaged or of another schema version."""
    text = models.note(_NOTE_NAME)
    if not text:
        return StoredAnswers()
    try:
        header = decode_json(text, _AnswersHeader)
        if header.schema_version == ANSWERS_SCHEMA_VERSION:
            return decode_json(text, StoredAnswers)
    except msgspec.MsgspecError:
        pass
    return StoredAnswers()


def _search_missing(
    cycle: CycleContext, host: HostSnapshot, assessment: Assessment, database: Database, settings: Settings
) -> tuple[tuple[SearchResult, ...], tuple[str | CorruptFile, ...]]:
    from comfywatchman.readiness.downloads.links import index_by_hash
    from comfywatchman.readiness.search.api import SearchRequest, resolve_missing
    from comfywatchman.readiness.search.factory import build_cycle_budget

    request = cycle.request
    missing: list[tuple[WorkflowFacts, MissingModel]] = []
    for entry in assessment.entries:
        facts = assessment.facts(entry)
        if facts is not None:
            missing.extend((facts, model) for model in _list_searchable(entry))

    def list_local_models() -> dict[str, str]:
        files = index_by_hash(host.inventory.all_models(), host.models.hashes())
        return {sha256: file.path for sha256, file in files.items()}

    def show_progress(done: int, total: int) -> None:
        request.progress(f"Searching for missing models: {done} of {total}")

    report = resolve_missing(
        missing,
        SearchRequest(
            settings=settings,
            layout=request.layout,
            root=request.installation.root,
            custom_nodes=host.folders.custom_nodes,
            clock=request.clock,
            database=database,
            budget=build_cycle_budget(settings, request.clock),
            list_local_models=list_local_models,
            progress=show_progress,
        ),
    )
    return report.results, report.problems


def _list_searchable(entry: WorkflowEntry) -> list[MissingModel]:
    return [model for model in entry.missing_models if model.status in SEARCHED_STATES]


def _resolve_language_model(cycle: CycleContext, models: ModelIndex) -> Settings:
    """Return the settings with the language model of this machine where `[llm] driver` is `auto`.

    Each cycle with missing models tries the usual ports, which takes no time where nothing listens; what they offer is
    remembered for an hour, as long as the same ports are open.
    """
    settings = cycle.request.settings
    if settings.llm.driver != "auto" or "qwen" not in settings.search.backend_order:
        return settings
    from comfywatchman.sources.llm.detection import apply_detection, detect_language_model, find_listening_ports

    now = cycle.request.clock.now().timestamp()
    ports = find_listening_ports()
    known = _read_known_model(models)
    if known is None or known.ports != ports or not 0 <= now - known.looked_at < _MODEL_SECONDS:
        known = _KnownModel(ports, now, detect_language_model(settings.llm, Path.home()))
        models.set_note(_MODEL_NOTE, msgspec.json.encode(known).decode())
    return msgspec.structs.replace(settings, llm=apply_detection(settings.llm, known.found))


def _read_known_model(models: ModelIndex) -> _KnownModel | None:
    note = models.note(_MODEL_NOTE)
    if note is None:
        return None
    try:
        return decode_json(note, _KnownModel)
    except msgspec.MsgspecError:
        return None


def _compute_digest(
    missing: Iterable[tuple[WorkflowEntry, MissingModel]], cycle: CycleContext, settings: Settings
) -> str:
    """Return a digest of everything that a search or a plan depends on, except the sites themselves."""
    # A workflow's declarations and notes are evidence, so its hash is part of the query.
    models = sorted({(model.folder or "", model.name, entry.sha256 or "") for entry, model in missing})
    # `--auto-download` uses the plan, it does not change it.
    downloads = msgspec.structs.replace(settings.downloads, auto=False)
    decisions = _read_decisions_stamp(cycle)
    accounts = digest_accounts(settings)
    encoded = msgspec.json.encode([models, settings.search, settings.llm, downloads, accounts, decisions])
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()


def _read_decisions_stamp(cycle: CycleContext) -> tuple[int, int]:
    """Return the time and size of the file of choices, which change when a person chooses a candidate."""
    try:
        stat = cycle.request.layout.decisions.stat()
    except OSError:
        return (0, 0)
    return (stat.st_mtime_ns, stat.st_size)


def _compute_lifetime(results: Iterable[SearchResult], now: float) -> float:
    """Return the time until the first of the results must be searched for again; 0 if some were postponed."""
    return min((_remaining_seconds(result, now) for result in results), default=RECHECK_SECONDS)


def _remaining_seconds(result: SearchResult, now: float) -> float:
    if result.postponed:
        return 0.0
    if result.status is SearchStatus.ERROR or result.is_unreadable:
        # A cached error is older than this search, so its age counts from its own time.
        return max(0.0, parse_utc(result.searched_at).timestamp() + ERROR_SECONDS + 1 - now)
    return lifetime_seconds(result) or RECHECK_SECONDS
