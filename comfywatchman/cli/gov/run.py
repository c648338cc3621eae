"""`gov run`: start ComfyUI in the production environment."""

from __future__ import annotations

import click

from comfywatchman.app.session import Session
from comfywatchman.cli.gov.common import GovCommand, read_gov


@click.command(cls=GovCommand, context_settings={"ignore_unknown_options": True})
@click.option(
    "--supervised/--unsupervised",
    default=True,
    help="Keep ComfyUI running (the default), or let it replace this process.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def run(context: click.Context, supervised: bool, arguments: tuple[str, ...]) -> None:
    """Start ComfyUI in the production environment and keep it running, in the foreground.

    ARGUMENTS are passed to ComfyUI's main.py, after those of [run] extra_args. Ctrl-C ends it. A promotion or a
    rollback does not change the environment of a running ComfyUI; restart it to use the new one.

    As with comfywatchman supervise run, ComfyUI is proved to work, and started again after a crash or a hang; its
    output is in its log (comfywatchman supervise logs). With --unsupervised it is started once, its output is shown
    here, and its exit status is that of the command.

    \b
    Examples:
      gov run
      gov run -- --listen 127.0.0.1 --port 8190
      gov run --unsupervised
    """
    session: Session = context.obj
    ground = read_gov(session)
    if supervised:
        from comfywatchman.app.supervision import open_governed
        from comfywatchman.cli.supervise.run import run_supervisor

        context.exit(run_supervisor(session, open_governed(session), None, arguments))
    from comfywatchman.governance.foreground import run_in_foreground

    run_in_foreground(ground.layout, session.installation_at(ground.comfyui), ground.settings.run, arguments)
