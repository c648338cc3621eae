"""Decides the state of a running ComfyUI from three separate signals: alive, progress and ready. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from comfywatchman.supervisor.states import ProofKind, SupervisorState


class Remedy(Enum):
    """The action that a state calls for."""

    NONE = "none"
    RESTART = "restart"


class HealthReason(Enum):
    """Why a state holds."""

    NOT_LISTENING = "not_listening"
    FOREIGN_PORT = "foreign_port"
    NO_STARTUP_PROGRESS = "no_startup_progress"
    STARTUP_LIMIT = "startup_limit"
    ANSWERS_NOT_STEADY = "answers_not_steady"
    NO_CANARY_YET = "no_canary_yet"
    CANARY_RAN = "canary_ran"
    PORT_ACCEPTS = "port_accepts"
    CANARY_FAILED = "canary_failed"
    WORK_PROGRESSES = "work_progresses"
    WORK_STANDS_STILL = "work_stands_still"
    CLIENT_DOES_NOT_READ = "client_does_not_read"
    EVENTS_DO_NOT_ARRIVE = "events_do_not_arrive"
    PROOF_TOO_OLD = "proof_too_old"
    NO_ANSWER = "no_answer"
    ANSWERS_ERRORS = "answers_errors"


class PortState(Enum):
    """The listener at ComfyUI's port."""

    NOBODY = "nobody"
    OURS = "ours"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class CanaryRecord:
    """The last test prompts. Times are seconds of the monotonic clock.

    Attributes:
        proven_at: When one last ran to its end over HTTP with all its events; None before the first.
        failures: Failures in a row since then, over HTTP.
        event_failures: In how many in a row HTTP worked and the events did not arrive.
        unread_client: The address of a client that does not read its events, if one was seen.
    """

    proven_at: float | None = None
    failures: int = 0
    event_failures: int = 0
    unread_client: str | None = None


@dataclass(frozen=True, slots=True)
class HealthSignals:
    """One look at a running ComfyUI.

    Times are seconds of the monotonic clock: while the machine sleeps nothing can make progress, and nothing is late.

    Attributes:
        started_at: When its process was started.
        port: Who listens at its port.
        progress_at: When any counter of work last moved: events, history, CPU time, GPU load, log.
        steady_answers: Answers in a row of `/system_stats`.
        steady_since: The first of them; None without one.
        answered_at: The last answer to any request; None before the first.
        queue_length: Running and waiting prompts; None when it is unknown.
        known_queue_length: Their number when it was last known.
        errors_since: Since when every answer is an error; None while one is right, or there is none.
        job_deadline_seconds: How long the running prompt may go without progress.
        canary: The last test prompts.
    """

    started_at: float
    port: PortState
    progress_at: float
    steady_answers: int = 0
    steady_since: float | None = None
    answered_at: float | None = None
    queue_length: int | None = None
    known_queue_length: int = 0
    errors_since: float | None = None
    job_deadline_seconds: float = 1800.0
    canary: CanaryRecord = CanaryRecord()


@dataclass(frozen=True, slots=True)
class HealthLimits:
    """The limits of the decisions, in seconds unless stated otherwise.

    Attributes:
        startup_progress: How long a start may go without a sign of progress.
        startup: Longest start, however much progress it shows.
        steady_answers: How many answers in a row settle a start.
        steady: Over how long these must be spread.
        proof: How long a test prompt proves that ComfyUI works.
        silence: How long ComfyUI may not answer at all while nothing makes progress.
        canary_failures: How many test prompts must fail in a row until ComfyUI is restarted.
        kind: What the proof is.
    """

    startup_progress: float = 120.0
    startup: float = 1800.0
    steady_answers: int = 3
    steady: float = 3.0
    proof: float = 180.0
    silence: float = 120.0
    canary_failures: int = 2
    kind: ProofKind = ProofKind.PROMPT


@dataclass(frozen=True, slots=True)
class HealthVerdict:
    """The state of a running ComfyUI, why, and what to do about it."""

    state: SupervisorState
    reason: HealthReason
    remedy: Remedy = Remedy.NONE


def judge_health(signals: HealthSignals, limits: HealthLimits, *, now_seconds: float) -> HealthVerdict:
    """Return the state that the signals prove.

    Work in the queue outranks every probe: a server that is busy may miss probes and must not be restarted, as long as
    any counter of its work moves within the deadline of the job. One that answers errors all that time is not busy.
    """
    if signals.port is PortState.FOREIGN:
        return HealthVerdict(SupervisorState.STALLED, HealthReason.FOREIGN_PORT)
    if signals.canary.proven_at is None:
        return _judge_start(signals, limits, now_seconds=now_seconds)
    if signals.queue_length:
        return _judge_work(signals, now_seconds=now_seconds)
    return _judge_idle(signals, limits, now_seconds=now_seconds)


