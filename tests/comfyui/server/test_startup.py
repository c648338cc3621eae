from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from comfywatchman.base.process import ChildProcess
from comfywatchman.comfyui.server.listening import find_free_port
from comfywatchman.comfyui.server.startup import StartupResult, describe_exit, wait_until_serving

SERVE = """
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"system": {"argv": sys.argv}}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
port = int(sys.argv[1].partition("=")[2])
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
FAIL = "import sys; sys.exit('broken')"
SLEEP = "import signal; signal.pause()"
PRINT = "print('x' * 100_000, flush=True); import signal; signal.pause()"


@contextmanager
def start(program: str, port: int) -> Iterator[ChildProcess]:
    with ChildProcess([sys.executable, "-c", program, f"--port={port}"]) as child:
        yield child
        child.end(grace_seconds=0.0)


def wait(program: str, *, port: int = 0, timeout_seconds: float = 60.0, max_log_bytes: int = 1 << 20) -> StartupResult:
    port = port or find_free_port()
    with start(program, port) as child:
        return wait_until_serving(child, port, timeout_seconds=timeout_seconds, max_log_bytes=max_log_bytes)


@pytest.mark.slow
def test_server_that_answers_with_its_port_is_serving() -> None:
    assert wait(SERVE) == StartupResult("serving")


@pytest.mark.slow
def test_server_with_other_arguments_is_not_accepted() -> None:
    for timeout_seconds in (3.0, 15.0, 60.0):
        result = wait(SERVE.replace('{"argv": sys.argv}', '{"argv": []}'), timeout_seconds=timeout_seconds)
        assert result.outcome == "timeout"
        reason = result.reason or ""
        # It may have been too slow to listen by then.
        if "did not listen" not in reason:
            break
    assert "The server on its port was started with other arguments." in reason


def test_program_that_ends_has_its_status_and_last_line() -> None:
    assert wait(FAIL) == StartupResult("exited", 1, "main.py exited with status 1: broken")
    assert wait("") == StartupResult("exited", 0)


@pytest.mark.slow
def test_program_that_never_listens_times_out() -> None:
    result = wait(SLEEP, timeout_seconds=0.2)
    assert result.outcome == "timeout"
    assert result.reason == "It neither served nor exited within 0.2 seconds. It did not listen."


def test_program_that_prints_too_much_is_given_up() -> None:
    assert wait(PRINT, max_log_bytes=1000).outcome == "log_limit"


def test_port_of_another_program_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert wait(SLEEP, port=listener.getsockname()[1]) == StartupResult("port_taken")


def test_end_by_a_signal_has_its_name() -> None:
    with start(SLEEP, 1) as child:
        assert describe_exit(child, -9) == "was killed by SIGKILL."
        assert describe_exit(child, 3) == "exited with status 3."
