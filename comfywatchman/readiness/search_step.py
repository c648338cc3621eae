"""The search step of a cycle: searches for missing models when due, and keeps the results for later cycles.

Every cycle imports this module, so the search itself, with its HTTP client, is imported only when a search is due.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec

from comfywatchman.base.clock import format_utc, parse_utc
from comfywatchman.base.files import CorruptFile
from comfywatchman.readiness.assessment.assessment import Assessment
from comfywatchman.readiness.assessment.host_snapshot import HostSnapshot
from comfywatchman.readiness.context import CycleContext
from comfywatchman.readiness.database import Database
from comfywatchman.readiness.models.index import ModelIndex
from comfywatchman.readiness.search.lifetimes import ERROR_SECONDS, RECHECK_SECONDS, lifetime_seconds
from comfywatchman.readiness.search.results import SearchResult, SearchStatus
from comfywatchman.readiness.states import SEARCHED_STATES
from comfywatchman.readiness.status import MissingModel, PlanSummary, WorkflowEntry
from comfywatchman.readiness.workflow_facts import WorkflowFacts

ANSWERS_SCHEMA_VERSION: Final = 2
"""Raised when a field of `StoredAnswers` or `SearchResult` changes its meaning; older answers are dropped."""

_NOTE_NAME: Final = "answers of the search"


class StoredAnswers(msgspec.Struct, frozen=True):
    """The results of the last search, as they are kept in the state database.

    Attributes:
        digest: Digest of the missing models and of the configuration that the results belong to.
        asked_at: Time of the search, as a POSIX time.
        lifetime_seconds: Time until the first result must be searched for again.
        results: One for each model that was searched for.
        plan: The download plan made from the results.
        schema_version: See `ANSWERS_SCHEMA_VERSION`.
    """

    digest: str = ""
    asked_at: float = 0.0
    lifetime_seconds: float = 0.0
    results: tuple[SearchResult, ...] = ()
    plan: PlanSummary | None = None
    schema_version: int = ANSWERS_SCHEMA_VERSION

    @property
    def ask_again_at(self) -> str:
        """Time of the next search, UTC; empty if the next cycle searches in any case."""
        if self.lifetime_seconds <= 0:
            return ""
        return format_utc(datetime.fromtimestamp(self.asked_at + self.lifetime_seconds, UTC))


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
    """

    answers: StoredAnswers
    digest: str
    must_ask: bool


def read_known_answers(cycle: CycleContext, host: HostSnapshot, assessment: Assessment) -> KnownAnswers:
    """Return the results of the last search, and whether a new search is due. Sends no request."""
    missing = [(entry, model) for entry in assessment.entries for model in _list_searchable(entry)]
    if not missing:
        return KnownAnswers(StoredAnswers(), "", must_ask=False)
    stored = _read_stored_answers(host.models)
    digest = _compute_digest(missing, cycle)
    has_same_digest = stored.digest == digest
    age_seconds = cycle.request.clock.now().timestamp() - stored.asked_at
    # A negative age means that the clock was set back, so the real age is unknown.
    is_current = has_same_digest and 0 <= age_seconds < stored.lifetime_seconds
    section = cycle.request.settings.search
    may_search = section.budget_seconds > 0 and bool(section.backend_order)
    answers = stored if has_same_digest else msgspec.structs.replace(stored, plan=None)
    return KnownAnswers(answers, digest, must_ask=may_search and not is_current)


def run_search(
    cycle: CycleContext, host: HostSnapshot, assessment: Assessment, database: Database, digest: str
) -> StoredAnswers:
    """Search for the missing models. Backend failures become ERROR results; nothing is raised.

    Args:
        cycle: The cycle.
        host: The host.
        assessment: The verdicts.
        database: Caches the result of each model.
        digest: From `read_known_answers`.
    """
    now = cycle.request.clock.now().timestamp()
    with cycle.phase("search"):
        results, problems = _search_missing(cycle, host, assessment, database)
    for problem in problems:
        cycle.add_problem(problem)
    return StoredAnswers(digest, now, _compute_lifetime(results, now), results)


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
        header = msgspec.json.decode(text, type=_AnswersHeader)
        if header.schema_version == ANSWERS_SCHEMA_VERSION:
            return msgspec.json.decode(text, type=StoredAnswers)
    except msgspec.MsgspecError:
        pass
    return StoredAnswers()


def _search_missing(
    cycle: CycleContext, host: HostSnapshot, assessment: Assessment, database: Database
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
            settings=request.settings,
            layout=request.layout,
            root=request.installation.root,
            custom_nodes=host.folders.custom_nodes,
            clock=request.clock,
            database=database,
            budget=build_cycle_budget(request.settings, request.clock),
            list_local_models=list_local_models,
            progress=show_progress,
        ),
    )
    return report.results, report.problems


def _list_searchable(entry: WorkflowEntry) -> list[MissingModel]:
    return [model for model in entry.missing_models if model.status in SEARCHED_STATES]


def _compute_digest(missing: Iterable[tuple[WorkflowEntry, MissingModel]], cycle: CycleContext) -> str:
    """Return a digest of everything that a search or a plan depends on, except the sites themselves."""
    settings = cycle.request.settings
    # A workflow's declarations and notes are evidence, so its hash is part of the query.
    models = sorted({(model.folder or "", model.name, entry.sha256 or "") for entry, model in missing})
    # Only whether there is a key: its value must not reach a file.
    has_keys = [bool(settings.secrets.civitai_api_key), bool(settings.secrets.hf_token)]
    # `--auto-download` uses the plan, it does not change it.
    downloads = msgspec.structs.replace(settings.downloads, auto=False)
    decisions = _read_decisions_stamp(cycle)
    encoded = msgspec.json.encode([models, settings.search, settings.llm, downloads, has_keys, decisions])
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
    if result.status is SearchStatus.ERROR:
        # A cached error is older than this search, so its age counts from its own time.
        return max(0.0, parse_utc(result.searched_at).timestamp() + ERROR_SECONDS + 1 - now)
    return lifetime_seconds(result.status) or RECHECK_SECONDS
