"""Child processes with time limits, and the identity of a process."""

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
"""The variables that a child inherits. Secrets are not among them."""

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
"""Program that asks the kernel to kill it when its parent ends, then runs the real program in its place.

PR_SET_PDEATHSIG (prctl(2)) survives execve. The parent may have ended before the call, hence the check of its pid. Not
`preexec_fn`: it can deadlock in a program with threads.
"""

NOT_STARTED_STATUS: Final = 127
"""Exit status of a child with `dies_with_us` whose program could not be started."""

_KILL_SECONDS: Final = 0.3
"""How long a process may take to vanish after SIGKILL; one that takes longer hangs in a driver."""
# Children that were left alone: Popen would warn of a running one, and one that ends later must be reaped.
_released: Final[list[subprocess.Popen[bytes]]] = []


@dataclass(frozen=True, slots=True)
class ProcessResult:
    """The exit status (negative: the signal) and the output of a child that has ended."""

    status: int
    output: bytes
    errors: bytes


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """The identity of a process: a later one with the same pid has another start."""

    boot_id: str
    pid: int
    started_ticks: int


def build_child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Build a child's environment from the allow-list and extra variables."""
    inherited = {name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ}
    return {**inherited, **(extra or {})}


def run_with_timeout(
    argv: Sequence[str],
    *,
    timeout_seconds: float,
    extra_environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    pass_on: Sequence[int] = (),
    dies_with_us: bool = False,
) -> ProcessResult:
    """Run a program to its end or its time limit, and never wait longer, even when it cannot be killed.

    A child in an uninterruptible wait (a hung driver) survives SIGKILL; it is left behind. Other processes of its group
    are killed when it ends.

    Args:
        argv: The program and its arguments.
        timeout_seconds: Time after which its process group is killed.
        extra_environment: Variables in addition to those of the allow-list.
        folder: Its working directory; the caller's when None.
        pass_on: Descriptors that it inherits, such as that of a lock to be held as long as it runs.
        dies_with_us: Whether the kernel kills it when this process ends, even by SIGKILL.

    Raises:
        Failure: `child-timeout`, or `child-failed` when it could not be started.
    """
    # Output goes to files, not pipes: a process that it leaves running may keep a pipe open long after it ended.
    with ChildProcess(
        argv, extra_environment=extra_environment, folder=folder, pass_on=pass_on, dies_with_us=dies_with_us
    ) as child:
        status = child.wait(timeout_seconds)
        if status is not None:
            written = child.count_output_bytes()
            return ProcessResult(status, child.output_tail(max_bytes=written), child.errors_tail(max_bytes=written))
    raise Failure(
        "child-timeout",
        f"{Path(argv[0]).name} did not end within {timeout_seconds:g} seconds.",
        hint="Run it by hand to see where it hangs.",
    )


def exec_program(argv: Sequence[str], *, extra_environment: Mapping[str, str] | None = None, folder: Path) -> NoReturn:
    """Replace this process by another program (execve), which then owns its terminal and receives its signals.

    Args:
        argv: The program, by its path, and its arguments.
        extra_environment: Variables in addition to those of the allow-list.
        folder: Its working directory.

    Raises:
        Failure: `child-failed` when it could not be started.
    """
    # Buffered output would be lost with this process image.
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.chdir(folder)
        os.execve(argv[0], list(argv), build_child_environment(extra_environment))  # noqa: S606 - no shell is wanted
    except OSError as error:
        raise Failure("child-failed", f"{argv[0]} could not be started: {error.strerror}.") from error


def start_detached(
    argv: Sequence[str], *, log: Path, extra_environment: Mapping[str, str] | None = None, folder: Path
) -> int:
    """Start a program that outlives this one, in a session of its own, with empty standard input.

    Args:
        argv: The program and its arguments.
        log: The file that its output is appended to, readable by its owner only.
        extra_environment: Variables in addition to those of the allow-list.
        folder: Its working directory.

    Returns:
        Its process id.

    Raises:
        Failure: `child-failed` when it could not be started, `state-unwritable` when the log cannot be opened.
    """
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        stream = os.fdopen(os.open(log, flags, 0o600), "ab")
    except OSError as error:
        raise unwritable_failure(log, error, verb="opened") from error
    with stream:
        environment = build_child_environment(extra_environment)
        child = _start(argv, (stream, stream), environment, folder, (), name=Path(argv[0]).name)
    _released[:] = [other for other in (*_released, child) if other.poll() is None]
    return child.pid


