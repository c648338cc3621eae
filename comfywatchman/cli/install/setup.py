"""`comfywatchman setup`: find ComfyUI and write the configuration, and the service if it is wanted."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from comfywatchman.app.config_file import ConfigChange, set_keys
from comfywatchman.app.session import Session
from comfywatchman.base.config import user_config_file
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import FAILED, print_json, print_table, printable

if TYPE_CHECKING:
    from comfywatchman.app.setup.candidates import ComfyUICandidate
    from comfywatchman.app.setup.proposal import SetupFinding
    from comfywatchman.readiness.scheduler.systemd import UnitFile

_REPEAT: Final = "Run it again with --yes to write this, or on a terminal."


@click.command()
@click.option(
    "--python",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The Python that starts ComfyUI, when another one is found.",
)
@click.option("--url", help="Address of the running ComfyUI, when another one is found.")
@click.option("--service/--no-service", default=None, help="Write the systemd user service, without asking.")
@click.option("--yes", is_flag=True, help="Write the configuration without asking.")
@json_option
@click.pass_obj
def setup(
    session: Session, python: Path | None, url: str | None, service: bool | None, yes: bool, as_json: bool
) -> None:
    """Find ComfyUI, its Python, address and GPU, and write the configuration that follows.

    Nothing is written before you agree; other keys of the file are kept. When there are several ComfyUIs, name one with
    --comfyui before the command. With --json nothing is asked: without --yes the settings are only shown.

    \b
    Examples:
      comfywatchman setup
      comfywatchman --comfyui /srv/ComfyUI setup --yes --service
    """
    from comfywatchman.app.setup.proposal import SetupChoices
    from comfywatchman.app.setup.registry import find_settings

    is_asking = not (yes or as_json) and sys.stdin.isatty()
    candidate = _choose_candidate(session, is_asking=is_asking)
    choices = SetupChoices(candidate.folder, candidate.process, python.absolute() if python else None, url)
    findings = find_settings(session, choices)
    settings = _list_new_settings(session, findings)
    path = session.config_option or user_config_file()
    if not as_json:
        print_table(("Part", "Found"), [(finding.name, printable(finding.text)) for finding in findings])
        _print_settings(path, settings)
    if settings and not (yes or as_json) and not _may_write(is_asking=is_asking):
        raise click.exceptions.Exit(FAILED)
    is_written = yes or not as_json
    changes = set_keys(path, settings, has_comments=True) if settings and is_written else ()
    if service is None and is_asking:
        service = click.confirm("Check this ComfyUI every two hours with a systemd user service?", default=False)
    unit_paths, units = _write_service(session) if service and is_written else ((), ())
    if as_json:
        _print_json(path, findings, changes, units)
        return
    if changes:
        click.echo(f"Saved {printable_path(path)}.")
    if units:
        _print_service(unit_paths, units)
    _print_next_steps(session)


def _may_write(*, is_asking: bool) -> bool:
    """Ask whether the settings are written.

    Raises:
        Failure: `setup-unconfirmed` when nobody can be asked.
    """
    if not is_asking:
        raise Failure("setup-unconfirmed", "Nothing was written.", hint=_REPEAT)
    is_wanted = click.confirm("Write this?", default=True)
    if not is_wanted:
        click.echo("Nothing was written.")
    return is_wanted


def _choose_candidate(session: Session, *, is_asking: bool) -> ComfyUICandidate:
    """Return the ComfyUI of `--comfyui` or of the configuration, else the only one that is found, else the chosen one.

    Raises:
        Failure: `comfyui-not-found`, or `setup-unconfirmed` when there are several and nobody can be asked.
    """
    from comfywatchman.app.setup.candidates import USUAL_FOLDERS, find_candidates
    from comfywatchman.comfyui.server.running import find_running_comfyuis

    processes = find_running_comfyuis()
    if session.comfyui_option is not None or session.settings.comfyui.root:
        installation = session.require_installation("set up")
        named = installation.root.resolve()
        return find_candidates([named], [process for process in processes if process.folder.resolve() == named])[0]
    folders = [Path.cwd(), *(Path(folder).expanduser() for folder in USUAL_FOLDERS)]
    candidates = find_candidates(folders, processes)
    if not candidates:
        raise Failure(
            "comfyui-not-found",
            "No ComfyUI runs on this machine, and none is in the usual folders.",
            hint="Name its folder, the one with main.py: comfywatchman --comfyui /path/to/ComfyUI setup",
        )
    if len(candidates) == 1:
        return candidates[0]
    if not is_asking:
        raise Failure(
            "setup-unconfirmed",
            f"There are several ComfyUIs: {', '.join(printable_path(candidate.folder) for candidate in candidates)}.",
            hint="Name one: comfywatchman --comfyui FOLDER setup",
        )
    for number, candidate in enumerate(candidates, start=1):
        state = ", running" if candidate.process else ""
        click.echo(f"{number}. {printable_path(candidate.folder)} ({candidate.version or 'unknown version'}{state})")
    number = click.prompt("Which ComfyUI", type=click.IntRange(1, len(candidates)), default=1)
    return candidates[number - 1]


def _list_new_settings(session: Session, findings: Sequence[SetupFinding]) -> list[tuple[str, str]]:
    """Return the settings that differ from the effective ones."""
    from comfywatchman.base.config import SCHEMA

    effective = {key: value for key, value, _origin in session.configuration.rows()}
    is_named = session.comfyui_option is not None
    settings = []
    for finding in findings:
        for key, text in finding.settings:
            # The folder of --comfyui is not in a file yet.
            is_known = SCHEMA.parse_value(key, text) == effective[key]
            if not is_known or (is_named and key == "comfyui.root" and not session.settings.comfyui.root):
                settings.append((key, text))
    return settings


def _print_settings(path: Path, settings: Sequence[tuple[str, str]]) -> None:
    if not settings:
        click.echo(f"{printable_path(path)} needs no change.")
        return
    click.echo(f"For {printable_path(path)}:")
    for key, text in settings:
        click.echo(f"  {key} = {printable(text)}")


def _write_service(session: Session) -> tuple[tuple[Path, ...], tuple[UnitFile, ...]]:
    """Write the service with the new configuration; return its files and units."""
    from comfywatchman.cli.install.service import write_service

    return write_service(Session(session.home_option, session.config_option, session.comfyui_option))


def _print_json(
    path: Path, findings: Sequence[SetupFinding], changes: Sequence[ConfigChange], units: Sequence[UnitFile]
) -> None:
    from comfywatchman.readiness.scheduler.systemd import list_activation_commands

    print_json(
        file=str(path),
        found=[
            {"part": finding.name, "text": finding.text, "settings": dict(finding.settings)} for finding in findings
        ],
        written=[{"key": change.key, "before": change.before, "after": change.after} for change in changes],
        activation=list(list_activation_commands(units)) if units else [],
    )


def _print_service(paths: Sequence[Path], units: Sequence[UnitFile]) -> None:
    from comfywatchman.readiness.scheduler.systemd import list_activation_commands, list_care_commands

    for path in paths:
        click.echo(f"The service is written to {printable_path(path)}.")
    click.echo("Start it with:")
    for command in list_activation_commands(units):
        click.echo(f"  {command}")
    click.echo("Later:")
    for purpose, command in list_care_commands(units):
        click.echo(f"  {purpose}: {command}")


def _print_next_steps(session: Session) -> None:
    # The configuration that was written names ComfyUI.
    written = Session(session.home_option, session.config_option)
    click.echo("Next:")
    for line in (
        "  comfywatchman --run-cycle   check all workflows now",
        "  comfywatchman doctor        check this set-up",
    ):
        click.echo(written.complete_commands(line))
