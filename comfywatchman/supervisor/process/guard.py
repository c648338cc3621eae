"""The guard: a small program between the supervisor and ComfyUI that ends everything ComfyUI started.

It runs as `python -I -S guard.py …` and imports nothing but the standard library, so that it costs a few MB and cannot
fail with the rest of this program. As a subreaper (prctl(2), PR_SET_CHILD_SUBREAPER) it stays the ancestor of every
process that ComfyUI starts, of those too that call setsid or whose parent ended: no process can leave its tree.

The supervisor holds the write end of a pipe, the lifeline. When the supervisor ends, however it ends, the kernel closes
it, and the guard then stops ComfyUI, or goes on without it (`--keep`).

Signals to the guard: INT and TERM are passed on to ComfyUI's process group, USR1 becomes ABRT there (Python's
faulthandler then dumps its stacks), USR2 kills the tree.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
from types import FrameType
from typing import Final

LIFELINE_GRACE_SECONDS: Final = 1.0
"""How long ComfyUI may take for SIGINT after the supervisor ended; together with the kill it stays under 2 s."""
FORWARDED_SIGNALS: Final = {
    signal.SIGINT: signal.SIGINT,
    signal.SIGTERM: signal.SIGTERM,
    signal.SIGUSR1: signal.SIGABRT,
}
HELD_SIGNALS: Final = (*FORWARDED_SIGNALS, signal.SIGHUP)
"""Whoever starts the guard blocks these, or one that comes while its Python starts would end it without a record.

The guard unblocks them once it can pass them on. USR2, which kills, is not among them.
"""

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_POLL_SECONDS: Final = 0.2
_KILL_PAUSE_SECONDS: Final = 0.02
_NOT_STARTED: Final = 127


class Guard:
    """Starts one program, waits for its end and ends its whole tree.

    Args:
        argv: The program and its arguments.
        lifeline: The read end of the supervisor's pipe.
        record: The file for the program's pid, start, exit status and memory counters, as JSON; None to write none.
        is_kept: Whether the program outlives the supervisor.
    """

    def __init__(self, argv: list[str], *, lifeline: int, record: str | None, is_kept: bool) -> None:
        self._argv = argv
        self._lifeline = lifeline
        self._record = record
        self._is_kept = is_kept
        self._main_pid = 0
        self._started_ticks = 0
        self._status: int | None = None
        self._oom_events: dict[str, int] | None = None
        self._has_ended = False
        self._kill_at: float | None = None
        self._wakeup_read, self._wakeup_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def run(self) -> int:
        """Run the program to its end, and return its exit status; negative for a signal."""
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD_SIGNALS)
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        signal.set_wakeup_fd(self._wakeup_write, warn_on_full_buffer=False)
        for number in (*FORWARDED_SIGNALS, signal.SIGUSR2, signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, self._handle_signal)
        self._main_pid = self._start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_SIGNALS)
        self._started_ticks = read_start_ticks(self._main_pid)
        self._write_record()
        while self._status is None:
            self._wait()
            self._reap()
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                kill_tree(os.getpid())
        while kill_tree(os.getpid()):
            time.sleep(_KILL_PAUSE_SECONDS)
            self._reap()
        # A scope of systemd is gone as soon as the guard has ended, and its counters with it.
        self._oom_events = read_oom_events(os.getpid())
        self._write_record()
        return self._status

    def _handle_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGUSR2:
            self._kill_at = time.monotonic()
            return
        forwarded = FORWARDED_SIGNALS.get(signal.Signals(number))
        if forwarded is not None and self._main_pid and not self._has_ended:
            send_to_group(self._main_pid, forwarded)

    def _start(self) -> int:
        pid = os.fork()
        if pid:
            return pid
        try:
            self._become_program()
        except OSError as error:
            sys.stderr.write(f"{self._argv[0]} could not be started: {error.strerror}.\n")
            sys.stderr.flush()
        os._exit(_NOT_STARTED)

    def _become_program(self) -> None:
        """Replace the forked child by the program, in a process group of its own and with the default signals."""
        guard = os.getppid()
        # The guard may be killed as well: then the kernel kills at least the program itself.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != guard:
            os._exit(_NOT_STARTED)
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in (*FORWARDED_SIGNALS, signal.SIGUSR2, signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        # One that was passed on since the fork acts now.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_SIGNALS)
        # One log in the order of its lines.
        os.dup2(1, 2)
        os.execvp(self._argv[0], self._argv)  # noqa: S606 - no shell is wanted

    def _wait(self) -> None:
        watched = [self._wakeup_read]
        if self._lifeline >= 0:
            watched.append(self._lifeline)
        ready, _, _ = select.select(watched, [], [], _POLL_SECONDS)
        if self._wakeup_read in ready:
            os.read(self._wakeup_read, 4096)
        if self._lifeline in ready and not os.read(self._lifeline, 4096):
            os.close(self._lifeline)
            self._lifeline = -1
            if not self._is_kept:
                send_to_group(self._main_pid, signal.SIGINT)
                self._kill_at = time.monotonic() + LIFELINE_GRACE_SECONDS

    def _reap(self) -> None:
        """Reap every ended child; as a subreaper the guard inherits orphans as well."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            # Noted before the id is given free: a signal that comes in between must not reach whoever gets it next.
            self._has_ended = self._has_ended or ended.si_pid == self._main_pid
            pid, status = os.waitpid(ended.si_pid, 0)
            if pid == self._main_pid:
                self._status = os.waitstatus_to_exitcode(status)

    def _write_record(self) -> None:
        if self._record is None:
            return
        facts = {
            "pid": self._main_pid,
            "started_ticks": self._started_ticks,
            "status": self._status,
            "oom_events": self._oom_events,
        }
        temporary = f"{self._record}.{os.getpid()}.tmp"
        try:
            with open(temporary, "w", encoding="ascii") as file:
                json.dump(facts, file, sort_keys=True)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._record)
        except OSError as error:
            # A full disk must not end ComfyUI; the supervisor then knows less about it.
            sys.stderr.write(f"{self._record} could not be written: {error.strerror}.\n")


