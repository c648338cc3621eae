from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from comfywatchman.comfyui.server.unread_clients import (
    ClientConnection,
    UnreadClient,
    find_standing_queues,
    find_unread_clients,
    parse_send_queues,
)
from tests.servers.comfyui import FakeComfyUI
from tests.servers.comfyui_http import client_that_does_not_read

LOOK_SECONDS = 0.05
A, B = ClientConnection("10.0.0.1", 1), ClientConnection("10.0.0.2", 2)

# Port 8188 is 1FFC; 127.0.0.1 is 0100007F, ::1 and ::ffff:10.0.0.5 in words of four bytes.
TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1FFC 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0
   1: 0100007F:1FFC 0100007F:D431 01 003B9ACA:00000000 01:00000014 00000000     0        0 2 2 0
   2: 0100007F:1FFC 0500000A:D432 01 00000000:00000000 00:00000000 00000000     0        0 3 2 0
   3: 0100007F:D431 0100007F:1FFC 01 00000007:00000000 00:00000000 00000000     0        0 4 2 0
   4: 0100007F:1FFC 0500000A:D433 04 00000009:00000000 00:00000000 00000000     0        0 5 2 0
   5: nonsense
"""
TABLE6 = """\
   0: 00000000000000000000000001000000:1FFC 00000000000000000000000001000000:D434 01 00000005:00000000 00:00000000
   1: 0000000000000000FFFF00000100007F:1FFC 0000000000000000FFFF00000500000A:D435 01 00000006:00000000 00:00000000
"""


def test_send_queues_of_established_connections_are_parsed() -> None:
    assert parse_send_queues(TABLE, 8188) == {
        ClientConnection("127.0.0.1", 54321): 3_906_250,
        ClientConnection("10.0.0.5", 54322): 0,
    }
    assert parse_send_queues(TABLE6, 8188) == {
        ClientConnection("::1", 54324): 5,
        ClientConnection("10.0.0.5", 54325): 6,
    }


@pytest.mark.parametrize(
    ("readings", "standing"),
    [
        ([], {}),
        ([{A: 5, B: 0}], {A: 5}),
        ([{A: 5}, {A: 7, B: 3}], {A: 7}),
        ([{A: 5}, {A: 4}], {}),
        ([{A: 5}, {}, {A: 5}], {}),
    ],
)
def test_queue_that_shrinks_or_vanishes_is_read(
    readings: list[dict[ClientConnection, int]], standing: dict[ClientConnection, int]
) -> None:
    assert find_standing_queues(readings) == standing


def test_fullest_client_of_a_container_comes_first(tmp_path: Path) -> None:
    folder = tmp_path / "77" / "net"
    folder.mkdir(parents=True)
    (folder / "tcp6").write_text(TABLE6)
    pauses: list[float] = []
    found = find_unread_clients(8188, server_pid=77, looks=3, pause=pauses.append, system=tmp_path)
    assert [(str(client.connection), client.unread_bytes) for client in found] == [
        ("10.0.0.5:54325", 6),
        ("[::1]:54324", 5),
    ]
    assert len(pauses) == 2


def test_client_is_shown_with_its_process() -> None:
    assert str(UnreadClient(A, 5)) == "10.0.0.1:1"
    assert str(UnreadClient(A, 5, 77, "browser")) == "10.0.0.1:1 (browser, process 77)"


@pytest.mark.slow
def test_client_that_does_not_read_is_named() -> None:
    with FakeComfyUI() as server, client_that_does_not_read(server.port) as (host, port):
        assert find_unread_clients(server.port, look_seconds=LOOK_SECONDS) == ()
        server.send("executed", {"output": "x" * (8 << 20)}, "stalled")
        deadline = time.monotonic() + 60
        while not (found := find_unread_clients(server.port, look_seconds=LOOK_SECONDS)):
            assert time.monotonic() < deadline
    assert [(client.connection, client.pid) for client in found] == [(ClientConnection(host, port), os.getpid())]
