"""One run of ComfyUI: its process, the monitor that looks at it, and the evidence for an incident."""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable, Sequence

from comfywatchman.base.clock import Clock, format_utc
from comfywatchman.supervisor.health_policy import HealthReason, HealthSignals, HealthVerdict, PortState, judge_health
from comfywatchman.supervisor.incidents import (
    MemoryCurve,
    MemorySample,
    OomCounters,
    build_oom_counters,
    read_oom_counters,
)
from comfywatchman.supervisor.monitor import HealthMonitor, ServerProbes
from comfywatchman.supervisor.process.child import StopLimits
from comfywatchman.supervisor.process.foreign import WatchedProcess
from comfywatchman.supervisor.settings import SupervisorSettings
from comfywatchman.supervisor.states import ProofKind, SupervisorState

ProbeFactory = Callable[[WatchedProcess], ServerProbes]
"""Builds the probes for one process."""


class ComfyRun:
    """A running ComfyUI that is watched.

    Args:
        process: The process.
        probes: Builds its probes.
        settings: The limits.
        clock: The clocks.
        log: The program's log.
        read_gpu_memory: Returns the used memory of all GPUs; None when it is unknown.
    """

    def __init__(
        self,
        process: WatchedProcess,
        probes: ProbeFactory,
        settings: SupervisorSettings,
        clock: Clock,
        log: logging.Logger,
        *,
        read_gpu_memory: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.process = process
        self.curve = MemoryCurve()
        self._settings = settings
        self._clock = clock
        self._read_gpu_memory = read_gpu_memory
        self._oom_at_start = read_oom_counters(process.leader)
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._wake_guard = threading.Lock()
        self._is_closed = False
        self._probes = probes(process)
        self._monitor = HealthMonitor(
            self._probes,
            clock,
            settings.health,
            settings.pace,
            job_deadline_seconds=settings.job_progress_seconds,
            log=log,
            on_change=self._report_look,
        )
        self._monitor.start()

    @property
    def signals(self) -> HealthSignals:
        """The signals of the monitor's last look."""
        return self._monitor.signals

    @property
    def uptime_seconds(self) -> float:
        """How long the process has been running, sleep included."""
        return self._clock.boottime() - self.process.record.started_at

    @property
    def canary_reason(self) -> str:
        """Why the last test prompt failed; empty when it did not."""
        report = self._monitor.last_report
        return report.reason if report is not None else ""

    @property
    def is_known_busy(self) -> bool:
        """Whether prompts ran or waited at the last look."""
        return bool(self.signals.queue_length)

    def count_prompts(self) -> int | None:
        """Return the number of running and waiting prompts now; None when unknown."""
        if self.signals.port is PortState.NOBODY:
            # It does not listen yet, so nobody could send one.
            return 0
        if self._settings.health.kind is ProofKind.CONNECTION:
            return None
        # The last look may be some seconds old.
        length = self._probes.ask_queue().length
        return length if length is not None else self.signals.queue_length

    def wait(self, timeout_seconds: float, *, also: Sequence[int] = ()) -> int | None:
        """Wait for the end of ComfyUI, the next look, or another descriptor.

        Returns:
            The exit status (negative: the signal), or None while it runs.
        """
        status = self.process.wait(timeout_seconds, also=[self._wake_read, *also])
        self._drain_wakeups()
        return status

    def judge(self) -> HealthVerdict:
        """Return the state that the last look proves."""
        verdict = judge_health(self.signals, self._settings.health, now_seconds=self._clock.monotonic())
        if verdict.state is SupervisorState.READY and self._monitor.has_slept:
            # The next look expires the proof, but it may be seconds away.
            return HealthVerdict(SupervisorState.UNPROVEN, HealthReason.PROOF_TOO_OLD)
        return verdict

    def stop(self, limits: StopLimits) -> int | None:
        """Stop ComfyUI with everything that it started; None when it cannot be killed."""
        self._monitor.stop()
        return self.process.stop(limits)

    def close(self) -> None:
        """Stop watching, and let go of the process: one that is not kept ends now."""
        self._monitor.stop()
        self.process.release()
        with self._wake_guard:
            self._is_closed = True
            os.close(self._wake_read)
            os.close(self._wake_write)

    def sample_memory(self) -> None:
        """Add the present memory of the process tree and of the GPUs to the curve."""
        resident = count_resident_bytes(self.process.leader)
        self.curve.add(MemorySample(format_utc(self._clock.now()), resident, self._read_gpu_memory()))

    def read_oom(self) -> tuple[OomCounters, OomCounters] | None:
        """Return the kernel's counters at the start and now; None where there are none."""
        # The guard shares ComfyUI's cgroup.
        counters = read_oom_counters(self.process.leader)
        at_end = self.process.oom_events_at_end
        if counters is None and at_end is not None:
            counters = build_oom_counters(at_end)
        elif counters is None and not self.process.record.scope:
            # Outside a scope, this process shares it too, unless it was put elsewhere.
            counters = read_oom_counters(os.getpid())
        if self._oom_at_start is None or counters is None:
            return None
        return self._oom_at_start, counters

    def _report_look(self) -> None:
        # In the thread of the monitor: a driver that hangs must not hold up the loop.
        self.sample_memory()
        # A probe may outlive this run: by then, the number of the descriptor may belong to another file.
        with self._wake_guard:
            if self._is_closed:
                return
            try:
                os.write(self._wake_write, b"x")
            except BlockingIOError:
                # The pipe is full, so the loop wakes up anyway.
                return

    def _drain_wakeups(self) -> None:
        while select.select([self._wake_read], [], [], 0)[0]:
            os.read(self._wake_read, 4096)


def count_resident_bytes(leader: int) -> int:
    """Return the resident memory of a process and its descendants; 0 when it is gone."""
    import psutil

    total = 0
    try:
        root = psutil.Process(leader)
        family = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    for process in family:
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total
