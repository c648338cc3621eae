"""The supervised ComfyUI process: started under the guard, stopped with its whole tree, and adopted by identity."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular, to_json, unwritable_failure, write_atomic
from comfywatchman.base.json_values import decode_json
from comfywatchman.base.process import ChildProcess, ProcessIdentity, read_process_identity
from comfywatchman.base.stop import wait_for_any
from comfywatchman.supervisor.metadata import create_metadata_folder
from comfywatchman.supervisor.process import guard
from comfywatchman.supervisor.process.scope import SystemdPrograms, kill_scope, name_scope

LOG_NAME: Final = "comfyui.log"
RECORD_NAME: Final = "comfyui_process.json"
_GUARD_RECORD_NAME: Final = ".comfyui_guard.json"
_GUARD_LOG_NAME: Final = "guard.log"
_KEPT_LOGS: Final = 5
_MAX_RECORD_BYTES: Final = 1 << 20
_UNKNOWN_STATUS: Final = -int(signal.SIGKILL)
"""The status of a process whose guard was killed: then the kernel killed it too (PR_SET_PDEATHSIG)."""


class ProcessRecord(msgspec.Struct, frozen=True):
    """The record of a start, by which a later supervisor recognises the ComfyUI that is still running.

    Attributes:
        guard: Identity of its guard.
        environment: Name of its environment.
        argv: Its command.
        folder: Its working directory.
        port: The port in its arguments.
        started_at: Seconds of the boot clock.
        is_kept: Whether it outlives the supervisor that started it.
        scope: The systemd scope of the guard and its tree; empty where there is none.
        schema_version: Version of this record.
    """

    guard: ProcessIdentity
    environment: str
    argv: tuple[str, ...]
    folder: str
    port: int
    started_at: float
    is_kept: bool = False
    scope: str = ""
    schema_version: int = 1


class _GuardRecord(msgspec.Struct, frozen=True):
    pid: int
    started_ticks: int
    status: int | None
    oom_events: dict[str, int] | None = None


@dataclass(frozen=True, slots=True)
class StartCommand:
    """The command of a start.

    Attributes:
        environment: Name of the environment.
        argv: The program and its arguments.
        folder: Its working directory.
        variables: Variables in addition to those of the allow-list.
        port: The port in its arguments.
    """

    environment: str
    argv: tuple[str, ...]
    folder: Path
    variables: Mapping[str, str]
    port: int


@dataclass(frozen=True, slots=True)
class StopLimits:
    """How long a stop waits after each signal, in seconds.

    Attributes:
        interrupt: After SIGINT, on which ComfyUI saves its state.
        terminate: After SIGTERM.
        kill: After SIGKILL; a process that is still there hangs in a driver.
        dump: After SIGABRT, on which Python dumps its stacks; 0 asks for no dump.
    """

    interrupt: float = 10.0
    terminate: float = 5.0
    kill: float = 5.0
    dump: float = 0.0


_KILL_ONLY: Final = StopLimits(interrupt=0.0, terminate=0.0)
_LIFELINE_SECONDS: Final = 2 * guard.LIFELINE_GRACE_SECONDS


class SupervisedProcess:
    """A ComfyUI under its guard: one of our own, or one that an earlier supervisor left running."""

    is_foreign = False

    def __init__(
        self,
        record: ProcessRecord,
        folder: Path,
        *,
        child: ChildProcess | None,
        lifeline: int,
        systemd: SystemdPrograms | None = None,
    ) -> None:
        self.record = record
        self.log = folder / LOG_NAME
        self._folder = folder
        self._child = child
        self._lifeline = lifeline
        self._systemd = systemd
        self._pidfd = os.pidfd_open(record.guard.pid)
        self._status: int | None = None

    @classmethod
    def start(
        cls,
        command: StartCommand,
        folder: Path,
        *,
        boot_id: str,
        now_seconds: float,
        is_kept: bool,
        systemd: SystemdPrograms | None = None,
    ) -> Self:
        """Start ComfyUI.

        Args:
            command: The command.
            folder: The folder for its log and records; created when it does not exist.
            boot_id: The kernel's id of this boot.
            now_seconds: The boot clock.
            is_kept: Whether it outlives this process.
            systemd: Starts it in a scope of its own; None for a start without one.

        Raises:
            Failure: `child-failed`, or `state-unwritable`.
        """
        scope = name_scope() if systemd is not None else ""
        prefix = systemd.build_start(scope) if systemd is not None else ()
        child, writing = _start_guard(command, folder, prefix, is_kept=is_kept)
        identity = read_process_identity(child.pid, boot_id=boot_id)
        record = ProcessRecord(
            guard=identity or ProcessIdentity(boot_id=boot_id, pid=child.pid, started_ticks=0),
            environment=command.environment,
            argv=command.argv,
            folder=str(command.folder),
            port=command.port,
            started_at=now_seconds,
            is_kept=is_kept,
            scope=scope,
        )
        process = cls(record, folder, child=child, lifeline=writing, systemd=systemd)
        try:
            write_atomic(folder / RECORD_NAME, to_json(msgspec.to_builtins(record)))
        except Failure:
            # Without its record nobody could find it again.
            process.stop(_KILL_ONLY)
            process.release()
            raise
        return process

    @classmethod
    def adopt(cls, folder: Path, *, boot_id: str, systemd: SystemdPrograms | None = None) -> Self | None:
        """Return the ComfyUI that an earlier supervisor left running; None when there is none.

        It is recognised by boot, pid and start of its guard: another process with its pid is never adopted. One that is
        not kept is about to end with its supervisor: its end is waited for, and it is adopted only if it cannot be
        killed.

        Args:
            folder: The folder of its records.
            boot_id: The kernel's id of this boot.
            systemd: Kills the processes in its scope that outlived a killed guard.
        """
        record = read_process_record(folder)
        if record is None or record.guard.boot_id != boot_id:
            return None
        try:
            process = cls(record, folder, child=None, lifeline=-1, systemd=systemd)
        except ProcessLookupError:
            _kill_left(record, folder, systemd)
            return None
        # The pidfd came first: it stays with the process whose identity is compared now.
        if read_process_identity(record.guard.pid, boot_id=boot_id) != record.guard:
            _kill_left(record, folder, systemd)
            process.release()
            return None
        if process.wait(0) is not None:
            process.release()
            return None
        if not record.is_kept and process.end_with_its_supervisor() is not None:
            process.release()
            return None
        return process

    @property
    def leader(self) -> int:
        """The leader of the session that ComfyUI runs in."""
        return self.record.guard.pid

    @property
    def main_pid(self) -> int | None:
        """The pid of ComfyUI itself; None before the guard has started it."""
        facts = _read_guard_record(self._folder)
        return facts.pid if facts is not None else None

    @property
    def oom_events_at_end(self) -> Mapping[str, int] | None:
        """The kernel's counters of memory that the guard read when everything had ended; None when unknown."""
        facts = _read_guard_record(self._folder)
        return facts.oom_events if facts is not None else None

    def wait(self, timeout_seconds: float, *, also: Sequence[int] = ()) -> int | None:
        """Wait for the end of the whole tree, or until another descriptor is readable.

        Returns:
            ComfyUI's exit status (negative: the signal), or None while it runs.
        """
        if self._status is not None:
            return self._status
        if self._child is not None:
            self._status = self._child.wait(timeout_seconds, also=also)
        elif self._pidfd in wait_for_any([self._pidfd, *also], timeout_seconds):
            facts = _read_guard_record(self._folder)
            self._status = _UNKNOWN_STATUS if facts is None or facts.status is None else facts.status
        if self._status is not None:
            _kill_left(self.record, self._folder, self._systemd)
        return self._status

    def stop(self, limits: StopLimits) -> int | None:
        """Stop ComfyUI and everything that it started: SIGINT, SIGTERM, then SIGKILL to the tree.

        Returns:
            The exit status; None when it survives SIGKILL, which happens to a process that hangs in a driver.
        """
        steps = [
            (signal.SIGUSR1, limits.dump),
            (signal.SIGINT, limits.interrupt),
            (signal.SIGTERM, limits.terminate),
            (signal.SIGUSR2, limits.kill),
        ]
        for number, wait_seconds in steps:
            if wait_seconds > 0 and self.wait(0) is None:
                self._send_to_guard(number)
                self.wait(wait_seconds)
        return self._status

    def end_with_its_supervisor(self) -> int | None:
        """Wait until the guard of a killed supervisor has ended it; kill it when that takes too long."""
        self.wait(_LIFELINE_SECONDS)
        return self.stop(_KILL_ONLY)

    def count_log_bytes(self) -> int:
        """Return the size of its log; 0 when the log is gone."""
        try:
            return self.log.stat().st_size
        except OSError:
            return 0

    def release(self) -> None:
        """Close the descriptors. An own process that is not kept then ends, for its lifeline is cut."""
        os.close(self._pidfd)
        if self._lifeline >= 0:
            os.close(self._lifeline)
        if self._child is not None:
            self._child.release()

    def _send_to_guard(self, number: int) -> None:
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            return


