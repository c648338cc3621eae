"""What views and actions of the web page read: the session, the queue, and the last report, decoded once per change."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from comfywatchman.app.jobs import JobAgent
from comfywatchman.app.session import Session
from comfywatchman.base.files import printable_path
from comfywatchman.base.state.state_file import CorruptFile
from comfywatchman.jobs.records import QueueStats
from comfywatchman.jobs.store.job_store import JobStore
from comfywatchman.readiness.history import CycleRecord, read_records
from comfywatchman.readiness.report.write import ForeignReport, read_own_report
from comfywatchman.readiness.status import MasterStatus
from comfywatchman.readiness.unfinished import read_killed_cycle

ValueT = TypeVar("ValueT")
FileVersion = tuple[int, int, int]

_ABSENT: Final[FileVersion] = (0, 0, 0)


@dataclass
class PageHost:
    """The host that the web page shows. Views may be called from several threads at once.

    Attributes:
        session: The session of the command that serves the page.
        agent: The job agent of this host.
        store: The open queue of jobs.
    """

    session: Session
    agent: JobAgent
    store: JobStore
    _cache: dict[str, tuple[FileVersion, Any]] = field(default_factory=dict, init=False, repr=False)
    _of_request: dict[str, Any] | None = field(default=None, init=False, repr=False)
    _cache_lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def for_request(self) -> PageHost:
        """Return the same host for one request, in which the queue is counted once."""
        host = copy.copy(self)
        host._of_request = {}  # noqa: SLF001 - a copy of this object
        return host

    def read_stats(self) -> QueueStats:
        """Return the figures of the queue; within one request always the same.

        Raises:
            Failure: A `jobs-…` code of the database.
        """
        return self.cache_in_request("stats", self.store.stats)

    def cache_in_request(self, name: str, compute: Callable[[], ValueT]) -> ValueT:
        """Return a value that is computed once per request.

        Args:
            name: The name of the value.
            compute: Computes it.
        """
        if self._of_request is None:
            return compute()
        if name not in self._of_request:
            self._of_request[name] = compute()
        value: ValueT = self._of_request[name]
        return value

    def shorten_path(self, path: str) -> str:
        """Return a path as people see it: below ComfyUI's folder without that folder."""
        return path.removeprefix(self.cache_in_request("comfyui folder", self._find_comfyui_prefix))

    def _find_comfyui_prefix(self) -> str:
        folder = self.session.find_comfyui_folder()
        return "" if folder is None else f"{printable_path(folder)}/"

    @property
    def report_version(self) -> FileVersion:
        """The version of the report file; it differs after every write."""
        return _read_file_version(os.fspath(self.session.layout.status_json))

    def read_report(self) -> MasterStatus | ForeignReport | CorruptFile | None:
        """Return the last report of the watched ComfyUI; None when there is none yet.

        Raises:
            Failure: A `config-…` code.
        """
        session = self.session
        return self.cache_by_report(
            "report", lambda: read_own_report(session.layout, session.watched_comfyui(), only_look=True)
        )

    def read_master_status(self) -> MasterStatus | None:
        """Return the last report if it can be read and is about the watched ComfyUI.

        Raises:
            Failure: A `config-…` code.
        """
        report = self.read_report()
        return report if isinstance(report, MasterStatus) else None

    def explain_missing_report(self) -> str:
        """Return why the report file cannot be shown; empty when it can, or when there is none yet.

        Raises:
            Failure: A `config-…` code.
        """
        report = self.read_report()
        if isinstance(report, CorruptFile):
            return f"The last report {printable_path(report.path)} cannot be read: {report.reason}."
        if not isinstance(report, ForeignReport):
            return ""
        if report.comfyui is None:
            return "The last report was written by an older version, which did not record the ComfyUI."
        return f"The last report is about another ComfyUI, {report.comfyui.root}."

    def read_cycles(self, limit: int = 20) -> tuple[CycleRecord, ...]:
        """Return the last cycles of the watched ComfyUI, the newest first, with one that was killed.

        Raises:
            Failure: A `config-…` code.
        """
        session = self.session
        watched = session.watched_comfyui()
        if watched is None:
            return ()
        killed = read_killed_cycle(session.layout.running_cycle, session.clock)
        cycles = [killed] if killed is not None and killed.comfyui == watched.id else []
        cycles += read_records(session.layout.history, limit=limit, comfyui=watched.id)
        return tuple(cycles)

    def cache_by_report(self, name: str, compute: Callable[[], ValueT]) -> ValueT:
        """Return a value that depends on nothing but the report, computed once per version of its file.

        Args:
            name: The name of the value.
            compute: Computes it.
        """
        version = self.report_version
        with self._cache_lock:
            known = self._cache.get(name)
        if known is not None and known[0] == version:
            value: ValueT = known[1]
            return value
        # Outside the lock: two threads may compute the same value, which costs less than waiting for each other.
        value = compute()
        with self._cache_lock:
            self._cache[name] = (version, value)
        return value


def _read_file_version(path: str) -> FileVersion:
    try:
        facts = os.stat(path)
    except OSError:
        return _ABSENT
    return facts.st_ino, facts.st_mtime_ns, facts.st_size
