"""Starting ComfyUI once, waiting until it serves or ends, asking it, and leaving nothing of it behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.process import ChildProcess, build_child_environment
from comfywatchman.comfyui.server.api import probe_server
from comfywatchman.comfyui.server.command import (
    build_command,
    build_environment,
    has_base_directory_option,
    read_known_options,
)
from comfywatchman.comfyui.server.listening import find_session_pids, find_socket_owners, read_listeners
from comfywatchman.comfyui.server.start_log import parse_failure_reasons, parse_import_times
from comfywatchman.comfyui.server.stray_processes import TRIAL_VARIABLE, create_mark, end_marked_processes
from comfywatchman.governance.trial.log_text import clean_line, find_last_line
from comfywatchman.governance.trial.outcome import NOT_STARTED, TIMED_OUT, StartOutcome
from comfywatchman.governance.trial.scratch import ModelMarkers, create_base_directory
from comfywatchman.governance.trial.server_queries import query_nodes, run_minimal_prompt
from comfywatchman.governance.trial.spec import TrialSpec

_POLL_SECONDS: Final = 0.1
_QUERY_SECONDS: Final = 10.0
_GRACE_SECONDS: Final = 3.0
_DYING_SECONDS: Final = 0.5
"""How long a process that broke a connection off may take until it can be seen to have ended."""
_LOG_TAIL_BYTES: Final = 4 << 20
_KEPT_LOG_BYTES: Final = 1 << 20
_LOG_VARIABLES: Final = {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
_PORT_ATTEMPTS: Final = 3
"""How many ports are tried when somebody else takes each before ComfyUI does."""


@dataclass(frozen=True, slots=True)
class _StartWait:
    """How the waiting ended: it serves, it ended, it was given up, or the port belongs to somebody else."""

    how: Literal["serves", "ended", "given_up", "port_taken"]
    status: int = 0
    trouble: str | None = None


def start_comfyui(
    bench: TrialSpec, python: Path, nodes: Mapping[str, Path], base: Path, logs: tuple[Path, Path]
) -> StartOutcome:
    """Start ComfyUI with an interpreter and some nodes, and end it again.

    Args:
        bench: What is the same for each start.
        python: The interpreter.
        nodes: The folders of the nodes, by id.
        base: The base directory to make.
        logs: The files for what it prints.

    Raises:
        Failure: `state-unwritable`.
    """
    for name, path in (("main.py", bench.comfyui / "main.py"), ("the interpreter", python)):
        if not path.is_file():
            return StartOutcome(
                how="none", exit_code=NOT_STARTED, trouble=f"{name} is not there: {clean_line(str(path))}."
            )
    for _ in range(_PORT_ATTEMPTS):
        started = _start_on_port(bench, python, nodes, base, logs, port=bench.choose_port())
        if started is not None:
            return started
    trouble = "Each port that was free had been taken by another program when ComfyUI was to listen."
    return StartOutcome(how="none", exit_code=NOT_STARTED, trouble=trouble)


def _start_on_port(
    bench: TrialSpec, python: Path, nodes: Mapping[str, Path], base: Path, logs: tuple[Path, Path], *, port: int
) -> StartOutcome | None:
    """Start at a port; None when somebody else has it."""
    marks = create_base_directory(base, nodes)
    trial = create_mark()
    variables = build_environment(python, build_child_environment().get("PATH", ""), bench.environment)
    command = build_command(python, bench.comfyui, base, port, use_cpu=bench.use_cpu(), extra=bench.extra_args)
    try:
        with ChildProcess(
            command,
            extra_environment={**variables, **_LOG_VARIABLES, TRIAL_VARIABLE: trial},
            folder=bench.comfyui,
            logs=logs,
            dies_with_us=True,
        ) as child:
            waited = _wait_until_serving(child, port, bench)
            if waited.how == "port_taken":
                return None
            return _build_outcome(child, waited, f"http://127.0.0.1:{port}", marks, bench)
    finally:
        end_marked_processes(trial)
        for log in logs:
            _shorten_log(log)


def _build_outcome(
    child: ChildProcess, waited: _StartWait, url: str, marks: ModelMarkers, bench: TrialSpec
) -> StartOutcome:
    unasked = None if has_base_directory_option(read_known_options(bench.comfyui)) else "--base-directory"
    if waited.how != "serves":
        failures, imported = _read_import_results(child)
        return StartOutcome(
            how="exit" if waited.how == "ended" else "none",
            exit_code=waited.status,
            trouble=waited.trouble,
            failures=failures,
            imported=imported,
            unasked=unasked,
        )
    marked = marks if bench.probe and unasked is None else None
    started = _query_server(child, url, marked, bench=bench)
    failures, imported = _read_import_results(child)
    is_lost = started.trouble is not None or (started.probe is not None and started.probe.status == "fail")
    ended = child.wait(_DYING_SECONDS if is_lost else 0.0)
    child.end(grace_seconds=_GRACE_SECONDS)
    started = msgspec.structs.replace(started, failures=failures, imported=imported, unasked=unasked)
    if ended is None:
        return started
    trouble = _describe_exit("It ended while it was asked", ended, child)
    return msgspec.structs.replace(started, exit_code=ended or 1, trouble=trouble)


def _query_server(child: ChildProcess, url: str, marks: ModelMarkers | None, *, bench: TrialSpec) -> StartOutcome:
    try:
        told = query_nodes(url, marks)
    except Failure as failure:
        return StartOutcome(how="server", exit_code=0, trouble=clean_line(failure.message))
    ran = None
    if bench.probe:
        limit = bench.prompt_seconds
        ran = run_minimal_prompt(url, told.packs, limit_seconds=limit, is_running=_build_running_check(child))
    return StartOutcome(
        how="server",
        exit_code=0,
        packs=told.packs,
        probe=ran,
        model_folders=told.model_folders,
        widget_places=told.widget_places,
        model_directories=told.model_directories,
    )


def _build_running_check(child: ChildProcess) -> Callable[[], bool]:
    return lambda: child.wait(_POLL_SECONDS) is None


def _wait_until_serving(child: ChildProcess, port: int, bench: TrialSpec) -> _StartWait:
    """Wait until our own child serves as ComfyUI does; that something answers at the port proves nothing."""
    deadline = time.monotonic() + bench.timeout_seconds
    trouble = "It did not listen."
    while True:
        status = child.wait(_POLL_SECONDS)
        if status is not None:
            if status and _is_port_taken(child.pid, port):
                return _StartWait("port_taken")
            trouble_at_end = _describe_exit("main.py ended", status, child) if status else None
            return _StartWait("ended", status, trouble_at_end)
        if child.written_bytes() > bench.max_log_bytes:
            return _StartWait("given_up", TIMED_OUT, f"It printed more than {bench.max_log_bytes >> 20} MiB.")
        if _is_port_taken(child.pid, port):
            return _StartWait("port_taken")
        left = deadline - time.monotonic()
        if left <= 0:
            words = find_last_line(child.errors_tail().decode("utf-8", "replace"))
            said = f" Its last words: {words}" if words else ""
            within = f"It neither served nor ended within {bench.timeout_seconds:g} seconds. {trouble}{said}"
            return _StartWait("given_up", TIMED_OUT, within)
        if _is_listening(child.pid, port):
            found = _find_identity_problem(port, min(_QUERY_SECONDS, left))
            if found is None:
                return _StartWait("serves")
            trouble = found


def _find_identity_problem(port: int, timeout_seconds: float) -> str | None:
    """Say why who answers at a port is not the ComfyUI that was started; None when it is."""
    try:
        running = probe_server(f"http://127.0.0.1:{port}", timeout_seconds=timeout_seconds)
    except Failure as failure:
        return clean_line(failure.message)
    if running is None:
        return "It stopped listening."
    if f"--port={port}" not in running.argv:
        return "What answers was started with other arguments."
    return None


def _is_listening(leader: int, port: int) -> bool:
    inodes = {one.inode for one in read_listeners() if one.port == port}
    return bool(inodes) and bool(find_socket_owners(inodes, find_session_pids(leader)))


def _is_port_taken(leader: int, port: int) -> bool:
    inodes = {one.inode for one in read_listeners() if one.port == port}
    return bool(inodes) and not find_socket_owners(inodes, find_session_pids(leader))


def _read_import_results(child: ChildProcess) -> tuple[dict[str, str], frozenset[str]]:
    """Return what the log says of packs; ComfyUI writes it to its standard error unless told otherwise."""
    for tail in (child.errors_tail(max_bytes=_LOG_TAIL_BYTES), child.output_tail(max_bytes=_LOG_TAIL_BYTES)):
        text = tail.decode("utf-8", "replace")
        told = parse_import_times(text)
        if told is not None:
            failed, imported = told
            return {name: clean_line(reason) for name, reason in parse_failure_reasons(text, failed).items()}, imported
    return {}, frozenset()


def _describe_exit(what: str, status: int, child: ChildProcess) -> str:
    import signal

    how = f"with status {status}"
    if status < 0:
        names = {number.value: number.name for number in signal.Signals}
        how = f"by {names.get(-status, f'signal {-status}')}"
    words = find_last_line(child.errors_tail().decode("utf-8", "replace"))
    return f"{what} {how}{f': {words}' if words else '.'}"


def _shorten_log(log: Path) -> None:
    """Keep the beginning and the end of a log that grew large."""
    try:
        size = log.stat().st_size
        if size <= 2 * _KEPT_LOG_BYTES:
            return
        with log.open("r+b") as stream:
            stream.seek(size - _KEPT_LOG_BYTES)
            end = stream.read()
            stream.truncate(_KEPT_LOG_BYTES)
            stream.seek(_KEPT_LOG_BYTES)
            stream.write(b"\n[... %d bytes left out ...]\n" % (size - 2 * _KEPT_LOG_BYTES) + end)
    except OSError:
        return
