"""Context of one cycle: its request, the duration of its phases, and the problems met so far."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from comfywatchman.base.clock import Clock, format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import CorruptFile, printable_path
from comfywatchman.base.gpu.query import GpuReading
from comfywatchman.base.settings import Settings
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.references.observed import NOTHING_OBSERVED, ObservedLoaders
from comfywatchman.readiness.layout import ReadinessLayout
from comfywatchman.readiness.status import Environment
from comfywatchman.readiness.workflows.discovery import WatchedRoot

Progress = Callable[[str], None]
"""Called with the name of each phase as it begins."""

EnvironmentChecks = Callable[[GpuReading], Environment]
"""Checks the governed Python environment, given the GPUs of this host."""


@dataclass(frozen=True, slots=True)
class CycleRequest:
    """Input of one cycle.

    Attributes:
        trigger: `manual`, `first`, `schedule` or `cron`.
        settings: The effective settings.
        layout: Paths of its files.
        installation: The ComfyUI to check.
        roots: Folders and files to search for workflows.
        sample: Whether this is the sample host of a first run.
        clock: The clock.
        log: The structured log.
        progress: Called with the name of each phase.
        may_write: Whether state files may be written; False for a dry run.
        environment_checks: Checks the governed environment; None when no environment is governed.
        observed_loaders: Loader inputs observed by trials in the governed environment.
        production: Folder of the Python environment in production; None when no environment is governed.
    """

    trigger: str
    settings: Settings
    layout: ReadinessLayout
    installation: Installation
    roots: tuple[WatchedRoot, ...]
    sample: bool
    clock: Clock
    log: logging.Logger
    progress: Progress = lambda _phase: None
    may_write: bool = True
    environment_checks: EnvironmentChecks | None = None
    observed_loaders: ObservedLoaders = NOTHING_OBSERVED
    production: Path | None = None


@dataclass(slots=True)
class CycleContext:
    """State of one running cycle.

    Attributes:
        request: Its input.
        id: Its id: UTC start and process id.
        started: Start time, UTC.
        started_monotonic: Start time of the steady clock, in seconds.
        phases: Wall seconds of each finished phase.
        problems: Problems that did not stop the cycle, as text.
    """

    request: CycleRequest
    id: str
    started: datetime
    started_monotonic: float
    phases: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @classmethod
    def begin(cls, request: CycleRequest) -> CycleContext:
        """Start the clock of a cycle."""
        now = request.clock.now()
        # Ids sort by time; the process id tells apart two cycles that start in the same second.
        cycle_id = f"{now:%Y%m%dT%H%M%SZ}-{os.getpid()}"
        return cls(request, cycle_id, now, request.clock.monotonic())

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Report a phase as progress and time it; the seconds of a repeated phase add up."""
        self.request.progress(name)
        phase_started = self.request.clock.monotonic()
        try:
            yield
        finally:
            seconds = self.request.clock.monotonic() - phase_started
            self.phases[name] = round(self.phases.get(name, 0.0) + seconds, 4)

    def seconds(self) -> float:
        """Return the duration of the cycle so far."""
        return round(self.request.clock.monotonic() - self.started_monotonic, 3)

    def now(self) -> str:
        """Return the current time in the format of state files."""
        return format_utc(self.request.clock.now())

    def add_problem(self, problem: CorruptFile | Failure | str | None) -> None:
        """Add a problem that does not stop the cycle; None adds nothing."""
        if problem is None:
            return
        if isinstance(problem, CorruptFile):
            text = f"{printable_path(problem.path)} was damaged ({problem.reason})"
            if problem.moved_to:
                text += f"; it was moved to {printable_path(problem.moved_to)}"
        elif isinstance(problem, Failure):
            text = problem.message
        else:
            text = problem
        self.problems.append(text)
