"""The HTTP server of the web page and of the handler, in a thread of its own."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from comfywatchman.base.errors import Failure

_START_SECONDS: Final = 60.0
_JOIN_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 10
_PAUSE_SECONDS: Final = 0.005

log = logging.getLogger("comfywatchman.web")


def open_socket(host: str, port: int, *, subject: str = "The web page") -> socket.socket:
    """Return a socket that listens on an address.

    Args:
        host: The address.
        port: The port; 0 for any free one.
        subject: What is to listen there, for the message.

    Raises:
        Failure: `web-port-taken`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        message = f"{subject} cannot listen on {host}, port {port}: {error.strerror or error}."
        raise Failure("web-port-taken", message, hint="Choose another one: --port PORT") from error


@contextmanager
def serve(application: ASGIApp, listener: socket.socket) -> Iterator[threading.Thread]:
    """Serve an application until the context ends; yields the thread that serves it.

    Args:
        application: The application.
        listener: The socket that listens.

    Raises:
        Failure: `web-ended` when the server cannot start.
    """
    config = uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=_run_server, args=(server, listener), name="web-server", daemon=True)
    thread.start()
    try:
        _wait_for_start(server, thread)
        yield thread
    finally:
        server.should_exit = True
        thread.join(_JOIN_SECONDS)
        listener.close()


def require_running(thread: threading.Thread) -> None:
    """Check that the thread of `serve` still runs.

    Raises:
        Failure: `web-ended`.
    """
    if not thread.is_alive():
        hint = "Start the command again. Its output, or log/structured.log, names the reason."
        raise Failure("web-ended", "The web server has ended by itself.", hint=hint)


def _run_server(server: uvicorn.Server, listener: socket.socket) -> None:
    try:
        server.run(sockets=[listener])
    except OSError:
        # The command notices the end of the thread; threading prints other exceptions on standard error.
        log.exception("web server failed")


def _wait_for_start(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not server.started and time.monotonic() < deadline:
        require_running(thread)
        thread.join(_PAUSE_SECONDS)
    require_running(thread)
