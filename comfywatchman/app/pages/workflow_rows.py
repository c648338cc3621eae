"""The rows of the workflow list: filtering, searching and paging. Pure."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from comfywatchman.app.pages.paging import ListPage, cut_page
from comfywatchman.readiness.report.missing_names import list_lacking
from comfywatchman.readiness.report.render import shorten_paths
from comfywatchman.readiness.states import WorkflowStatus
from comfywatchman.readiness.status import MasterStatus, WorkflowEntry

_MAX_SHOWN_NAMES: Final = 3
# Broken files first: they are few, and nothing else helps them.
_RANKS: Final = {
    WorkflowStatus.INVALID: 0,
    WorkflowStatus.MISSING: 1,
    WorkflowStatus.UNCERTAIN: 2,
    WorkflowStatus.READY: 3,
}
_STATUS_NAMES: Final = frozenset(status.value.lower() for status in WorkflowStatus)


@dataclass(frozen=True, slots=True)
class WorkflowRow:
    """One row of the list.

    Attributes:
        id: Its id in URLs.
        name: Name of the file without its extension.
        folder: The folders above it, without those that all workflows share.
        status: The verdict.
        lacks: The names of what is missing, the most serious first; at most three.
        more: How many further names there are.
        models: Number of model references.
        search_text: All names in lower case, for the search.
    """

    id: str
    name: str
    folder: str
    status: WorkflowStatus
    lacks: tuple[str, ...]
    more: int
    models: int
    search_text: str


def build_workflow_id(path: str) -> str:
    """Return the id of a workflow in URLs: paths may hold anything, and are long."""
    return hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def build_rows(report: MasterStatus) -> tuple[WorkflowRow, ...]:
    """Return all rows: broken files first, then by how much is missing."""
    short = shorten_paths(entry.path for entry in report.workflows)
    keyed = []
    for entry in report.workflows:
        names = list_lacking(entry)
        keyed.append(((_RANKS[entry.status], len(names), short[entry.path]), _build_row(entry, short, names)))
    keyed.sort(key=lambda pair: pair[0])
    return tuple(row for _key, row in keyed)


def select_rows(rows: Sequence[WorkflowRow], *, status: str, text: str, page: int) -> ListPage[WorkflowRow]:
    """Return one page of the rows that match.

    Args:
        rows: All rows.
        status: A verdict in lower case; any other text means all.
        text: Words that must all occur in the names, whatever their letter case.
        page: Number of the page; one that does not exist becomes the nearest one.
    """
    words = text.lower().split()
    matching = []
    for row in rows:
        if status in _STATUS_NAMES and row.status.value.lower() != status:
            continue
        if all(word in row.search_text for word in words):
            matching.append(row)
    return cut_page(matching, page)


def _build_row(entry: WorkflowEntry, short: Mapping[str, str], names: Sequence[str]) -> WorkflowRow:
    folder, name = os.path.split(short[entry.path])
    return WorkflowRow(
        id=build_workflow_id(entry.path),
        name=os.path.splitext(name)[0] or name,
        folder=folder,
        status=entry.status,
        lacks=tuple(names[:_MAX_SHOWN_NAMES]),
        more=max(0, len(names) - _MAX_SHOWN_NAMES),
        models=entry.models,
        search_text=" ".join([short[entry.path], *names]).lower(),
    )
