"""The lines of `comfywatchman status --watch`: the most important part first, cut to the height of the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import click

from comfywatchman.app.pages.attention import NeededAction
from comfywatchman.app.pages.live_status import LiveStatus
from comfywatchman.app.pages.queue import RunningJob
from comfywatchman.app.pages.status_sentence import StatusSentence, StatusTone
from comfywatchman.app.tasks.records import TaskSnapshot
from comfywatchman.base.clock import format_duration, format_future, format_past
from comfywatchman.base.text import pluralize
from comfywatchman.cli.render import printable
from comfywatchman.cli.text.wrapping import measure_width, wrap_text
from comfywatchman.jobs.records import WaitingJob

FOOTER: Final = "Ctrl-C ends this view."
MAX_NEEDED: Final = 3
_MIN_SECTION_LINES: Final = 3
_ELLIPSIS: Final = "…"
_TONES: Final = {StatusTone.OK: "green", StatusTone.NEED: "yellow", StatusTone.BAD: "red", StatusTone.STALE: "white"}


def format_live_status(status: LiveStatus, now: datetime, *, width: int, height: int) -> list[str]:
    """Return the lines of the view.

    Args:
        status: What it shows.
        now: The present time.
        width: Columns of the terminal. No line is wider.
        height: Lines of the terminal. What does not fit is counted.
    """
    lines = _format_head(status.sentence, now, width)
    sections = (
        ("Needs you", [_format_needed(action, width) for action in status.needed[:MAX_NEEDED]], len(status.needed)),
        ("Running jobs", [_format_running(run, now, width) for run in status.running], len(status.running)),
        ("Background tasks", [_format_task(task, width) for task in status.tasks], len(status.tasks)),
        ("Next jobs", [_format_waiting(job, width) for job in status.waiting], _count_waiting(status)),
    )
    room = height - len(lines) - 2
    for title, entries, total in sections:
        section = _format_section(title, entries, total, room)
        lines += section
        room -= len(section)
    return [*lines[: max(1, height - 2)], "", click.style(FOOTER, dim=True)]


def _count_waiting(status: LiveStatus) -> int:
    return 0 if status.sentence.jobs is None else max(status.sentence.jobs["pending"], len(status.waiting))


def _format_head(sentence: StatusSentence, now: datetime, width: int) -> list[str]:
    lines = wrap_text(f"{printable(sentence.host_name)}, {now.astimezone():%H:%M:%S}", width)
    verdict = wrap_text(_describe_verdicts(sentence, now), width, hanging="")
    lines += [click.style(line, fg=_TONES[sentence.tone], bold=True) for line in verdict]
    lines += wrap_text(_describe_queue(sentence), width)
    if sentence.server.sentence:
        lines += wrap_text(printable(sentence.server.sentence), width)
    return lines


def _describe_verdicts(sentence: StatusSentence, now: datetime) -> str:
    summary = sentence.summary
    if summary is None or sentence.checked_at is None or sentence.valid_until is None:
        return printable(sentence.obstacle or "Nothing has been checked yet.")
    ready = f"{summary.ready} of {pluralize(summary.workflows, 'workflow')}"
    if sentence.is_stale:
        since = format_past(sentence.checked_at, now)
        return f"Not checked since {since}. {ready} were ready then; that may not be so now."
    until = format_future(sentence.valid_until, now)
    return f"{ready} ready. Checked {format_past(sentence.checked_at, now)}, holds until {until}."


def _describe_queue(sentence: StatusSentence) -> str:
    if sentence.jobs is None:
        return f"The queue cannot be read: {printable(sentence.queue_error)}"
    processing, pending = sentence.jobs["processing"], sentence.jobs["pending"]
    text = f"{pluralize(processing, 'job')} {'runs' if processing == 1 else 'run'}, "
    text += f"{pending} {'waits' if pending == 1 else 'wait'}"
    if sentence.failed:
        text += f", {sentence.failed} failed"
    return f"{text}; the queue is paused." if sentence.is_paused else f"{text}."


def _format_section(title: str, entries: Sequence[Sequence[str]], total: int, room: int) -> list[str]:
    """Return as many entries as fit below a title, and how many more there are."""
    if not entries or room < _MIN_SECTION_LINES:
        return []
    lines = ["", click.style(title, bold=True)]
    shown = 0
    for entry in entries:
        is_last = shown + 1 == total
        # One line is kept for the number of those that do not fit.
        if len(lines) + len(entry) + (0 if is_last else 1) > room:
            break
        lines += entry
        shown += 1
    if shown < total:
        lines.append(f"  {total - shown} more")
    return lines


def _format_needed(action: NeededAction, width: int) -> list[str]:
    mark = click.style("!", fg="red" if action.tone == "bad" else "yellow")
    lines = [f"{mark} {cut_line(printable(action.title), width - 2)}"]
    commands = [cut_line(printable(command), width - 2) for command in action.command.splitlines()]
    return [*lines, *(click.style(f"  {command}", fg="cyan") for command in commands)]


def _format_running(run: RunningJob, now: datetime, width: int) -> list[str]:
    facts = []
    if run.steps:
        node = f"node {run.node}, " if run.node else ""
        facts.append(f"{node}step {run.step} of {run.steps} ({100 * run.step // run.steps} %)")
    elif run.prompts_ahead:
        facts.append(f"waits for {pluralize(run.prompts_ahead, 'other prompt')} in ComfyUI")
    elif run.node:
        facts.append(f"node {run.node}")
    if run.runs_for_seconds is not None:
        facts.append(f"for {format_duration(run.runs_for_seconds)}")
    if run.worker is not None:
        seconds = max(0.0, (now - run.worker.last_beat).total_seconds())
        facts.append(f"last sign of life {format_duration(seconds)} ago")
    name = cut_line(printable(run.job.config_name.removesuffix(".yaml")), width - 2)
    return [f"  {name}", *wrap_text(printable(", ".join(facts) or "starting"), width, indent="    ", hanging="")]


def _format_waiting(waiting: WaitingJob, width: int) -> list[str]:
    name = cut_line(printable(waiting.job.config_name.removesuffix(".yaml")), width - 2)
    return [f"  {name}", f"    {cut_line(printable(waiting.reason.sentence), width - 4)}"]


def _format_task(task: TaskSnapshot, width: int) -> list[str]:
    percent = "" if task.percent is None else f" {task.percent} %"
    subject = f" {task.order.subject}" if task.order.subject else ""
    text = f": {task.progress.text}" if task.progress.text else ""
    return [f"  {cut_line(printable(f'{task.order.kind.value}{subject}{percent}{text}'), width - 2)}"]


def cut_line(text: str, width: int) -> str:
    """Return a text of at most so many columns; a longer one ends with an ellipsis."""
    if measure_width(text) <= width:
        return text
    cut = ""
    for char in text:
        if measure_width(cut + char) > width - 1:
            break
        cut += char
    return cut + _ELLIPSIS
