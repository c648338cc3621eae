from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from comfywatchman.comfyui.server.listening import (
    Exposure,
    Listener,
    find_exposures,
    find_free_port,
    find_session_pids,
    find_socket_owners,
    parse_listen_argument,
    parse_listeners,
    read_listeners,
)

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
TCP = HEAD + (
    "   0: 0100007F:1FFC 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0 0 10 0\n"
    "   1: 00000000:1FFD 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1 0 100 0 0 10 0\n"
    "   2: 0100007F:1FFC 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 333 1 0 100 0 0 10 0\n"
)
TCP6 = HEAD + (
    "   0: 00000000000000000000000001000000:1FFE 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 444 1\n"
    "   1: 0000000000000000FFFF00000100007F:1FFF 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 555 1\n"
    "   2: 00000000000000000000000000000000:2000 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 666 1\n"
)
SERVER = """
import socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("up", flush=True)
sys.stdin.read()
"""


def test_only_listening_sockets_are_read() -> None:
    assert parse_listeners(TCP) == (Listener("127.0.0.1", 8188, 111), Listener("0.0.0.0", 8189, 222))  # noqa: S104


def test_loopback_is_told_from_the_rest() -> None:
    found = (*parse_listeners(TCP), *parse_listeners(TCP6))
    assert [one.address for one in found if one.inode != 555] == ["127.0.0.1", "0.0.0.0", "::1", "::"]  # noqa: S104
    assert [one.inode for one in found if one.is_beyond_loopback] == [222, 666]


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        ([], None),
        (["--listen"], "0.0.0.0,::"),
        (["--listen", "--cpu"], "0.0.0.0,::"),
        (["--listen", "127.0.0.1"], None),
        (["--listen=localhost,::1"], None),
        (["--listen", "127.0.0.1,192.168.1.5"], "192.168.1.5"),
        (["--listen=some-host"], "some-host"),
    ],
)
def test_the_arguments_tell_where_comfyui_was_asked_to_listen(arguments: list[str], address: str | None) -> None:
    assert parse_listen_argument(["python", "main.py", *arguments]) == address


@contextmanager
def serving(comfyui: Path, address: str, port: int) -> Iterator[int]:
    comfyui.mkdir(exist_ok=True)
    (comfyui / "main.py").write_text(SERVER)
    with subprocess.Popen(
        [sys.executable, "main.py", address, str(port)],
        cwd=comfyui,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as server:
        assert server.stdout is not None
        server.stdout.readline()
        yield server.pid
        server.kill()


def test_a_comfyui_beyond_loopback_is_seen_with_its_port(tmp_path: Path) -> None:
    port = find_free_port()
    with serving(tmp_path / "ComfyUI", "0.0.0.0", port) as pid:  # noqa: S104
        assert find_exposures(tmp_path / "ComfyUI") == (Exposure(pid, "0.0.0.0", port, certain=True),)  # noqa: S104
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "main.py").touch()
        assert find_exposures(tmp_path / "other") == ()


def test_a_comfyui_on_loopback_is_no_exposure(tmp_path: Path) -> None:
    with serving(tmp_path / "ComfyUI", "127.0.0.1", find_free_port()) as pid:
        assert find_exposures(tmp_path / "ComfyUI") == ()
        assert find_session_pids(pid) == (pid,)


def test_the_owner_of_a_socket_is_found_among_those_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        inode = next(one.inode for one in read_listeners() if one.port == port)
        assert find_socket_owners({inode}, [os.getpid()]) == {inode: os.getpid()}
        assert find_socket_owners({inode}, [1 << 30]) == {}


def test_where_the_sockets_of_a_process_cannot_be_seen_its_arguments_tell(tmp_path: Path) -> None:
    (tmp_path / "ComfyUI").mkdir()
    (tmp_path / "ComfyUI" / "main.py").touch()
    proc = tmp_path / "proc"
    for pid, rest in ((7, "--listen"), (8, "--cpu")):
        (proc / str(pid)).mkdir(parents=True)
        (proc / str(pid) / "cmdline").write_text(f"python\0{tmp_path}/ComfyUI/main.py\0{rest}\0")
    assert find_exposures(tmp_path / "ComfyUI", proc) == (Exposure(7, "0.0.0.0,::", 0, certain=False),)


def test_a_machine_that_tells_nothing_has_no_exposure(tmp_path: Path) -> None:
    assert find_exposures(tmp_path, tmp_path / "no proc") == ()
    assert read_listeners(tmp_path / "no proc") == ()
