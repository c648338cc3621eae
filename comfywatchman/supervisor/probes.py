"""Probes of a supervised ComfyUI: `ComfyProbes` for a real one (its test prompt has a time limit), and their choice."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.server.canary import CanaryStatus, check_server
from comfywatchman.comfyui.server.listening import LOOPBACK
from comfywatchman.comfyui.server.probes import read_queue_length, read_system_stats
from comfywatchman.comfyui.server.unread_clients import find_unread_clients
from comfywatchman.comfyui.server.work_meter import WorkMeter
from comfywatchman.supervisor.health_policy import PortState
from comfywatchman.supervisor.monitor import CanaryOutcome, CanaryReport, QueueAnswer
from comfywatchman.supervisor.process.foreign import WatchedProcess
from comfywatchman.supervisor.process.guard import list_descendants
from comfywatchman.supervisor.process.port_probes import PortProbes
from comfywatchman.supervisor.process.ports import find_port_state
from comfywatchman.supervisor.run import ProbeFactory
from comfywatchman.supervisor.states import ProofKind

_CANARY_SECONDS: Final = 60.0
_EVENTS_SECONDS: Final = 10.0
_REASONS: Final = {
    CanaryStatus.REFUSED: "The server refused the test prompt",
    CanaryStatus.FAILED: "A node of the test prompt failed",
    CanaryStatus.TIMEOUT: "The test prompt did not end in time, although the server answers",
    CanaryStatus.LOST: "The server did not answer",
}


def choose_probes(kind: ProofKind) -> ProbeFactory:
    """Return what builds the probes for a kind of proof."""
    return ComfyProbes if kind is ProofKind.PROMPT else PortProbes


class ComfyProbes:
    """Probes of the ComfyUI of one process, over HTTP, its WebSocket and /proc.

    Args:
        process: The process.
        canary_seconds: How long a test prompt may take.
        events_seconds: How much later than its end its events may arrive.
    """

    def __init__(
        self,
        process: WatchedProcess,
        *,
        canary_seconds: float = _CANARY_SECONDS,
        events_seconds: float = _EVENTS_SECONDS,
    ) -> None:
        self._process = process
        self._canary_seconds = canary_seconds
        self._events_seconds = events_seconds
        self._port = process.record.port
        self._url = f"http://{LOOPBACK}:{self._port}"
        self._meter = WorkMeter(process.leader, process.log, self._url, find_pids=self._find_pids)

    def find_port_state(self) -> PortState:
        """Return who listens at its port."""
        return find_port_state(self._port, self._process.leader)

    def ask_stats(self) -> bool:
        """Return whether `/system_stats` answers as ComfyUI does, with the arguments of this very process."""
        try:
            stats = read_system_stats(self._url)
        except Failure:
            return False
        # Our own was started with its port; a foreign one is known by its socket.
        return self._process.is_foreign or f"--port={self._port}" in stats.argv

    def ask_queue(self) -> QueueAnswer:
        """Return the number of running and waiting prompts."""
        try:
            return QueueAnswer(read_queue_length(self._url))
        except Failure as failure:
            return QueueAnswer(is_error=failure.code != "http-unreachable")

    def count_work(self) -> Hashable:
        """Return the counters of work."""
        return self._meter.read()

    def run_canary(self) -> CanaryReport:
        """Run a test prompt; without its events, look for a client that holds them up."""
        result = check_server(
            self._url,
            limit_seconds=self._canary_seconds,
            events_limit_seconds=self._events_seconds,
            is_running=self._is_running,
        )
        if result.status is CanaryStatus.RAN:
            return CanaryReport(CanaryOutcome.RAN)
        if result.status is CanaryStatus.BUSY:
            return CanaryReport(CanaryOutcome.NOT_RUN)
        if result.status is CanaryStatus.EVENTS_MISSING:
            clients = find_unread_clients(self._port)
            return CanaryReport(
                CanaryOutcome.EVENTS_MISSING, str(clients[0]) if clients else None, "The events did not arrive."
            )
        detail = f": {result.reason}" if result.reason else "."
        return CanaryReport(CanaryOutcome.FAILED, reason=f"{_REASONS[result.status]}{detail}")

    def _is_running(self) -> bool:
        return bool(self._find_pids())

    def _find_pids(self) -> tuple[int, ...]:
        family = tuple(pid for pid, _started_ticks in list_descendants(self._process.leader))
        return (self._process.leader, *family) if self._process.is_foreign else family
