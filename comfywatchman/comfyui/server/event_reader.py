"""Reads ComfyUI's events in a thread of its own, which takes every message at once and connects again when it must.

ComfyUI sends all events to all clients in turn: one client that stops reading holds up everybody's events. Hence the
thread, which does nothing but read, and buffers that drop events instead of waiting for their consumers.
"""

from __future__ import annotations

import contextlib
import logging
import random
import socket
import threading
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote, urlsplit

import orjson

from comfywatchman.base.address import PORTS, printable_url
from comfywatchman.base.errors import Failure
from comfywatchman.base.network.settings import NetworkSettings
from comfywatchman.comfyui.server.events import DEFAULT_BUFFER_LIMIT, EventBuffer, EventKind, ServerEvent, parse_event
from comfywatchman.comfyui.server.log_text import clean_line

if TYPE_CHECKING:
    from types import TracebackType

    from websockets.sync.client import ClientConnection

_CONNECT_SECONDS: Final = 10.0
_CLOSE_SECONDS: Final = 1.0
_FIRST_WAIT_SECONDS: Final = 0.2
_MAX_WAIT_SECONDS: Final = 5.0
_MAX_MESSAGE_BYTES: Final = 256 << 20
"""A node may output a text of any size; a larger message ends the connection, and the reader connects again."""

_QUEUED_FRAMES: Final = 1024
_SCHEMES: Final = {"http": "ws", "https": "wss"}
_FEATURES: Final = orjson.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}).decode()
"""Asks for previews that name their prompt; older versions ignore it."""

log = logging.getLogger(__name__)


class EventReader:
    """Reads the events of a server from entering the context until leaving it.

    Progress of a prompt is sent only to the client that submitted it: submit with `client_id`, after
    `wait_until_connected`.

    Args:
        url: The address of the server.
        client_id: The id of this client. It must be unique: the server sends nothing more to an older connection with
            the same id, without closing it.

    Attributes:
        client_id: The id of this client.
        work_events: How many events about prompts were received so far.
        connections: How often the server has accepted this client.
        problem: Why it is not connected, on one line; None while it is.
    """

    def __init__(self, url: str, *, client_id: str | None = None) -> None:
        self.client_id = client_id or uuid.uuid4().hex
        self.work_events = 0
        self.connections = 0
        self.problem: str | None = "It has not connected yet."
        self._url = url.rstrip("/")
        self._buffers: list[EventBuffer] = []
        self._lock = threading.Lock()
        self._registered = threading.Event()
        self._stop = threading.Event()
        self._connection: ClientConnection | None = None
        self._thread = threading.Thread(target=self._run, name="comfyui-events", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_connected(self) -> bool:
        """Whether the server has registered this client, and the connection is open."""
        return self._registered.is_set() and not self._stop.is_set()

    def wait_until_connected(self, timeout_seconds: float) -> bool:
        """Wait until the server has registered this client; return whether it has."""
        return self._registered.wait(timeout_seconds)

    @contextlib.contextmanager
    def subscribe(self, prompt_id: str | None = None, *, limit: int = DEFAULT_BUFFER_LIMIT) -> Iterator[EventBuffer]:
        """Yield a buffer that receives events until the block ends.

        Args:
            prompt_id: The prompt whose events are wanted; None for all events.
            limit: The largest number of events that wait in the buffer.
        """
        buffer = EventBuffer(limit, prompt_id=prompt_id)
        with self._lock:
            self._buffers.append(buffer)
        try:
            yield buffer
        finally:
            with self._lock:
                self._buffers.remove(buffer)

    def close(self) -> None:
        """End the connection and the thread; a server that does not answer delays this by at most a second."""
        self._stop.set()
        with self._lock:
            connection = self._connection
        if connection is not None:
            # Wakes the thread at once; the handshake would wait for a server that may hang.
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive():
            self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        wait_seconds = _FIRST_WAIT_SECONDS
        while not self._stop.is_set():
            accepted = self.connections
            try:
                self._read_connection()
            except Exception as error:
                # The edge of this thread: whatever goes wrong with one connection, the next one may work.
                self.problem = clean_line(f"{type(error).__name__}: {error}")
                if not _is_expected(error):
                    log.exception("event reader failed", extra={"url": printable_url(self._url)})
            finally:
                self._registered.clear()
            wait_seconds = _FIRST_WAIT_SECONDS if self.connections > accepted else wait_seconds * 2
            wait_seconds = min(wait_seconds, _MAX_WAIT_SECONDS)
            # Random, so that the clients of a restarted server do not all come back together.
            self._stop.wait(wait_seconds * random.uniform(0.5, 1.0))  # noqa: S311 - no secret

    def _read_connection(self) -> None:
        """Read one connection to its end."""
        with _connect(self._url, self.client_id) as connection:
            with self._lock:
                self._connection = connection
            try:
                # After `_connection` is known to `close`, which may have looked for it before.
                if self._stop.is_set():
                    return
                # Detects a peer that vanished. Not pings: a busy server answers those too late.
                connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                connection.send(_FEATURES)
                while True:
                    self._handle(parse_event(connection.recv()))
            finally:
                with self._lock:
                    self._connection = None

    def _handle(self, event: ServerEvent | None) -> None:
        if event is None:
            return
        is_registration = event.kind is EventKind.STATUS and event.session_id is not None
        if is_registration:
            self.connections += 1
            self.problem = None
        if event.is_work:
            self.work_events += 1
        with self._lock:
            buffers = tuple(self._buffers)
        for buffer in buffers:
            buffer.add(event)
        if is_registration:
            # Last: whoever waits for it finds the first event in the buffers.
            self._registered.set()


def _connect(url: str, client_id: str) -> ClientConnection:
    """Open a connection.

    Raises:
        OSError: The server cannot be reached.
        TimeoutError: It did not answer in time.
        websockets.exceptions.WebSocketException: It does not speak the protocol at this address.
        Failure: `network-settings`, or `http-unreachable` for an address that is not one of http or https.
    """
    from websockets.sync.client import connect

    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise Failure("http-unreachable", "The address of ComfyUI is not an http or https address.")
    network = NetworkSettings()
    proxy = network.find_proxy(parts.scheme, parts.hostname, parts.port or PORTS[parts.scheme])
    proxy_url = None
    if proxy is not None:
        proxy_url = f"{proxy.scheme}://{_quote_credentials(proxy.user, proxy.password)}{proxy.netloc}"
    return connect(
        f"{_SCHEMES[parts.scheme]}{url[len(parts.scheme) :]}/ws?clientId={quote(client_id)}",
        ssl=network.tls_context() if parts.scheme == "https" else None,
        proxy=proxy_url,
        # Compression would cost the server more than the network gains.
        compression=None,
        open_timeout=_CONNECT_SECONDS,
        ping_interval=None,
        close_timeout=_CLOSE_SECONDS,
        max_size=_MAX_MESSAGE_BYTES,
        max_queue=_QUEUED_FRAMES,
    )


def _quote_credentials(user: str, password: str) -> str:
    return f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""


def _is_expected(error: Exception) -> bool:
    """Return whether an error is one that a server or a network causes."""
    from websockets.exceptions import WebSocketException

    return isinstance(error, (OSError, WebSocketException, Failure))
