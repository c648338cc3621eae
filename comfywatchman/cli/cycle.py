"""`comfywatchman --run-cycle`: run one cycle, print its result, or why it was skipped."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import click
import msgspec

from comfywatchman.app.cycle_trace import record_failed_start
from comfywatchman.app.environment import (
    environment_checks,
    observed_loaders,
    production_folder,
    ungoverned_environment,
)
from comfywatchman.app.session import Session
from comfywatchman.app.supervisor_state import read_supervisor
from comfywatchman.base.errors import Failure
from comfywatchman.base.settings import Settings
from comfywatchman.cli.hung_disk import exit_when_hung
from comfywatchman.cli.render import SKIPPED, print_json, result_code
from comfywatchman.cli.status import print_report
from comfywatchman.comfyui.install.install import Installation, find_installation
from comfywatchman.comfyui.references.observed import NOTHING_OBSERVED
from comfywatchman.readiness.context import CycleRequest, Progress
from comfywatchman.readiness.cycle import CycleResult, run_cycle
from comfywatchman.readiness.scheduler.state import CycleNote
from comfywatchman.readiness.status import NOT_GOVERNED

PHASE_TEXTS = {
    "gates": "Checking the gates",
    "models": "Scanning the model folders",
    "nodes": "Scanning the custom nodes",
    "server": "Querying the running ComfyUI",
    "workflows": "Reading workflows",
    "verdicts": "Judging",
    "environment": "Checking the Python environment",
    "report": "Writing the report",
    "caches": "Writing caches",
    "hashing": "Hashing models",
    "search": "Searching for missing models",
    "plan": "Planning downloads",
    "downloads": "Downloading",
}


@dataclass(frozen=True, slots=True)
class CycleOptions:
    """The options of `--run-cycle`.

    Attributes:
        as_json: Print the result as JSON.
        as_note: Print one line for the scheduler.
        trigger: Trigger to record in the history.
        auto_download: Download models that are found and verified, whatever the configuration says.
    """

    as_json: bool
    as_note: bool
    trigger: str
    auto_download: bool


def run_cycle_command(session: Session, options: CycleOptions) -> int:
    """Run one cycle, print its result and return the exit code."""
    started = session.clock.now()
    interrupted = "It was interrupted while a disk did not answer."
    try:
        with exit_when_hung(lambda: record_failed_start(session, options.trigger, started, interrupted)):
            result = _run_cycle(session, options, started)
    except Failure as failure:
        # The scheduler reads this line; the last one on standard error is the hint, not the error.
        if options.as_note:
            _print_note(CycleNote(message=f"{failure.message} ({failure.code})"))
        raise
    if options.as_note:
        _print_note(CycleNote(result.record.id, result.record.skipped_reason, result.record.message))
    else:
        _print_result(session, result, as_json=options.as_json)
    if result.record.skipped_reason:
        return SKIPPED
    return result_code(success=result.record.success)


def _print_note(note: CycleNote) -> None:
    click.echo(msgspec.json.encode(note).decode("ascii", "backslashreplace"))


def _run_cycle(session: Session, options: CycleOptions, started: datetime) -> CycleResult:
    is_quiet = options.as_json or options.as_note
    try:
        installation, is_sample = _find_or_build_installation(session, quiet=is_quiet)
    except Failure as failure:
        # A cycle that is not even started must not look like one that ran.
        record_failed_start(session, options.trigger, started, failure.message)
        raise
    with _show_phases(session, quiet=is_quiet) as progress:
        return run_cycle(
            CycleRequest(
                trigger=options.trigger,
                settings=_effective_settings(session, options),
                layout=session.layout,
                installation=installation,
                roots=session.roots(installation),
                sample=is_sample,
                clock=session.clock,
                log=session.log,
                progress=progress,
                environment_checks=None if is_sample else environment_checks(session),
                ungoverned=NOT_GOVERNED if is_sample else ungoverned_environment(session),
                observed_loaders=NOTHING_OBSERVED if is_sample else observed_loaders(session),
                production=None if is_sample else production_folder(session),
                read_supervisor=lambda: None if is_sample else read_supervisor(session),
                complete_commands=session.complete_report_commands,
            )
        )


def _effective_settings(session: Session, options: CycleOptions) -> Settings:
    settings = session.settings
    if not options.auto_download:
        return settings
    downloads = msgspec.structs.replace(settings.downloads, auto=True)
    return msgspec.structs.replace(settings, downloads=downloads)


def _find_or_build_installation(session: Session, *, quiet: bool) -> tuple[Installation, bool]:
    """Return the ComfyUI to watch, and whether it is the sample host because there is none."""
    installation = session.installation()
    if installation is not None:
        if not quiet:
            name = f"ComfyUI {installation.version}" if installation.version else "ComfyUI"
            click.echo(f"{name} in {installation.root} (named by {installation.found_by}).")
        return installation, session.is_sample
    from comfywatchman.readiness.sample.host import build_sample_host, find_installed_templates

    if not quiet:
        click.echo("No ComfyUI was found, so a sample host is built to show what a report contains.")
        click.echo("Name yours with COMFYUI_ROOT=/path/to/ComfyUI, or as [comfyui] root in config.toml.")
    sample = build_sample_host(session.home_layout.sample, templates=find_installed_templates())
    sample_installation = find_installation([("the sample host", sample.root)])
    if sample_installation is None:
        folder = session.home_layout.sample
        raise Failure("comfyui-not-found", f"The sample host in {folder} is incomplete.", hint=f"Delete {folder}.")
    if not quiet:
        root = shlex.quote(str(sample_installation.root))
        click.echo(f"To try other commands on it: {shlex.join(session.program())} --comfyui {root} scan …")
    return sample_installation, True


@contextmanager
def _show_phases(session: Session, *, quiet: bool) -> Iterator[Progress]:
    """Show the current phase on a terminal, and record it in a task; print nothing elsewhere."""
    task = session.task
    if task is not None:
        yield lambda phase: task.show(PHASE_TEXTS.get(phase, phase))
        return
    if quiet or not sys.stderr.isatty():
        yield lambda _phase: None
        return
    from rich.console import Console

    with Console(stderr=True).status("Starting") as status:
        yield lambda phase: status.update(PHASE_TEXTS.get(phase, phase))


def _print_result(session: Session, result: CycleResult, *, as_json: bool) -> None:
    record, report = result.record, result.status
    if as_json:
        print_json(
            cycle=record,
            summary=report.summary if report else None,
            plan=report.plan if report else None,
            report=str(session.layout.status_json),
        )
        return
    if record.skipped_reason:
        click.echo(f"Check skipped: {record.message}")
    elif report is not None:
        print_report(session, report)
