"""HTTP and WebSocket of the fake ComfyUI: the protocol, and the faults that lie in it."""

from __future__ import annotations

import json
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from typing import Any, Protocol, cast
from urllib.parse import parse_qs, urlsplit

from websockets.frames import Opcode
from websockets.utils import accept_key


@dataclass
class Faults:
    """What the server does wrong; may be changed while it runs.

    Attributes:
        no_events: Prompts run, and no event is sent.
        silent_kinds: Kinds of events that are not sent.
        no_history: Prompts run, and leave no history entry.
        poisoned_jobs: The list of jobs answers 500.
        poisoned_job: Every single job answers 500, too.
        text_errors: Paths that answer 500 as text.
        failing_prefix: The beginning of more such paths.
        hanging: Paths that never answer.
        closes_requests: Paths whose connection closes without an answer.
        closes_sockets: Each WebSocket is closed without a close frame when a prompt starts.
        refuses_sockets: WebSockets are refused with status 503.
        delay_seconds: Each answer comes late.
        dead_worker: Prompts wait forever: the prompt thread has ended.
        renames_prompts: The server gives prompts ids of its own.
        no_jobs_api: There is no `/api/jobs`, as before 0.3.76.
        no_cancel_route: There is no `/api/jobs/{id}/cancel`, as before 0.26.
        ignored_interrupts: How many interrupts have no effect.
        drops_outputs: Prompts are accepted with errors in some nodes.
        loses_answers: `POST /prompt` queues the prompt and closes the connection.
        device: Type of the device that computes.
        cache: How the outputs of an unchanged node are reported: `off` (it runs again), `empty` as 0.3.75 does, or
            `old` (the names of the earlier files) as the versions before and after do.
        frees_late: `/free` empties the cache only after the next prompt, as when the prompt thread is held up.
        refuses_uploads: Files are not accepted.
    """

    no_events: bool = False
    silent_kinds: set[str] = field(default_factory=set)
    no_history: bool = False
    poisoned_jobs: bool = False
    poisoned_job: bool = False
    text_errors: set[str] = field(default_factory=set)
    failing_prefix: str = "-"
    hanging: set[str] = field(default_factory=set)
    closes_requests: set[str] = field(default_factory=set)
    closes_sockets: bool = False
    refuses_sockets: bool = False
    delay_seconds: float = 0.0
    dead_worker: bool = False
    renames_prompts: bool = False
    no_jobs_api: bool = False
    no_cancel_route: bool = False
    ignored_interrupts: int = 0
    drops_outputs: bool = False
    loses_answers: bool = False
    device: str = "cpu"
    cache: str = "off"
    frees_late: bool = False
    refuses_uploads: bool = False


class FakeServer(Protocol):
    """What answers the requests."""

    faults: Faults
    requests: list[tuple[str, str]]
    heard: list[bytes]
    leave: threading.Event

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        """Return the status and what to send: a text or bytes as they are, None for nothing, else as JSON."""

    def register(self, sid: str, client: socket.socket) -> None:
        """Send events to a client."""

    def unregister(self, sid: str) -> None:
        """Send no more events to a client."""


class FakeHttpServer(ThreadingHTTPServer):
    """Serves what a fake ComfyUI answers."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, fake: FakeServer) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.fake = fake

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Buffered, so that head and body leave in one packet.
    wbufsize = -1

    @property
    def fake(self) -> FakeServer:
        return cast("FakeHttpServer", self.server).fake

    def handle_any(self) -> None:
        fake, parts = self.fake, urlsplit(self.path)
        path, query = parts.path, parse_qs(parts.query)
        fake.requests.append((self.command, path))
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        fake.leave.wait(fake.faults.delay_seconds)
        if path in fake.faults.hanging:
            fake.leave.wait(60)
        if path in fake.faults.hanging | fake.faults.closes_requests:
            self.close_connection = True
        elif path in fake.faults.text_errors or path.startswith(fake.faults.failing_prefix):
            self.reply(500, "500 Internal Server Error\n\nServer got itself in trouble")
        elif path == "/ws":
            self.serve_events(query.get("clientId", [uuid.uuid4().hex])[0])
        else:
            content_type = self.headers.get("content-type", "")
            is_form = content_type.startswith("multipart/")
            body = (content_type, raw) if is_form else json.loads(raw) if raw else None
            status, content = fake.answer(self.command, path, query, body)
            if (self.command, path) == ("POST", "/prompt") and fake.faults.loses_answers:
                self.close_connection = True
                return
            self.reply(status, content)

    def reply(self, status: int, content: Any) -> None:
        if isinstance(content, bytes):
            body = content
        elif isinstance(content, str):
            body = content.encode()
        else:
            body = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def serve_events(self, sid: str) -> None:
        self.close_connection = True
        fake = self.fake
        if fake.faults.refuses_sockets:
            self.reply(503, "503: Service Unavailable")
            return
        self.send_response(101)
        self.send_header("upgrade", "websocket")
        self.send_header("connection", "Upgrade")
        self.send_header("sec-websocket-accept", accept_key(self.headers["sec-websocket-key"]))
        self.end_headers()
        self.wfile.flush()
        fake.register(sid, self.connection)
        try:
            with suppress(OSError):
                for message in _read_until_close(self.rfile):
                    fake.heard.append(message)
        finally:
            fake.unregister(sid)

    do_GET = do_POST = handle_any  # noqa: N815 - names that the base class calls

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Keep quiet."""


def _read_until_close(stream: BufferedIOBase) -> Iterator[bytes]:
    """Read the messages of a client until it closes; none of them needs an answer."""
    while len(head := stream.read(2)) == 2 and head[0] & 0x0F != Opcode.CLOSE:
        length = head[1] & 0x7F
        if length >= 126:
            length = int.from_bytes(stream.read(2 if length == 126 else 8), "big")
        mask, content = stream.read(4), stream.read(length)
        yield bytes(byte ^ mask[index % 4] for index, byte in enumerate(content))


@contextmanager
def client_that_does_not_read(port: int) -> Iterator[tuple[str, int]]:
    """Connect a client that stops reading its events; give its address.

    Its small receive buffer fills up with a few events.
    """
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        key = "dGhlIHNhbXBsZSBub25jZQ=="
        request = (
            f"GET /ws?clientId=stalled HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        client.sendall(request.encode())
        # The first message follows the registration: from then on it is sent every event.
        answer = b""
        while b'"sid"' not in answer:
            received = client.recv(4096)
            assert received
            answer += received
        assert b"101" in answer
        host, port = client.getsockname()
        yield host, port
