"""What reading one workflow file may cost: one budget object for each file, spent by every reader of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.parsing.json_limits import MAX_JSON_VALUES, has_too_many_values

MAX_NODES: Final = 10_000
"""Most nodes, hosts included, that a workflow may expand to; the largest real ones stay below 2,000."""

_MAX_READ_BYTES: Final = 160 << 20
_MAX_UNPACKED_BYTES: Final = 64 << 20
_MAX_READS: Final = 400_000
_MAX_CPU_SECONDS: Final = 10.0
_CHECKS_PER_CLOCK: Final = 16


@dataclass(slots=True)
class ReadingBudget:
    """The rest of what one file may cost; each method raises `workflow-too-large` when it is spent.

    Attributes:
        read_bytes: Bytes to read of a media file.
        reads: Parts to read of it.
        unpacked_bytes: Bytes that compressed parts may unpack to, all of them together.
        nodes: Nodes of the workflow, those of each subgraph instance included.
        cpu_seconds: CPU time of this thread. The other limits keep every known file well below it.
    """

    read_bytes: int = _MAX_READ_BYTES
    reads: int = _MAX_READS
    unpacked_bytes: int = _MAX_UNPACKED_BYTES
    nodes: int = MAX_NODES
    cpu_seconds: float = _MAX_CPU_SECONDS
    _started: float = field(default_factory=time.thread_time)
    _checks: int = 0

    def take_read(self, count: int) -> None:
        """Spend bytes that are read."""
        self.read_bytes -= count
        if self.read_bytes < 0:
            raise _too_large_failure(f"its metadata has more than {_MAX_READ_BYTES >> 20} MiB")

    def take_part(self) -> None:
        """Spend one read of a part."""
        self.reads -= 1
        if self.reads < 0:
            raise _too_large_failure(f"it has more than {_MAX_READS:,} parts")
        self.check_time()

    def take_unpacked(self, count: int) -> None:
        """Spend bytes that a compressed part has unpacked to."""
        self.unpacked_bytes -= count
        if self.unpacked_bytes < 0:
            raise _too_large_failure(f"its compressed parts unpack to more than {_MAX_UNPACKED_BYTES >> 20} MiB")

    def take_nodes(self, count: int) -> None:
        """Spend nodes."""
        self.nodes -= count
        if self.nodes < 0:
            raise _too_large_failure(f"it has more than {MAX_NODES:,} nodes")
        self.check_time()

    def check_values(self, text: bytes | bytearray) -> None:
        """Refuse a JSON text with more values than any workflow before it is parsed."""
        if has_too_many_values(text):
            raise _too_large_failure(f"it has more than {MAX_JSON_VALUES:,} values")

    def check_time(self) -> None:
        """Refuse to go on when reading takes too long."""
        self._checks += 1
        if self._checks % _CHECKS_PER_CLOCK == 0 and time.thread_time() - self._started > self.cpu_seconds:
            raise _too_large_failure(f"reading it takes more than {self.cpu_seconds:g} seconds")


def _too_large_failure(reason: str) -> Failure:
    return Failure("workflow-too-large", f"The file is not read: {reason}.")
