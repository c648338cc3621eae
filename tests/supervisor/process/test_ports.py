from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import psutil
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.server.listening import ServerProcess, find_free_port
from comfywatchman.supervisor.health_policy import PortState
from comfywatchman.supervisor.process.ports import (
    build_port_failure,
    can_bind,
    can_connect,
    check_port_is_free,
    find_port_state,
)
from tests.fakes import FakeClock


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A socket of this process that listens on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_listening_port_is_taken(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    assert (can_bind(port), can_connect(port)) == (False, True)
    listener.close()
    assert (can_bind(port), can_connect(port)) == (True, False)


def test_taken_port_names_its_process(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with pytest.raises(Failure, match=f"Port {port} is in use by process {os.getpid()} ") as raised:
        check_port_is_free(port, FakeClock(), patience_seconds=0)
    assert raised.value.code == "supervisor-port-taken"


@pytest.mark.slow
def test_port_that_becomes_free_is_waited_for(listener: socket.socket) -> None:
    timer = threading.Timer(0.05, listener.close)
    timer.start()
    check_port_is_free(listener.getsockname()[1], FakeClock(), patience_seconds=10)
    timer.join()


def test_owner_of_a_port_is_recognised(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    assert find_port_state(port, os.getpid()) is PortState.OURS
    # Above the largest process id of Linux: it has no family.
    assert find_port_state(port, 2**22) is PortState.FOREIGN
    assert find_port_state(find_free_port(), os.getpid()) is PortState.NOBODY


def test_failure_names_command_and_age() -> None:
    started = psutil.Process().create_time()
    clock = FakeClock()
    clock.shift_wall(started - clock.now().timestamp() + 3 * 3600)
    holders = [ServerProcess(os.getpid(), ("python", "my main.py")), ServerProcess(2**22 + 1, ("x" * 200,))]
    message = build_port_failure(8188, holders, clock).message
    assert f"process {os.getpid()} (python 'my main.py'; running for 3 hours)" in message
    assert f"process {2**22 + 1} ({'x' * 120}…)" in message


def test_invisible_holder_is_reported() -> None:
    assert "a process that cannot be seen" in build_port_failure(8188, [], FakeClock()).message