def _start_guard(
    command: StartCommand, folder: Path, prefix: Sequence[str], *, is_kept: bool
) -> tuple[ChildProcess, int]:
    """Start ComfyUI's guard; return it and the write end of its lifeline."""
    create_metadata_folder(folder)
    record_path = folder / _GUARD_RECORD_NAME
    try:
        rotate_logs(folder)
        record_path.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable_failure(record_path, error, verb="replaced") from error
    reading, writing = os.pipe2(os.O_CLOEXEC)
    options = ["--lifeline", str(reading), "--record", str(record_path)]
    if is_kept:
        options.append("--keep")
    try:
        with _hold_signals():
            child = ChildProcess(
                [*prefix, sys.executable, "-I", "-S", guard.__file__, *options, "--", *command.argv],
                extra_environment=command.variables,
                folder=command.folder,
                logs=(folder / LOG_NAME, folder / _GUARD_LOG_NAME),
                pass_on=[reading],
            )
    except Failure:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    return child, writing


@contextlib.contextmanager
def _hold_signals() -> Iterator[None]:
    """Block signals for a guard that is started now, which inherits the mask and unblocks them itself."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, guard.HELD_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def _kill_left(record: ProcessRecord, folder: Path, systemd: SystemdPrograms | None) -> None:
    """Kill the processes in the scope that outlived a killed guard; a guard that ends by itself leaves none."""
    facts = _read_guard_record(folder)
    if systemd is not None and record.scope and (facts is None or facts.status is None):
        kill_scope(systemd, record.scope)


def read_process_record(folder: Path) -> ProcessRecord | None:
    """Return the record of the last start; None when it is missing or damaged."""
    try:
        content = read_regular(folder / RECORD_NAME, max_bytes=_MAX_RECORD_BYTES)
        return decode_json(content, ProcessRecord)
    except (Failure, msgspec.MsgspecError):
        return None


def rotate_logs(folder: Path) -> None:
    """Rename the log of the last start to `comfyui.1.log`, and older ones likewise; the oldest is deleted."""
    names = [LOG_NAME, *(f"comfyui.{number}.log" for number in range(1, _KEPT_LOGS))]
    for newer, older in zip(reversed(names[:-1]), reversed(names[1:]), strict=True):
        if (folder / newer).is_file():
            (folder / newer).replace(folder / older)


def _read_guard_record(folder: Path) -> _GuardRecord | None:
    try:
        content = read_regular(folder / _GUARD_RECORD_NAME, max_bytes=_MAX_RECORD_BYTES)
        return decode_json(content, _GuardRecord)
    except (Failure, msgspec.MsgspecError):
        return None
