"""Commands on a disk that does not answer: a time limit for reads, and a Ctrl-C that ends a blocked program."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from comfywatchman.base.errors import Failure

T = TypeVar("T")

INTERRUPTED: Final = 130
_GRACE_SECONDS: Final = 2.0
_RECORD_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.5


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

    Python raises KeyboardInterrupt only when that call has returned. Another thread waits for the signal: it reads the
    wake-up descriptor, to which a sleep that signals interrupt writes, and the signals that are pending because the
    main thread sleeps uninterruptibly. It gives the main thread a grace period, then exits with 130.

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
    while True:
        if not select.select([reader], [], [], _LOOK_SECONDS)[0]:
            if not _is_interrupt_pending():
                continue
        elif not (signals := os.read(reader, 16)):
            return
        elif signal.SIGINT not in signals:
            continue
        if is_done.wait(grace_seconds):
            return
        recorder = threading.Thread(target=record, daemon=True)
        recorder.start()
        recorder.join(_RECORD_SECONDS)
        sys.stderr.write("Interrupted. A disk does not answer, so the program was ended as it was.\n")
        os._exit(INTERRUPTED)


def _is_interrupt_pending() -> bool:
    """Return whether SIGINT was sent and no thread has taken it: the kernel chose one that sleeps uninterruptibly."""
    try:
        lines = Path("/proc/self/status").read_text("ascii", "replace").splitlines()
    except OSError:
        return False
    # Signals of the process as a whole, as a hexadecimal mask (proc_pid_status(5)).
    masks = [int(line.split()[1], 16) for line in lines if line.startswith("ShdPnd:")]
    return any(mask >> (signal.SIGINT - 1) & 1 for mask in masks)
