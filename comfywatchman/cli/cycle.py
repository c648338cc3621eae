"""`comfywatchman --run-cycle`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click
import msgspec

from comfywatchman.app.environment import environment_checks, observed_loaders, production_folder
from comfywatchman.app.session import Session
from comfywatchman.base.errors import Failure
from comfywatchman.base.settings import Settings
from comfywatchman.cli.render import SKIPPED, print_json, result_code
from comfywatchman.cli.status import print_plan, print_report
from comfywatchman.comfyui.install.install import Installation, find_installation
from comfywatchman.comfyui.references.observed import NOTHING_OBSERVED
from comfywatchman.readiness.context import CycleRequest, Progress
from comfywatchman.readiness.cycle import CycleResult, run_cycle
from comfywatchman.readiness.scheduler.state import CycleNote

PHASE_TEXTS = {
    "gates": "Asking the gates",
    "models": "Looking through the model folders",
    "nodes": "Looking through the custom nodes",
    "server": "Asking the running ComfyUI",
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
    is_quiet = options.as_json or options.as_note
    installation, is_sample = _find_or_build_installation(session, quiet=is_quiet)
    with _show_phases(quiet=is_quiet) as progress:
        result = run_cycle(
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
                observed_loaders=NOTHING_OBSERVED if is_sample else observed_loaders(session),
                production=None if is_sample else production_folder(session),
            )
        )
    if options.as_note:
        note = CycleNote(result.record.id, result.record.skipped_reason, result.record.message)
        click.echo(msgspec.json.encode(note).decode("ascii", "backslashreplace"))
    else:
        _print_result(session, result, as_json=options.as_json)
    if result.record.skipped_reason:
        return SKIPPED
    return result_code(success=result.record.success)


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
        return installation, False
    from comfywatchman.readiness.sample.host import build_sample_host, find_installed_templates

    if not quiet:
        click.echo("No ComfyUI was found, so a sample host is built to show what a report contains.")
        click.echo("Name yours with COMFYUI_ROOT=/path/to/ComfyUI, or as [comfyui] root in config.toml.")
    sample = build_sample_host(session.layout.sample, templates=find_installed_templates())
    sample_installation = find_installation([("the sample host", sample.root)])
    if sample_installation is None:
        folder = session.layout.sample
        raise Failure("comfyui-not-found", f"The sample host in {folder} is incomplete.", hint=f"Delete {folder}.")
    if not quiet:
        root = shlex.quote(str(sample_installation.root))
        click.echo(f"To try other commands on it: comfywatchman --comfyui {root} scan …")
    return sample_installation, True


@contextmanager
def _show_phases(*, quiet: bool) -> Iterator[Progress]:
    """Show the current phase on a terminal; print nothing elsewhere."""
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
        click.echo(f"Skipped ({record.skipped_reason}): {record.message}")
    elif report is not None:
        print_report(report)
    if report is not None:
        click.echo(f"\nReport: {session.layout.status_markdown}")
        print_plan(report.plan)
