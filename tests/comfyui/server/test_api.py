"""Asking a running ComfyUI, over real sockets."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.server.api import fetch_nodes, probe_server
from tests.servers.base import LocalServer, Reply

STATS: dict[str, Any] = {
    "system": {"comfyui_version": "0.33.0", "argv": ["main.py", "--cpu"]},
}


def json_reply(value: Any, status: int = 200) -> Reply:
    return Reply(json.dumps(value).encode(), status)


def test_port_without_listener_has_no_server() -> None:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        assert probe_server(f"http://127.0.0.1:{place.getsockname()[1]}") is None


@pytest.mark.parametrize("url", ["", "nonsense", "http://127.0.0.1:99999", "http://", "file:///etc/passwd"])
def test_invalid_address_has_no_server(url: str) -> None:
    assert probe_server(url) is None


def test_server_is_identified() -> None:
    with LocalServer({"/system_stats": json_reply(STATS)}) as server:
        running = probe_server(server.url + "/")
    assert running is not None
    assert (running.version, running.argv, running.replacements) == ("0.33.0", ("main.py", "--cpu"), None)


def test_first_replacement_of_a_class_counts() -> None:
    replacements = {
        "Old": [{"new_node_id": "New"}],
        "Dead": [{"new_node_id": "Gone"}, {"new_node_id": "New"}],
        "Odd": [],
        "Odder": [3],
    }
    with LocalServer({"/system_stats": json_reply(STATS), "/node_replacements": json_reply(replacements)}) as server:
        running = probe_server(server.url)
    assert running is not None
    assert running.replacements == {"Old": "New", "Dead": "Gone"}


@pytest.mark.parametrize("reply", [Reply(b"<html>"), json_reply([1]), Reply(b"", 500)])
def test_malformed_replacements_are_ignored(reply: Reply) -> None:
    with LocalServer({"/system_stats": json_reply(STATS), "/node_replacements": reply}) as server:
        running = probe_server(server.url)
    assert running is not None
    assert running.replacements == {}


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (json_reply({"hello": 1}), "http-body"),
        (json_reply([]), "http-body"),
        (Reply(b"<html>"), "http-body"),
        (json_reply({}, 500), "http-status"),
    ],
)
def test_other_program_at_the_port_raises_failure(reply: Reply, code: str) -> None:
    with LocalServer({"/system_stats": reply}) as server, pytest.raises(Failure) as caught:
        probe_server(server.url)
    assert caught.value.code == code


def test_malformed_system_stats_are_ignored() -> None:
    stats = {"system": {"argv": "x", "comfyui_version": 3}}
    with LocalServer({"/system_stats": json_reply(stats)}) as server:
        running = probe_server(server.url)
    assert running is not None
    assert (running.version, running.argv) == (None, ())


def test_nodes_of_a_server_are_read() -> None:
    payload = {"L": {"input": {"required": {"l": [["x.safetensors"]]}}, "python_module": "nodes"}}
    with LocalServer({"/system_stats": json_reply(STATS), "/object_info": json_reply(payload)}) as server:
        running = probe_server(server.url)
        assert running is not None
        live = fetch_nodes(running, {"loras": ["x.safetensors"]})
    assert live.classes == {"L"}
    assert [item.folder for item in live.loader_inputs] == ["loras"]


@pytest.mark.parametrize("payload", [{}, [], "x", {"error": "not found"}, {"L": {}}])
def test_empty_list_of_nodes_raises_failure(payload: Any) -> None:
    with LocalServer({"/system_stats": json_reply(STATS), "/object_info": json_reply(payload)}) as server:
        running = probe_server(server.url)
        assert running is not None
        with pytest.raises(Failure):
            fetch_nodes(running, {})
