"""Reading and writing the workspace's state files inside ComfyUI, with the standard library only.

Reads never fail: a file that is missing, damaged, too large or not a regular file reads as None.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_BYTES = 1 << 20
FOREIGN_LOCK_SECONDS = 300.0
MAX_PORT = 65535
_STARTED_FIELD = 19
_STATE_FIELD = 0


@dataclass(frozen=True)
class PanelSettings:
    """The content of `panel.json`, which `install_panel` writes.

    Attributes:
        folder: The pack's folder.
        workspace: The workspace.
        metadata: The folder for state files.
        environment_files: Pattern of a file that each environment has, below the workspace; the first `*` is its name.
        environment_names: Names of further environments, such as `production` of a governed root.
        working_directory: Where the supervisor runs: the folder whose config.toml it reads.
        orchestrator: The command that runs the supervisor, without environment and arguments.
        venv_command: The command that creates the supervisor's Python environment.
        allow_remote: Whether other machines may restart, stop and switch.
    """

    folder: str
    workspace: str
    metadata: str
    environment_files: str
    orchestrator: tuple[str, ...]
    venv_command: tuple[str, ...]
    environment_names: tuple[str, ...] = ()
    working_directory: str = ""
    allow_remote: bool = False


def read_settings(folder: str) -> PanelSettings | None:
    """Return the panel's settings; None when they cannot be used."""
    content = read_json(os.path.join(folder, "panel.json"))
    if content is None:
        return None
    texts = [content.get(name) for name in ("workspace", "metadata", "environment_files")]
    commands = [content.get(name) for name in ("orchestrator", "venv_command")]
    names = content.get("environment_names", [])
    if not all(isinstance(text, str) and text for text in texts) or "*" not in content["environment_files"].split("/"):
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    for command in commands:
        if not isinstance(command, list) or not command or not all(isinstance(part, str) for part in command):
            return None
    return PanelSettings(
        folder=folder,
        workspace=content["workspace"],
        metadata=content["metadata"],
        environment_files=content["environment_files"],
        orchestrator=tuple(content["orchestrator"]),
        venv_command=tuple(content["venv_command"]),
        environment_names=tuple(names),
        working_directory=str(content.get("working_directory", "")),
        allow_remote=content.get("allow_remote") is True,
    )


def is_supervised() -> bool:
    """Return whether a supervisor started this ComfyUI: ours, or comfygit's `cg run`."""
    return any(os.environ.get(name) == "1" for name in ("COMFYGIT_SUPERVISED", "COMFYGIT_CG_RUN_SUPERVISOR"))


def list_environments(settings: PanelSettings) -> list[str]:
    """Return the names of the workspace's environments: those found by their files, sorted, after the given ones."""
    depth = settings.environment_files.split("/").index("*")
    pattern = os.path.join(glob.escape(settings.workspace), settings.environment_files)
    names = {os.path.relpath(path, settings.workspace).split(os.sep)[depth] for path in glob.glob(pattern)}
    return [*settings.environment_names, *sorted(names - set(settings.environment_names))]


def find_own_environment(settings: PanelSettings, comfyui: str) -> str | None:
    """Return the environment that a ComfyUI runs in, given its folder; None when it is none of the workspace's."""
    if is_supervised():
        # Environments of a governed root share one ComfyUI.
        status = read_json(os.path.join(settings.metadata, "supervisor_status.json")) or {}
        if status.get("environment") in list_environments(settings):
            return str(status["environment"])
    for name in list_environments(settings):
        folder = os.path.dirname(settings.environment_files.replace("*", name, 1))
        path = os.path.join(settings.workspace, folder)
        with contextlib.suppress(OSError):
            if os.path.samefile(path, comfyui):
                return name
    return None


def read_bytes(path: str) -> bytes | None:
    """Return the content of a small regular file; None when it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
            return None
        return os.read(descriptor, MAX_BYTES + 1)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def read_json(path: str) -> dict[str, Any] | None:
    """Return the JSON object in a file; None when there is none."""
    try:
        content = json.loads(read_bytes(path) or b"")
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def write_json(path: str, content: dict[str, Any]) -> None:
    """Replace a file as a whole, readable by its owner only.

    Raises:
        OSError: It cannot be written.
    """
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=".tmp", dir=folder)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(content, stream, indent=2, sort_keys=True)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def write_switch_request(settings: PanelSettings, target: str, source: str | None) -> None:
    """Ask for a switch.

    Raises:
        OSError: The request cannot be written.
    """
    content = {"target_env": target, "source_env": source, "timestamp": time.time()}
    write_json(os.path.join(settings.metadata, ".switch_request.json"), content)


def delete_switch_request(settings: PanelSettings) -> None:
    """Take the request back."""
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(settings.metadata, ".switch_request.json"))


def read_switch_status(settings: PanelSettings) -> dict[str, Any] | None:
    """Return the progress of the present or last switch."""
    return read_json(os.path.join(settings.metadata, ".switch_status.json"))


def read_control_port(settings: PanelSettings) -> int | None:
    """Return the port of the control server."""
    text = read_bytes(os.path.join(settings.metadata, ".control_port")) or b""
    with contextlib.suppress(ValueError):
        port = int(text.strip()[:6])
        if 1 <= port <= MAX_PORT:
            return port
    return None


def read_control_token(settings: PanelSettings) -> str | None:
    """Return the token for requests to the control server."""
    text = (read_bytes(os.path.join(settings.metadata, ".control_token")) or b"").strip()
    token = text.decode("ascii", "replace")
    return token if token.replace("-", "").replace("_", "").isalnum() and token.isascii() else None


def is_orchestrator_running(settings: PanelSettings) -> bool:
    """Return whether the recorded supervisor runs, and not another process that has its id now."""
    path = os.path.join(settings.metadata, ".orchestrator.pid")
    try:
        pid = int((read_bytes(path) or b"").strip()[:11])
    except ValueError:
        return False
    ticks = read_started_ticks(pid)
    if ticks is None:
        return False
    heartbeat = read_json(os.path.join(settings.metadata, ".orchestrator.heartbeat")) or {}
    if heartbeat.get("pid") == pid and isinstance(heartbeat.get("started_ticks"), int):
        return bool(heartbeat["started_ticks"] == ticks and heartbeat.get("boot_id") in {None, read_boot_id()})
    # comfygit's own writes no identity: the process must be older than the file that names it.
    try:
        seconds_since_start = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
        return seconds_since_start >= time.time() - os.stat(path).st_mtime - 2
    except OSError:
        return False


def is_switch_locked(settings: PanelSettings) -> bool:
    """Return whether a switch is running."""
    with contextlib.suppress(OSError):
        descriptor = os.open(os.path.join(settings.metadata, ".switch.flock"), os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    path = os.path.join(settings.metadata, ".switch.lock")
    try:
        written = os.lstat(path).st_mtime
    except OSError:
        return False
    owner = read_json(path)
    if owner is not None and isinstance(owner.get("pid"), int) and isinstance(owner.get("started_ticks"), int):
        is_this_boot = owner.get("boot_id") == read_boot_id()
        return is_this_boot and read_started_ticks(owner["pid"]) == owner["started_ticks"]
    return abs(time.time() - written) <= FOREIGN_LOCK_SECONDS


def read_started_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None when it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return None
    # The name in parentheses (field 2 of proc_pid_stat(5)) may hold spaces and parentheses itself.
    fields = text.rpartition(")")[2].split()
    return None if fields[_STATE_FIELD] in {"Z", "X"} else int(fields[_STARTED_FIELD])


def read_boot_id() -> str:
    """Return the kernel's id of this boot; empty where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""
