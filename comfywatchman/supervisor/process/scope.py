"""A systemd scope for each start of ComfyUI: a cgroup of its own, which can be killed as a whole.

The guard is enough as long as it lives. When something kills the guard itself, the kernel kills ComfyUI, but a process
that ComfyUI started may go on; in a scope it can still be found. Without systemd there is the guard alone.
"""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.process import run_with_timeout

_RUNS: Final = Path("run/systemd/system")
"""Exists while systemd is the init system (sd_booted(3))."""

_LIMIT_SECONDS: Final = 10.0
_PROBE: Final = """
import os, sys
os.fstat(int(sys.argv[1]))
print(os.getppid(), open("/proc/self/cgroup").read())
"""
"""Fails when the descriptor of the lifeline was closed on the way; prints the parent and the cgroups."""


@dataclass(frozen=True, slots=True)
class SystemdPrograms:
    """The programs that talk to systemd.

    Attributes:
        run: `systemd-run`.
        control: `systemctl`.
        is_root: Whether the system's manager is asked; otherwise that of the user.
    """

    run: str
    control: str
    is_root: bool

    def build_start(self, unit: str) -> tuple[str, ...]:
        """Return the command that runs the program behind it in a new scope, in its own place. Pure."""
        manager = () if self.is_root else ("--user",)
        return (self.run, *manager, "--scope", "--quiet", "--collect", f"--unit={unit}", "--")

    def build_kill(self, unit: str) -> tuple[str, ...]:
        """Return the command that kills every process of a scope. Pure."""
        manager = () if self.is_root else ("--user",)
        return (self.control, *manager, "kill", "--signal=SIGKILL", unit)


def find_systemd(root: Path = Path("/")) -> SystemdPrograms | None:
    """Return the programs of systemd where it is the init system; None elsewhere, as in most containers."""
    run, control = shutil.which("systemd-run"), shutil.which("systemctl")
    if run is None or control is None or not (root / _RUNS).is_dir():
        return None
    return SystemdPrograms(run, control, os.geteuid() == 0)


def find_usable_systemd() -> SystemdPrograms | None:
    """Return the programs of systemd if ComfyUI can be started in scopes; None for a start without one."""
    systemd = find_systemd()
    return systemd if systemd is not None and can_create_scopes(systemd) else None


def name_scope() -> str:
    """Return a name that no other scope has."""
    return f"comfywatchman-comfyui-{uuid.uuid4().hex[:12]}.scope"


def can_create_scopes(systemd: SystemdPrograms) -> bool:
    """Return whether a program can be run in a scope as the guard needs it.

    Its descriptors must be kept, it must be our own child, and it must be in the new cgroup. A user without a login
    session has no manager, for example.
    """
    unit = name_scope()
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        command = [*systemd.build_start(unit), sys.executable, "-I", "-S", "-c", _PROBE, str(reading)]
        result = run_with_timeout(command, timeout_seconds=_LIMIT_SECONDS, pass_on=[reading])
    except Failure:
        return False
    finally:
        os.close(reading)
        os.close(writing)
    parent, _, cgroups = result.output.decode("ascii", "replace").partition(" ")
    return result.status == 0 and parent == str(os.getpid()) and unit in cgroups


def kill_scope(systemd: SystemdPrograms, unit: str) -> None:
    """Kill every process of a scope; one that is empty is gone already."""
    try:
        run_with_timeout(systemd.build_kill(unit), timeout_seconds=_LIMIT_SECONDS)
    except Failure:
        # Nothing more can be done, and the processes of ComfyUI itself have ended.
        return
