"""Who listens on which port of this machine, and whether a ComfyUI can be reached from beyond it."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
_LISTENING: Final = "0A"
_SOCKET: Final = re.compile(r"socket:\[(\d+)\]")
_WORD_HEX: Final = 8
_MAIN: Final = "main.py"


@dataclass(frozen=True, slots=True, order=True)
class Listener:
    """A listening TCP socket: the address it is bound to, its port, and the inode by which its owner is found."""

    address: str
    port: int
    inode: int

    @property
    def is_beyond_loopback(self) -> bool:
        """Say whether others than this machine can reach it."""
        address = ipaddress.ip_address(self.address)
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return not (mapped or address).is_loopback


@dataclass(frozen=True, slots=True, order=True)
class Exposure:
    """A ComfyUI that can be reached from beyond this machine.

    Attributes:
        pid: Its process.
        address: What it listens on.
        port: The port; 0 when only its arguments tell.
        certain: Whether its socket was seen; False when only its arguments say so (another user's process).
    """

    pid: int
    address: str
    port: int
    certain: bool


def find_free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


def read_listeners(proc: Path = PROC) -> tuple[Listener, ...]:
    """Return every listening TCP socket; none where the kernel does not tell."""
    return tuple(
        sorted(found for name in ("tcp", "tcp6") for found in parse_listeners(_read_text(proc / "net" / name)))
    )


def parse_listeners(table: str) -> tuple[Listener, ...]:
    """Return the listening sockets of `/proc/net/tcp` or `tcp6` (proc_net_tcp in the kernel's documentation)."""
    found = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == _LISTENING:  # noqa: PLR2004 - the inode is the tenth field
            address, _, port = fields[1].rpartition(":")
            found.append(Listener(_decode_address(address), int(port, 16), int(fields[9])))
    return tuple(found)


def find_socket_owners(inodes: Collection[int], pids: Iterable[int], proc: Path = PROC) -> dict[int, int]:
    """Return which of these processes holds which socket: pid by inode; those of other users cannot be seen."""
    held: dict[int, int] = {}
    for pid in pids:
        for inode in _list_socket_inodes(proc / str(pid) / "fd"):
            if inode in inodes:
                held[inode] = pid
    return held


def find_session_pids(leader: int, proc: Path = PROC) -> tuple[int, ...]:
    """Return the processes of a session: its leader and what it started."""
    return tuple(pid for pid in list_pids(proc) if _read_session_id(proc / str(pid)) == leader)


def find_exposures(comfyui: Path, proc: Path = PROC) -> tuple[Exposure, ...]:
    """Return where a running ComfyUI of this folder listens beyond loopback."""
    running = {
        pid: argv for pid in list_pids(proc) if (argv := _read_comfyui_arguments(pid, comfyui, proc)) is not None
    }
    if not running:
        return ()
    sockets = read_listeners(proc)
    held = find_socket_owners({one.inode for one in sockets}, running, proc)
    found = [
        Exposure(held[one.inode], one.address, one.port, certain=True)
        for one in sockets
        if one.inode in held and one.is_beyond_loopback
    ]
    unseen = [pid for pid in running if pid not in held.values()]
    found += [Exposure(pid, told, 0, certain=False) for pid in unseen if (told := parse_listen_argument(running[pid]))]
    return tuple(sorted(found))


def parse_listen_argument(argv: Sequence[str]) -> str | None:
    """Return the address beyond loopback that ComfyUI's arguments ask it to listen on; None when they ask for none.

    `--listen` without a value is every address; it takes several, with commas between.
    """
    for place, part in enumerate(argv):
        if part == "--listen":
            after = argv[place + 1] if place + 1 < len(argv) else "-"
            value = "0.0.0.0,::" if after.startswith("-") else after
        elif part.startswith("--listen="):
            value = part.partition("=")[2]
        else:
            continue
        far = [address for address in value.split(",") if address and not _is_loopback(address)]
        return ",".join(far) or None
    return None


def list_pids(proc: Path = PROC) -> tuple[int, ...]:
    """Return every process that can be seen."""
    try:
        return tuple(sorted(int(name) for name in os.listdir(proc) if name.isdigit()))
    except OSError:
        return ()


def _read_comfyui_arguments(pid: int, comfyui: Path, proc: Path) -> tuple[str, ...] | None:
    """Return the arguments of a process that runs the `main.py` of this folder; None for any other."""
    argv = _read_text(proc / str(pid) / "cmdline").removesuffix("\0").split("\0")
    for part in argv[1:4]:
        if part.rpartition("/")[2] == _MAIN and _is_main(part, comfyui, proc / str(pid) / "cwd"):
            return tuple(argv)
    return None


def _is_main(part: str, comfyui: Path, folder: Path) -> bool:
    try:
        return os.path.samefile(os.path.join(os.readlink(folder), part), comfyui / _MAIN)
    except OSError:
        # The folder of another user's process cannot be read; an absolute path tells all the same.
        return os.path.isabs(part) and os.path.realpath(part) == os.path.realpath(comfyui / _MAIN)


def _is_loopback(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _decode_address(words: str) -> str:
    """Return an address that the kernel printed as words of 32 bits in the machine's own order."""
    starts = range(0, len(words), _WORD_HEX)
    packed = b"".join(int(words[at : at + _WORD_HEX], 16).to_bytes(4, "little") for at in starts)
    return str(ipaddress.ip_address(packed))


def _list_socket_inodes(folder: Path) -> Iterable[int]:
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        try:
            found = _SOCKET.fullmatch(os.readlink(folder / name))
        except OSError:
            continue
        if found is not None:
            yield int(found.group(1))


def _read_session_id(folder: Path) -> int | None:
    fields = _read_text(folder / "stat").rpartition(")")[2].split()
    return int(fields[3]) if len(fields) > 3 else None  # noqa: PLR2004 - the session is the fourth after the name


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
