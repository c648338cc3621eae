"""A request to stop that signal handlers may make and every thread may wait for."""

from __future__ import annotations

import os
import select
import signal
from types import FrameType
from typing import Any, Self


class StopEvent:
    """Set once, never taken back; a file descriptor, so that it can be waited for together with a child's end.

    A `threading.Event` would not do: its lock is not reentrant, and a handler runs in the middle of whoever holds it.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._before: dict[int, Any] = {}
        self.signal: int | None = None

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when the notice is given."""
        return self._read

    def set(self) -> None:
        """Give the notice; safe in a signal handler, and any number of times."""
        try:
            os.write(self._write, b"x")
        except BlockingIOError:
            return

    def wait(self, timeout_seconds: float) -> bool:
        """Wait for the notice and say whether it was given."""
        return wait_for_any([self._read], timeout_seconds) != frozenset()

    def is_set(self) -> bool:
        """Say whether the notice was given."""
        return self.wait(0)

    def set_on_signals(self, *numbers: int) -> None:
        """Let these signals give the notice until the end of the block; for the main thread.

        A signal that is ignored stays ignored (`nohup`).
        """
        for number in numbers:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle_signal)

    def _handle_signal(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number
        self.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)


def wait_for_any(descriptors: list[int], timeout_seconds: float) -> frozenset[int]:
    """Return those descriptors that can be read, waiting at most that long for the first; waking time counts only."""
    waiter = select.poll()
    for descriptor in descriptors:
        waiter.register(descriptor, select.POLLIN)
    return frozenset(found for found, _ in waiter.poll(max(0.0, timeout_seconds) * 1000))
