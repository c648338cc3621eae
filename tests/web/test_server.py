"""The thread that serves the web page."""

from __future__ import annotations

import socket

import httpx
import pytest
from starlette.responses import PlainTextResponse

from comfywatchman.base.errors import Failure
from comfywatchman.web.server import open_socket, require_running, serve


def test_server_that_cannot_start_is_a_failure() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.close()
    with pytest.raises(Failure) as raised, serve(PlainTextResponse("here"), listener):
        pass
    assert raised.value.code == "web-ended"


def test_end_of_the_server_is_noticed() -> None:
    listener = open_socket("127.0.0.1", 0)
    port = listener.getsockname()[1]
    with serve(PlainTextResponse("here"), listener) as thread:
        require_running(thread)
        assert httpx.get(f"http://127.0.0.1:{port}/", timeout=60).text == "here"
    thread.join(60)
    with pytest.raises(Failure) as raised:
        require_running(thread)
    assert raised.value.code == "web-ended"
