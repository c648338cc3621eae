"""A cycle under way: what it works on, how long its phases took, what went wrong on the way."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

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
"""Told the name of each phase as it begins."""

EnvironmentChecks = Callable[[GpuReading], Environment]
"""Looks at the governed Python environment, given the GPUs of this host."""


@dataclass(frozen=True, slots=True)
class CycleRequest:
    """What one cycle works on.

    Attributes:
        trigger: `manual`, `schedule` or `cron`.
        settings: The effective settings.
        layout: Where its files are.
        installation: The ComfyUI to look at.
        roots: Where workflows are.
        sample: Whether it is the sample host of a first run.
        clock: The clock.
        log: The structured log.
        progress: Told of each phase.
        keeps: Whether anything may be written; False for a look that leaves no trace.
        environment_checks: Looks at the governed environment; None when none is governed.
        tried_loaders: What trials in the governed environment showed of loaders.
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
    keeps: bool = True
    environment_checks: EnvironmentChecks | None = None
    tried_loaders: ObservedLoaders = NOTHING_OBSERVED


@dataclass(slots=True)
class CycleContext:
    """One cycle under way.

    Attributes:
        request: What it works on.
        id: Its id: UTC start and process id.
        started: When it began, UTC.
        phases: Wall seconds of each phase that has ended.
        problems: What went wrong without stopping it, in words.
    """

    request: CycleRequest
    id: str
    started: datetime
    began: float
    phases: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @classmethod
    def begin(cls, request: CycleRequest) -> CycleContext:
        """Start the clock of a cycle."""
        now = request.clock.now()
        return cls(request, f"{now:%Y%m%dT%H%M%SZ}-{os.getpid()}", now, request.clock.monotonic())

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase and tell of it; one that comes twice counts with both."""
        self.request.progress(name)
        begun = self.request.clock.monotonic()
        try:
            yield
        finally:
            took = self.request.clock.monotonic() - begun
            self.phases[name] = round(self.phases.get(name, 0.0) + took, 4)

    def seconds(self) -> float:
        """Return how long the cycle has taken so far."""
        return round(self.request.clock.monotonic() - self.began, 3)

    def now(self) -> str:
        """Return the time as state files hold it."""
        return format_utc(self.request.clock.now())

    def note(self, trouble: CorruptFile | Failure | str | None) -> None:
        """Remember something that went wrong without stopping the cycle."""
        if isinstance(trouble, CorruptFile):
            kept = f"; it is kept as {printable_path(trouble.moved_to)}" if trouble.moved_to else ""
            self.problems.append(f"{printable_path(trouble.path)} was damaged ({trouble.reason}){kept}")
        elif trouble is not None:
            self.problems.append(trouble if isinstance(trouble, str) else trouble.message)
