"""The lines of `comfywatchman status`: what is ready, trouble, what is missing, and last what to do."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import click

from comfywatchman.base.clock import format_duration, format_future, format_past, parse_utc
from comfywatchman.cli.render import printable
from comfywatchman.cli.text.wrapping import measure_width, wrap_command, wrap_path, wrap_text
from comfywatchman.readiness.report.missing_rows import describe_missing_row
from comfywatchman.readiness.report.overview import (
    HEADLINE_STEPS,
    MissingKind,
    PlannedStep,
    ReportOverview,
    build_overview,
)
from comfywatchman.readiness.report.printed_commands import complete_commands
from comfywatchman.readiness.report.render import describe_host, headline, plan_command
from comfywatchman.readiness.report.step_text import HostFacts, StepPart, describe_plan, describe_step
from comfywatchman.readiness.report.troubles import Trouble, TroubleKind, list_troubles
from comfywatchman.readiness.status import MasterStatus

MAX_LINES: Final = 40
MAX_TROUBLES: Final = 3
MAX_WIDTH: Final = 100
_UNLIMITED: Final = 10_000
_FOLDER_KINDS: Final = frozenset({MissingKind.FOLDER, MissingKind.OTHER_FOLDERS})


@dataclass(frozen=True, slots=True)
class ReportView:
    """How a report is shown.

    Attributes:
        now: The present time.
        width: Columns of the terminal.
        program: The arguments that start this program with the options of this call.
        report_file: Path of the Markdown report.
        troubles: What is wrong with the watch; it comes first.
        notices: Further lines about this host, of the supervisor and others.
    """

    now: datetime
    width: int
    program: tuple[str, ...] = ("comfywatchman",)
    report_file: str = ""
    troubles: tuple[Trouble, ...] = ()
    notices: tuple[str, ...] = ()


def read_width() -> int:
    """Return the columns to wrap at; piped output is not wrapped."""
    if not sys.stdout.isatty():
        return _UNLIMITED
    return min(shutil.get_terminal_size().columns, MAX_WIDTH)


def format_status(report: MasterStatus, view: ReportView) -> list[str]:
    """Return the report as at most one screen of lines; fewer steps and then no table where it would be longer."""
    overview = build_overview(report)
    host = HostFacts(report.host.comfyui_version, report.environment.state != "not governed")
    parts = [describe_step(step, host) for step in overview.steps]
    shown = len(parts)
    lines = _format_lines(report, view, overview, parts, shown=shown, with_table=True)
    while len(lines) > MAX_LINES and shown > HEADLINE_STEPS:
        shown -= 1
        lines = _format_lines(report, view, overview, parts, shown=shown, with_table=True)
    while len(lines) > MAX_LINES and shown:
        lines = _format_lines(report, view, overview, parts, shown=shown, with_table=False)
        shown -= 1
    return lines


def _format_lines(
    report: MasterStatus,
    view: ReportView,
    overview: ReportOverview,
    parts: Sequence[Sequence[StepPart]],
    *,
    shown: int,
    with_table: bool,
) -> list[str]:
    lines = _format_head(report, view, overview, shown)
    lines += _separate(_format_troubles(report, view))
    lines += _separate([line for notice in view.notices for line in wrap_text(printable(notice), view.width)])
    lines += _separate(_format_missing(overview, view) if with_table else [])
    lines += _separate(_format_steps(view, overview.steps[:shown], parts))
    lines += _separate(_format_end(report, view))
    return lines


def _separate(lines: list[str]) -> list[str]:
    """Return lines with an empty one before them; nothing for none."""
    return ["", *lines] if lines else []


def _format_head(report: MasterStatus, view: ReportView, overview: ReportOverview, shown: int) -> list[str]:
    title = headline(report)
    if report.host.sample:
        title += " (sample host)"
    lines = [click.style(title, bold=True)]
    plan, rest = describe_plan(overview, shown)
    if plan:
        lines += _style_first(wrap_text(f"{plan}; {rest}." if rest else f"{plan}.", view.width, hanging=""), plan)
    if report.comfyui is not None or report.host.comfyui_root:
        place = f" in {report.host.comfyui_root}" if report.host.comfyui_root else ""
        lines += wrap_text(printable(describe_host(report) + place), view.width)
    if report.checked_at is not None:
        checked = parse_utc(report.checked_at)
        valid = format_future(parse_utc(report.watched_until or report.valid_until), view.now)
        lines.append(f"Checked {format_past(checked, view.now)}, next check by {valid}")
    if view.report_file:
        lines += wrap_path(printable(f"Report {view.report_file}"), view.width, indent="")
    return lines


def _style_first(lines: list[str], plan: str) -> list[str]:
    # A wrapped plan keeps its plain form: an escape sequence must not span two lines.
    if lines[0].startswith(plan):
        lines[0] = click.style(plan, fg="green", bold=True) + lines[0][len(plan) :]
    return lines


def _format_troubles(report: MasterStatus, view: ReportView) -> list[str]:
    troubles = [*view.troubles, *list_troubles(report)]
    lines: list[str] = []
    for trouble in troubles[:MAX_TROUBLES]:
        lines += format_trouble(trouble, view)
    if len(troubles) > MAX_TROUBLES:
        lines.append(f"{len(troubles) - MAX_TROUBLES} more: {click_join(view.program, 'doctor')}")
    return lines


def format_trouble(trouble: Trouble, view: ReportView) -> list[str]:
    """Return a trouble as lines that begin with `Error:` or `Warning:`."""
    is_error = trouble.kind in {TroubleKind.WATCH, TroubleKind.START}
    label = "Error:" if is_error else "Warning:"
    text = f"{trouble.title} {trouble.place}".rstrip()
    if trouble.detail:
        text += f": {trouble.detail}"
    if trouble.retry_at:
        seconds = (parse_utc(trouble.retry_at) - view.now).total_seconds()
        text += f"; retrying in {format_duration(seconds)}" if seconds > 0 else "; retrying with the next check"
    programs = {name: complete_command((name,), view.program) for name in ("comfywatchman", "gov")}
    text = f"{text}. {complete_commands(trouble.next_step, programs)}".rstrip()
    lines = wrap_text(f"{label} {printable(text)}", view.width)
    styled = click.style(label, fg="red" if is_error else "yellow", bold=True)
    return [styled + lines[0][len(label) :], *lines[1:]]


def _format_missing(overview: ReportOverview, view: ReportView) -> list[str]:
    rows = [row for row in overview.missing if row.kind not in _FOLDER_KINDS]
    if not rows:
        return []
    names = [describe_missing_row(row) for row in rows]
    wide = max(map(measure_width, ["Missing", *names]))
    lines = [click.style(f"{'Missing':<{wide}}  Count  Workflows waiting", dim=True)]
    lines += [f"{name:<{wide}}  {row.count:>5}  {row.waiting:>17}" for name, row in zip(names, rows, strict=True)]
    return [*lines, click.style(f"All: {click_join(view.program, 'status', '--all')}", dim=True)]


def _format_steps(view: ReportView, steps: Sequence[PlannedStep], parts: Sequence[Sequence[StepPart]]) -> list[str]:
    if not steps:
        return []
    gain = steps[0].gain
    lines = [click.style("Do this first", bold=True)]
    lines[0] += click.style(f" (+{gain}: makes {_count_workflows(gain)} ready)", dim=True)
    for number, (step, step_parts) in enumerate(zip(steps, parts, strict=False), 1):
        for part_number, part in enumerate(step_parts):
            lead = f"{number}. " if part_number == 0 else "   "
            gain_text = f"+{step.gain} " if part_number == 0 else "then "
            lines += _format_part(part, step, lead, gain_text, view)
    return lines


def _count_workflows(count: int) -> str:
    return "1 more workflow" if count == 1 else f"{count} more workflows"


def _format_part(part: StepPart, step: PlannedStep, lead: str, gain: str, view: ReportView) -> list[str]:
    title = part.title[0].upper() + part.title[1:] if gain.startswith("+") else part.title
    if part.size:
        title += f", {part.size}"
    if step.after and gain.startswith("+"):
        title += f", after step {' and '.join(map(str, step.after))}"
    if part.note:
        title += f" ({part.note})"
    lines = wrap_text(f"{lead}{gain}{printable(title)}", view.width, hanging="   ")
    lines[0] = lead + click.style(gain, fg="green", bold=True) + lines[0][len(lead) + len(gain) :]
    for path in part.paths:
        lines += [click.style(line, dim=True) for line in wrap_path(printable(path), view.width, indent="   ")]
    if part.command:
        command = complete_command(part.command, view.program)
        lines += [click.style(line, fg="cyan") for line in wrap_command(command, view.width, indent="   ")]
    elif part.page:
        lines.append(f"   {click.style(part.page, fg='cyan')}")
    return lines


def complete_command(command: tuple[str, ...], program: tuple[str, ...]) -> tuple[str, ...]:
    """Return a command with the options of this call, so that it means the same ComfyUI and home."""
    first, *rest = command
    if first == "comfywatchman":
        return (*program, *rest)
    if first == "gov":
        return ("gov", *program[1:], *rest)
    return command


def click_join(program: Iterable[str], *arguments: str) -> str:
    """Return a command as one line for a shell."""
    return printable(shlex.join([*program, *arguments]))


def _format_end(report: MasterStatus, view: ReportView) -> list[str]:
    plan = report.plan
    summary = report.summary
    lines: list[str] = []
    if plan is not None and plan.fetched:
        files = f"{plan.fetched} of {plan.downloads} planned downloads came in; the next check judges them."
        lines += wrap_text(files, view.width)
    elif plan is not None and plan.downloads > 1:
        lines += [f"All {plan.downloads} files that were found: {plan_command(plan)}"]
    if plan is not None and plan.blocked:
        models = "1 model was found, but is blocked"
        if len(plan.blocked) > 1:
            models = f"{len(plan.blocked)} models were found, but are blocked"
        lines.append(f"{models}: {click_join(view.program, 'download', '--list')}")
    if plan is not None and plan.to_choose:
        models = "1 model is uncertain" if plan.to_choose == 1 else f"{plan.to_choose} models are uncertain"
        lines.append(f"{models}: {click_join(view.program, 'resolve', '--all')}")
    if report.checked_at is not None and summary.workflows == 0 and not report.unread_folders:
        lines += ["Save a workflow in ComfyUI, or add a folder to [[workflows.roots]] of the configuration."]
    elif report.checked_at is not None and summary.ready == summary.workflows and not report.start_problems:
        lines.append("Nothing to do.")
    return lines
