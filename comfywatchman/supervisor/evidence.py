"""Builds incidents: what happened to a run, in fields and in one sentence."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Final

from comfywatchman.base.clock import Clock, format_utc
from comfywatchman.supervisor.health_policy import HealthReason, HealthVerdict
from comfywatchman.supervisor.incidents import Incident, choose_name, has_oom_kill, read_last_lines, record_incident
from comfywatchman.supervisor.process.log_clues import LogClue, find_clue
from comfywatchman.supervisor.run import ComfyRun

_CLUE_TEXTS: Final = {
    LogClue.LOST_CLIENT: "A client became unreachable, which ComfyUI does not catch; the workflow is not to blame.",
    LogClue.STICKY_CUDA_ERROR: "CUDA failed in a way that only a new process recovers from.",
    LogClue.OUT_OF_MEMORY: "Its log ends with an out-of-memory error.",
}
_REASON_TEXTS: Final = {
    HealthReason.NO_STARTUP_PROGRESS: "Its start showed no sign of progress for too long",
    HealthReason.STARTUP_LIMIT: "Its start took longer than the limit",
    HealthReason.CANARY_FAILED: "Two test prompts in a row failed",
    HealthReason.WORK_STANDS_STILL: "A prompt made no progress for longer than its limit",
    HealthReason.EVENTS_DO_NOT_ARRIVE: "It computes, but its events no longer arrive",
    HealthReason.ANSWERS_ERRORS: "It answered every question with an error for too long",
    HealthReason.NO_ANSWER: "It neither answered nor worked for too long",
}


def read_clue(run: ComfyRun) -> LogClue:
    """Return the clue at the end of a run's log."""
    return find_clue(read_last_lines(run.process.log).decode("utf-8", "replace"))


def describe_status(status: int) -> str:
    """Return an exit status in words: `exited with status 1`, `was killed by SIGKILL`."""
    if status >= 0:
        return f"exited with status {status}"
    names = {number.value: number.name for number in signal.Signals}
    return f"was killed by {names.get(-status, f'signal {-status}')}"


def describe_verdict(verdict: HealthVerdict, run: ComfyRun) -> str:
    """Return why a run is restarted, as a sentence."""
    text = _REASON_TEXTS.get(verdict.reason, "It is not healthy")
    reason = run.canary_reason if verdict.reason is HealthReason.CANARY_FAILED else ""
    return f"{text}: {reason}" if reason else f"{text}."


def record_crash(metadata: Path, run: ComfyRun, status: int, clock: Clock, *, max_incidents: int) -> Incident:
    """Record that ComfyUI ended by itself."""
    clue = read_clue(run)
    sentence = f"ComfyUI {describe_status(status)} after {run.uptime_seconds:.0f} s."
    if has_oom_kill(run.read_oom()):
        sentence += " The kernel ended a process because memory ran out."
    elif clue in _CLUE_TEXTS:
        sentence += f" {_CLUE_TEXTS[clue]}"
    return _record(
        metadata,
        run,
        clock,
        kind="crash",
        reason=clue.value,
        sentence=sentence,
        status=status,
        # A client that became unreachable ends ComfyUI whatever is computed.
        blames_job=clue is not LogClue.LOST_CLIENT,
        limit=max_incidents,
    )


def record_kill(
    metadata: Path, run: ComfyRun, verdict: HealthVerdict, clock: Clock, *, max_incidents: int, status: int | None
) -> Incident:
    """Record that the supervisor ended an unhealthy ComfyUI, or failed to."""
    why = describe_verdict(verdict, run)
    if status is None:
        sentence = f"{why} It cannot be killed: it hangs in a driver."
        kind = "needs_reboot"
    else:
        sentence = f"{why} The supervisor stopped it."
        kind = "killed"
    return _record(
        metadata,
        run,
        clock,
        kind=kind,
        reason=verdict.reason.value,
        sentence=sentence,
        status=status,
        blames_job=verdict.reason is HealthReason.WORK_STANDS_STILL,
        limit=max_incidents,
    )


def _record(
    metadata: Path,
    run: ComfyRun,
    clock: Clock,
    *,
    kind: str,
    reason: str,
    sentence: str,
    status: int | None,
    blames_job: bool,
    limit: int,
) -> Incident:
    incident = Incident(
        name=choose_name(metadata, kind, clock),
        at=format_utc(clock.now()),
        kind=kind,
        environment=run.process.record.environment,
        reason=reason,
        sentence=sentence,
        exit_status=status,
        uptime_seconds=round(run.uptime_seconds, 1),
        queue_length=run.signals.queue_length,
        memory=run.curve.samples(),
        oom=run.read_oom(),
        blames_job=blames_job,
        has_stack_dump=kind != "crash" and status == -int(signal.SIGABRT),
    )
    record_incident(metadata, incident, run.process.log, max_incidents=limit)
    return incident
