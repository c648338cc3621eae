"""The heartbeat of a worker, in a thread of its own; it knows how long the worker may trust its lease."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final, Self

from comfywatchman.base.clock import Clock
from comfywatchman.base.errors import Failure

_TRUSTED_SHARE: Final = 0.6
"""The rest of a lease is for stopping the job in ComfyUI, which may take to the next step of a node."""

log = logging.getLogger(__name__)


class WorkerHeartbeat:
    """Tells the database regularly that this worker lives.

    Used as a context manager. The boot clock decides, because a suspended machine loses its leases.

    Args:
        beat: Writes one heartbeat; raises when it could not.
        every_seconds: The time between two heartbeats of an idle worker.
        busy_seconds: The time between two heartbeats while a job runs, which also carry its progress.
        lease_seconds: The time without a heartbeat after which the worker loses its lease.
        clock: The clocks of this machine.
    """

    def __init__(
        self,
        beat: Callable[[], object],
        *,
        every_seconds: float,
        busy_seconds: float,
        lease_seconds: float,
        clock: Clock,
    ) -> None:
        self._beat = beat
        self._every_seconds = every_seconds
        self._busy_seconds = min(busy_seconds, every_seconds)
        self._is_busy = False
        self._trusted_seconds = lease_seconds * _TRUSTED_SHARE
        self._clock = clock
        self._last_success = clock.boottime()
        self._changed = threading.Event()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="jobs-heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._is_stopping = True
        self._changed.set()
        # A write that hangs ends with the time limit of the database.
        self._thread.join(self._every_seconds)

    @property
    def is_trusted(self) -> bool:
        """Whether the last heartbeat is recent enough to go on with a job."""
        return self._clock.boottime() - self._last_success < self._trusted_seconds

    def set_busy(self, *, is_busy: bool) -> None:
        """Set whether a job runs, and write a heartbeat soon."""
        self._is_busy = is_busy
        self._changed.set()

    def beat(self) -> bool:
        """Write a heartbeat now; return whether that worked."""
        # Counted from before the write: the database may take the time at once and answer late.
        began = self._clock.boottime()
        try:
            self._beat()
        except (Failure, OSError) as error:
            log.warning("heartbeat failed", extra={"error": str(error)})
            return False
        self._last_success = began
        return True

    def _run(self) -> None:
        while not self._is_stopping:
            self._changed.wait(self._busy_seconds if self._is_busy else self._every_seconds)
            self._changed.clear()
            if not self._is_stopping:
                self.beat()
