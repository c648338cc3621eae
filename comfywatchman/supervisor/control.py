"""The control interface: HTTP on 127.0.0.1 for the panel, pages and scripts; commands use the command file.

A web page that a person visits must not be able to restart ComfyUI, so a request needs the token from a file that only
its owner can read, the right Host (against DNS rebinding), and no Origin (browsers send one with every POST).
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import msgspec
import orjson

from comfywatchman.base.clock import Clock, parse_utc
from comfywatchman.base.errors import Failure
from comfywatchman.supervisor.incidents import read_last_lines
from comfywatchman.supervisor.mailbox import CommandName, PromptPolicy, read_switch_status, write_command
from comfywatchman.supervisor.process.child import LOG_NAME
from comfywatchman.supervisor.process_files import cleanup_control_files, write_control_port, write_control_token
from comfywatchman.supervisor.states import SupervisorState
from comfywatchman.supervisor.status import read_status

HOST: Final = "127.0.0.1"
DEFAULT_LINES: Final = 80
_MAX_LINES: Final = 1000
_MAX_BODY_BYTES: Final = 64 << 10
_TIMEOUT_SECONDS: Final = 10
_MAX_DIGITS: Final = 9
_TOKEN_BYTES: Final = 32
_UNKNOWN_PATH: Final = "Unknown path; see Control interface in docs/reference/supervise.md."
_COMMANDS: Final = {
    "/restart": CommandName.RESTART,
    "/stop": CommandName.SHUTDOWN,
    "/kill": CommandName.SHUTDOWN,
    "/switch": CommandName.SWITCH,
    "/abort": CommandName.ABORT_SWITCH,
}
"""`/kill` is comfygit's name for `/stop`."""


