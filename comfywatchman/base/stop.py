"""A stop event that signal handlers may set and every thread may wait for."""

from __future__ import annotations

import os
import select
import signal
from types import FrameType
from typing import Any, Self


class StopEvent:
    """An event that is set once and never cleared, with a descriptor to wait for together with a child's end.

    A `threading.Event` would not do: its lock is not reentrant, and a signal handler may interrupt the thread that
    holds it.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._previous_handlers: dict[int, Any] = {}
        self.signal: int | None = None

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when the event is set."""
        return self._read

    def set(self) -> None:
        """Set the event; safe in a signal handler, and any number of times."""
        try:
            os.write(self._write, b"x")
        except BlockingIOError:
            # The pipe is full, so it is readable.
            return

    def wait(self, timeout_seconds: float) -> bool:
        """Wait for the event; return whether it is set."""
        # The byte is never read: the descriptor stays readable for every waiter.
        return wait_for_any([self._read], timeout_seconds) != frozenset()

    def is_set(self) -> bool:
        """Return whether the event is set."""
        return self.wait(0)

    def set_on_signals(self, *numbers: int) -> None:
        """Let these signals set the event until the end of the block; main thread only.

        An ignored signal stays ignored (`nohup`).
        """
        for number in numbers:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous_handlers[number] = signal.signal(number, self._handle_signal)

    def _handle_signal(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number
        self.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)


def wait_for_any(descriptors: list[int], timeout_seconds: float) -> frozenset[int]:
    """Return the descriptors that can be read, waiting up to a limit for the first; suspended time does not count."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    ready = poll.poll(max(0.0, timeout_seconds) * 1000)
    return frozenset(descriptor for descriptor, _events in ready)
