"""The interpreters of running ComfyUI processes, by their path inside an environment."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from comfywatchman.comfyui.server.listening import ServerProcess


def find_interpreters(servers: Iterable[ServerProcess]) -> tuple[tuple[int, Path], ...]:
    """Return process id and interpreter of each running ComfyUI (`find_servers`).

    The path is the one that the process was started with: `bin/python` of an environment is a link to the Python
    behind it, and only the path of the link shows the environment. Processes whose interpreter cannot be found are left
    out.
    """
    found = []
    for server in servers:
        python = _find_interpreter(server.pid, server.argv[0])
        if python is not None:
            found.append((server.pid, python))
    return tuple(found)


def _find_interpreter(pid: int, argument: str) -> Path | None:
    import psutil

    if os.path.isabs(argument):
        return Path(argument)
    try:
        process = psutil.Process(pid)
        if os.sep in argument:
            return Path(os.path.normpath(os.path.join(process.cwd(), argument)))
        # The shell looked it up on the PATH of the process.
        path = shutil.which(argument, path=process.environ().get("PATH", ""))
    except (psutil.Error, OSError):
        return None
    return None if path is None else Path(path)
