"""Starting ComfyUI once, waiting until it serves or ends, asking it, and leaving nothing of it behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.process import Child, child_environment
from comfywatchman.comfyui.server.api import ask_running
from comfywatchman.comfyui.server.command import arguments, environment, keeps_to_base, known_options
from comfywatchman.comfyui.server.listening import holders, listeners, session_pids
from comfywatchman.comfyui.server.start_log import failure_reasons, import_times
from comfywatchman.comfyui.server.stray_processes import VARIABLE, end_marked, new_mark
from comfywatchman.governance.trial.log_text import in_words, last_words
from comfywatchman.governance.trial.outcome import NOT_STARTED, TIMED_OUT, Started
from comfywatchman.governance.trial.scratch import Marks, lay_out
from comfywatchman.governance.trial.server_queries import ask_nodes, run_prompt
from comfywatchman.governance.trial.spec import Bench

_LOOK_SECONDS: Final = 0.1
_ASK_SECONDS: Final = 10.0
_GRACE_SECONDS: Final = 3.0
_DYING_SECONDS: Final = 0.5
"""How long a process that broke a connection off may take until it can be seen to have ended."""
_READ_BYTES: Final = 4 << 20
_KEPT_BYTES: Final = 1 << 20
_FOR_LOGS: Final = {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
_PORTS: Final = 3
"""How many ports are tried when somebody else takes each before ComfyUI does."""


@dataclass(frozen=True, slots=True)
class _Waited:
    """How the waiting ended: it serves, it ended, it was given up, or the port belongs to somebody else."""

    how: Literal["serves", "ended", "given_up", "port_taken"]
    status: int = 0
    trouble: str | None = None


def start(bench: Bench, python: Path, nodes: Mapping[str, Path], base: Path, logs: tuple[Path, Path]) -> Started:
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
            return Started(how="none", exit_code=NOT_STARTED, trouble=f"{name} is not there: {in_words(str(path))}.")
    for _ in range(_PORTS):
        started = _start_at(bench, python, nodes, base, logs, port=bench.choose_port())
        if started is not None:
            return started
    trouble = "Each port that was free had been taken by another program when ComfyUI was to listen."
    return Started(how="none", exit_code=NOT_STARTED, trouble=trouble)


def _start_at(
    bench: Bench, python: Path, nodes: Mapping[str, Path], base: Path, logs: tuple[Path, Path], *, port: int
) -> Started | None:
    """Start at a port; None when somebody else has it."""
    marks = lay_out(base, nodes)
    trial = new_mark()
    variables = environment(python, child_environment().get("PATH", ""), bench.environment)
    command = arguments(python, bench.comfyui, base, port, use_cpu=bench.use_cpu(), extra=bench.extra_args)
    try:
        with Child(
            command,
            extra_environment={**variables, **_FOR_LOGS, VARIABLE: trial},
            folder=bench.comfyui,
            logs=logs,
            dies_with_us=True,
        ) as child:
            waited = _wait(child, port, bench)
            if waited.how == "port_taken":
                return None
            return _judged(child, waited, f"http://127.0.0.1:{port}", marks, bench)
    finally:
        end_marked(trial)
        for log in logs:
            _shorten(log)


def _judged(child: Child, waited: _Waited, url: str, marks: Marks, bench: Bench) -> Started:
    unasked = None if keeps_to_base(known_options(bench.comfyui)) else "--base-directory"
    if waited.how != "serves":
        failures, imported = _imports(child)
        return Started(
            how="exit" if waited.how == "ended" else "none",
            exit_code=waited.status,
            trouble=waited.trouble,
            failures=failures,
            imported=imported,
            unasked=unasked,
        )
    marked = marks if bench.probe and unasked is None else None
    started = _asked(child, url, marked, bench=bench)
    failures, imported = _imports(child)
    is_lost = started.trouble is not None or (started.probe is not None and started.probe.status == "fail")
    ended = child.wait(_DYING_SECONDS if is_lost else 0.0)
    child.end(grace_seconds=_GRACE_SECONDS)
    started = msgspec.structs.replace(started, failures=failures, imported=imported, unasked=unasked)
    if ended is None:
        return started
    trouble = _end_in_words("It ended while it was asked", ended, child)
    return msgspec.structs.replace(started, exit_code=ended or 1, trouble=trouble)


def _asked(child: Child, url: str, marks: Marks | None, *, bench: Bench) -> Started:
    try:
        told = ask_nodes(url, marks)
    except Failure as failure:
        return Started(how="server", exit_code=0, trouble=in_words(failure.message))
    ran = None
    if bench.probe:
        limit = bench.prompt_seconds
        ran = run_prompt(url, told.packs, limit_seconds=limit, is_running=_still_runs(child))
    return Started(
        how="server",
        exit_code=0,
        packs=told.packs,
        probe=ran,
        model_folders=told.model_folders,
        widget_places=told.widget_places,
        model_directories=told.model_directories,
    )


def _still_runs(child: Child) -> Callable[[], bool]:
    return lambda: child.wait(_LOOK_SECONDS) is None


def _wait(child: Child, port: int, bench: Bench) -> _Waited:
    """Wait until our own child serves as ComfyUI does; that something answers at the port proves nothing."""
    deadline = time.monotonic() + bench.timeout_seconds
    trouble = "It did not listen."
    while True:
        status = child.wait(_LOOK_SECONDS)
        if status is not None:
            if status and _is_taken(child.pid, port):
                return _Waited("port_taken")
            trouble_at_end = _end_in_words("main.py ended", status, child) if status else None
            return _Waited("ended", status, trouble_at_end)
        if child.written_bytes() > bench.max_log_bytes:
            return _Waited("given_up", TIMED_OUT, f"It printed more than {bench.max_log_bytes >> 20} MiB.")
        if _is_taken(child.pid, port):
            return _Waited("port_taken")
        left = deadline - time.monotonic()
        if left <= 0:
            words = last_words(child.errors_tail().decode("utf-8", "replace"))
            said = f" Its last words: {words}" if words else ""
            within = f"It neither served nor ended within {bench.timeout_seconds:g} seconds. {trouble}{said}"
            return _Waited("given_up", TIMED_OUT, within)
        if _is_open(child.pid, port):
            found = _trouble_with(port, min(_ASK_SECONDS, left))
            if found is None:
                return _Waited("serves")
            trouble = found


def _trouble_with(port: int, timeout_seconds: float) -> str | None:
    """Say why who answers at a port is not the ComfyUI that was started; None when it is."""
    try:
        running = ask_running(f"http://127.0.0.1:{port}", timeout_seconds=timeout_seconds)
    except Failure as failure:
        return in_words(failure.message)
    if running is None:
        return "It stopped listening."
    if f"--port={port}" not in running.argv:
        return "What answers was started with other arguments."
    return None


def _is_open(leader: int, port: int) -> bool:
    inodes = {one.inode for one in listeners() if one.port == port}
    return bool(inodes) and bool(holders(inodes, session_pids(leader)))


def _is_taken(leader: int, port: int) -> bool:
    inodes = {one.inode for one in listeners() if one.port == port}
    return bool(inodes) and not holders(inodes, session_pids(leader))


def _imports(child: Child) -> tuple[dict[str, str], frozenset[str]]:
    """Return what the log says of packs; ComfyUI writes it to its standard error unless told otherwise."""
    for tail in (child.errors_tail(max_bytes=_READ_BYTES), child.output_tail(max_bytes=_READ_BYTES)):
        text = tail.decode("utf-8", "replace")
        told = import_times(text)
        if told is not None:
            failed, imported = told
            return {name: in_words(reason) for name, reason in failure_reasons(text, failed).items()}, imported
    return {}, frozenset()


def _end_in_words(what: str, status: int, child: Child) -> str:
    import signal

    how = f"with status {status}"
    if status < 0:
        names = {number.value: number.name for number in signal.Signals}
        how = f"by {names.get(-status, f'signal {-status}')}"
    words = last_words(child.errors_tail().decode("utf-8", "replace"))
    return f"{what} {how}{f': {words}' if words else '.'}"


def _shorten(log: Path) -> None:
    """Keep the beginning and the end of a log that grew large."""
    try:
        size = log.stat().st_size
        if size <= 2 * _KEPT_BYTES:
            return
        with log.open("r+b") as stream:
            stream.seek(size - _KEPT_BYTES)
            end = stream.read()
            stream.truncate(_KEPT_BYTES)
            stream.seek(_KEPT_BYTES)
            stream.write(b"\n[... %d bytes left out ...]\n" % (size - 2 * _KEPT_BYTES) + end)
    except OSError:
        return
