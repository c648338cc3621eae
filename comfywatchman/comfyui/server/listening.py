"""Listening ports of running ComfyUI servers, and whether a server can be reached from other machines."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import random
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from comfywatchman.base.http import is_listening

if TYPE_CHECKING:
    import psutil

LOOPBACK: Final = "127.0.0.1"
_UNASSIGNED_PORTS: Final = range(20_000, 32_000)
_MAIN: Final = "main.py"
_EVERY_ADDRESS: Final = "0.0.0.0,::"
"""The meaning of `--listen` without a value (`comfy/cli_args.py`)."""
_WILDCARDS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound
_MAPPED_PREFIX: Final = "::ffff:"
"""How a socket for both families shows an IPv4 address."""


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A process that listens at an address, or runs the `main.py` of a ComfyUI.

    Attributes:
        pid: Its process id.
        argv: Its command.
        sockets: Address and port of its listening sockets; empty too where another user's cannot be seen.
    """

    pid: int
    argv: tuple[str, ...]
    sockets: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class Exposure:
    """A ComfyUI that can be reached from other machines.

    Attributes:
        pid: Its process id.
        address: The address that it listens on.
        port: The port; 0 when only its arguments are known.
        certain: Whether its socket was seen; False when only its arguments ask for the address.
    """

    pid: int
    address: str
    port: int
    certain: bool


class PortOwner(Enum):
    """The listener at a port of this machine."""

    NOBODY = "nobody"
    SESSION = "session"
    FOREIGN = "foreign"


def find_free_port() -> int:
    """Return a port of 127.0.0.1 without a listener, for a server that is started with it.

    The server binds it seconds later. Hence not a port that the kernel would choose: it gives those to other programs
    all the time (`net.ipv4.ip_local_port_range` begins at 32768).
    """
    for port in random.sample(_UNASSIGNED_PORTS, 50):
        with contextlib.suppress(OSError):
            return _bind_port(port)
    return _bind_port(0)


def _bind_port(port: int) -> int:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, port))
        bound: int = listener.getsockname()[1]
    return bound


def find_port_owner(port: int, leader: int) -> PortOwner:
    """Return whether a process of a session listens at a port of 127.0.0.1, a foreign one, or none.

    Args:
        port: The port.
        leader: The process id of the session's leader.
    """
    # Connecting comes first: a process of the session that begins to listen just afterwards is then not overlooked.
    if not is_listening(LOOPBACK, port):
        return PortOwner.NOBODY
    for pid in find_session_pids(leader):
        if any(socket_port == port for _address, socket_port in list_sockets(pid)):
            return PortOwner.SESSION
    return PortOwner.FOREIGN


def find_session_pids(leader: int) -> tuple[int, ...]:
    """Return the processes of a session: its leader and everything that it started."""
    import psutil

    return tuple(pid for pid in psutil.pids() if _get_session(pid) == leader)


def find_listeners(host: str, port: int) -> tuple[ServerProcess, ...]:
    """Return the processes that listen at an address of this machine.

    None for an address of another machine, and where another user's processes cannot be seen.
    """
    import psutil

    addresses = _find_local_addresses(host, port)
    if not addresses:
        return ()
    exact: set[int] = set()
    wildcard: set[int] = set()
    for connection in psutil.net_connections("tcp"):
        if connection.status != psutil.CONN_LISTEN or connection.pid is None:
            continue
        if not connection.laddr or connection.laddr.port != port:
            continue
        address = connection.laddr.ip.removeprefix(_MAPPED_PREFIX)
        if address in addresses:
            exact.add(connection.pid)
        elif address in _WILDCARDS:
            wildcard.add(connection.pid)
    # The kernel prefers a socket that is bound to the very address.
    processes = (_read_process(pid) for pid in sorted(exact or wildcard))
    return tuple(process for process in processes if process is not None)


