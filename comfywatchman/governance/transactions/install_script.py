"""Run the install.py of a node in its candidate environment."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from comfywatchman.base.process import ChildProcess, build_child_environment
from comfywatchman.comfyui.server import stray_processes
from comfywatchman.comfyui.server.command import build_environment
from comfywatchman.governance.trial.trial import UV_CONFIG_FILE, find_interpreter

SCRIPT_SECONDS: Final = 1800.0
TIMED_OUT: Final = 124
"""The status of a script that was ended, as that of timeout(1)."""

_SCRIPT: Final = "install.py"
_POLL_SECONDS: Final = 0.2
_GRACE_SECONDS: Final = 2.0
_MAX_LOG_BYTES: Final = 64 << 20


def run_install_script(
    environment: Path, node_folder: Path, logs: tuple[Path, Path], *, variables: Mapping[str, str]
) -> int | None:
    """Run a node's install.py with the candidate's interpreter, and end every process that it started.

    Args:
        environment: The candidate.
        node_folder: The folder of the node.
        logs: The files for its standard output and standard error.
        variables: Variables beyond the allow-list: proxy, certificates, package index.

    Returns:
        Its exit status, 124 at the time limit or after 64 MiB of output; None when the node has no install.py.

    Raises:
        Failure: `child-failed` or `state-unwritable`.
    """
    if not (node_folder / _SCRIPT).is_file():
        return None
    python = find_interpreter(environment)
    search_path = build_child_environment().get("PATH", "")
    mark = stray_processes.create_mark()
    script_environment = {
        **build_environment(python, search_path, variables),
        "UV_CONFIG_FILE": str(environment / UV_CONFIG_FILE),
        stray_processes.TRIAL_VARIABLE: mark,
    }
    try:
        with ChildProcess(
            [str(python), _SCRIPT],
            extra_environment=script_environment,
            folder=node_folder,
            logs=logs,
            dies_with_us=True,
        ) as child:
            status = _wait_for_script(child)
            if status is None:
                child.end(grace_seconds=_GRACE_SECONDS)
                return TIMED_OUT
            return status
    finally:
        stray_processes.end_marked_processes(mark)


def _wait_for_script(child: ChildProcess) -> int | None:
    """Return the exit status of a script; None at the time limit, or when it printed too much."""
    deadline = time.monotonic() + SCRIPT_SECONDS
    while True:
        remaining_seconds = deadline - time.monotonic()
        status = child.wait(max(0.0, min(_POLL_SECONDS, remaining_seconds)))
        if status is not None:
            return status
        if remaining_seconds <= 0 or child.count_output_bytes() > _MAX_LOG_BYTES:
            return None
