"""`comfywatchman install-service`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

from comfywatchman.app.session import Session, own_command
from comfywatchman.base.config import systemd_user_folder
from comfywatchman.base.files import printable_path
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import print_json
from comfywatchman.readiness.scheduler.systemd import (
    UnitFile,
    build_cron_line,
    build_scheduler_unit,
    build_timer_units,
    find_temporary_environment,
    list_activation_commands,
    write_units,
)


@click.command("install-service")
@click.option("--timer", is_flag=True, help="A systemd timer that starts single cycles, instead of a scheduler.")
@click.option("--cron", is_flag=True, help="A line for crontab instead of systemd units.")
@click.option("--write", is_flag=True, help="Write the units into ~/.config/systemd/user instead of printing them.")
@json_option
@click.pass_obj
def install_service(session: Session, timer: bool, cron: bool, write: bool, as_json: bool) -> None:
    """Print or write a systemd user service or timer, or print a crontab line.

    They run with the home, configuration and ComfyUI of this call.
    """
    if cron and (timer or write):
        raise click.UsageError(
            "--cron cannot be combined with --timer or --write: it prints one line for `crontab -e`."
        )
    schedule = session.settings.schedule
    _warn_if_temporary()
    if cron:
        line = build_cron_line(_cycle_command(session, "cron"), interval_minutes=schedule.interval_minutes)
        if as_json:
            print_json(crontab=line)
        else:
            click.echo(line)
            click.echo("Add this line with: crontab -e", err=True)
        return
    units = _build_units(session, timer=timer)
    if write:
        paths = write_units(units, systemd_user_folder())
        _print_written(paths, units, as_json=as_json)
        return
    if as_json:
        print_json(
            units=[{"name": unit.name, "text": unit.text} for unit in units],
            activation=list(list_activation_commands(units)),
        )
        return
    for unit in units:
        click.echo(f"# {unit.name}\n{unit.text}")
    click.echo("Run again with --write to write this to ~/.config/systemd/user.", err=True)


def _warn_if_temporary() -> None:
    folder = find_temporary_environment(Path(sys.prefix), Path(tempfile.gettempdir()))
    if folder is None:
        return
    click.echo(f"Warning: this program runs from the temporary environment {printable_path(folder)}.", err=True)
    click.echo(
        "The service stops when it is deleted. Install comfywatchman first: uv tool install, or pipx install.", err=True
    )


def _build_units(session: Session, *, timer: bool) -> tuple[UnitFile, ...]:
    schedule = session.settings.schedule
    if not timer:
        return (build_scheduler_unit(_program_command(session, "--scheduler")),)
    return build_timer_units(
        _cycle_command(session, "schedule"),
        interval_minutes=schedule.interval_minutes,
        deadline_minutes=schedule.cycle_deadline_minutes,
    )


def _print_written(paths: tuple[Path, ...], units: tuple[UnitFile, ...], *, as_json: bool) -> None:
    if as_json:
        print_json(written=[str(path) for path in paths], activation=list(list_activation_commands(units)))
        return
    for path in paths:
        click.echo(f"Written: {path}")
    click.echo("Now run:")
    for command in list_activation_commands(units):
        click.echo(f"  {command}")


def _cycle_command(session: Session, trigger: str) -> tuple[str, ...]:
    return _program_command(session, "--run-cycle", "--trigger", trigger)


def _program_command(session: Session, *arguments: str) -> tuple[str, ...]:
    """Return a command that works from any folder: it names home, configuration and ComfyUI."""
    installation = session.require_installation("to install a service for")
    return (*own_command(), *session.arguments(installation), *arguments)
