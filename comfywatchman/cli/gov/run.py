"""`gov run`."""

from __future__ import annotations

import click

from comfywatchman.app.session import Session
from comfywatchman.cli.gov.common import GovCommand, read_gov


@click.command(cls=GovCommand, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def run(context: click.Context, arguments: tuple[str, ...]) -> None:
    """Start ComfyUI in the production environment, in the foreground.

    ARGUMENTS are passed to ComfyUI's main.py, after those of [run] extra_args. Ctrl-C ends it. A promotion or a
    rollback does not change the environment of a running ComfyUI; restart it to use the new one.

    \b
    gov run
    gov run -- --listen 127.0.0.1 --port 8190
    """
    from comfywatchman.governance.foreground import run_in_foreground

    session: Session = context.obj
    ground = read_gov(session)
    run_in_foreground(ground.layout, session.installation_at(ground.comfyui), ground.settings.run, arguments)
