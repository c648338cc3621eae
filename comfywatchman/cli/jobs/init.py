"""`comfywatchman jobs init`: folders of job files, and sample workflows and job files."""

from __future__ import annotations

import shlex

import click

from comfywatchman.base.files import printable_path
from comfywatchman.cli.jobs.common import open_agent
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import print_json


@click.command()
@json_option
@click.pass_context
def init(context: click.Context, as_json: bool) -> None:
    """Create the folders of job files, with sample workflows and job files.

    Files that exist are left as they are.

    \b
    Examples:
      comfywatchman jobs init
      comfywatchman jobs init --json
    """
    from comfywatchman.jobs.files.samples import EXAMPLES, write_samples

    agent = open_agent(context)
    settings, home = agent.settings, context.obj.home_layout.home.folder
    written = write_samples(home, settings)
    if as_json:
        print_json(written=[str(path) for path in written], processing=str(settings.processing))
        return
    for path in written:
        click.echo(f"created {printable_path(path)}")
    if not written:
        click.echo("Everything is there already.")
    examples = sorted((settings.processing.parent / EXAMPLES).glob("*first-picture.yaml"))
    if examples:
        source, target = shlex.quote(str(examples[0])), shlex.quote(str(settings.processing / "image"))
        click.echo(f"To make a first picture: cp {source} {target}/")
        click.echo(f"Then run it: {context.obj.format_command('jobs', 'run', '--once')}")