class ControlServer:
    """Serves the control interface from a thread of its own while the block runs.

    Args:
        metadata: The `.metadata` folder, with the files that requests are answered from.
        clock: The clocks.
        ports: First and last port to try.

    Raises:
        Failure: `supervisor-control-unavailable` when every port is taken, `state-unwritable`.
    """

    def __init__(self, metadata: Path, clock: Clock, *, ports: tuple[int, int]) -> None:
        self._metadata = metadata
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        self._server = _bind(metadata, clock, token, ports)
        self.port: int = self._server.server_address[1]
        write_control_token(metadata, token)
        write_control_port(metadata, self.port)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving, and delete port and token."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(1)
        cleanup_control_files(self._metadata)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A port of another program must not be shared with it.
    allow_reuse_address = False

    def __init__(self, port: int, metadata: Path, clock: Clock, token: str) -> None:
        self.metadata = metadata
        self.clock = clock
        self.token = token
        super().__init__((HOST, port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that went away; the default prints a traceback."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _TIMEOUT_SECONDS
    protocol_version = "HTTP/1.1"
    server_version = "comfywatchman"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer a GET request."""
        url = urlsplit(self.path)
        if not self._is_allowed():
            return
        metadata, clock = self.server.metadata, self.server.clock
        if url.path == "/health":
            self._answer(HTTPStatus.OK, build_health(metadata, clock))
        elif url.path == "/status":
            self._answer(HTTPStatus.OK, build_status(metadata, clock))
        elif url.path == "/logs":
            lines = _parse_count(parse_qs(url.query).get("lines", [""])[0])
            text = read_last_lines(metadata / LOG_NAME, count=lines).decode("utf-8", "replace")
            self._answer(HTTPStatus.OK, {"lines": text.splitlines()})
        else:
            self._refuse(HTTPStatus.NOT_FOUND, _UNKNOWN_PATH)

    def do_POST(self) -> None:
        """Write the command of a POST request for the loop."""
        command = _COMMANDS.get(urlsplit(self.path).path)
        if not self._is_allowed():
            return
        if command is None:
            self._refuse(HTTPStatus.NOT_FOUND, _UNKNOWN_PATH)
            return
        body = self._read_body()
        if body is None:
            return
        target = body.get("environment", body.get("target_env"))
        if command is CommandName.SWITCH and (not isinstance(target, str) or not target):
            self._refuse(HTTPStatus.BAD_REQUEST, 'Name the environment: {"environment": "…"}')
            return
        policy = _parse_policy(body)
        if command is not CommandName.ABORT_SWITCH and policy is PromptPolicy.REFUSE and self._count_prompts():
            # At once, where the published number says so; the loop asks ComfyUI again before it ends anything.
            self._refuse(
                HTTPStatus.CONFLICT,
                'Prompts run or wait, and would be lost. Send {"wait": true} to wait for them, or {"force": true}.',
            )
            return
        target_env = target if isinstance(target, str) and command is CommandName.SWITCH else None
        try:
            written = write_command(
                self.server.metadata,
                command,
                reason="control",
                target_env=target_env,
                prompts=policy,
                clock=self.server.clock,
            )
        except Failure as failure:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, failure.message)
            return
        # By `ordered_at` a refusal in /status is recognised.
        facts = {"accepted": True, "command": command.value, "ordered_at": written.timestamp}
        self._answer(HTTPStatus.ACCEPTED, facts)

    def _count_prompts(self) -> int:
        """Return the number of prompts that run or wait; 0 when ComfyUI does not tell, as a hung one does."""
        status = read_status(self.server.metadata, self.server.clock)
        return (status.queue_length or 0) if status is not None else 0

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
        """Log nothing: the loop logs the commands that it takes."""

    def _is_allowed(self) -> bool:
        """Return whether the request may be answered; if not, it is refused here."""
        port = self.server.server_address[1]
        if self.headers.get("Host", "") not in {f"{HOST}:{port}", f"localhost:{port}"}:
            self._refuse(HTTPStatus.FORBIDDEN, "The Host header is not that of this interface.")
            return False
        if self.headers.get("Origin") is not None:
            self._refuse(
                HTTPStatus.FORBIDDEN,
                "Web pages may not use this interface (the request has an Origin).",
            )
            return False
        scheme, _space, token = self.headers.get("Authorization", "").partition(" ")
        is_known = hmac.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode("ascii"))
        if scheme.lower() != "bearer" or not is_known:
            self._refuse(HTTPStatus.UNAUTHORIZED, "Send the token of .metadata/.control_token: Authorization: Bearer …")
            return False
        return True

    def _read_body(self) -> Mapping[str, object] | None:
        """Return the JSON object of a request, empty without one; None when it was refused."""
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or len(length) > _MAX_DIGITS or int(length) > _MAX_BODY_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {_MAX_BODY_BYTES >> 10} KiB.")
            return None
        if self.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send JSON: Content-Type: application/json")
            return None
        try:
            body = orjson.loads(self.rfile.read(int(length)) or b"{}")
        except orjson.JSONDecodeError:
            body = None
        if not isinstance(body, dict):
            self._refuse(HTTPStatus.BAD_REQUEST, "The body is not a JSON object.")
            return None
        return body

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        # The body of a refused request is not read, so the connection cannot be used again.
        self.close_connection = True
        self._answer(status, {"error": message})

    def _answer(self, status: HTTPStatus, content: Mapping[str, object]) -> None:
        body = json.dumps(content).encode("ascii")
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def build_health(metadata: Path, clock: Clock) -> dict[str, object]:
    """Return the short answer of `/health`, with comfygit's field names."""
    status = read_status(metadata, clock)
    if status is None:
        return {"status": SupervisorState.STARTING.value, "supervised": True}
    since_seconds = (clock.now() - parse_utc(status.since)).total_seconds()
    return {
        "status": status.state.value,
        "pid": status.supervisor_pid,
        "current_env": status.environment,
        "supervised": True,
        "comfyui": {
            "pid": status.pid,
            "running": status.pid is not None,
            "uptime_seconds": max(0.0, since_seconds) if status.pid is not None else None,
        },
    }


def build_status(metadata: Path, clock: Clock) -> dict[str, object]:
    """Return the full answer of `/status`: the published status in fields and words, and the switch under way."""
    status = read_status(metadata, clock)
    switch = read_switch_status(metadata)
    content: dict[str, object] = {"supervisor": None, "switch": None}
    if status is not None:
        facts = msgspec.to_builtins(status)
        content["supervisor"] = {**facts, "sentence": status.sentence, "next_step": status.next_step}
    if switch is not None:
        content["switch"] = msgspec.to_builtins(switch)
    return content


def _bind(metadata: Path, clock: Clock, token: str, ports: tuple[int, int]) -> _Server:
    first, last = ports
    for port in range(first, last + 1):
        try:
            return _Server(port, metadata, clock, token)
        except OSError:
            continue
    raise Failure(
        "supervisor-control-unavailable",
        f"No port from {first} to {last} is free for the control interface.",
        hint="Set [supervisor] control_port_first and control_port_last to other ports.",
    )


def _parse_policy(body: Mapping[str, object]) -> PromptPolicy:
    if body.get("force") is True:
        return PromptPolicy.END
    return PromptPolicy.WAIT if body.get("wait") is True else PromptPolicy.REFUSE


def _parse_count(text: str) -> int:
    if not text.isdecimal() or len(text) > _MAX_DIGITS:
        return DEFAULT_LINES
    return min(max(int(text), 1), _MAX_LINES)
