"""Find clients of a server that do not read what it sends them.

ComfyUI sends all events through one queue and waits for each client in turn: one client that stops reading, such as a
browser on a laptop that sleeps, holds up the events of all others. Its connection shows it: the kernel keeps what the
client does not take. psutil does not report that number, so `/proc/net/tcp` is read (proc_pid_net(5)).
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LOOKS: Final = 4
_LOOK_SECONDS: Final = 0.5
_ESTABLISHED: Final = 0x01
_MIN_FIELDS: Final = 5
_MAPPED_PREFIX: Final = "::ffff:"
"""How psutil shows an IPv4 address of a socket for both families."""

_WORD_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class ClientConnection:
    """A connection to a server, from its side.

    Attributes:
        host: The address of the client.
        port: Its port.
    """

    host: str
    port: int

    def __str__(self) -> str:
        """Return address and port, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnreadClient:
    """A client that does not read.

    Attributes:
        connection: Its connection.
        unread_bytes: Bytes that the server sent and the client has not read.
        pid: Its process, when it runs on this machine and can be seen; None otherwise.
        command: The name of that process; empty without one.
    """

    connection: ClientConnection
    unread_bytes: int
    pid: int | None = None
    command: str = ""

    def __str__(self) -> str:
        """Return its address, and its process when that is known."""
        if self.pid is None:
            return str(self.connection)
        return f"{self.connection} ({self.command}, process {self.pid})"


def find_unread_clients(
    port: int,
    *,
    server_pid: int | None = None,
    looks: int = _LOOKS,
    look_seconds: float = _LOOK_SECONDS,
    pause: Callable[[float], object] = time.sleep,
    system: Path = Path("/proc"),
) -> tuple[UnreadClient, ...]:
    """Return the clients of a local server whose connection never drains while it is looked at, the fullest first.

    Args:
        port: The port of the server.
        server_pid: Its process, for a server in another network namespace (a container); None for one in ours.
        looks: How often to look.
        look_seconds: The time between two looks.
        pause: Waits between two looks.
        system: The folder of proc.
    """
    folder = system / (str(server_pid) if server_pid is not None else "self") / "net"
    readings: list[Mapping[ClientConnection, int]] = []
    for number in range(looks):
        if number:
            pause(look_seconds)
        readings.append(_read_send_queues(folder, port))
    standing = find_standing_queues(readings)
    clients = [_identify_client(connection, unread_bytes) for connection, unread_bytes in standing.items()]
    return tuple(sorted(clients, key=lambda client: -client.unread_bytes))


def find_standing_queues(readings: Iterable[Mapping[ClientConnection, int]]) -> dict[ClientConnection, int]:
    """Return the connections whose send queue was never empty and never shrank, with its length in the last reading."""
    standing: dict[ClientConnection, int] | None = None
    for reading in readings:
        if standing is None:
            standing = {connection: length for connection, length in reading.items() if length > 0}
        else:
            standing = {
                connection: reading[connection]
                for connection, length in standing.items()
                if reading.get(connection, 0) >= length
            }
    return standing or {}


def parse_send_queues(table: str, port: int) -> dict[ClientConnection, int]:
    """Return the bytes in the send queue of each established connection of a local port, from `/proc/net/tcp{,6}`."""
    queues: dict[ClientConnection, int] = {}
    for line in table.splitlines():
        fields = line.split()
        if len(fields) < _MIN_FIELDS:
            continue
        try:
            local_port = int(fields[1].partition(":")[2], 16)
            state, send_queue = int(fields[3], 16), int(fields[4].partition(":")[0], 16)
            if local_port == port and state == _ESTABLISHED:
                queues[_parse_endpoint(fields[2])] = send_queue
        except ValueError:
            # The heading, or a line of a later kernel.
            continue
    return queues


def _read_send_queues(folder: Path, port: int) -> dict[ClientConnection, int]:
    queues: dict[ClientConnection, int] = {}
    for name in ("tcp", "tcp6"):
        try:
            table = (folder / name).read_text("ascii")
        except OSError:
            # A machine without IPv6, or a server that has ended.
            continue
        queues.update(parse_send_queues(table, port))
    return queues


def _parse_endpoint(text: str) -> ClientConnection:
    """Parse `0100007F:1F90`: the address in words of the machine's byte order, then the port."""
    address, _, port = text.partition(":")
    raw = bytes.fromhex(address)
    # The kernel prints each 32-bit word as a number of this machine, which is little-endian.
    words = [raw[start : start + _WORD_BYTES][::-1] for start in range(0, len(raw), _WORD_BYTES)]
    host = ipaddress.ip_address(b"".join(words))
    if isinstance(host, ipaddress.IPv6Address) and host.ipv4_mapped is not None:
        # The client of a socket for both families.
        return ClientConnection(str(host.ipv4_mapped), int(port, 16))
    return ClientConnection(str(host), int(port, 16))


def _identify_client(connection: ClientConnection, unread_bytes: int) -> UnreadClient:
    import psutil

    try:
        for other in psutil.net_connections("tcp"):
            if other.pid is None or not other.laddr:
                continue
            if (other.laddr.ip.removeprefix(_MAPPED_PREFIX), other.laddr.port) == (connection.host, connection.port):
                return UnreadClient(connection, unread_bytes, other.pid, psutil.Process(other.pid).name())
    except (psutil.Error, OSError):
        pass
    return UnreadClient(connection, unread_bytes)