def read_start_ticks(pid: int) -> int:
    """Return the start of a process in clock ticks since boot; 0 when it is gone."""
    return _read_stat(pid)[1]


def _read_stat(pid: int) -> tuple[int, int]:
    """Return the parent and the start of a process from proc_pid_stat(5); zeros when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0, 0
    return int(fields[1]), int(fields[19])


def list_descendants(root: int) -> list[tuple[int, int]]:
    """Return pid and start ticks of every descendant of a process, parents first."""
    children: dict[int, list[tuple[int, int]]] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            parent, started_ticks = _read_stat(int(name))
            children.setdefault(parent, []).append((int(name), started_ticks))
    found: list[tuple[int, int]] = []
    waiting = [root]
    while waiting:
        for child in children.get(waiting.pop(), []):
            found.append(child)
            waiting.append(child[0])
    return found


def kill_tree(root: int) -> bool:
    """Send SIGKILL to every descendant of a process; return whether there was one."""
    descendants = list_descendants(root)
    for pid, started_ticks in descendants:
        kill_process(pid, started_ticks)
    return bool(descendants)


def kill_process(pid: int, started_ticks: int) -> bool:
    """Kill the process with this pid and start, never a later one with the same pid; return whether it was signalled.

    A pidfd refers to one process for ever, so it is opened first and the start compared after that.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if read_start_ticks(pid) != started_ticks:
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        os.close(pidfd)
    return True


def read_oom_events(pid: int, root: str = "/") -> dict[str, int] | None:
    """Return the kernel's counters of memory in the cgroup of a process, by name; None where there are none.

    Args:
        pid: The process.
        root: The root of the file system; another one in tests.
    """
    for line in _read_text(f"{root}/proc/{pid}/cgroup").splitlines():
        # `number:controllers:path` (cgroups(7)); version 2 names no controllers.
        _number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            file = f"{root}/sys/fs/cgroup/{path}/memory.events"
        elif "memory" in controllers.split(","):
            file = f"{root}/sys/fs/cgroup/memory/{path}/memory.oom_control"
        else:
            continue
        words = _read_text(file).split()
        if words:
            pairs = zip(words[::2], words[1::2], strict=False)
            return {name: int(value) for name, value in pairs if value.isdecimal()}
    return None


def _read_text(path: str) -> str:
    """Return the text of a small file; empty when it cannot be read."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def send_to_group(pid: int, number: signal.Signals) -> None:
    """Send a signal to the process group of the program, or to the program before it has a group."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return


def end_like(status: int) -> int:
    """Return an exit status, or end by the signal that a negative one stands for, without a core file."""
    if status >= 0:
        return status
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if -status not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
    return 128 - status


def main() -> int:
    """Run the guard."""
    parser = argparse.ArgumentParser(description="Runs ComfyUI and ends everything that it started.")
    parser.add_argument("--lifeline", type=int, required=True, help="descriptor of the supervisor's pipe")
    parser.add_argument("--record", help="file for pid and exit status")
    parser.add_argument("--keep", action="store_true", help="go on when the supervisor ends")
    parser.add_argument("argv", nargs=argparse.REMAINDER, help="the program, after --")
    options = parser.parse_args()
    argv = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
    os.set_inheritable(options.lifeline, False)
    guard = Guard(argv, lifeline=options.lifeline, record=options.record, is_kept=options.keep)
    return end_like(guard.run())


if __name__ == "__main__":
    sys.exit(main())
