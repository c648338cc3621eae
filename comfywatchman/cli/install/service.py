"""`comfywatchman install-service`: print or write systemd units, or print a crontab line."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Final

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
    build_supervisor_unit,
    build_timer_units,
    find_temporary_environment,
    list_activation_commands,
    list_care_commands,
    list_written_units,
    remove_units,
    write_units,
)

_SYSTEMCTL_SECONDS: Final = 90.0
_STOP_SLACK_SECONDS: Final = 15.0
"""For saving the evidence, and for a supervisor that is busy when it is asked to stop."""


@click.command("install-service")
@click.option("--timer", is_flag=True, help="A systemd timer that starts single cycles, instead of a scheduler.")
@click.option("--cron", is_flag=True, help="A line for crontab instead of systemd units.")
@click.option("--supervisor", is_flag=True, help="A service that keeps ComfyUI running (supervise run).")
@click.option("--write", is_flag=True, help="Write the units into ~/.config/systemd/user instead of printing them.")
@click.option("--remove", is_flag=True, help="Stop our units and delete them from ~/.config/systemd/user.")
@json_option
@click.pass_obj
def install_service(
    session: Session, timer: bool, cron: bool, supervisor: bool, write: bool, remove: bool, as_json: bool
) -> None:
    """Print, write or remove a systemd user service or timer, or print a crontab line.

    They run with the home, configuration and ComfyUI of this call. Without --supervisor, they run readiness cycles.

    \b
    Examples:
      comfywatchman install-service --write
      comfywatchman install-service --remove
    """
    if remove:
        if timer or cron or supervisor or write:
            raise click.UsageError("--remove can be combined with --json only.")
        _remove_units(as_json=as_json)
        return
    if supervisor and (timer or cron):
        raise click.UsageError("--supervisor cannot be combined with --timer or --cron: it is a service of its own.")
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
    units = (_build_supervisor_unit(session),) if supervisor else _build_units(session, timer=timer)
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


def write_service(session: Session) -> tuple[tuple[Path, ...], tuple[UnitFile, ...]]:
    """Write the unit of the scheduler for `setup`; return the paths and the units.

    Raises:
        Failure: `state-unwritable`.
    """
    _warn_if_temporary()
    units = _build_units(session, timer=False)
    return write_units(units, systemd_user_folder()), units


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


def _build_supervisor_unit(session: Session) -> UnitFile:
    from comfywatchman.app.supervision import GovernedEnvironments, open_environments
    from comfywatchman.supervisor.settings import build_settings

    environments = open_environments(session)
    # A comfygit workspace has a ComfyUI in each environment.
    installation = environments.installation if isinstance(environments, GovernedEnvironments) else None
    settings = build_settings(session.settings.supervisor)
    argv = (
        *own_command(),
        *session.arguments(installation),
        *("supervise", "run", "--workspace", str(environments.root.absolute())),
    )
    stop = settings.stop
    stop_seconds = stop.interrupt + stop.terminate + stop.kill + _STOP_SLACK_SECONDS
    return build_supervisor_unit(argv, stop_seconds=stop_seconds, is_kept=settings.is_kept)


def _print_written(paths: tuple[Path, ...], units: tuple[UnitFile, ...], *, as_json: bool) -> None:
    if as_json:
        print_json(written=[str(path) for path in paths], activation=list(list_activation_commands(units)))
        return
    for path in paths:
        click.echo(f"Written: {path}")
    click.echo("Now run:")
    for command in list_activation_commands(units):
        click.echo(f"  {command}")
    click.echo("Later:")
    for purpose, command in list_care_commands(units):
        click.echo(f"  {purpose}: {command}")


def _remove_units(*, as_json: bool) -> None:
    """Stop and disable the units that this program wrote, and delete their files."""
    folder = systemd_user_folder()
    names = list_written_units(folder)
    stopped = [name for name in names if _run_systemctl("disable", "--now", name)]
    remove_units(names, folder)
    if names:
        _run_systemctl("daemon-reload")
    if as_json:
        print_json(removed=list(names), stopped=stopped)
        return
    for name in names:
        note = "" if name in stopped else "; systemd did not answer, so it may still run until the next login"
        click.echo(f"Removed {printable_path(folder / name)}{note}")
    if not names:
        click.echo(f"No service of comfywatchman is in {printable_path(folder)}.")


def _run_systemctl(*arguments: str) -> bool:
    """Run systemctl for the units of this user; return whether it succeeded."""
    from comfywatchman.base.errors import Failure
    from comfywatchman.base.process import run_with_timeout

    try:
        result = run_with_timeout(("systemctl", "--user", *arguments), timeout_seconds=_SYSTEMCTL_SECONDS)
    except Failure:
        return False  # there is no systemd here
    return result.status == 0


def _cycle_command(session: Session, trigger: str) -> tuple[str, ...]:
    return _program_command(session, "--run-cycle", "--trigger", trigger)


def _program_command(session: Session, *arguments: str) -> tuple[str, ...]:
    """Return a command that works from any folder: it names home, configuration and ComfyUI."""
    installation = session.require_installation("to install a service for")
    return (*own_command(), *session.arguments(installation), *arguments)
