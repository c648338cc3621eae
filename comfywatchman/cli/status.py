"""`comfywatchman status`: the last report on a terminal, and whether it is out of date; or a live view of the host."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Final

import click
import msgspec

from comfywatchman.app.session import Session
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.base.state.state_file import CorruptFile
from comfywatchman.base.text import shorten_list
from comfywatchman.cli.hung_disk import call_within, exit_when_hung
from comfywatchman.cli.options import json_option
from comfywatchman.cli.other_comfyui import build_other_comfyui_failure
from comfywatchman.cli.render import create_console, print_json, print_table, printable, result_code
from comfywatchman.cli.text.status_text import ReportView, format_status, read_width
from comfywatchman.readiness.history import CycleRecord, read_records
from comfywatchman.readiness.report.folder_names import name_model
from comfywatchman.readiness.report.missing_names import list_lacking
from comfywatchman.readiness.report.needs import ActionKind
from comfywatchman.readiness.report.overview import build_overview
from comfywatchman.readiness.report.render import shorten_paths
from comfywatchman.readiness.report.watch_troubles import list_watch_troubles
from comfywatchman.readiness.report.write import ForeignReport, read_own_report
from comfywatchman.readiness.status import MasterStatus, WorkflowEntry
from comfywatchman.readiness.unfinished import read_killed_cycle
from comfywatchman.readiness.watch_state import WatchState, WatchTrouble, judge_watch

READ_SECONDS: Final = 10.0
WATCH_SECONDS: Final = 2.0
_STATES: Final = ("ready", "missing", "uncertain", "invalid")
_LISTS: Final = ("models", "packs", "inputs")


@click.command()
@json_option
@click.option("--all", "show_all", is_flag=True, help="List all workflows, too.")
@click.option(
    "--only",
    type=click.Choice([*_STATES, *_LISTS]),
    help="List the workflows of one state, or the missing models, node packs or files of yours.",
)
@click.option("--watch", "is_live", is_flag=True, help="Show verdicts, queue and tasks live, until Ctrl-C.")
@click.pass_context
def status(context: click.Context, as_json: bool, show_all: bool, only: str | None, is_live: bool) -> None:
    """Show the last report: which workflows are ready, and what to do first for the others.

    Exits with 1 when there is no report, when the last one is about another ComfyUI, when the watch has stopped, when
    the last cycle failed or was killed, and after [schedule] max_skips skipped cycles in a row.

    \b
    Examples:
      comfywatchman status
      comfywatchman status --only missing
      comfywatchman status --watch
    """
    session: Session = context.obj
    if is_live:
        if as_json or show_all or only is not None:
            raise click.UsageError("--watch cannot be combined with --json, --all or --only.")
        if not sys.stdout.isatty():
            raise click.UsageError("--watch needs a terminal; without --watch, status prints once.")
        watch_status(session)
        return
    report, records = call_within(
        READ_SECONDS,
        lambda: _read_state(session),
        what=f"The report in {printable_path(session.home_layout.home.output)}",
    )
    watch = judge_watch(report, records, now=session.clock.now(), max_skips=session.settings.schedule.max_skips)
    if report is None:
        raise _no_report_failure(session, None, watch)
    if as_json:
        print_json(
            stale=watch.trouble is WatchTrouble.STOPPED,
            watch={
                "trouble": watch.trouble,
                "last_cycle": watch.last,
                "skips": watch.skips,
                "has_old_verdicts": watch.has_old_verdicts,
            },
            report=msgspec.to_builtins(report),
        )
    elif only is not None:
        print_list(report, only)
    else:
        print_report(session, report, show_all=show_all, watch=watch)
    context.exit(result_code(success=watch.trouble is None))


def watch_status(session: Session) -> None:
    """Show the live view on the terminal until Ctrl-C; the terminal is left as it was.

    Raises:
        Failure: A `config-…` code, a `jobs-…` code when the queue cannot be opened, or `file-unreadable` when a disk
            does not answer.
    """
    # Loaded here: the report itself needs neither the database nor the tables of rich.
    from rich.live import Live
    from rich.text import Text

    from comfywatchman.app.jobs import JobAgent
    from comfywatchman.app.pages.live_status import read_live_status
    from comfywatchman.app.pages.page_host import PageHost
    from comfywatchman.base.stop import StopEvent
    from comfywatchman.cli.text.live_status_text import format_live_status

    console = create_console()
    agent = JobAgent(session)
    # On the alternate screen, which goes away with the view.
    live = Live(console=console, auto_refresh=False, screen=True)
    with exit_when_hung(live.stop), ExitStack() as stack, StopEvent() as stop_event:
        stop_event.set_on_signals(signal.SIGINT, signal.SIGTERM)
        store = call_within(READ_SECONDS, lambda: stack.enter_context(agent.open_store()), what="The queue")
        host = PageHost(session, agent, store)
        with live:
            while True:
                now = session.clock.now()
                facts = call_within(
                    READ_SECONDS, functools.partial(read_live_status, host, now), what="What the live view shows"
                )
                lines = format_live_status(facts, now, width=console.width, height=console.height)
                live.update(Text.from_ansi("\n".join(lines), no_wrap=True, overflow="crop"), refresh=True)
                if stop_event.wait(WATCH_SECONDS):
                    return


def _read_state(session: Session) -> tuple[MasterStatus | None, list[CycleRecord]]:
    """Read the report and the last cycles of the watched ComfyUI, newest first."""
    watched = session.watched_comfyui()
    report = read_own_report(session.layout, watched, only_look=True)
    if isinstance(report, ForeignReport):
        raise build_other_comfyui_failure(
            session, "The last report", report.comfyui, report.generated_at, command="status"
        )
    records: list[CycleRecord] = []
    killed = read_killed_cycle(session.layout.running_cycle, session.clock)
    if watched is not None:
        if killed is not None and killed.comfyui == watched.id:
            records.append(killed)
        limit = session.settings.schedule.max_skips + 1
        records += read_records(session.layout.history, limit=limit, comfyui=watched.id)
    if isinstance(report, CorruptFile):
        raise _no_report_failure(session, report)
    return report, records


def print_report(
    session: Session, report: MasterStatus, *, show_all: bool = False, watch: WatchState | None = None
) -> None:
    """Print a report: the workflows, if all are to be listed, and at most one screen that ends with what to do."""
    if show_all:
        _print_workflows(report, report.workflows)
        click.echo()
    now = session.clock.now()
    troubles = list_watch_troubles(watch, report, now, session.program()) if watch is not None else ()
    view = ReportView(
        now, read_width(), session.report_program(), printable_path(session.layout.status_markdown), troubles
    )
    # click writes colours to every terminal.
    is_plain = sys.stdout.isatty() and create_console().no_color
    for line in format_status(report, view):
        click.echo(click.unstyle(line) if is_plain else line)


def print_list(report: MasterStatus, only: str) -> None:
    """Print the workflows of one state, or one kind of what is missing."""
    if only in _STATES:
        entries = [entry for entry in report.workflows if entry.status.value.lower() == only]
        if entries:
            _print_workflows(report, entries)
        else:
            click.echo(f"No workflow is {only.upper()}.")
    elif only == "inputs":
        _print_inputs(report)
    else:
        _print_actions(report, only)


def _print_workflows(report: MasterStatus, entries: Iterable[WorkflowEntry]) -> None:
    names = shorten_paths(entry.path for entry in report.workflows)
    print_table(("Workflow", "Status", "Missing"), [_entry_row(entry, names) for entry in entries])


def _print_actions(report: MasterStatus, only: str) -> None:
    overview = build_overview(report)
    actions = [action for action in overview.actions if (action.folder is not None) == (only == "models")]
    if only == "packs":
        actions = [action for action in actions if action.kind is ActionKind.INSTALL]
    actions.sort(key=lambda action: (-overview.usage[action.id], action.name))
    if not actions:
        click.echo("No model is missing." if only == "models" else "No node pack is missing.")
    elif only == "models":
        rows = [(action.name, name_model(action.folder), str(overview.usage[action.id])) for action in actions]
        print_table(("Model", "Kind", "Workflows waiting"), rows, whole="Model")
    else:
        rows = [(action.name, action.url or action.pack, str(overview.usage[action.id])) for action in actions]
        print_table(("Pack", "Address", "Workflows waiting"), rows)


def _print_inputs(report: MasterStatus) -> None:
    workflows: dict[tuple[str, str], set[str]] = {}
    for entry in report.workflows:
        for missing in entry.missing_inputs:
            workflows.setdefault((missing.name or "none chosen", missing.folder), set()).add(entry.path)
    if not workflows:
        click.echo("No file of yours is missing.")
        return
    rows = [(name, folder, str(len(paths))) for (name, folder), paths in sorted(workflows.items())]
    print_table(("File", "Folder", "Workflows"), rows, whole="File")


def _entry_row(entry: WorkflowEntry, names: Mapping[str, str]) -> tuple[str, str, str]:
    return printable(names[entry.path]), entry.status.value, shorten_list(list_lacking(entry))


def _no_report_failure(session: Session, report: CorruptFile | None, watch: WatchState | None = None) -> Failure:
    path = session.layout.status_json
    if isinstance(report, CorruptFile):
        reason = f"The report {printable_path(path)} cannot be read: {report.reason}."
    else:
        reason = f"There is no report yet in {printable_path(path.parent)}."
        if watch is not None and watch.last is not None and watch.trouble is not None:
            reason += f" The last cycle {watch.last.result}: {watch.last.message}"
    return Failure("report-unavailable", reason, hint=f"Run: {session.format_command('--run-cycle')}")
