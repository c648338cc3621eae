"""`comfywatchman backup`: save the state that cannot be recreated, and restore it."""

from __future__ import annotations

from pathlib import Path

import click

from comfywatchman.app.session import Session
from comfywatchman.base.files import printable_path
from comfywatchman.base.text import pluralize
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import print_json


@click.command("backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--restore", is_flag=True, help="Replace the present state by that of this backup.")
@json_option
@click.pass_obj
def backup(session: Session, file: Path, restore: bool, as_json: bool) -> None:
    """Write choices, intake log, history, known workflows, downloads and schedule into one new FILE.

    Everything else belongs to this machine, or the next cycle writes it. With --restore, the present state is renamed,
    not deleted; stop the scheduler before.

    \b
    Examples:
      comfywatchman backup state.tar.gz
      comfywatchman backup --restore state.tar.gz
    """
    from comfywatchman.readiness.backup import restore_backup, write_backup

    replaced: tuple[Path, ...] = ()
    if restore:
        manifest, replaced = restore_backup(session.layout, file, session.clock)
    else:
        manifest = write_backup(session.layout, file, session.clock)
    if as_json:
        print_json(file=printable_path(file), manifest=manifest, replaced=[printable_path(path) for path in replaced])
        return
    files = pluralize(len(manifest.sha256), "file")
    if restore:
        click.echo(f"Restored {files} of {manifest.made_at}.")
        for path in replaced:
            click.echo(f"Set aside: {printable_path(path)}")
    else:
        click.echo(f"Backed up {files} to {printable_path(file)}.")
        click.echo(f"To restore it: {session.format_command('backup', '--restore', str(file))}")
