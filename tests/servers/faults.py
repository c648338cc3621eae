"""A server of one file that misbehaves as its script says, request by request, and is honest after its end."""

from __future__ import annotations

import gzip
import re
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

PAGE: Final = b"<!DOCTYPE html><html><head><title>Please log in</title></head><body>no model here</body></html>"
POINTER: Final = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123456\n"
_RANGE: Final = re.compile(r"bytes=(\d+)-")
_DRIP_SECONDS: Final = 0.02


@dataclass(frozen=True)
class Fault:
    """One misbehaviour: what, and after how many bytes of the body where that matters."""

    kind: str
    at: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)


HONEST: Final = Fault("honest")


@dataclass(frozen=True)
class Request:
    """A request as it arrived; header names in lower case."""

    path: str
    headers: Mapping[str, str]


class FaultServer:
    """Serves `content` under every path; used as a context manager.

    Args:
        content: The file.
        script: What to do wrong with the first requests, in order.
        changed: What the file is after a `changed` fault.
        etag: Its entity tag; None for none.
        elsewhere: Address that redirects lead to.
    """

    def __init__(
        self,
        content: bytes,
        script: Sequence[Fault] = (),
        *,
        changed: bytes = b"",
        etag: str | None = '"v1"',
        elsewhere: str = "",
    ) -> None:
        self.content = content
        self.changed = changed
        self.etag = etag
        self.elsewhere = elsewhere
        self.asked: list[Request] = []
        self.connections = 0
        self.script = tuple(script)
        self._script = list(script)
        self._lock = threading.Lock()
        self._leave = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._socket.getsockname()[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/model.safetensors"

    def __enter__(self) -> Self:
        thread = threading.Thread(target=self._accept, daemon=True)
        thread.start()
        self._threads.append(thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with self._lock:
            for peer in self._open:
                with suppress(OSError):
                    peer.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while not self._leave.is_set():
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.add(peer)
            thread = threading.Thread(target=self._serve, args=(peer,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _serve(self, peer: socket.socket) -> None:
        try:
            with peer, suppress(OSError), peer.makefile("rb") as stream:
                while (request := _read_request(stream)) is not None:
                    with self._lock:
                        self.asked.append(request)
                        fault = self._script.pop(0) if self._script else HONEST
                    if not self._answer(peer, request, fault):
                        return
        finally:
            with self._lock:
                self._open.discard(peer)

    def _answer(self, peer: socket.socket, request: Request, fault: Fault) -> bool:
        special = _SPECIAL.get(fault.kind)
        if special is not None:
            special(self, peer, request, fault)
            return False
        if fault.kind == "changed":
            self.content, self.etag = self.changed, '"v2"' if self.etag else None
        if fault.kind == "changed-weak":
            self.content, self.etag = self.changed, 'W/"v1"'
        return self._file(peer, request, fault)

    def _file(self, peer: socket.socket, request: Request, fault: Fault) -> bool:
        """Send the file or the asked part of it, perhaps damaged; True when the connection may go on."""
        start = self._start(request) if fault.kind != "ignore-range" else 0
        if start is None:
            send(peer, 416, {"content-range": f"bytes */{len(self.content)}"}, b"")
            return True
        head = {"content-type": "application/octet-stream", **fault.headers}
        if self.etag is not None:
            head["etag"] = self.etag
        body = self.content[start:]
        status = 206 if start or ("range" in request.headers and fault.kind != "ignore-range") else 200
        if status == 206:
            head["content-range"] = f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
        body = _damaged(body, head, fault)
        whole = fault.kind not in {"cut", "reset", "stall", "drip", "no-length", "chunked", "chunked-cut"}
        if whole:
            send(peer, status, {"content-length": str(len(body)), **head}, body)
            return True
        self._partly(peer, status, head, body, fault)
        return False

    def _start(self, request: Request) -> int | None:
        found = _RANGE.fullmatch(request.headers.get("range", ""))
        if found is None or request.headers.get("if-range", self.etag) != self.etag:
            return 0
        return int(found[1]) if int(found[1]) < len(self.content) else None

    def _partly(self, peer: socket.socket, status: int, head: dict[str, str], body: bytes, fault: Fault) -> None:
        if fault.kind.startswith("chunked"):
            send(peer, status, {"transfer-encoding": "chunked", **head}, b"")
            pieces = [body[n : n + 5000] for n in range(0, len(body), 5000)]
            for piece in pieces if fault.kind == "chunked" else pieces[: len(pieces) // 2]:
                peer.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            if fault.kind == "chunked":
                peer.sendall(b"0\r\n\r\n")
            return
        if fault.kind == "no-length":
            send(peer, status, {"connection": "close", **head}, body)
            return
        send(peer, status, {"content-length": str(len(body)), **head}, body[: fault.at])
        if fault.kind == "reset":
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif fault.kind == "stall":
            self._leave.wait(30)
        elif fault.kind == "drip":
            for byte in body[fault.at :]:
                if self._leave.wait(_DRIP_SECONDS):
                    return
                peer.sendall(bytes([byte]))

    def status(self, peer: socket.socket, _request: Request, fault: Fault) -> None:
        """Answer with an error status (`at`)."""
        body = fault.headers.get("body", '{"error":"no"}').encode()
        headers = {name: value for name, value in fault.headers.items() if name != "body"}
        send(peer, fault.at, {"content-type": "application/json", "content-length": str(len(body)), **headers}, body)

    def redirect(self, peer: socket.socket, _request: Request, fault: Fault) -> None:
        """Redirect to the `location` of the fault, or elsewhere."""
        headers = {"location": self.elsewhere, "content-length": "0", **fault.headers}
        send(peer, fault.at or 307, headers, b"")

    def text(self, peer: socket.socket, _request: Request, fault: Fault) -> None:
        """Answer 200 with something that is no model."""
        body = {"html": PAGE, "html-as-bytes": PAGE, "lfs": POINTER, "json": b'{"error":"Unauthorized"}'}[fault.kind]
        kinds = {"html": "text/html; charset=utf-8", "json": "application/json"}
        kind = kinds.get(fault.kind, "application/octet-stream")
        if fault.at:
            body = body.ljust(len(self.content), b" ")
        send(peer, 200, {"content-type": kind, "content-length": str(len(body))}, body)

    def hang_up(self, peer: socket.socket, _request: Request, _fault: Fault) -> None:
        """Reset the connection before any answer."""
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def head_drips(self, peer: socket.socket, _request: Request, _fault: Fault) -> None:
        """Send one header byte after the other, without end."""
        peer.sendall(b"HTTP/1.1 200 OK\r\nx-slow: ")
        while not self._leave.wait(_DRIP_SECONDS):
            peer.sendall(b"a")

    def garbage(self, peer: socket.socket, _request: Request, _fault: Fault) -> None:
        """Answer with no HTTP at all."""
        peer.sendall(b"SSH-2.0-OpenSSH_9.6\r\n" * 20)

    def endless(self, peer: socket.socket, _request: Request, fault: Fault) -> None:
        """Send zeros for ever, chunked or until the connection closes."""
        chunked = fault.kind == "endless"
        send(peer, 200, {"transfer-encoding": "chunked"} if chunked else {"connection": "close"}, b"")
        block = bytes(65536)
        while not self._leave.is_set():
            peer.sendall(b"10000\r\n%b\r\n" % block if chunked else block)


def _damaged(body: bytes, head: dict[str, str], fault: Fault) -> bytes:
    if fault.kind == "flip" and body:
        place = fault.at % len(body)
        return body[:place] + bytes([body[place] ^ 16]) + body[place + 1 :]
    if fault.kind == "wrong-bytes":
        return bytes(len(body))
    if fault.kind == "longer":
        return body + b"more than there is"
    if fault.kind == "shorter":
        return body[: len(body) // 2]
    if fault.kind == "gzip":
        head["content-encoding"] = "gzip"
        return gzip.compress(body, 1)
    if fault.kind == "wrong-range" and "content-range" in head:
        head["content-range"] = re.sub(
            r"\d+-", lambda m: f"{max(0, int(m[0][:-1]) - 7)}-", head["content-range"], count=1
        )
    if fault.kind == "wrong-total" and "content-range" in head:
        head["content-range"] = re.sub(r"/\d+", lambda m: f"/{int(m[0][1:]) + 99}", head["content-range"])
    return body


_SPECIAL: Final[Mapping[str, Callable[[FaultServer, socket.socket, Request, Fault], None]]] = {
    "status": FaultServer.status,
    "redirect": FaultServer.redirect,
    "html": FaultServer.text,
    "html-as-bytes": FaultServer.text,
    "lfs": FaultServer.text,
    "json": FaultServer.text,
    "hang-up": FaultServer.hang_up,
    "head-drips": FaultServer.head_drips,
    "garbage": FaultServer.garbage,
    "endless": FaultServer.endless,
    "endless-raw": FaultServer.endless,
}


def send(peer: socket.socket, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Send head and body as they are."""
    lines = [f"HTTP/1.1 {status} So", *(f"{name}: {value}" for name, value in headers.items())]
    peer.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)


def _read_request(stream: object) -> Request | None:
    readline: Callable[[], bytes] = stream.readline  # type: ignore[attr-defined]
    first = readline().decode("latin-1").split()
    if len(first) < 2:
        return None
    headers: dict[str, str] = {}
    while (line := readline().decode("latin-1").strip()) != "":
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return Request(first[1], headers)
