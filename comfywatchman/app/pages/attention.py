"""What needs a person: troubles of the watch and of the last report, failed jobs, and what makes workflows ready."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import urlencode

from comfywatchman.app.pages.page_host import PageHost
from comfywatchman.base.clock import parse_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.text import pluralize
from comfywatchman.jobs.store.bulk import FailureGroup
from comfywatchman.readiness.report.overview import build_overview
from comfywatchman.readiness.report.step_text import HostFacts, StepPart, describe_step
from comfywatchman.readiness.report.troubles import Trouble, TroubleKind, list_troubles
from comfywatchman.readiness.report.watch_troubles import list_watch_troubles
from comfywatchman.readiness.status import WorkflowEntry
from comfywatchman.readiness.watch_state import judge_watch

MAX_CAUSES: Final = 3
CHECK_PAGE: Final = "check"
"""In place of a page: the button starts a check."""

_BAD_KINDS: Final = frozenset({TroubleKind.WATCH, TroubleKind.START, TroubleKind.IMPORT})
_CHECK_NOW: Final = ("Check now", CHECK_PAGE)
_SEE_SERVER: Final = ("See the server", "server")
_SEE_WORKFLOWS: Final = ("See the workflows", "workflows")
TROUBLE_BUTTONS: Final[Mapping[TroubleKind, tuple[str, str]]] = {
    TroubleKind.WATCH: _CHECK_NOW,
    TroubleKind.SKIPPED: _CHECK_NOW,
    TroubleKind.START: _SEE_SERVER,
    TroubleKind.UNREACHABLE: _SEE_WORKFLOWS,
    TroubleKind.IMPORT: _SEE_SERVER,
    TroubleKind.ENVIRONMENT: ("See the environment", "environment"),
    TroubleKind.SITES: _SEE_WORKFLOWS,
    TroubleKind.UNCONFIRMED: _SEE_WORKFLOWS,
    TroubleKind.UNCHECKED: _SEE_WORKFLOWS,
    TroubleKind.PROBLEM: _SEE_WORKFLOWS,
}
"""The button of each kind of trouble: its label, and where it leads."""


@dataclass(frozen=True, slots=True)
class NeededAction:
    """One thing that needs a person.

    Attributes:
        tone: `bad`, `need` or `ask`.
        title: What it is, in one sentence without a full stop.
        why: The facts, and what to do.
        command: The command that does it; empty for none.
        since: Since when; None when that is not known.
        button: The label of its button.
        page: The page that the button leads to, with its query encoded, or `CHECK_PAGE`.
    """

    tone: str
    title: str
    why: str
    command: str = ""
    since: datetime | None = None
    button: str = ""
    page: str = ""


def list_needed_actions(host: PageHost, now: datetime) -> tuple[NeededAction, ...]:
    """Return what needs a person, the most urgent first. A part that cannot be read hides no other."""
    return host.cache_in_request("needed", lambda: _list_needed(host, now))


def _list_needed(host: PageHost, now: datetime) -> tuple[NeededAction, ...]:
    needed: list[NeededAction] = []
    parts: tuple[Callable[[], list[NeededAction]], ...] = (
        lambda: _list_watch_troubles(host, now),
        lambda: _list_failed_jobs(host),
        lambda: _list_report_obstacle(host),
        lambda: host.cache_by_report("needed", lambda: _list_of_report(host)),
    )
    for list_part in parts:
        # A part that fails must not hide the others.
        with contextlib.suppress(Failure):
            needed += list_part()
    return tuple(sorted(needed, key=lambda action: action.tone != "bad"))


def _list_watch_troubles(host: PageHost, now: datetime) -> list[NeededAction]:
    report = host.read_master_status()
    if report is None:
        return []
    max_skips = host.session.settings.schedule.max_skips
    watch = judge_watch(report, host.read_cycles(max_skips + 1), now=now, max_skips=max_skips)
    troubles = list_watch_troubles(watch, report, now, host.session.program())
    return [_describe_trouble(trouble) for trouble in troubles]


def _list_failed_jobs(host: PageHost) -> list[NeededAction]:
    try:
        return _list_causes(host)
    except Failure as failure:
        why = f"{failure.message} {failure.hint or ''}".strip()
        return [NeededAction("bad", "The queue cannot be read", why, button="See the queue", page="queue")]


def _list_report_obstacle(host: PageHost) -> list[NeededAction]:
    obstacle = host.explain_missing_report()
    if not obstacle:
        return []
    command = host.session.format_command("--run-cycle")
    why = f"{obstacle} The next check writes a new one."
    button, page = _CHECK_NOW
    return [NeededAction("need", "The last report cannot be used", why, command, button=button, page=page)]


def _list_causes(host: PageHost) -> list[NeededAction]:
    counts = host.read_stats().by_status
    if not counts["failed"] + counts["quarantined"]:
        return []
    groups = host.store.group_failures(limit=MAX_CAUSES + 1)
    needed = [_describe_failures(group) for group in groups[:MAX_CAUSES]]
    if len(groups) > MAX_CAUSES:
        rest = counts["failed"] + counts["quarantined"] - sum(group.count for group in groups[:MAX_CAUSES])
        title = f"{pluralize(rest, 'job')} failed for other reasons"
        needed.append(NeededAction("bad", title, "", button="See them", page="queue?status=failed"))
    return needed


def _describe_failures(group: FailureGroup) -> NeededAction:
    lines = (group.newest.error_trace or "").strip().splitlines()
    why = lines[0] if lines else group.error_code
    what = group.newest.config_name.removesuffix(".yaml") if group.count == 1 else f"{group.count} jobs"
    query = urlencode({"status": "failed"})
    button = "See the job" if group.count == 1 else f"See the {group.count} jobs"
    return NeededAction("bad", f"{what} failed", why, since=group.last_at, button=button, page=f"queue?{query}")


def _list_of_report(host: PageHost) -> list[NeededAction]:
    report = host.read_master_status()
    if report is None:
        return []
    checked_at = None if report.checked_at is None else parse_utc(report.checked_at)
    needed = [_describe_trouble(trouble, checked_at) for trouble in list_troubles(report)]
    facts = HostFacts(report.host.comfyui_version, report.environment.state != "not governed")
    for step in build_overview(report).steps:
        parts = describe_step(step, facts)
        title = "; then ".join(_name_part(part) for part in parts)
        commands = [host.session.complete_commands(shlex.join(part.command)) for part in parts if part.command]
        gain = pluralize(step.gain, "more workflow")
        notes = " ".join(f"{part.note[:1].upper()}{part.note[1:]}." for part in parts if part.note)
        why = f"It makes {gain} ready. {notes}".strip()
        title = f"{title[:1].upper()}{title[1:]}"
        since = find_wait_begin(report.workflows, step.unlocks)
        button, page = _SEE_WORKFLOWS
        needed.append(NeededAction("need", title, why, "\n".join(commands), since, button, page))
    return needed


def _name_part(part: StepPart) -> str:
    """Return what a step does, with the name of the file when it is one."""
    title = f"{part.title} {PurePosixPath(part.paths[0]).name}" if len(part.paths) == 1 else part.title
    return f"{title}, {part.size}" if part.size else title


def find_wait_begin(workflows: Iterable[WorkflowEntry], paths: Collection[str]) -> datetime | None:
    """Return since when the first of some workflows has waited; None for one that was complete before. Pure.

    A workflow that never was complete has waited since its file was seen. When one stopped being complete is not known.
    """
    begins = []
    for entry in workflows:
        if entry.path in paths and entry.intake is not None:
            if entry.last_resolved_at is not None:
                return None
            begins.append(parse_utc(entry.intake.acknowledged_at))
    return min(begins, default=None)


def _describe_trouble(trouble: Trouble, since: datetime | None = None) -> NeededAction:
    why = f"{trouble.detail[:1].upper()}{trouble.detail[1:]}. " if trouble.detail else ""
    tone = "bad" if trouble.kind in _BAD_KINDS else "need"
    button, page = TROUBLE_BUTTONS[trouble.kind]
    title = f"{trouble.title} {trouble.place}".strip()
    return NeededAction(tone, title, f"{why}{trouble.next_step}".strip(), since=since, button=button, page=page)
