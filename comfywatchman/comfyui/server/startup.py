"""Wait until a ComfyUI that was just started serves."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from typing import Final, Literal

from comfywatchman.base.errors import Failure
from comfywatchman.base.process import ChildProcess
from comfywatchman.comfyui.server.api import probe_server
from comfywatchman.comfyui.server.listening import PortOwner, find_port_owner
from comfywatchman.comfyui.server.log_text import clean_line, find_last_line

POLL_SECONDS: Final = 0.1
_REQUEST_SECONDS: Final = 10.0
_MIN_REQUEST_SECONDS: Final = 1.0
"""The last request, just before the time limit, would otherwise hide what the earlier ones found."""


@dataclass(frozen=True, slots=True)
class StartupResult:
    """The end of a start.

    Attributes:
        outcome: `serving`, `exited` (by itself), `timeout`, `log_limit` (it printed too much), or `port_taken` by
            another program.
        exit_status: The exit status of a process that exited; negative for a signal.
        reason: Why it does not serve; None when it serves, or exited with status 0.
    """

    outcome: Literal["serving", "exited", "timeout", "log_limit", "port_taken"]
    exit_status: int = 0
    reason: str | None = None


def wait_until_serving(child: ChildProcess, port: int, *, timeout_seconds: float, max_log_bytes: int) -> StartupResult:
    """Wait until a child process serves ComfyUI's API. An answer on the port alone proves nothing about the child.

    Args:
        child: The process, started with `--port=<port>`.
        port: Its port on 127.0.0.1.
        timeout_seconds: The time that it may take.
        max_log_bytes: The amount of output that it may print.
    """
    deadline = time.monotonic() + timeout_seconds
    problem = "It did not listen."
    while True:
        status = child.wait(POLL_SECONDS)
        if status is not None:
            # A server whose port is in use exits with an error: then another port helps.
            if status and find_port_owner(port, child.pid) is PortOwner.FOREIGN:
                return StartupResult("port_taken")
            reason = f"main.py {describe_exit(child, status)}" if status else None
            return StartupResult("exited", status, reason)
        if child.count_output_bytes() > max_log_bytes:
            return StartupResult("log_limit", reason=f"It printed more than {max_log_bytes >> 20} MiB.")
        owner = find_port_owner(port, child.pid)
        if owner is PortOwner.FOREIGN:
            return StartupResult("port_taken")
        remaining_seconds = deadline - time.monotonic()
        if remaining_seconds <= 0:
            reason = f"It neither served nor exited within {timeout_seconds:g} seconds. {problem}"
            return StartupResult("timeout", reason=_add_last_line(reason, child))
        if owner is PortOwner.SESSION:
            identity_problem = _find_identity_problem(port, _limit_request(remaining_seconds))
            if identity_problem is None:
                return StartupResult("serving")
            problem = identity_problem


def describe_exit(child: ChildProcess, status: int) -> str:
    """Return how a process ended and the last line it printed: `exited with status 1: ImportError: …`."""
    text = f"exited with status {status}"
    if status < 0:
        names = {number.value: number.name for number in signal.Signals}
        text = f"was killed by {names.get(-status, f'signal {-status}')}"
    last_line = _read_last_line(child)
    return f"{text}: {last_line}" if last_line else f"{text}."


def _limit_request(remaining_seconds: float) -> float:
    return min(_REQUEST_SECONDS, max(_MIN_REQUEST_SECONDS, remaining_seconds))


def _find_identity_problem(port: int, timeout_seconds: float) -> str | None:
    """Return why the server on a port is not the ComfyUI that was started; None when it is."""
    try:
        running = probe_server(f"http://127.0.0.1:{port}", timeout_seconds=timeout_seconds)
    except Failure as failure:
        return clean_line(failure.message)
    if running is None:
        return "It stopped listening."
    if f"--port={port}" not in running.argv:
        return "The server on its port was started with other arguments."
    return None


def _read_last_line(child: ChildProcess) -> str:
    return find_last_line(child.errors_tail().decode("utf-8", "replace"))


def _add_last_line(text: str, child: ChildProcess) -> str:
    last_line = _read_last_line(child)
    return f"{text} Last line of its log: {last_line}" if last_line else text
