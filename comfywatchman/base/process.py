"""Child processes with a bounded life, and the identity of a process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure

PASSED_ON: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "SYSTEMROOT", "XDG_RUNTIME_DIR")
"""The variables a child inherits; secrets are not among them."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended: its exit status (negative: the signal) and what it printed."""

    status: int
    output: bytes
    errors: bytes


@dataclass(frozen=True, slots=True)
class Identity:
    """A process that cannot be mistaken for a later one with the same pid."""

    boot_id: str
    pid: int
    started_ticks: int


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Build a child's environment from the whitelist and what the caller adds."""
    inherited = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {**inherited, **(extra or {})}


def run_bounded(
    argv: Sequence[str],
    *,
    timeout_seconds: float,
    extra_environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Ended:
    """Run a program to its end or to its time limit, even when it cannot be killed.

    A child in an uninterruptible wait (a hung driver) survives SIGKILL; it is abandoned, not waited for.

    Raises:
        Failure: `child-timeout`, or `child-failed` when it could not be started.
    """
    name = Path(argv[0]).name
    try:
        child = subprocess.Popen(  # noqa: S603 - argv is a list of our own making, no shell
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environment(extra_environment),
            cwd=folder,
            start_new_session=True,
        )
    except OSError as error:
        raise Failure("child-failed", f"{name} could not be started: {error.strerror}.") from error
    try:
        output, errors = child.communicate(timeout=timeout_seconds)
    except subprocess.TimeoutExpired as error:
        _abandon(child)
        raise Failure("child-timeout", f"{name} did not end within {timeout_seconds:g} seconds.") from error
    except BaseException:
        _abandon(child)
        raise
    return Ended(status=child.returncode, output=output, errors=errors)


def identity_of(pid: int, *, boot_id: str) -> Identity | None:
    """Return who runs under a pid now, or None when nobody does (or /proc is not there)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return None
    return Identity(boot_id=boot_id, pid=pid, started_ticks=int(fields[19]))


def _abandon(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(0.2)
    for stream in (child.stdout, child.stderr):
        if stream is not None:
            stream.close()
