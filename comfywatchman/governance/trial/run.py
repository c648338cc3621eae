"""Start ComfyUI once, query it when it serves, and end it with every process that it started."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.process import ChildProcess, build_child_environment
from comfywatchman.comfyui.server.canary import run_canary
from comfywatchman.comfyui.server.command import (
    build_command,
    build_environment,
    has_base_directory_option,
    read_known_options,
)
from comfywatchman.comfyui.server.log_text import clean_line
from comfywatchman.comfyui.server.start_log import parse_failure_reasons, parse_import_times
from comfywatchman.comfyui.server.startup import POLL_SECONDS, StartupResult, describe_exit, wait_until_serving
from comfywatchman.comfyui.server.stray_processes import TRIAL_VARIABLE, create_mark, end_marked_processes
from comfywatchman.governance.store.records import Finding
from comfywatchman.governance.trial.outcome import NOT_STARTED, TIMED_OUT, StartOutcome
from comfywatchman.governance.trial.scratch import ModelMarkers, create_base_directory
from comfywatchman.governance.trial.server_queries import query_nodes
from comfywatchman.governance.trial.spec import TrialSpec

_GRACE_SECONDS: Final = 3.0
_DYING_SECONDS: Final = 0.5
"""The time between a broken connection and the exit of a process that crashed."""

_LOG_TAIL_BYTES: Final = 4 << 20
_KEPT_LOG_BYTES: Final = 1 << 20
_LOG_VARIABLES: Final = {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
_PORT_ATTEMPTS: Final = 3
"""How many ports are tried when another program takes each of them before ComfyUI does."""


def start_comfyui(
    spec: TrialSpec, python: Path, nodes: Mapping[str, Path], base: Path, logs: tuple[Path, Path]
) -> StartOutcome:
    """Start ComfyUI with an interpreter and some nodes, query it, and end it.

    Args:
        spec: The trial.
        python: The interpreter.
        nodes: The folders of the nodes, by id.
        base: The base directory to create.
        logs: The files for its standard output and standard error.

    Raises:
        Failure: `state-unwritable`.
    """
    for name, path in (("main.py", spec.comfyui / "main.py"), ("the interpreter", python)):
        if not path.is_file():
            return _build_start_failure(f"{name} is missing: {clean_line(str(path))}.")
    for _attempt in range(_PORT_ATTEMPTS):
        outcome = _start_on_port(spec, python, nodes, base, logs, port=spec.choose_port())
        if outcome is not None:
            return outcome
    return _build_start_failure("Another program took each free port before ComfyUI could listen on it.")


def _start_on_port(
    spec: TrialSpec, python: Path, nodes: Mapping[str, Path], base: Path, logs: tuple[Path, Path], *, port: int
) -> StartOutcome | None:
    """Start on a port; None when another program took it."""
    # The base directory is created again for each port, as the attempt before may have written into it.
    markers = create_base_directory(base, nodes)
    # Processes that leave the session of their parent are found by this variable, which they inherit.
    mark = create_mark()
    variables = build_environment(python, build_child_environment().get("PATH", ""), spec.environment)
    command = build_command(python, spec.comfyui, base, port, use_cpu=spec.use_cpu(), extra=spec.extra_args)
    try:
        with ChildProcess(
            command,
            extra_environment={**variables, **_LOG_VARIABLES, TRIAL_VARIABLE: mark},
            folder=spec.comfyui,
            logs=logs,
            dies_with_us=True,
        ) as child:
            startup = wait_until_serving(
                child, port, timeout_seconds=spec.timeout_seconds, max_log_bytes=spec.max_log_bytes
            )
            if startup.outcome == "port_taken":
                return None
            outcome = _build_outcome(child, startup, f"http://127.0.0.1:{port}", markers, spec)
            # Its log is complete only after it has ended.
            failures, imported = _read_import_results(child)
            return msgspec.structs.replace(outcome, failures=failures, imported=imported)
    finally:
        end_marked_processes(mark)
        for log in logs:
            _shorten_log(log)


def _build_outcome(
    child: ChildProcess, startup: StartupResult, url: str, markers: ModelMarkers, spec: TrialSpec
) -> StartOutcome:
    unsupported = None
    if not has_base_directory_option(read_known_options(spec.comfyui)):
        unsupported = "--base-directory"
    if startup.outcome == "exited":
        return StartOutcome(how="exit", exit_code=startup.exit_status, trouble=startup.reason, unasked=unsupported)
    if startup.outcome != "serving":
        return StartOutcome(how="none", exit_code=TIMED_OUT, trouble=startup.reason, unasked=unsupported)
    # Without its own base directory the server lists the user's models, where markers must not be written.
    use_markers = spec.probe and unsupported is None
    outcome = _query_server(child, url, markers if use_markers else None, spec=spec)
    is_connection_lost = outcome.trouble is not None or (outcome.probe is not None and outcome.probe.status == "fail")
    # A crash closes the connection before the process can be seen to have exited.
    exit_status = child.wait(_DYING_SECONDS if is_connection_lost else 0.0)
    child.end(grace_seconds=_GRACE_SECONDS)
    outcome = msgspec.structs.replace(outcome, unasked=unsupported)
    if exit_status is None:
        return outcome
    reason = f"While it was queried, ComfyUI {describe_exit(child, exit_status)}"
    return msgspec.structs.replace(outcome, exit_code=exit_status or 1, trouble=reason)


def _query_server(child: ChildProcess, url: str, markers: ModelMarkers | None, *, spec: TrialSpec) -> StartOutcome:
    try:
        nodes = query_nodes(url, markers)
    except Failure as failure:
        return StartOutcome(how="server", exit_code=0, trouble=clean_line(failure.message))
    return StartOutcome(
        how="server",
        exit_code=0,
        packs=nodes.packs,
        probe=_run_probe(child, url, nodes.packs, spec.prompt_seconds) if spec.probe else None,
        model_folders=nodes.model_folders,
        widget_places=nodes.widget_places,
        model_directories=nodes.model_directories,
    )


def _run_probe(child: ChildProcess, url: str, classes: Mapping[str, str], limit_seconds: float) -> Finding:
    """Run a minimal prompt on the server, and return its result as a finding."""

    def is_running() -> bool:
        return child.wait(POLL_SECONDS) is None

    try:
        result = run_canary(url, classes, limit_seconds=limit_seconds, is_running=is_running)
    except Failure as failure:
        return _build_probe_failure(f"A minimal prompt failed: {clean_line(failure.message)}")
    if result is None:
        detail = "The server has no node classes for a minimal prompt."
        return Finding(name="probe", status="unknown", detail=detail)
    if result.outcome == "success":
        return Finding(name="probe", status="ok", detail="A minimal prompt succeeded.")
    if result.outcome == "refused":
        return _build_probe_failure(f"A minimal prompt was refused: {result.reason}.")
    if result.outcome == "timeout":
        return _build_probe_failure(
            f"A minimal prompt did not end within {limit_seconds:g} seconds: the server responds but computes nothing."
        )
    reason = "the server exited" if result.outcome == "lost" else result.reason or "no reason given"
    return _build_probe_failure(f"A minimal prompt failed: {reason}.")


def _build_probe_failure(detail: str) -> Finding:
    return Finding(name="probe", status="fail", detail=detail)


def _build_start_failure(reason: str) -> StartOutcome:
    return StartOutcome(how="none", exit_code=NOT_STARTED, trouble=reason)


def _read_import_results(child: ChildProcess) -> tuple[dict[str, str], frozenset[str]]:
    """Return the packs whose import failed, with the reason, and those that were imported, from the log."""
    # ComfyUI logs to its standard error unless it gets `--log-stdout`.
    for tail in (child.errors_tail(max_bytes=_LOG_TAIL_BYTES), child.output_tail(max_bytes=_LOG_TAIL_BYTES)):
        text = tail.decode("utf-8", "replace")
        results = parse_import_times(text)
        if results is not None:
            # A pack whose prestartup script failed is imported, but it is not what its author tested.
            failed = results.failed | results.failed_prestartup
            reasons = parse_failure_reasons(text, failed)
            return {name: clean_line(reason) for name, reason in reasons.items()}, results.imported - failed
    return {}, frozenset()


def _shorten_log(log: Path) -> None:
    """Keep only the beginning and the end of a large log."""
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
        # The log stays as long as it is.
        return
