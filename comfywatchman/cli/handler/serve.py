"""`comfywatchman handler serve`."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from comfywatchman.base.stop import StopEvent
from comfywatchman.cli.handler.common import allow_any, gcs_options, handling_options, read_version_name
from comfywatchman.cli.options import json_option

if TYPE_CHECKING:
    from comfywatchman.handler.gcs import GcsStore

DEFAULT_PORT: Final = 8191
_LOOK_SECONDS: Final = 1.0
_MAX_TOKEN_BYTES: Final = 4096
_OTHERS: Final = 0o077


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True, help="Port; 0: any free one."
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file with the token that requests must send. Needed beyond this machine.",
)
@click.option(
    "--output-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder for outputs that are returned as files: large ones, and videos.",
)
@handling_options
@gcs_options
@json_option
@click.pass_context
def serve(
    context: click.Context,
    host: str,
    port: int,
    token_file: Path | None,
    output_dir: Path | None,
    url: str | None,
    timeout: float,
    allow_private: bool,
    lock: str | None,
    as_json: bool,
    open_store: Callable[[], GcsStore | None],
) -> None:
    """Accept requests over HTTP and run them on a running ComfyUI, one after the other.

    `POST /run` takes a request and returns its result; `/health` returns that the handler answers, `/ready` whether
    ComfyUI has run a canary. A request that is sent twice with one idempotency key runs once. Ctrl-C stops.

    \b
    Examples:
      comfywatchman handler serve --output-dir outputs
      comfywatchman handler serve --host 0.0.0.0 --token-file token --port 8000
    """
    from comfywatchman.cli.render import DONE, print_json
    from comfywatchman.cli.web.page_server import require_packages

    require_packages()
    from comfywatchman.comfyui.server.canary import check_server
    from comfywatchman.handler.application import LOOPBACK_HOSTS, AccessPolicy, HandlerRoutes
    from comfywatchman.handler.handle import HandlerOptions, handle_request, refuse_private
    from comfywatchman.handler.ledger import RequestLedger, build_entry_options
    from comfywatchman.handler.readiness_probe import ReadinessProbe
    from comfywatchman.web.server import open_socket, require_running
    from comfywatchman.web.server import serve as serve_application

    access = AccessPolicy(_read_token(token_file, is_public=host not in LOOPBACK_HOSTS))
    options = HandlerOptions(
        url=url or context.obj.settings.comfyui.url,
        output_folder=output_dir,
        limit_seconds=timeout,
        may_be_private=allow_any if allow_private else refuse_private,
        version=read_version_name(context.obj, lock),
        store=open_store(),
    )
    ledger = RequestLedger(lambda request, entry: handle_request(request, build_entry_options(options, entry)))
    listener = open_socket(host, port, subject="The handler")
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listener.getsockname()[1]}"
    with StopEvent() as stop, ReadinessProbe(lambda: check_server(options.url)) as probe:
        stop.set_on_signals(signal.SIGINT, signal.SIGTERM)
        application = HandlerRoutes(ledger, probe, access).build()
        with serve_application(application, listener) as thread:
            if as_json:
                print_json(url=address)
            else:
                click.echo(f"Handler: {address} (Ctrl-C stops)")
            while not stop.wait(_LOOK_SECONDS):
                require_running(thread)
            ledger.close()
    context.exit(DONE)


def _read_token(path: Path | None, *, is_public: bool) -> str | None:
    """Return the token; None without a file, which is accepted on this machine only.

    Raises:
        Failure: `handler-token-missing`, or a `file-…` code.
    """
    from comfywatchman.base.errors import Failure
    from comfywatchman.base.files import printable_path, read_regular
    from comfywatchman.base.http import TOKEN_PATTERN

    if path is None:
        if is_public:
            message = "Other machines can reach the handler on that address, and no token protects it."
            raise Failure("handler-token-missing", message, hint="Name a file with a token: --token-file FILE")
        return None
    token = read_regular(path, max_bytes=_MAX_TOKEN_BYTES).decode(errors="replace").strip()
    if path.stat().st_mode & _OTHERS:
        message = f"Other users can read the token in {printable_path(path)}."
        raise Failure("handler-token-missing", message, hint=f"chmod 600 {printable_path(path)}")
    if not TOKEN_PATTERN.fullmatch(token):
        message = f"{printable_path(path)} holds no token of letters, digits and signs."
        raise Failure("handler-token-missing", message, hint="Write one: openssl rand -hex 32")
    return token
