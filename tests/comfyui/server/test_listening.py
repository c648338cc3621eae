from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from comfywatchman.comfyui.server.listening import (
    Exposure,
    PortOwner,
    ServerProcess,
    find_exposures,
    find_free_port,
    find_listeners,
    find_port_owner,
    find_session_pids,
    judge_exposures,
    parse_listen_argument,
)

SERVER = """
import socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("up", flush=True)
sys.stdin.read()
"""


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
def test_listen_argument_gives_addresses_beyond_loopback(arguments: list[str], address: str | None) -> None:
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


def test_free_port_is_none_that_the_kernel_gives_away() -> None:
    ports = {find_free_port() for _ in range(20)}
    assert len(ports) > 10
    assert max(ports) < 32768


def test_exposed_comfyui_is_found_with_its_port(tmp_path: Path) -> None:
    port = find_free_port()
    with serving(tmp_path / "ComfyUI", "0.0.0.0", port) as pid:  # noqa: S104
        assert find_exposures(tmp_path / "ComfyUI") == (Exposure(pid, "0.0.0.0", port, certain=True),)  # noqa: S104
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "main.py").touch()
        assert find_exposures(tmp_path / "other") == ()


def test_comfyui_on_loopback_is_not_exposed(tmp_path: Path) -> None:
    with serving(tmp_path / "ComfyUI", "127.0.0.1", find_free_port()) as pid:
        assert find_exposures(tmp_path / "ComfyUI") == ()
        assert find_session_pids(pid) == (pid,)


def test_port_owner_is_nobody_the_session_or_foreign(tmp_path: Path) -> None:
    port = find_free_port()
    assert find_port_owner(port, os.getpid()) is PortOwner.NOBODY
    with serving(tmp_path / "ComfyUI", "127.0.0.1", port) as pid:
        assert find_port_owner(port, pid) is PortOwner.SESSION
        assert find_port_owner(port, 1 << 30) is PortOwner.FOREIGN


def test_visible_sockets_decide_over_the_arguments() -> None:
    argv = ("python", "main.py", "--listen")
    sockets = (("::1", 1), ("::ffff:127.0.0.1", 2), ("::", 3), ("192.168.1.5", 4))
    assert judge_exposures([ServerProcess(7, argv, sockets)]) == (
        Exposure(7, "192.168.1.5", 4, certain=True),
        Exposure(7, "::", 3, certain=True),
    )


def test_arguments_decide_where_no_socket_is_seen() -> None:
    servers = [ServerProcess(7, ("python", "main.py", "--listen")), ServerProcess(8, ("python", "main.py", "--cpu"))]
    assert judge_exposures(servers) == (Exposure(7, "0.0.0.0,::", 0, certain=False),)


def test_machine_without_comfyui_has_no_exposures(tmp_path: Path) -> None:
    assert find_exposures(tmp_path) == ()


@pytest.mark.parametrize(("address", "host"), [("127.0.0.1", "localhost"), ("0.0.0.0", "127.0.0.1")])  # noqa: S104
def test_process_that_listens_at_an_address_is_found(tmp_path: Path, address: str, host: str) -> None:
    port = find_free_port()
    with serving(tmp_path / "ComfyUI", address, port) as pid:
        (process,) = find_listeners(host, port)
    assert (process.pid, process.argv[1:]) == (pid, ("main.py", address, str(port)))


def test_process_that_listens_at_another_address_is_left_out(tmp_path: Path) -> None:
    port = find_free_port()
    with serving(tmp_path / "own", "127.0.0.2", port), serving(tmp_path / "all", "127.0.0.1", port) as pid:
        assert [process.pid for process in find_listeners("127.0.0.1", port)] == [pid]


@pytest.mark.parametrize("host", ["", "192.0.2.1", "no such host", "a" * 300])
def test_address_of_another_machine_has_no_listeners_here(tmp_path: Path, host: str) -> None:
    port = find_free_port()
    with serving(tmp_path / "ComfyUI", "0.0.0.0", port):  # noqa: S104
        assert find_listeners(host, port) == ()


def test_process_that_ended_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    port = find_free_port()

    def refuse(_pid: int) -> None:
        raise psutil.NoSuchProcess(1)

    with serving(tmp_path / "ComfyUI", "127.0.0.1", port):
        monkeypatch.setattr(psutil, "Process", refuse)
        assert find_listeners("127.0.0.1", port) == ()
