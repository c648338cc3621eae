"""The models of this host: size, users, copies and problems, as the last check saw them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from comfywatchman.app.pages.page_host import PageHost
from comfywatchman.app.pages.page_request import ActionRequest, ActionResult, PageRequest
from comfywatchman.app.pages.paging import ListPage, cut_page, read_page_number
from comfywatchman.app.pages.tasks import start_command
from comfywatchman.app.pages.workflow_rows import build_workflow_id
from comfywatchman.app.tasks.records import TaskKind
from comfywatchman.base.state.state_file import read_state
from comfywatchman.readiness.assessment.index import WorkflowIndex
from comfywatchman.readiness.assessment.reader import build_content_key
from comfywatchman.readiness.database import open_database
from comfywatchman.readiness.models.cache_file import CachedModel, ModelCache
from comfywatchman.readiness.models.usage import ModelName, find_users
from comfywatchman.readiness.report.render import shorten_paths

FILTERS: Final = ("unused", "copies", "broken")
_MAX_CACHE_BYTES: Final = 256 << 20
_SHOWN_USERS: Final = 3


@dataclass(frozen=True, slots=True)
class ModelUser:
    """A workflow that uses a model: its id in URLs, and its name."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model.

    Attributes:
        folder: Its model folder.
        model: Its facts.
        users: The first workflows that use it.
        user_count: Number of workflows that use it.
        copies: Number of files with the same content, itself included; 1 when it is the only one or has no hash.
    """

    folder: str
    model: CachedModel
    users: tuple[ModelUser, ...]
    user_count: int
    copies: int


@dataclass(frozen=True, slots=True)
class ModelsView:
    """The list of models.

    Attributes:
        page: The rows shown, the largest first.
        counts: Number of models, by filter; the empty text for all.
        total_bytes: Size of all models.
        unused_bytes: Size of the models that no workflow uses.
        chosen: The filter; empty for all.
        text: The words that are searched for.
        places: Where the files shown are, by their path; below ComfyUI's folder without that folder.
        is_known: Whether a check has listed the models yet.
        duplicates_command: The command that shows what links between copies would free.
    """

    page: ListPage[ModelRow]
    counts: Mapping[str, int]
    total_bytes: int
    unused_bytes: int
    chosen: str
    text: str
    places: Mapping[str, str]
    is_known: bool
    duplicates_command: str


def view_models(request: PageRequest) -> ModelsView:
    """Return the list of models.

    Raises:
        Failure: A `config-…` code.
    """
    host = request.host
    rows = host.cache_by_report("model rows", lambda: _read_rows(host))
    chosen, text = request.query.get("filter", ""), request.query.get("q", "")
    page = cut_page(_select(rows or (), chosen, text), read_page_number(request.query))
    counts = {"": len(rows or ()), **{name: sum(_has(row, name) for row in rows or ()) for name in FILTERS}}
    return ModelsView(
        page=page,
        counts=counts,
        total_bytes=sum(row.model.size for row in rows or ()),
        unused_bytes=sum(row.model.size for row in rows or () if not row.user_count),
        chosen=chosen if chosen in FILTERS else "",
        text=text,
        places={row.model.path: host.shorten_path(row.model.path) for row in page.rows},
        is_known=rows is not None,
        duplicates_command=host.session.format_command("duplicates", "--hash"),
    )


def find_duplicates(request: ActionRequest) -> ActionResult:
    """Start hashing files of equal size, to find copies.

    Raises:
        Failure: `child-failed`.
    """
    return start_command(
        request, TaskKind.COMPARISON, "duplicates", "--hash", sentence="The files of equal size are being compared."
    )


def build_model_rows(
    folders: Mapping[str, Iterable[CachedModel]], users: Mapping[ModelName, tuple[str, ...]], names: Mapping[str, str]
) -> tuple[ModelRow, ...]:
    """Return a row for each model, the largest first. Pure.

    Args:
        folders: The models by folder.
        users: The paths of the workflows that use each model.
        names: The names of workflows by path.
    """
    listed = [(folder, model) for folder, models in folders.items() for model in models]
    copies = Counter(model.sha256 for _folder, model in listed if model.sha256 is not None)
    rows = []
    for folder, model in listed:
        paths = users.get((folder, model.name), ())
        shown = tuple(ModelUser(build_workflow_id(path), names.get(path, path)) for path in paths[:_SHOWN_USERS])
        rows.append(ModelRow(folder, model, shown, len(paths), copies.get(model.sha256, 1) if model.sha256 else 1))
    rows.sort(key=lambda row: (-row.model.size, row.folder, row.model.name))
    return tuple(rows)


def _read_rows(host: PageHost) -> tuple[ModelRow, ...] | None:
    """Return the rows; None before the first check of the watched ComfyUI."""
    session = host.session
    cache = read_state(session.layout.model_cache, ModelCache, max_bytes=_MAX_CACHE_BYTES, only_look=True)
    watched = session.watched_comfyui()
    report = host.read_master_status()
    if not isinstance(cache, ModelCache) or report is None or watched is None or not watched.is_same(cache.comfyui):
        return None
    with closing(open_database(session.layout.database)) as database:
        references = WorkflowIndex(database).references()
    workflows = []
    for entry in report.workflows:
        found = references.get(build_content_key(entry.path, entry.sha256)) if entry.sha256 else None
        workflows.append((entry.path, found or ()))
    models = {folder: frozenset(model.name for model in models) for folder, models in cache.folders.items()}
    names = shorten_paths(entry.path for entry in report.workflows)
    return build_model_rows(cache.folders, find_users(workflows, models), names)


def _select(rows: Iterable[ModelRow], chosen: str, text: str) -> list[ModelRow]:
    words = text.lower().split()
    selected = []
    for row in rows:
        if chosen in FILTERS and not _has(row, chosen):
            continue
        place = f"{row.folder}/{row.model.name}".lower()
        if all(word in place for word in words):
            selected.append(row)
    return selected


def _has(row: ModelRow, name: str) -> bool:
    if name == "unused":
        return row.user_count == 0
    return row.copies > 1 if name == "copies" else row.model.problem is not None
