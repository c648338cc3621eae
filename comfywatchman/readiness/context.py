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
from comfywatchman.base.gpu.query import GpuReading
from comfywatchman.base.settings import Settings
from comfywatchman.base.state.state_file import CorruptFile, describe_corrupt_file
from comfywatchman.comfyui.install.identity import ComfyUIIdentity, identify_comfyui
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.references.observed import NOTHING_OBSERVED, ObservedLoaders
from comfywatchman.readiness.host_summary import SupervisorSummary
from comfywatchman.readiness.layout import ReadinessLayout
from comfywatchman.readiness.status import NOT_GOVERNED, Environment
from comfywatchman.readiness.workflows.discovery import WatchedRoot

Progress = Callable[[str], None]
"""Called with the name of each phase as it begins."""

EnvironmentChecks = Callable[[GpuReading], Environment]
"""Checks the governed Python environment, given the GPUs of this host."""

SupervisorReader = Callable[[], SupervisorSummary | None]
"""Returns what the supervisor of the watched ComfyUI reports; None when no supervisor runs for it."""


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
        environment_checks: Checks the governed environment; None when the environment of this ComfyUI is not governed.
        ungoverned: The state to report then.
        observed_loaders: Loader inputs observed by trials in the governed environment.
        production: Folder of the Python environment in production; None when no environment is governed.
        read_supervisor: Asks the supervisor for the state of ComfyUI.
        complete_commands: Adds to the commands in the written report the options that they need.
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
    ungoverned: Environment = NOT_GOVERNED
    observed_loaders: ObservedLoaders = NOTHING_OBSERVED
    production: Path | None = None
    read_supervisor: SupervisorReader = lambda: None
    complete_commands: Callable[[str], str] = str


@dataclass(slots=True)
class CycleContext:
    """State of one running cycle.

    Attributes:
        request: Its input.
        id: Its id: UTC start and process id.
        comfyui: The ComfyUI that all facts of the cycle belong to.
        started: Start time, UTC.
        started_monotonic: Start time of the steady clock, in seconds.
        phases: Wall seconds of each finished phase.
        problems: Problems that did not stop the cycle, as text.
        supervisor: What the supervisor reported when the cycle began.
    """

    request: CycleRequest
    id: str
    comfyui: ComfyUIIdentity
    started: datetime
    started_monotonic: float
    phases: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    supervisor: SupervisorSummary | None = None

    @classmethod
    def begin(cls, request: CycleRequest) -> CycleContext:
        """Start the clock of a cycle."""
        now = request.clock.now()
        # Ids sort by time; the process id tells apart two cycles that start in the same second.
        cycle_id = f"{now:%Y%m%dT%H%M%SZ}-{os.getpid()}"
        comfyui = identify_comfyui(request.installation.root, request.installation.base)
        return cls(request, cycle_id, comfyui, now, request.clock.monotonic())

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

    @contextmanager
    def skip_newer_files(self) -> Iterator[None]:
        """Report a state file of a later version of this program as a problem, and go on without writing it."""
        try:
            yield
        except Failure as failure:
            if failure.code != "state-newer":
                raise
            self.add_problem(failure)

    def add_problem(self, problem: CorruptFile | Failure | str | None) -> None:
        """Add a problem that does not stop the cycle; None adds nothing."""
        if problem is None:
            return
        if isinstance(problem, CorruptFile):
            text = describe_corrupt_file(problem)
        elif isinstance(problem, Failure):
            text = problem.message
        else:
            text = problem
        self.problems.append(text)
