"""Probes of a supervised server that receives no requests: its port accepts connections, as comfygit checks it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from comfywatchman.comfyui.server.work_meter import WorkMeter
from comfywatchman.supervisor.health_policy import PortState
from comfywatchman.supervisor.monitor import CanaryOutcome, CanaryReport, QueueAnswer
from comfywatchman.supervisor.process.foreign import WatchedProcess
from comfywatchman.supervisor.process.guard import list_descendants
from comfywatchman.supervisor.process.ports import can_connect, find_port_state

CONNECTIONS: Final = 3
"""Connections in a row that prove a server; comfygit's number."""


class PortProbes:
    """Probes of a process that is not ComfyUI, or whose ComfyUI cannot be asked (TLS).

    A server that hangs accepts connections too, so this proves much less than a test prompt.

    Args:
        process: The process.
    """

    def __init__(self, process: WatchedProcess) -> None:
        self._process = process
        self._port = process.record.port
        self._meter = WorkMeter(process.leader, process.log, find_pids=self._find_pids)

    def find_port_state(self) -> PortState:
        """Return who listens at its port."""
        return find_port_state(self._port, self._process.leader)

    def ask_stats(self) -> bool:
        """Return whether its port accepts a connection."""
        return can_connect(self._port)

    def ask_queue(self) -> QueueAnswer:
        """Return 0, for it has no queue that could be read; nothing when its port accepts no connection."""
        return QueueAnswer(0 if can_connect(self._port) else None)

    def count_work(self) -> Hashable:
        """Return CPU time and log size."""
        return self._meter.read()

    def run_canary(self) -> CanaryReport:
        """Connect three times; without all of them nothing is proved."""
        for _ in range(CONNECTIONS):
            if not can_connect(self._port):
                return CanaryReport(CanaryOutcome.NOT_RUN)
        return CanaryReport(CanaryOutcome.RAN)

    def _find_pids(self) -> tuple[int, ...]:
        leader = self._process.leader
        return (leader, *(pid for pid, _started_ticks in list_descendants(leader)))
