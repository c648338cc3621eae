"""The hosts of the queue: what they do, and on which of them each workflow is ready."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from comfywatchman.app.pages.page_request import PageRequest
from comfywatchman.app.pages.paging import ListPage, cut_page, read_page_number
from comfywatchman.jobs.records import HostRecord


@dataclass(frozen=True, slots=True)
class MatrixCell:
    """A workflow on one host: ready, not ready with the reason, or None where the host says nothing of it."""

    is_ready: bool | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """A workflow on all hosts, in the order of the hosts."""

    workflow: str
    cells: tuple[MatrixCell, ...]

    @property
    def differs(self) -> bool:
        """Whether the hosts differ."""
        return len({cell.is_ready for cell in self.cells}) > 1


@dataclass(frozen=True, slots=True)
class HostsView:
    """The hosts page.

    Attributes:
        hosts: The hosts, by name.
        own: The name of this host.
        matrix: The rows shown.
        differing: Number of workflows on which the hosts differ.
        total: Number of workflows.
        shows_all: Whether rows that do not differ are shown too.
        command: The command that lists the hosts.
    """

    hosts: tuple[HostRecord, ...]
    own: str
    matrix: ListPage[MatrixRow]
    differing: int
    total: int
    shows_all: bool
    command: str


def view_hosts(request: PageRequest) -> HostsView:
    """Return the hosts page.

    Raises:
        Failure: A `jobs-…` code of the database.
    """
    host = request.host
    hosts = host.store.list_hosts()
    rows = build_matrix(hosts)
    differing = [row for row in rows if row.differs]
    shows_all = request.query.get("rows") == "all" or len(hosts) == 1
    page = cut_page(rows if shows_all else differing, read_page_number(request.query))
    command = host.session.format_command("jobs", "hosts")
    return HostsView(hosts, host.agent.host, page, len(differing), len(rows), shows_all, command)


def build_matrix(hosts: Sequence[HostRecord]) -> tuple[MatrixRow, ...]:
    """Return a row for each workflow that a host has published. Pure."""
    ready = [frozenset(host.ready) for host in hosts]
    names = sorted({name for host in hosts for name in (*host.ready, *host.reasons)})
    rows = []
    for name in names:
        cells = []
        for host, is_ready in zip(hosts, ready, strict=True):
            if name in is_ready:
                cells.append(MatrixCell(is_ready=True))
            elif name in host.reasons:
                cells.append(MatrixCell(is_ready=False, reason=host.reasons[name]))
            else:
                cells.append(MatrixCell(is_ready=None))
        rows.append(MatrixRow(name, tuple(cells)))
    return tuple(rows)
