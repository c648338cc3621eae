"""File locks (flock) that the kernel releases when their holder ends, and that name their holder.

A lock has no lease and no expiry time: it is never taken from a living holder, however old it is.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import orjson

from comfywatchman.base.clock import Clock, format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular, unwritable_failure
from comfywatchman.base.process import read_process_identity
from comfywatchman.base.state.ranges import check_times

_HOLDER_BYTES: Final = 4096
_PAUSE_SECONDS: Final = 0.001
_PROBE_SECONDS: Final = 30.0
"""How long a process may hang while it looks whether a lock is held; on a busy machine that can be seconds."""

_WAIT_SECONDS: Final = 0.05


class LockHolder(msgspec.Struct, frozen=True):
    """The process that took a lock.

    Attributes:
        pid: Its process id.
        started_ticks: Its start in clock ticks since boot, so that a reused pid is not mistaken for it.
        boot_id: The boot it runs in.
        command: What it was started to do, for people.
        since: When it took the lock, UTC.
    """

    pid: int
    started_ticks: int
    boot_id: str
    command: str
    since: str

    def __post_init__(self) -> None:
        """Check the times.

        Raises:
            ValueError: One is out of range.
        """
        check_times(self.since)


@contextmanager
def hold_lock(path: Path, *, command: str, clock: Clock, patience_seconds: float = 0.0) -> Iterator[int]:
    """Hold an exclusive lock while the block runs; the kernel releases it however the process ends.

    Args:
        path: The lock file.
        command: What this process does, for people who wait for it.
        clock: The clocks of this machine.
        patience_seconds: How long to wait for another holder.

    Yields:
        The descriptor; a child that inherits it keeps the lock as long as it runs.

    Raises:
        Failure: `lock-held`, naming the holder; `state-unwritable` when the lock file cannot be created.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The holder is written into the file: behind a link that would be a file of somebody else.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise unwritable_failure(path, error, verb="created") from error
    try:
        try:
            _wait_for_lock(descriptor, patience_seconds)
            _write_holder(descriptor, command, clock)
        except BlockingIOError as error:
            raise _lock_held_failure(path, read_holder(path)) from error
        except OSError as error:
            raise unwritable_failure(path, error) from error
        yield descriptor
    finally:
        # The file stays: deleting it would let two processes lock two files of one name.
        os.close(descriptor)


def read_holder(path: Path) -> LockHolder | None:
    """Return the last process that took a lock; it may have ended since."""
    try:
        return msgspec.convert(orjson.loads(read_regular(path, max_bytes=_HOLDER_BYTES)), LockHolder)
    except (Failure, ValueError, msgspec.ValidationError):
        return None


def is_held(path: Path) -> bool:
    """Return whether a process holds the lock now."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _wait_for_lock(descriptor: int, patience_seconds: float) -> None:
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            return _try_lock(descriptor)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_WAIT_SECONDS)


def _try_lock(descriptor: int) -> None:
    # `is_held` takes a shared lock for a moment, which must not keep a holder out. The two are told apart by asking for
    # a shared lock as well: that succeeds beside `is_held` and fails at once beside a holder.
    deadline = time.monotonic() + _PROBE_SECONDS
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            if time.monotonic() >= deadline:
                raise
            time.sleep(_PAUSE_SECONDS)


def _write_holder(descriptor: int, command: str, clock: Clock) -> None:
    identity = read_process_identity(os.getpid(), boot_id=clock.boot_id())
    holder = LockHolder(
        pid=os.getpid(),
        started_ticks=identity.started_ticks if identity else 0,
        boot_id=clock.boot_id(),
        command=command,
        since=format_utc(clock.now()),
    )
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, orjson.dumps(msgspec.to_builtins(holder)) + b"\n", 0)


def _lock_held_failure(path: Path, holder: LockHolder | None) -> Failure:
    who = f"process {holder.pid} ({holder.command}, since {holder.since})" if holder else "another process"
    return Failure("lock-held", f"{path.name} is held by {who}.", hint="Wait until it has ended, or stop it.")
