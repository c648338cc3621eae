"""Forces the kernel to reuse process ids in a pid namespace, and counts what the supervisor does to the strangers.

    unshare --pid --fork --mount-proc python -m tests.supervisor.pid_reuse_program FOLDER ROUNDS

`/proc/sys/kernel/ns_last_pid` (proc_sys_kernel(5)) sets the id after which the kernel goes on. It prints, as JSON, how
many ids were reused, how many strangers were signalled, and how many were taken for the process of the record.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.files import to_json
from comfywatchman.base.lock import LockHolder, hold_lock
from comfywatchman.base.process import ProcessIdentity, read_process_identity
from comfywatchman.supervisor.lock import SWITCH_LOCK, acquire_switch_lock, is_switch_locked, release_switch_lock
from comfywatchman.supervisor.process.child import ProcessRecord, StopLimits, SupervisedProcess
from comfywatchman.supervisor.process.guard import kill_process
from comfywatchman.supervisor.process_files import Heartbeat, find_orchestrator

CLOCK = SystemClock()
_LAST_PID = Path("/proc/sys/kernel/ns_last_pid")
_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
_QUICK_STOP = StopLimits(interrupt=0.01, terminate=0.01, kill=0.01, dump=0.01)


@dataclass
class Tally:
    """What happened.

    Attributes:
        reuses: How often a stranger got the id of an ended process.
        signalled: Strangers that a signal reached.
        mistaken: Strangers that were taken for the ended process, by question.
    """

    reuses: int = 0
    signalled: int = 0
    mistaken: int = 0


def fork_sleeper() -> int:
    """Start a process that waits, and that each signal without a handler ends."""
    pid = os.fork()
    if pid == 0:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        time.sleep(60)
        os._exit(0)
    return pid


def end(pid: int) -> int:
    """Kill a process of our own and return its status; one that had ended keeps its status."""
    os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def was_signalled(pid: int) -> bool:
    """Return whether a stranger ended, or has a signal that waits for it."""
    if os.waitpid(pid, os.WNOHANG)[0]:
        return True
    fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(fields["SigPnd"], 16) | int(fields["ShdPnd"], 16)) or fields["State"].startswith("T")


def reuse(identity: ProcessIdentity) -> int | None:
    """Start a stranger with the id of a process that has ended; None when another process was faster."""
    # Processes that start within one clock tick cannot be told apart; no machine runs through all ids in that time.
    time.sleep(2 * _TICK_SECONDS)
    for _attempt in range(20):
        _LAST_PID.write_text(str(identity.pid - 1))
        stranger = fork_sleeper()
        if stranger == identity.pid:
            return stranger
        end(stranger)
    return None


def write_records(metadata: Path, dead: ProcessIdentity) -> None:
    """Write every file that names a process, with the ended one in it."""
    record = ProcessRecord(
        guard=dead, environment="main", argv=("python",), folder=str(metadata), port=1, started_at=0.0, is_kept=True
    )
    (metadata / "comfyui_process.json").write_bytes(to_json(record))
    heartbeat = Heartbeat(
        pid=dead.pid,
        timestamp=time.time(),
        uptime=1.0,
        boot_id=dead.boot_id,
        started_ticks=dead.started_ticks,
        monotonic=time.monotonic(),
    )
    (metadata / ".orchestrator.pid").write_text(f"{dead.pid}\n")
    (metadata / ".orchestrator.heartbeat").write_bytes(to_json(heartbeat))
    owner = LockHolder(dead.pid, dead.started_ticks, dead.boot_id, "a switch", "2026-11-20T14:00:00Z")
    for name in (SWITCH_LOCK, ".supervisor.lock"):
        (metadata / name).write_bytes(to_json(owner))


def adopts(metadata: Path) -> bool:
    """Return whether the process of the record is adopted; one that is gets stopped, as the supervisor would."""
    process = SupervisedProcess.adopt(metadata, boot_id=CLOCK.boot_id())
    if process is None:
        return False
    process.stop(_QUICK_STOP)
    process.release()
    return True


def recovers_locks(metadata: Path) -> bool:
    """Return whether the locks of an ended process can be taken at once."""
    with hold_lock(metadata / ".supervisor.lock", command="test", clock=CLOCK):
        is_free = not is_switch_locked(metadata) and acquire_switch_lock(metadata)
    return is_free and release_switch_lock(metadata)


def ask(metadata: Path, dead: ProcessIdentity, turn: int) -> bool:
    """Put one of the questions; return whether the stranger was taken for the ended process."""
    questions: list[Callable[[], bool]] = [
        lambda: kill_process(dead.pid, dead.started_ticks),
        lambda: adopts(metadata),
        lambda: find_orchestrator(metadata) is not None,
        lambda: not recovers_locks(metadata),
    ]
    first = turn % len(questions)
    # Each question comes first in turn: an earlier one may have rewritten a record.
    answers = [question() for question in (*questions[first:], *questions[:first])]
    return any(answers)


def main() -> int:
    """Reuse ids."""
    metadata, rounds = Path(sys.argv[1]), int(sys.argv[2])
    tally = Tally()
    for turn in range(rounds):
        pid = fork_sleeper()
        dead = read_process_identity(pid, boot_id=CLOCK.boot_id())
        assert dead is not None
        write_records(metadata, dead)
        end(pid)
        stranger = reuse(dead)
        if stranger is None:
            continue
        tally.reuses += 1
        tally.mistaken += ask(metadata, dead, turn)
        tally.signalled += was_signalled(stranger)
        if not tally.signalled:
            end(stranger)
    # The test is worth something only if the same calls do reach the process itself.
    own = fork_sleeper()
    identity = read_process_identity(own, boot_id=CLOCK.boot_id())
    assert identity is not None
    assert not kill_process(own, replace(identity, started_ticks=identity.started_ticks + 1).started_ticks)
    assert kill_process(own, identity.started_ticks)
    os.waitpid(own, 0)
    sys.stdout.write(json.dumps({"reuses": tally.reuses, "signalled": tally.signalled, "mistaken": tally.mistaken}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