def _start(
    argv: Sequence[str],
    streams: tuple[IO[bytes], IO[bytes]],
    environment: Mapping[str, str],
    folder: Path | None,
    pass_on: Sequence[int],
    *,
    name: str,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, with empty standard input."""
    try:
        with _defer_interrupts() as interrupts:
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
        message = f"{name} could not be started: {error.strerror}."
        raise Failure("child-failed", message, hint="Check that it is installed and executable.") from error
    if interrupts:
        _kill_group(child)
        raise KeyboardInterrupt
    return child


@contextlib.contextmanager
def _defer_interrupts() -> Iterator[list[int]]:
    """Record Ctrl-C instead of raising it: an exception before `Popen` returns would leave an unknown child running."""
    interrupts: list[int] = []
    # Only the main thread can set handlers, and only it receives KeyboardInterrupt. A handler of the caller's own
    # raises nothing and stays.
    is_main_thread = threading.current_thread() is threading.main_thread()
    if not is_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield interrupts
        return
    signal.signal(signal.SIGINT, lambda number, _frame: interrupts.append(number))
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def read_process_identity(pid: int, *, boot_id: str) -> ProcessIdentity | None:
    """Return the identity of the process with a pid; None when there is none, or no /proc.

    psutil has no start in clock ticks: its start time depends on the wall clock at boot, which may be set later.
    """
    try:
        # The name in parentheses (field 2 of proc_pid_stat(5)) may hold spaces and parentheses itself.
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return None
    return ProcessIdentity(boot_id=boot_id, pid=pid, started_ticks=int(fields[19]))


class ChildProcess:
    """A program in a process group of its own, watched through its pidfd, with its output in unnamed files.

    Processes that are left in its group when it ends are killed.

    Args:
        argv: The program and its arguments.
        extra_environment: Variables in addition to those of the allow-list.
        folder: Its working directory; the caller's when None.
        logs: New files for its standard output and standard error; unnamed ones when None.
        dies_with_us: Whether the kernel kills it when this process ends; a program that cannot be started then ends
            with status 127 instead of raising.
        pass_on: Descriptors that it inherits, such as that of a lock to be held as long as it runs.

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
        own = (sys.executable, "-I", "-S", "-c", _TIE_SCRIPT, str(os.getpid()))
        command = [*own, *argv] if dies_with_us else argv
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
        """Wait for its end, or until one of the other descriptors is readable.

        Returns:
            Its exit status (negative: the signal), or None while it runs.
        """
        if self._process.returncode is None:
            ready = wait_for_any([self._pidfd, *also], timeout_seconds)
            if self._pidfd in ready:
                # Kill the rest of the group before reaping its leader: afterwards its number may be another group's.
                self._signal(signal.SIGKILL)
                self._process.wait()
        return self._process.returncode

    def end(self, *, grace_seconds: float) -> int | None:
        """Send SIGTERM to the group, then SIGKILL after a grace period.

        Returns:
            The exit status; None for a process that survives SIGKILL because it hangs in a driver.
        """
        for number, wait_seconds in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, _KILL_SECONDS)):
            if self._process.returncode is None:
                self._signal(number)
                self.wait(wait_seconds)
        return self._process.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to the process itself, not to its group; nothing happens when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    def release(self) -> None:
        """Close what belongs to this process and leave the child alone, running or not."""
        os.close(self._pidfd)
        self._close_files()
        _released[:] = [child for child in (*_released, self._process) if child.poll() is None]

    def count_output_bytes(self) -> int:
        """Return the number of bytes in its standard output and standard error."""
        return sum(os.fstat(stream.fileno()).st_size for stream in (self._output, self._errors))

    def output_tail(self, *, max_bytes: int = 64 << 10) -> bytes:
        """Return the end of its standard output."""
        return _read_tail(self._output, max_bytes)

    def errors_tail(self, *, max_bytes: int = 8 << 10) -> bytes:
        """Return the end of its standard error."""
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
    """End a process that an earlier run of this program left behind, never another one that has its pid now.

    Returns:
        Whether it was running.
    """
    try:
        pidfd = os.pidfd_open(identity.pid)
    except OSError:
        return False
    try:
        # A pidfd always refers to one process, so it is opened first and the identity checked after that.
        if read_process_identity(identity.pid, boot_id=identity.boot_id) != identity:
            return False
        for number, wait_seconds in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, _KILL_SECONDS)):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, number)
            if wait_for_any([pidfd], wait_seconds):
                break
    finally:
        os.close(pidfd)
    return True


def _open_logs(logs: tuple[Path, Path] | None) -> tuple[IO[bytes], IO[bytes]]:
    # No context manager: they stay open as long as the child, and its __exit__ closes them.
    if logs is None:
        return tempfile.TemporaryFile(), tempfile.TemporaryFile()
    output = _create_log(logs[0])
    try:
        return output, _create_log(logs[1])
    except Failure:
        output.close()
        raise


def _create_log(path: Path) -> IO[bytes]:
    """Create a log, readable by its owner only."""
    try:
        path.unlink(missing_ok=True)
        # O_APPEND: the child then writes at the end even after the log was truncated.
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        return os.fdopen(os.open(path, flags, 0o600), "a+b")
    except OSError as error:
        raise unwritable_failure(path, error) from error


def _read_tail(stream: IO[bytes], max_bytes: int) -> bytes:
    size = os.fstat(stream.fileno()).st_size
    return os.pread(stream.fileno(), max_bytes, max(0, size - max_bytes))


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(0.2)
