"""Starting the supervisor from inside ComfyUI, and creating its Python environment."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time

from . import workspace_files as files

LOGGER = logging.getLogger("comfywatchman.panel")


def ensure_environment(settings: files.PanelSettings) -> bool:
    """Let the supervisor's environment be created in the background if it is missing; return whether it was begun."""
    if os.path.isfile(settings.orchestrator[0]):
        return False
    if not os.path.isfile(settings.venv_command[0]):
        LOGGER.warning("comfywatchman panel: %s is missing; install the panel again.", settings.venv_command[0])
        return False
    _start_detached(settings, settings.venv_command)
    return True


def should_spawn(settings: files.PanelSettings) -> bool:
    """Return whether a switch needs a supervisor to be started first."""
    return not files.is_supervised() and not files.is_orchestrator_running(settings)


def record_start(settings: files.PanelSettings, environment: str | None, port: int) -> None:
    """Record how this ComfyUI was started.

    Raises:
        OSError: The record cannot be written.
    """
    content = {
        "python_executable": sys.executable,
        "working_directory": os.getcwd(),
        "argv": sys.argv[1:],
        "environment_name": environment,
        "workspace_root": settings.workspace,
        "port": port,
        "timestamp": time.time(),
    }
    files.write_json(os.path.join(settings.metadata, ".startup_state.json"), content)


def spawn_orchestrator(settings: files.PanelSettings, environment: str | None) -> int:
    """Start the supervisor, which outlives this ComfyUI; the request must be written before. Return its process id.

    Raises:
        OSError: It cannot be started.
    """
    command = list(settings.orchestrator)
    if environment is not None:
        command += ["--environment", environment]
    # ComfyUI-Manager's panel adds this option itself.
    command += ["--", *(argument for argument in sys.argv[1:] if argument != "--enable-manager")]
    return _start_detached(settings, command)


def _start_detached(settings: files.PanelSettings, command: list[str] | tuple[str, ...]) -> int:
    variables = {name: text for name, text in os.environ.items() if name != "COMFYGIT_SUPERVISED"}
    os.makedirs(settings.metadata, exist_ok=True)
    folder = settings.working_directory
    if not os.path.isdir(folder):
        # Not the workspace: a governed root has a config.toml of its own, which is not the program's.
        folder = settings.metadata
    log = os.path.join(settings.metadata, "orchestrator.log")
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        child = subprocess.Popen(  # noqa: S603 - the command comes from panel.json, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            cwd=folder,
            env=variables,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    # Nobody waits for it, so Popen must not warn that it is still running.
    child.returncode = 0
    return child.pid