def read_start_time(pid: int) -> float | None:
    """Return when a process was started, as a POSIX time; None for one that is gone or cannot be seen."""
    import psutil

    try:
        started: float = psutil.Process(pid).create_time()
    except psutil.Error:
        return None
    return started


def find_exposures(comfyui: Path) -> tuple[Exposure, ...]:
    """Return where a running ComfyUI of this folder can be reached from other machines."""
    return judge_exposures(find_servers(comfyui))


def judge_exposures(servers: Iterable[ServerProcess]) -> tuple[Exposure, ...]:
    """Return the addresses beyond loopback that servers listen on; by their arguments where no socket is seen."""
    exposures: list[Exposure] = []
    for server in servers:
        if server.sockets:
            for address, port in server.sockets:
                if not _is_loopback(address):
                    exposures.append(Exposure(server.pid, address, port, certain=True))
            continue
        requested = parse_listen_argument(server.argv)
        if requested is not None:
            exposures.append(Exposure(server.pid, requested, 0, certain=False))
    return tuple(sorted(exposures))


def parse_listen_argument(argv: Sequence[str]) -> str | None:
    """Return the addresses beyond loopback that ComfyUI's arguments ask for, joined by commas; None without one."""
    for index, argument in enumerate(argv):
        if argument == "--listen":
            has_value = index + 1 < len(argv) and not argv[index + 1].startswith("-")
            value = argv[index + 1] if has_value else _EVERY_ADDRESS
        elif argument.startswith("--listen="):
            value = argument.partition("=")[2]
        else:
            continue
        far = [address for address in value.split(",") if address and not _is_loopback(address)]
        return ",".join(far) or None
    return None


def _find_local_addresses(host: str, port: int) -> frozenset[str]:
    """Return the addresses of a host that belong to this machine."""
    import psutil

    try:
        resolved = {str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except (OSError, OverflowError, UnicodeError):
        return frozenset()
    own = {address.address for addresses in psutil.net_if_addrs().values() for address in addresses}
    return frozenset(address for address in resolved if address in own or _is_loopback(address))


def _read_process(pid: int) -> ServerProcess | None:
    import psutil

    try:
        return ServerProcess(pid, tuple(psutil.Process(pid).cmdline()))
    except psutil.Error:
        return None


def find_servers(comfyui: Path) -> list[ServerProcess]:
    """Return the processes that run the `main.py` of this ComfyUI."""
    import psutil

    servers: list[ServerProcess] = []
    for process in psutil.process_iter():
        try:
            argv = process.cmdline()
        except psutil.Error:
            continue
        if _runs_main(process, argv, comfyui):
            servers.append(ServerProcess(process.pid, tuple(argv), list_sockets(process.pid)))
    return servers


def _runs_main(process: psutil.Process, argv: Sequence[str], comfyui: Path) -> bool:
    # The interpreter comes first, and may have a few options.
    for argument in argv[1:4]:
        if os.path.basename(argument) == _MAIN and _is_main_of(process, argument, comfyui):
            return True
    return False


def _is_main_of(process: psutil.Process, argument: str, comfyui: Path) -> bool:
    import psutil

    main = comfyui / _MAIN
    try:
        return os.path.samefile(os.path.join(process.cwd(), argument), main)
    except (OSError, psutil.Error):
        # The working directory of another user's process cannot be read; an absolute path is enough.
        return os.path.isabs(argument) and os.path.realpath(argument) == os.path.realpath(main)


def list_sockets(pid: int) -> tuple[tuple[str, int], ...]:
    """Return address and port of the TCP sockets that a process listens on; empty where they cannot be seen."""
    import psutil

    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return ()
    sockets: set[tuple[str, int]] = set()
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr:
            sockets.add((connection.laddr.ip, connection.laddr.port))
    return tuple(sorted(sockets))


def _get_session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _is_loopback(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    # A socket for both families shows a loopback address of IPv4 as `::ffff:127.0.0.1`.
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped.is_loopback
    return parsed.is_loopback
