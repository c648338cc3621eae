"""Child processes with a bounded life, and the identity of a process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, NoReturn, Self

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import unwritable_failure
from comfywatchman.base.stop import wait_for_any

INHERITED_VARIABLES: Final = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "SYSTEMROOT",
    "XDG_RUNTIME_DIR",
)
"""The variables a child inherits; secrets are not among them."""

_TIE_SCRIPT: Final = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    os._exit(137)
try:
    os.execv(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.stderr.write(f"{sys.argv[2]} could not be started: {error.strerror}.\\n")
    os._exit(127)
"""
"""PR_SET_PDEATHSIG (prctl(2)), which survives the program that takes this one's place."""

_KILL_SECONDS: Final = 0.3
"""How long a process may take to vanish after SIGKILL; one that takes longer hangs in a driver."""


@dataclass(frozen=True, slots=True)
class ProcessResult:
    """How a child ended: its exit status (negative: the signal) and what it printed."""

    status: int
    output: bytes
    errors: bytes


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process that cannot be mistaken for a later one with the same pid."""

    boot_id: str
    pid: int
    started_ticks: int


def build_child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Build a child's environment from the whitelist and what the caller adds."""
    inherited = {name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ}
    return {**inherited, **(extra or {})}


def run_bounded(
    argv: Sequence[str],
    *,
    timeout_seconds: float,
    extra_environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    pass_on: Sequence[int] = (),
) -> ProcessResult:
    """Run a program to its end or to its time limit, even when it cannot be killed.

    A child in an uninterruptible wait (a hung driver) survives SIGKILL; it is abandoned, not waited for. What it leaves
    behind in its group is ended with it.

    Args:
        argv: The program and its arguments.
        timeout_seconds: When it is killed, with its group.
        extra_environment: Variables beside those of the whitelist.
        folder: Where it runs; the caller's folder when None.
        pass_on: Descriptors that it inherits, such as that of a lock that must last as long as it runs.

    Raises:
        Failure: `child-timeout`, or `child-failed` when it could not be started.
    """
    # Into files, not pipes: what it leaves running may hold those open long after it ended.
    with ChildProcess(argv, extra_environment=extra_environment, folder=folder, pass_on=pass_on) as child:
        status = child.wait(timeout_seconds)
        if status is not None:
            written = child.written_bytes()
            return ProcessResult(status, child.output_tail(max_bytes=written), child.errors_tail(max_bytes=written))
    raise Failure(
        "child-timeout",
        f"{Path(argv[0]).name} did not end within {timeout_seconds:g} seconds.",
        hint="Run it by hand to see what it waits for.",
    )


def exec_program(argv: Sequence[str], *, extra_environment: Mapping[str, str] | None = None, folder: Path) -> NoReturn:
    """Let another program take this one's place: its process, terminal and signals are then that program's own.

    Args:
        argv: The program, by its path, and its arguments.
        extra_environment: Variables beside those of the whitelist.
        folder: Where it runs.

    Raises:
        Failure: `child-failed` when it could not be started.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.chdir(folder)
        os.execve(argv[0], list(argv), build_child_environment(extra_environment))  # noqa: S606 - no shell is wanted
    except OSError as error:
        raise Failure("child-failed", f"{argv[0]} could not be started: {error.strerror}.") from error


def _start(
    argv: Sequence[str],
    streams: tuple[IO[bytes], IO[bytes]],
    environment: Mapping[str, str],
    folder: Path | None,
    pass_on: Sequence[int],
    *,
    name: str,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, with nothing to read."""
    try:
        with _defer_interrupts() as held:
            child = subprocess.Popen(  # noqa: S603 - argv is a list of our own making, no shell
                argv,
                stdin=subprocess.DEVNULL,
                stdout=streams[0],
                stderr=streams[1],
                env=environment,
                cwd=folder,
                start_new_session=True,
                pass_fds=pass_on,
            )
    except OSError as error:
        reason = f"{name} could not be started: {error.strerror}."
        raise Failure("child-failed", reason, hint="See that it is installed and may be run.") from error
    if held:
        _kill_group(child)
        raise KeyboardInterrupt
    return child


