"""The lock of a switch: a flock that the kernel releases with its owner, and the visible file `.switch.lock`.

The visible file is comfygit's: there, its mere presence is the lock. Ours names its owner. A lock is never taken from
a living owner, however old it is, and never kept for a dead one. Only a file without an owner, as comfygit writes it,
is judged by its age.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from comfywatchman.base.clock import Clock, SystemClock, format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import to_json, write_atomic
from comfywatchman.base.lock import LockHolder, hold_lock, is_held
from comfywatchman.base.process import ProcessIdentity, read_process_identity
from comfywatchman.supervisor.metadata import delete_metadata_file, read_metadata_bytes, read_metadata_file
from comfywatchman.supervisor.process_files import has_started_before, is_running

SWITCH_LOCK: Final = ".switch.lock"
"""The visible file, deleted when the lock is released."""
SWITCH_FLOCK: Final = ".switch.flock"
"""The file that is locked. It stays: deleting it would let two processes lock two files of one name."""
FOREIGN_LIMIT_SECONDS: Final = 300.0
"""Age above which a lock file that names no owner counts as left behind (comfygit's limit)."""

_COMMAND: Final = "a switch to another environment"
_CLOCK: Final = SystemClock()
_held: Final[dict[Path, contextlib.ExitStack]] = {}
"""The locks that this process holds, by their folder."""
_held_guard: Final = threading.Lock()


def acquire_switch_lock(metadata: Path, timeout: float = FOREIGN_LIMIT_SECONDS, *, clock: Clock = _CLOCK) -> bool:
    """Take the lock, without waiting; it ends with `release_switch_lock` or with this process.

    Args:
        metadata: The workspace's `.metadata/`.
        timeout: Age in seconds above which a `.switch.lock` without a known owner is replaced.
        clock: The clocks of this machine.

    Returns:
        Whether it was taken; False while any process holds it, this one included.

    Raises:
        Failure: `state-unwritable`.
    """
    key = _key(metadata)
    with _held_guard:
        if key in _held:
            return False
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(hold_lock(metadata / SWITCH_FLOCK, command=_COMMAND, clock=clock))
            except Failure as failure:
                if failure.code != "lock-held":
                    raise
                return False
            if _has_other_owner(metadata / SWITCH_LOCK, timeout, clock):
                return False
            write_atomic(metadata / SWITCH_LOCK, to_json(_build_owner(clock)), is_lasting=False)
            _held[key] = stack.pop_all()
    return True


def release_switch_lock(metadata: Path, *, clock: Clock = _CLOCK) -> bool:
    """Release the lock that this process holds, or delete the file of an owner that has ended.

    Returns:
        Whether the lock is free now; False when another living process holds it.

    Raises:
        Failure: `state-unwritable`; the lock is released all the same.
    """
    with _held_guard:
        stack = _held.pop(_key(metadata), None)
        if stack is None:
            # Another owner may take the lock between the check and the deletion, so it is taken here first.
            with contextlib.ExitStack() as own:
                try:
                    own.enter_context(hold_lock(metadata / SWITCH_FLOCK, command=_COMMAND, clock=clock))
                except Failure as failure:
                    if failure.code != "lock-held":
                        raise
                    return False
                if _has_other_owner(metadata / SWITCH_LOCK, FOREIGN_LIMIT_SECONDS, clock):
                    return False
                delete_metadata_file(metadata / SWITCH_LOCK)
            return True
        # The file first: while the flock is held, no other process can have written it.
        with stack:
            delete_metadata_file(metadata / SWITCH_LOCK)
    return True


def is_switch_locked(metadata: Path, timeout: float = FOREIGN_LIMIT_SECONDS, *, clock: Clock = _CLOCK) -> bool:
    """Return whether a process holds the lock now."""
    return is_held(metadata / SWITCH_FLOCK) or _has_other_owner(metadata / SWITCH_LOCK, timeout, clock)


def read_switch_lock_owner(metadata: Path) -> LockHolder | None:
    """Return the process that `.switch.lock` names; None when there is none, or it has no owner."""
    return read_metadata_file(metadata / SWITCH_LOCK, LockHolder)


@contextlib.contextmanager
def hold_switch_lock(
    metadata: Path, timeout: float = FOREIGN_LIMIT_SECONDS, *, clock: Clock = _CLOCK
) -> Iterator[None]:
    """Hold the lock while the block runs.

    Raises:
        Failure: `lock-held`, naming its owner; `state-unwritable`.
    """
    if not acquire_switch_lock(metadata, timeout, clock=clock):
        owner = read_switch_lock_owner(metadata)
        who = "another program"
        if owner is not None:
            who = f"process {owner.pid} (since {owner.since})"
        raise Failure(
            "lock-held",
            f"Another switch of environments is running: {who} holds {SWITCH_LOCK}.",
            hint="Wait until it has ended.",
        )
    try:
        yield
    finally:
        release_switch_lock(metadata, clock=clock)


def _has_other_owner(path: Path, timeout: float, clock: Clock) -> bool:
    """Return whether a `.switch.lock` counts, apart from the flock: its owner lives, or it has no owner and is new."""
    try:
        written = os.lstat(path).st_mtime
    except OSError:
        return False
    owner = read_metadata_file(path, LockHolder)
    if owner is not None:
        identity = ProcessIdentity(boot_id=owner.boot_id, pid=owner.pid, started_ticks=owner.started_ticks)
        # Our own file without our flock was left behind by a release that failed.
        return owner.boot_id == clock.boot_id() and owner.pid != os.getpid() and is_running(identity)
    pid = _read_pid(path)
    if pid is not None:
        return has_started_before(pid, path)
    # The clock may have been set since: a time far in the future counts as old too.
    return abs(clock.now().timestamp() - written) <= timeout


def _build_owner(clock: Clock) -> LockHolder:
    identity = read_process_identity(os.getpid(), boot_id=clock.boot_id())
    return LockHolder(
        pid=os.getpid(),
        started_ticks=identity.started_ticks if identity else 0,
        boot_id=clock.boot_id(),
        command=_COMMAND,
        since=format_utc(clock.now()),
    )


def _read_pid(path: Path) -> int | None:
    """Return the process id that another program wrote into the file, as text or as `{"pid": …}`."""
    content = read_metadata_bytes(path) or b""
    match = re.fullmatch(rb"\s*(?:\{[^{}]*\"pid\"\s*:\s*)?([0-9]{1,10})(?:[^0-9{}][^{}]*\}|\})?\s*", content)
    return int(match[1]) if match else None


def _key(metadata: Path) -> Path:
    return Path(os.path.realpath(metadata))
