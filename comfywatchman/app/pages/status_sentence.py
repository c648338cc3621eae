"""The sentence that heads every page: what is ready, what the queue and ComfyUI do, and until when that holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from comfywatchman.app.pages.page_host import PageHost
from comfywatchman.base.clock import parse_utc
from comfywatchman.base.errors import Failure
from comfywatchman.readiness.host_summary import Summary, SupervisorSummary

_PERCENT: Final = 100


class StatusTone(StrEnum):
    """The colour of the sentence."""

    OK = "ok"
    NEED = "need"
    BAD = "bad"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """ComfyUI as it was last seen.

    Attributes:
        state: `up`, `down`, `changing`, `unproven` when its supervisor cannot prove any of these, or `unknown`
            without a supervisor.
        since: Since when; None when that is not known.
        sentence: The state in words.
    """

    state: str
    since: datetime | None = None
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class StatusSentence:
    """The facts of the sentence.

    Attributes:
        tone: Its colour; STALE when the last check no longer holds, or there was none.
        summary: Workflows by verdict; None before the first check.
        checked_at: When they were checked.
        valid_until: Until when that holds.
        share_left: How much of the time of validity is left, 0 to 100.
        jobs: Number of jobs by status; None when the queue could not be read.
        is_paused: Whether a person paused the queue.
        queue_error: Why the queue could not be read; empty when it could.
        server: ComfyUI.
        needs_you: Number of things on the home page that need a person.
        host_name: The name of this host.
        host_line: The version of ComfyUI and the GPU, in a few words.
        obstacle: Why there is no report to show; empty when there is one.
    """

    tone: StatusTone
    summary: Summary | None
    checked_at: datetime | None
    valid_until: datetime | None
    share_left: int
    jobs: Mapping[str, int] | None
    is_paused: bool
    queue_error: str
    server: ServerFacts
    needs_you: int
    host_name: str
    host_line: str
    obstacle: str = ""

    @property
    def is_stale(self) -> bool:
        """Whether what was checked may not be true any more."""
        return self.tone is StatusTone.STALE

    @property
    def failed(self) -> int:
        """Number of jobs that failed or are in quarantine."""
        return 0 if self.jobs is None else self.jobs["failed"] + self.jobs["quarantined"]


@dataclass(frozen=True, slots=True)
class CheckFacts:
    """What a status sentence is made of besides the queue and the server."""

    summary: Summary | None
    checked_at: datetime | None
    valid_until: datetime | None


def choose_tone(
    check: CheckFacts, *, failed: int | None, server: ServerFacts, needs_you: int, now: datetime
) -> StatusTone:
    """Return the colour of the sentence: grey without evidence that still holds, before anything else.

    Args:
        check: The last check.
        failed: Number of failed jobs; None when the queue cannot be read, which is never OK.
        server: ComfyUI.
        needs_you: Number of things that need a person.
        now: The present time.
    """
    if check.summary is None or check.valid_until is None or now > check.valid_until:
        return StatusTone.STALE
    if server.state == "down" or check.summary.invalid:
        return StatusTone.BAD
    # What the supervisor cannot prove is not shown as good, nor as bad.
    is_doubtful = failed is None or server.state == "unproven"
    if needs_you or is_doubtful or failed or check.summary.ready < check.summary.workflows:
        return StatusTone.NEED
    return StatusTone.OK


def measure_share_left(check: CheckFacts, now: datetime) -> int:
    """Return how much of the time of validity is left, 0 to 100."""
    if check.checked_at is None or check.valid_until is None or now >= check.valid_until:
        return 0
    total = (check.valid_until - check.checked_at).total_seconds()
    left = (check.valid_until - now).total_seconds()
    return min(_PERCENT, round(_PERCENT * left / total)) if total > 0 else 0


def build_status_sentence(host: PageHost, now: datetime, *, needs_you: int) -> StatusSentence:
    """Read what heads every page. Trouble of one part is shown as unknown; the others are shown all the same.

    Args:
        host: The host.
        now: The present time.
        needs_you: Number of things that need a person.
    """
    obstacle = ""
    try:
        report, obstacle = host.read_master_status(), host.explain_missing_report()
    except Failure as failure:
        report, obstacle = None, str(failure)
    check = CheckFacts(None, None, None)
    if report is not None and report.checked_at is not None:
        check = CheckFacts(report.summary, parse_utc(report.checked_at), parse_utc(report.valid_until))
    jobs, is_paused, queue_error = None, False, ""
    try:
        figures = host.read_stats()
        jobs, is_paused = figures.by_status, figures.is_paused
    except Failure as failure:
        queue_error = failure.message
    failed = None if jobs is None else jobs["failed"] + jobs["quarantined"]
    server = read_server(host)
    parts = []
    if report is not None and report.host.comfyui_version:
        parts.append(f"ComfyUI {report.host.comfyui_version}")
    if report is not None:
        parts += [gpu.name for gpu in report.host.gpus if gpu.name][:1]
    return StatusSentence(
        tone=choose_tone(check, failed=failed, server=server, needs_you=needs_you, now=now),
        summary=check.summary,
        checked_at=check.checked_at,
        valid_until=check.valid_until,
        share_left=measure_share_left(check, now),
        jobs=jobs,
        is_paused=is_paused,
        queue_error=queue_error,
        server=server,
        needs_you=needs_you,
        host_name=host.agent.host,
        host_line=", ".join(parts),
        obstacle=obstacle,
    )


def read_server(host: PageHost) -> ServerFacts:
    """Return the state of ComfyUI as its supervisor reports it; unknown when none runs."""
    from comfywatchman.app.supervisor_state import read_supervisor

    try:
        supervisor = read_supervisor(host.session)
    except Failure as failure:
        return ServerFacts("unknown", sentence=failure.message)
    if supervisor is None:
        return ServerFacts("unknown", sentence="No supervisor runs, so ComfyUI itself is not monitored.")
    return ServerFacts(describe_server_state(supervisor), parse_utc(supervisor.since), supervisor.sentence)


def describe_server_state(supervisor: SupervisorSummary) -> str:
    """Return a state of ComfyUI in one of the few words that `ServerFacts` has for a supervised one. Pure."""
    if supervisor.is_working:
        return "up"
    if supervisor.is_changing:
        return "changing"
    return "unproven" if supervisor.state == "unproven" else "down"
