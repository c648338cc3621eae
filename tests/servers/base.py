"""A real HTTP server on 127.0.0.1 whose pages a test writes as small functions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


@dataclass(frozen=True)
class Asked:
    """A request as it arrived; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """An answer; its length is announced unless the headers say otherwise."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Page = Callable[[Asked, BaseHTTPRequestHandler], Reply | None]
"""Gives the reply, or writes its own to the handler's `wfile` and gives None (the connection then closes)."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # The thread that accepts may be held up: a connection more than this waits a second.
    request_queue_size = 128


class LocalServer:
    """Serves pages by path (without query); `asked` holds every request in order.

    Used as a context manager; 404 for a path that has no page.
    """

    def __init__(self, pages: Mapping[str, Page | Reply] | None = None) -> None:
        self.pages: dict[str, Page | Reply] = dict(pages or {})
        self.asked: list[Asked] = []
        self.leave = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, asked: Asked, handler: BaseHTTPRequestHandler) -> Reply | None:
        self.asked.append(asked)
        page = self.pages.get(asked.path.partition("?")[0], Reply(b"no such page", 404))
        return page if isinstance(page, Reply) else page(asked, handler)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Buffered, so that head and body leave in one packet.
            wbufsize = -1

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                reply = server.answer(Asked(self.command, self.path, headers, body), self)
                if reply is None:
                    self.close_connection = True
                else:
                    self.write(reply)

            def write(self, reply: Reply) -> None:
                self.send_response(reply.status)
                sent = {"content-length": str(len(reply.body)), **{k.lower(): v for k, v in reply.headers.items()}}
                for name, value in sent.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.body)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 - names that the base class calls

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                """Keep quiet."""

        return Handler
