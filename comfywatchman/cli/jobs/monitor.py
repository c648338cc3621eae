"""`comfywatchman jobs monitor`: read job files into the queue, once or until stopped."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import click
import msgspec

from comfywatchman.base.files import printable_path
from comfywatchman.base.stop import StopEvent
from comfywatchman.cli.jobs.common import open_agent
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import JSON_SCHEMA_VERSION, print_json, printable, result_code
from comfywatchman.jobs.files.intake import ScanResult, ScanStatus
from comfywatchman.jobs.records import UpsertOutcome

if TYPE_CHECKING:
    from comfywatchman.app.jobs import JobAgent


@click.command()
@click.option("--once/--loop", "is_once", default=True, help="Read the files once, or keep watching the folder.")
@json_option
@click.pass_context
def monitor(context: click.Context, is_once: bool, as_json: bool) -> None:
    """Read job files from jobs/processing/ into the queue.

    Exits with 1 when a file was rejected. With --loop --json, each result is one object per line.

    \b
    Examples:
      comfywatchman jobs monitor --once
      comfywatchman jobs monitor --loop
    """
    from comfywatchman.jobs.files.monitor import run_monitor_loop

    agent = open_agent(context)
    _ = context.obj.log
    if is_once:
        results = scan_files_once(agent)
        if as_json:
            print_json(results=[describe_scan(result) for result in results])
        else:
            print_scan(results)
        context.exit(result_code(success=all(result.status is not ScanStatus.REJECTED for result in results)))
    with agent.open_store() as store, StopEvent() as stop_event:
        stop_event.set_on_signals(signal.SIGINT, signal.SIGTERM)
        if not as_json:
            click.echo(f"Watching {printable_path(agent.settings.processing)}. Ctrl-C stops.")
        show = print_scan_line if as_json else print_scan_result
        run_monitor_loop(agent.settings, None, store, stop_event, report=show)


def scan_files_once(agent: JobAgent) -> list[ScanResult]:
    """Read the job files that are there; wait for files that were written just now."""
    from comfywatchman.jobs.files.folders import ensure_media_folders
    from comfywatchman.jobs.files.intake import IntakeMemory, scan_once
    from comfywatchman.jobs.files.workflows import load_workflows

    cfg = agent.settings
    ensure_media_folders([cfg.processing, cfg.finished], cfg.media_of_type.values())
    workflows = load_workflows(cfg.workflows)
    memory = IntakeMemory()
    results: dict[str, ScanResult] = {}
    with agent.open_store() as store, StopEvent() as stop_event:
        for is_last in (False, False, True):
            results |= {result.path: result for result in scan_once(cfg, workflows, store, memory=memory)}
            is_waiting = any(result.status is ScanStatus.WAITING for result in results.values())
            if is_last or not is_waiting:
                break
            stop_event.wait(cfg.poll_interval_seconds)
    return [results[path] for path in sorted(results)]


def print_scan(results: list[ScanResult]) -> None:
    """Print the result of each file, and how many there were."""
    for result in results:
        print_scan_result(result)
    accepted = [result for result in results if result.status is ScanStatus.ACCEPTED]
    added = sum(result.outcome is UpsertOutcome.INSERTED for result in accepted)
    click.echo(f"{len(accepted)} accepted ({added} new), {len(results) - len(accepted)} not accepted.")


def print_scan_result(result: ScanResult) -> None:
    """Print the result of a file that is new, changed or not accepted."""
    if result.status is ScanStatus.ACCEPTED:
        if result.outcome is not None and result.outcome is not UpsertOutcome.IGNORED:
            click.echo(f"{printable(result.config_name)}: {result.outcome.value}")
        return
    click.echo(f"{printable_path(result.path)}: {result.status.value}: {printable(result.reason)}", err=True)
    for problem in result.problems:
        click.echo(f"  {printable(str(problem))}", err=True)


def print_scan_line(result: ScanResult) -> None:
    """Print the result of a file as one line of JSON."""
    click.echo(json.dumps({"schema_version": JSON_SCHEMA_VERSION, **describe_scan(result)}, sort_keys=True))


def describe_scan(result: ScanResult) -> dict[str, Any]:
    """Return the result of a file for JSON."""
    facts: dict[str, Any] = msgspec.to_builtins(result)
    return facts
