"""`comfywatchman --run-cycle`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click
import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.settings import Settings
from comfywatchman.cli.environment import environment_checks, tried_loaders
from comfywatchman.cli.render import DONE, FAILED, SKIPPED, print_json
from comfywatchman.cli.session import Session
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
    """How one cycle is run and shown.

    Attributes:
        as_json: Print facts as JSON.
        as_note: Print one line for the scheduler.
        trigger: What it is recorded as.
        auto_download: Fetch what is found and proved, whatever the configuration says.
    """

    as_json: bool
    as_note: bool
    trigger: str
    auto_download: bool


def run_cycle_command(session: Session, how: CycleOptions) -> int:
    """Run one guarded cycle and show what came of it; the exit code says whether it ran."""
    is_quiet = how.as_json or how.as_note
    installation, is_sample = _find_or_build_installation(session, quiet=is_quiet)
    with _show_phases(quiet=is_quiet) as progress:
        result = run_cycle(
            CycleRequest(
                trigger=how.trigger,
                settings=_effective_settings(session, how),
                layout=session.layout,
                installation=installation,
                roots=session.roots(installation),
                sample=is_sample,
                clock=session.clock,
                log=session.log,
                progress=progress,
                environment_checks=None if is_sample else environment_checks(session),
                tried_loaders=NOTHING_OBSERVED if is_sample else tried_loaders(session),
            )
        )
    if how.as_note:
        note = CycleNote(result.record.id, result.record.skipped_reason, result.record.message)
        click.echo(msgspec.json.encode(note).decode("ascii", "backslashreplace"))
    else:
        _print_result(session, result, as_json=how.as_json)
    if result.record.skipped_reason:
        return SKIPPED
    return DONE if result.record.success else FAILED


def _effective_settings(session: Session, how: CycleOptions) -> Settings:
    settings = session.settings
    if not how.auto_download:
        return settings
    return msgspec.structs.replace(settings, downloads=msgspec.structs.replace(settings.downloads, auto=True))


def _find_or_build_installation(session: Session, *, quiet: bool) -> tuple[Installation, bool]:
    found = session.installation()
    if found is not None:
        if not quiet:
            click.echo(
                f"ComfyUI{f' {found.version}' if found.version else ''} in {found.root} (named by {found.found_by})."
            )
        return found, False
    from comfywatchman.readiness.sample.host import build_sample_host, find_installed_templates

    if not quiet:
        click.echo("No ComfyUI was found, so a sample host is built to show what a report says.")
        click.echo("Name yours with COMFYUI_ROOT=/path/to/ComfyUI, or as [comfyui] root in config.toml.")
    sample = build_sample_host(session.layout.sample, templates=find_installed_templates())
    built = find_installation([("the sample host", sample.root)])
    if built is None:
        place = session.layout.sample
        raise Failure("comfyui-not-found", f"The sample host in {place} is not whole.", hint=f"Delete {place}.")
    if not quiet:
        click.echo(f"To try other commands on it: comfywatchman --comfyui {shlex.quote(str(built.root))} scan …")
    return built, True


@contextmanager
def _show_phases(*, quiet: bool) -> Iterator[Progress]:
    """Show the phase under way on a terminal; say nothing elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield lambda _phase: None
        return
    from rich.console import Console

    with Console(stderr=True).status("Starting") as status:
        yield lambda phase: status.update(PHASE_TEXTS.get(phase, phase))


def _print_result(session: Session, result: CycleResult, *, as_json: bool) -> None:
    record, layout = result.record, session.layout
    if as_json:
        print_json(
            cycle=msgspec.to_builtins(record),
            summary=msgspec.to_builtins(result.status.summary) if result.status else None,
            plan=msgspec.to_builtins(result.status.plan) if result.status else None,
            report=str(layout.status_json),
        )
        return
    if record.skipped_reason:
        click.echo(f"Skipped ({record.skipped_reason}): {record.message}")
    elif result.status is not None:
        print_report(result.status)
    if result.status is not None:
        click.echo(f"\nReport: {layout.status_markdown}")
        print_plan(result.status.plan)
