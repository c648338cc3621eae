"""Commands on a disk that does not answer: a time limit for reads, and a Ctrl-C that ends a blocked program."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from comfywatchman.base.errors import Failure

T = TypeVar("T")

INTERRUPTED: Final = 130
_GRACE_SECONDS: Final = 2.0
_RECORD_SECONDS: Final = 1.0


def call_within(seconds: float, read: Callable[[], T], *, what: str) -> T:
    """Return what a function returns, or raise what it raises, within a time limit.

    The call goes on in a thread of its own, which ends with the program.

    Args:
        seconds: The limit.
        read: A function that only reads.
        what: What is read, for people.

    Raises:
        Failure: `file-unreadable` when the limit is reached.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(read())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise Failure(
            "file-unreadable",
            f"{what} could not be read within {seconds:g} seconds.",
            hint="Its disk does not answer: see whether it is mounted, and whether its server runs.",
        )
    return results[0]


@contextlib.contextmanager
def exit_when_hung(record: Callable[[], None], *, grace_seconds: float = _GRACE_SECONDS) -> Iterator[None]:
    """End the program after Ctrl-C even when the main thread is blocked in a call to a disk that does not answer.

    Python raises KeyboardInterrupt only when that call has returned. The kernel still writes to the wake-up descriptor
    of the signal, which another thread reads; it waits a grace period for the main thread, then exits with 130.

    Args:
        record: Called before the exit, to leave a trace of it; it may block, too.
        grace_seconds: How long the main thread may take to end by itself.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    is_done = threading.Event()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    earlier = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(reader, is_done, record, grace_seconds), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_done.set()
        signal.set_wakeup_fd(earlier)
        # The end of the pipe ends the watcher.
        os.close(writer)
        watcher.join(grace_seconds)
        os.close(reader)


def _watch(reader: int, is_done: threading.Event, record: Callable[[], None], grace_seconds: float) -> None:
    while signals := os.read(reader, 16):
        if signal.SIGINT not in signals:
            continue
        if is_done.wait(grace_seconds):
            return
        recorder = threading.Thread(target=record, daemon=True)
        recorder.start()
        recorder.join(_RECORD_SECONDS)
        sys.stderr.write("Interrupted. A disk does not answer, so the program was ended as it was.\n")
        os._exit(INTERRUPTED)