def _judge_start(signals: HealthSignals, limits: HealthLimits, *, now_seconds: float) -> HealthVerdict:
    """Judge a process that no test prompt has proved yet."""
    if now_seconds - signals.started_at > limits.startup:
        return HealthVerdict(SupervisorState.STALLED, HealthReason.STARTUP_LIMIT, Remedy.RESTART)
    stands_still = now_seconds - signals.progress_at > limits.startup_progress
    if signals.port is PortState.OURS and is_steady(signals, limits):
        return _judge_settling(signals, limits, stands_still=stands_still)
    if stands_still:
        return HealthVerdict(SupervisorState.STALLED, HealthReason.NO_STARTUP_PROGRESS, Remedy.RESTART)
    if signals.port is PortState.NOBODY:
        return HealthVerdict(SupervisorState.STARTING, HealthReason.NOT_LISTENING)
    return HealthVerdict(SupervisorState.SETTLING, HealthReason.ANSWERS_NOT_STEADY)


def _judge_settling(signals: HealthSignals, limits: HealthLimits, *, stands_still: bool) -> HealthVerdict:
    """Judge a process that answers steadily and waits for its first test prompt."""
    if signals.queue_length and not stands_still:
        # A client was faster than the first test prompt. Its work is no proof yet, and no reason to restart.
        return HealthVerdict(SupervisorState.SETTLING, HealthReason.WORK_PROGRESSES)
    if signals.canary.failures >= limits.canary_failures:
        return HealthVerdict(SupervisorState.STALLED, HealthReason.CANARY_FAILED, Remedy.RESTART)
    if signals.canary.event_failures:
        return _judge_missing_events(signals, limits)
    return HealthVerdict(SupervisorState.SETTLING, HealthReason.NO_CANARY_YET)


def is_steady(signals: HealthSignals, limits: HealthLimits) -> bool:
    """Return whether enough answers in a row came, spread over enough time."""
    if signals.steady_since is None or signals.answered_at is None:
        return False
    spread_seconds = signals.answered_at - signals.steady_since
    return signals.steady_answers >= limits.steady_answers and spread_seconds >= limits.steady


def _judge_work(signals: HealthSignals, *, now_seconds: float) -> HealthVerdict:
    if now_seconds - signals.progress_at <= signals.job_deadline_seconds:
        return HealthVerdict(SupervisorState.BUSY, HealthReason.WORK_PROGRESSES)
    return HealthVerdict(SupervisorState.STALLED, HealthReason.WORK_STANDS_STILL, Remedy.RESTART)


def _judge_idle(signals: HealthSignals, limits: HealthLimits, *, now_seconds: float) -> HealthVerdict:
    """Judge a process that was proved once and whose queue is empty or unknown."""
    if signals.canary.failures >= limits.canary_failures:
        return HealthVerdict(SupervisorState.STALLED, HealthReason.CANARY_FAILED, Remedy.RESTART)
    reason = _find_silence(signals, limits, now_seconds=now_seconds)
    if reason is not None:
        return HealthVerdict(SupervisorState.STALLED, reason, Remedy.RESTART)
    if signals.canary.event_failures >= limits.canary_failures:
        return _judge_missing_events(signals, limits)
    proven_at = signals.canary.proven_at
    if proven_at is None or now_seconds - proven_at > limits.proof or signals.queue_length is None:
        return HealthVerdict(SupervisorState.UNPROVEN, HealthReason.PROOF_TOO_OLD)
    if signals.port is not PortState.OURS:
        return HealthVerdict(SupervisorState.UNPROVEN, HealthReason.NOT_LISTENING)
    is_prompt = limits.kind is ProofKind.PROMPT
    return HealthVerdict(SupervisorState.READY, HealthReason.CANARY_RAN if is_prompt else HealthReason.PORT_ACCEPTS)


def _find_silence(signals: HealthSignals, limits: HealthLimits, *, now_seconds: float) -> HealthReason | None:
    """Return why a server that gives no right answer must be restarted; None while it may still work.

    Progress excuses a silence, for a busy server may not get around to answering. It excuses errors only where prompts
    ran or waited, and no silence for ever where there were none: CPU time moves in an endless loop, too.
    """
    had_work = signals.known_queue_length > 0
    if signals.errors_since is not None:
        limit_seconds = signals.job_deadline_seconds if had_work else limits.silence
        return HealthReason.ANSWERS_ERRORS if now_seconds - signals.errors_since > limit_seconds else None
    answered_at = signals.answered_at if signals.answered_at is not None else signals.started_at
    if now_seconds - max(answered_at, signals.progress_at) > limits.silence:
        return HealthReason.NO_ANSWER
    is_endless = not had_work and now_seconds - answered_at > max(limits.silence, signals.job_deadline_seconds)
    return HealthReason.NO_ANSWER if is_endless else None


def _judge_missing_events(signals: HealthSignals, limits: HealthLimits) -> HealthVerdict:
    """Judge an idle server that computes but whose events do not arrive.

    All events leave through one queue: a client that stops reading holds them back from all others. A restart would
    help for a moment only, so the client is named instead; without such a client the server itself is at fault.
    """
    if signals.canary.unread_client is not None:
        return HealthVerdict(SupervisorState.STALLED, HealthReason.CLIENT_DOES_NOT_READ)
    remedy = Remedy.RESTART if signals.canary.event_failures >= limits.canary_failures else Remedy.NONE
    return HealthVerdict(SupervisorState.STALLED, HealthReason.EVENTS_DO_NOT_ARRIVE, remedy)
