"""`comfywatchman web`: serve the web page, and make its one-time codes and its token."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import click

from comfywatchman.app.jobs import JobAgent
from comfywatchman.base.files import printable_path
from comfywatchman.base.stop import StopEvent
from comfywatchman.cli.render import print_table
from comfywatchman.cli.web.page_server import choose_address, find_secrets, require_packages, serve_page

if TYPE_CHECKING:
    from comfywatchman.app.session import Session

_CHECK_SECONDS = 2.0


@click.command()
@click.option("--host", help="Address to listen on, instead of [web] host.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port, instead of [web] port; 0: any free one.")
@click.option("--base-path", help="Path below which a reverse proxy serves the page, such as /comfywatchman.")
@click.option("--code", "only_code", is_flag=True, help="Print a new one-time code for signing in, and exit.")
@click.option("--create-token", is_flag=True, help="Create the token for programs and other machines, and exit.")
@click.option(
    "--changes", "only_changes", is_flag=True, help="List the last changes over the page and its API, and exit."
)
@click.pass_context
def web(
    context: click.Context,
    host: str | None,
    port: int | None,
    base_path: str | None,
    only_code: bool,
    create_token: bool,
    only_changes: bool,
) -> None:
    """Serve the web page: what is ready, what the queue does, and what needs you.

    Everybody on this machine may read it. To change something, sign in with the code that is printed. Ctrl-C stops.

    \b
    Examples:
      comfywatchman web
      comfywatchman web --code          a code for another browser
    """
    if only_changes:
        print_changes(context.obj)
        return
    require_packages()
    from comfywatchman.web.security.web_secrets import CODE_MINUTES

    session: Session = context.obj
    section = choose_address(session.settings.web, host=host, port=port, base_path=base_path)
    secrets = find_secrets(session)
    if create_token:
        secrets.create_token()
        click.echo(f"The token is in {printable_path(secrets.token_file)}. Type it in place of a code, or send it as")
        click.echo("Authorization: Bearer TOKEN.")
        return
    if only_code:
        click.echo(f"Code: {secrets.create_code(session.clock.now())} (can be used once, within {CODE_MINUTES} min)")
        return
    _ = session.log
    with JobAgent(session).open_store() as store, StopEvent() as stop_event:
        stop_event.set_on_signals(signal.SIGINT, signal.SIGTERM)
        with serve_page(session, store, section) as page:
            click.echo(f"Page: {page.url} (Ctrl-C stops)")
            if page.is_public:
                click.echo("Other machines can reach it; it shows nothing without the code or the token.")
            code = secrets.create_code(session.clock.now())
            click.echo(f"Code for signing in: {code} (can be used once, within {CODE_MINUTES} min)")
            while not stop_event.wait(_CHECK_SECONDS):
                page.require_running()


def print_changes(session: Session) -> None:
    """Print the last changes over the page and its API, the newest first."""
    from comfywatchman.app.pages.recorded_changes import describe_gaps, read_changes

    changes = read_changes(session)
    if gaps := describe_gaps(session, changes):
        click.echo(gaps, err=bool(changes))
    if not changes:
        return
    rows = [(change.at, change.action, change.result, change.client, change.signed_in_by) for change in changes]
    print_table(("When", "What", "Result", "From", "Signed in by"), rows)