@contextlib.contextmanager
def _defer_interrupts() -> Iterator[list[int]]:
    """Note Ctrl-C instead of raising: a child that runs before `Popen` has returned would be left behind unknown."""
    held: list[int] = []
    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield held
        return
    signal.signal(signal.SIGINT, lambda number, _frame: held.append(number))
    try:
        yield held
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def read_process_identity(pid: int, *, boot_id: str) -> ProcessIdentity | None:
    """Return who runs under a pid now, or None when nobody does (or /proc is not there)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return None
    return ProcessIdentity(boot_id=boot_id, pid=pid, started_ticks=int(fields[19]))


class ChildProcess:
    """A program in a process group of its own, watched through its pidfd, its output kept in unnamed files.

    Whatever it leaves behind in its group when it ends is ended with it.

    Args:
        argv: The program and its arguments.
        extra_environment: Variables beside those of the whitelist.
        folder: Where it runs; the caller's folder when None.
        logs: Files for its standard output and standard error, begun anew; unnamed ones when None.
        dies_with_us: Whether the kernel ends it when we are killed; a program that cannot be started then ends with
            status 127 instead of raising.
        pass_on: Descriptors that it inherits, such as that of a lock that must last as long as it runs.

    Raises:
        Failure: `child-failed` when it could not be started, `state-unwritable` when a log could not be opened.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        extra_environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        logs: tuple[Path, Path] | None = None,
        dies_with_us: bool = False,
        pass_on: Sequence[int] = (),
    ) -> None:
        self._output, self._errors = _open_logs(logs)
        command = [*_tie_command(), *argv] if dies_with_us else argv
        streams = (self._output, self._errors)
        try:
            self._process = _start(
                command, streams, build_child_environment(extra_environment), folder, pass_on, name=Path(argv[0]).name
            )
        except Failure:
            self._close_files()
            raise
        self.pid = self._process.pid
        self._pidfd = os.pidfd_open(self.pid)

    def wait(self, timeout_seconds: float, *, also: Sequence[int] = ()) -> int | None:
        """Wait for its end, or until one of the other descriptors can be read.

        Returns:
            Its exit status (negative: the signal), or None while it runs.
        """
        if self._process.returncode is None:
            ready = wait_for_any([self._pidfd, *also], timeout_seconds)
            if self._pidfd in ready:
                # The group is swept before the leader is reaped: until then nobody else can bear its number.
                self._signal(signal.SIGKILL)
                self._process.wait()
        return self._process.returncode

    def end(self, *, grace_seconds: float) -> int | None:
        """Ask the group to end, then make it.

        Returns:
            The exit status; None for a process that even SIGKILL does not end (it hangs in a driver) and is left.
        """
        for number, patience in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, _KILL_SECONDS)):
            if self._process.returncode is None:
                self._signal(number)
                self.wait(patience)
        return self._process.returncode

    def written_bytes(self) -> int:
        """Return how much it has written to its standard output and standard error."""
        return sum(os.fstat(stream.fileno()).st_size for stream in (self._output, self._errors))

    def output_tail(self, *, max_bytes: int = 64 << 10) -> bytes:
        """Return the end of what it wrote to its standard output."""
        return _read_tail(self._output, max_bytes)

    def errors_tail(self, *, max_bytes: int = 8 << 10) -> bytes:
        """Return the end of what it wrote to its standard error."""
        return _read_tail(self._errors, max_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.end(grace_seconds=0.0)
        os.close(self._pidfd)
        self._close_files()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _close_files(self) -> None:
        self._output.close()
        self._errors.close()


def end_stray_process(identity: ProcessIdentity, *, grace_seconds: float) -> bool:
    """End a process that an earlier run of this program left behind; never one that merely bears its number now.

    Returns:
        Whether it ran; False when it had ended already.
    """
    try:
        pidfd = os.pidfd_open(identity.pid)
    except OSError:
        return False
    try:
        # The descriptor names one process for good, so asking who it is comes after opening it.
        if read_process_identity(identity.pid, boot_id=identity.boot_id) != identity:
            return False
        for number, patience in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, _KILL_SECONDS)):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, number)
            if wait_for_any([pidfd], patience):
                break
    finally:
        os.close(pidfd)
    return True


def _open_logs(logs: tuple[Path, Path] | None) -> tuple[IO[bytes], IO[bytes]]:
    # No context manager: they live as long as the child does, and __exit__ closes them.
    if logs is None:
        return tempfile.TemporaryFile(), tempfile.TemporaryFile()
    output = _create_log(logs[0])
    try:
        return output, _create_log(logs[1])
    except Failure:
        output.close()
        raise


def _create_log(path: Path) -> IO[bytes]:
    """Open a log for appending, so that it may be cut while it is written; readable by its owner only."""
    try:
        path.unlink(missing_ok=True)
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600), "a+b")
    except OSError as error:
        raise unwritable_failure(path, error) from error


def _tie_command() -> list[str]:
    return [sys.executable, "-I", "-S", "-c", _TIE_SCRIPT, str(os.getpid())]


def _read_tail(stream: IO[bytes], max_bytes: int) -> bytes:
    size = os.fstat(stream.fileno()).st_size
    return os.pread(stream.fileno(), max_bytes, max(0, size - max_bytes))


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(0.2)
