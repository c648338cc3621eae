"""Where a cycle's missing models can be had: asked when something is missing, and kept for the cycles after."""

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
from comfywatchman.readiness.search.results import SearchResult, SearchStatus
from comfywatchman.readiness.states import SEARCHED_STATES
from comfywatchman.readiness.status import MissingModel, PlanSummary, WorkflowEntry

HOUR_SECONDS: Final = 3600.0
_NOTE_NAME: Final = "answers of the search"
_LIFETIMES: Final = {
    SearchStatus.UNCERTAIN: 24 * HOUR_SECONDS,
    SearchStatus.INVALID_FILENAME: 24 * HOUR_SECONDS,
}
_DEFAULT_LIFETIME: Final = 7 * 24 * HOUR_SECONDS


class StoredAnswers(msgspec.Struct, frozen=True):
    """What is known of missing models.

    Attributes:
        digest: What was missing when they were asked for, and whom the configuration let ask.
        asked_at: When that was, as a POSIX time.
        lifetime_seconds: How long all of them count.
        results: One for each model that was asked about.
        plan: The plan that was made of them.
    """

    digest: str = ""
    asked_at: float = 0.0
    lifetime_seconds: float = 0.0
    results: tuple[SearchResult, ...] = ()
    plan: PlanSummary | None = None

    @property
    def ask_again_at(self) -> str:
        """When the first of them counts no longer, UTC; empty when the next cycle asks again anyway."""
        if self.lifetime_seconds <= 0:
            return ""
        return format_utc(datetime.fromtimestamp(self.asked_at + self.lifetime_seconds, UTC))


@dataclass(frozen=True, slots=True)
class KnownAnswers:
    """The answers of the last search, as a cycle finds them.

    Attributes:
        answers: The answers; their plan only where it is about what is missing now.
        digest: What is missing now, and whom the configuration lets ask.
        must_ask: Whether they do not tell all that can be told.
    """

    answers: StoredAnswers
    digest: str
    must_ask: bool


def read_known_answers(run: CycleContext, host: HostSnapshot, assessment: Assessment) -> KnownAnswers:
    """Return what the last search said, and whether it must be asked again; nothing is asked."""
    missing = [(entry, model) for entry in assessment.entries for model in _list_searchable(entry)]
    if not missing:
        return KnownAnswers(StoredAnswers(), "", must_ask=False)
    kept = _read_stored_answers(host.models)
    digest = _compute_digest(missing, run)
    is_same = kept.digest == digest
    counts = 0 <= run.request.clock.now().timestamp() - kept.asked_at < kept.lifetime_seconds
    answers = kept if is_same else msgspec.structs.replace(kept, plan=None)
    may_ask = run.request.settings.search.budget_seconds > 0
    return KnownAnswers(answers, digest, must_ask=may_ask and not (is_same and counts))


def run_search(
    run: CycleContext, host: HostSnapshot, assessment: Assessment, database: Database, digest: str
) -> StoredAnswers:
    """Ask where the missing models can be had; nobody's trouble raises.

    Args:
        run: The cycle.
        host: The host.
        assessment: The verdicts.
        database: Keeps what each was told.
        digest: From `known_answers`.
    """
    now = run.request.clock.now().timestamp()
    with run.phase("search"):
        results, problems = _search_missing(run, host, assessment, database)
    for problem in problems:
        run.add_problem(problem)
    return StoredAnswers(digest, now, _lifetime_seconds(results, now), results)


def store_results(host: HostSnapshot, answers: StoredAnswers) -> None:
    """Keep answers for the cycles after this one."""
    host.models.set_note(_NOTE_NAME, msgspec.json.encode(answers).decode())


def expire_answers(database: Database) -> None:
    """Let the next cycle look at the answers anew: a person has searched or chosen meanwhile."""
    models = ModelIndex(database)
    kept = _read_stored_answers(models)
    if kept.digest:
        models.set_note(_NOTE_NAME, msgspec.json.encode(msgspec.structs.replace(kept, digest="")).decode())


def _read_stored_answers(models: ModelIndex) -> StoredAnswers:
    text = models.note(_NOTE_NAME)
    try:
        return msgspec.json.decode(text, type=StoredAnswers) if text else StoredAnswers()
    except msgspec.MsgspecError:
        return StoredAnswers()


def _search_missing(
    run: CycleContext, host: HostSnapshot, assessment: Assessment, database: Database
) -> tuple[tuple[SearchResult, ...], tuple[str | CorruptFile, ...]]:
    from comfywatchman.readiness.downloads.links import index_by_hash
    from comfywatchman.readiness.search.api import SearchRequest, resolve_missing
    from comfywatchman.readiness.search.factory import build_cycle_budget

    request = run.request
    lacking = [
        (facts, model)
        for entry in assessment.entries
        for model in _list_searchable(entry)
        if (facts := assessment.facts(entry)) is not None
    ]

    def here() -> dict[str, str]:
        files = index_by_hash(host.inventory.all_models(), host.models.hashes())
        return {sha256: file.path for sha256, file in files.items()}

    resolved = resolve_missing(
        lacking,
        SearchRequest(
            settings=request.settings,
            layout=request.layout,
            root=request.installation.root,
            custom_nodes=host.folders.custom_nodes,
            clock=request.clock,
            database=database,
            budget=build_cycle_budget(request.settings, request.clock),
            here=here,
            progress=lambda done, of: request.progress(f"Searching for missing models: {done} of {of}"),
        ),
    )
    return resolved.results, resolved.problems


def _list_searchable(entry: WorkflowEntry) -> list[MissingModel]:
    return [model for model in entry.missing_models if model.status in SEARCHED_STATES]


def _compute_digest(missing: Iterable[tuple[WorkflowEntry, MissingModel]], run: CycleContext) -> str:
    """Return what changes with anything that a search or a plan depends on, but for the sites themselves."""
    settings = run.request.settings
    # A workflow's own words are evidence, so its hash counts.
    wanted = sorted({(model.folder or "", model.name, entry.sha256 or "") for entry, model in missing})
    keys = [bool(key) for key in (settings.secrets.civitai_api_key, settings.secrets.hf_token)]
    downloads = msgspec.structs.replace(settings.downloads, auto=False)
    text = msgspec.json.encode([wanted, settings.search, settings.llm, downloads, keys, _read_decisions_stamp(run)])
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def _read_decisions_stamp(run: CycleContext) -> tuple[int, int]:
    try:
        found = run.request.layout.decisions.stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)


def _lifetime_seconds(results: Iterable[SearchResult], now: float) -> float:
    """Return after how long the first of these answers must be asked for again; 0 when not all could be asked."""
    return min((_remaining_seconds(one, now) for one in results), default=_DEFAULT_LIFETIME)


def _remaining_seconds(result: SearchResult, now: float) -> float:
    from comfywatchman.readiness.search.chain import is_not_asked

    if is_not_asked(result):
        return 0.0
    if result.status is not SearchStatus.ERROR:
        return _LIFETIMES.get(result.status, _DEFAULT_LIFETIME)
    # An error that is only remembered is no fresh one: it counts from when somebody was really asked.
    return max(0.0, parse_utc(result.searched_at).timestamp() + HOUR_SECONDS + 1 - now)
