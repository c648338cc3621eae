"""`comfywatchman version remove`."""

from __future__ import annotations

from pathlib import Path

import click

from comfywatchman.cli.options import json_option


@click.command("remove")
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_context
def remove(context: click.Context, target: Path, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Remove the cloned version in the folder TARGET.

    Only folders that `version clone` made are removed. Models that are linked elsewhere stay there; the lock stays too.
    Outputs, inputs and workflows that you put there are named first, and go with it.

    \b
    Examples:
      comfywatchman version remove ~/comfyui-2026-11 --dry-run
      comfywatchman version remove ~/comfyui-2026-11 --yes
    """
    from comfywatchman.base.files import printable_path
    from comfywatchman.base.text import format_size, pluralize
    from comfywatchman.cli.render import DONE, print_json, printable
    from comfywatchman.versions.place import check_removable, find_user_files, measure_folder, remove_version

    folder = target.absolute()
    marker = check_removable(folder)
    size = measure_folder(folder)
    user_files = find_user_files(folder)
    for files in user_files if not as_json else ():
        amount = f"{pluralize(files.count, 'file')} of yours ({format_size(files.size)})"
        click.echo(f"It holds {amount} in ComfyUI/{files.folder}, which no lock can restore.", err=True)
    if not dry_run:
        if not yes and not as_json:
            question = f"Remove version {printable(marker.tag)} in {printable_path(folder)} ({format_size(size)})?"
            click.confirm(question, abort=True)
        remove_version(folder)
    if as_json:
        print_json(path=str(folder), tag=marker.tag, freed_bytes=size, user_files=user_files, is_removed=not dry_run)
    else:
        verb = "Would remove" if dry_run else "Removed"
        click.echo(f"{verb} {printable_path(folder)} (version {printable(marker.tag)}, {format_size(size)}).")
    context.exit(DONE)
