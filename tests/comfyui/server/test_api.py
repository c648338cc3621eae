"""Asking a running ComfyUI, over real sockets."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.server.api import RunningComfyUI, fetch_nodes, is_server_of, probe_server
from tests.servers.base import LocalServer, Reply

STATS: dict[str, Any] = {
    "system": {"comfyui_version": "0.33.0", "argv": ["main.py", "--cpu"]},
}


def page(value: Any, status: int = 200) -> Reply:
    return Reply(json.dumps(value).encode(), status)


def running(*argv: str) -> RunningComfyUI:
    return RunningComfyUI(url="", version=None, argv=argv, replacements={})


def test_nobody_listening_is_no_server() -> None:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        assert probe_server(f"http://127.0.0.1:{place.getsockname()[1]}") is None


@pytest.mark.parametrize("url", ["", "nonsense", "http://127.0.0.1:99999", "http://", "file:///etc/passwd"])
def test_an_address_of_no_server_is_no_server(url: str) -> None:
    assert probe_server(url) is None


def test_a_server_says_who_it_is() -> None:
    with LocalServer({"/system_stats": page(STATS)}) as server:
        found = probe_server(server.url + "/")
    assert found is not None
    assert (found.version, found.argv, found.replacements) == ("0.33.0", ("main.py", "--cpu"), {})


def test_a_replaced_class_counts_only_when_the_server_has_its_first_replacement() -> None:
    replacements = {
        "Old": [{"new_node_id": "New"}],
        "Dead": [{"new_node_id": "Gone"}, {"new_node_id": "New"}],
        "Odd": [],
        "Odder": [3],
    }
    with LocalServer({"/system_stats": page(STATS), "/node_replacements": page(replacements)}) as server:
        found = probe_server(server.url)
    assert found is not None
    assert found.find_replaced({"New", "Other"}) == {"Old"}


@pytest.mark.parametrize("reply", [Reply(b"<html>"), page([1]), Reply(b"", 500)])
def test_strange_replacements_are_passed_over(reply: Reply) -> None:
    with LocalServer({"/system_stats": page(STATS), "/node_replacements": reply}) as server:
        found = probe_server(server.url)
    assert found is not None
    assert found.replacements == {}


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (page({"hello": 1}), "http-body"),
        (page([]), "http-body"),
        (Reply(b"<html>"), "http-body"),
        (page({}, 500), "http-status"),
    ],
)
def test_something_else_at_the_port_is_a_failure(reply: Reply, code: str) -> None:
    with LocalServer({"/system_stats": reply}) as server, pytest.raises(Failure) as caught:
        probe_server(server.url)
    assert caught.value.code == code


def test_strange_words_of_a_server_about_itself_are_survived() -> None:
    stats = {"system": {"argv": "x", "comfyui_version": 3}}
    with LocalServer({"/system_stats": page(stats)}) as server:
        found = probe_server(server.url)
    assert found is not None
    assert (found.version, found.argv) == (None, ())


def test_the_nodes_of_a_server_are_read() -> None:
    payload = {"L": {"input": {"required": {"l": [["x.safetensors"]]}}, "python_module": "nodes"}}
    with LocalServer({"/system_stats": page(STATS), "/object_info": page(payload)}) as server:
        found = probe_server(server.url)
        assert found is not None
        live = fetch_nodes(found, {"loras": ["x.safetensors"]})
    assert live.classes == {"L"}
    assert [item.folder for item in live.loader_inputs] == ["loras"]


@pytest.mark.parametrize("payload", [{}, [], "x"])
def test_an_empty_list_of_nodes_is_a_failure_not_an_empty_server(payload: Any) -> None:
    with LocalServer({"/system_stats": page(STATS), "/object_info": page(payload)}) as server:
        found = probe_server(server.url)
        assert found is not None
        with pytest.raises(Failure):
            fetch_nodes(found, {})


def test_the_arguments_tell_whether_a_server_is_the_watched_installation(tmp_path: Path) -> None:
    root, base = tmp_path / "ComfyUI", tmp_path / "base"
    root.mkdir()
    base.mkdir()
    (tmp_path / "link").symlink_to(root)
    at_root = Installation(root=root, version=None, base=root)
    apart = Installation(root=root, version=None, base=base)
    assert is_server_of(running(str(root / "main.py")), at_root) is True
    assert is_server_of(running(str(tmp_path / "link" / "main.py")), at_root) is True
    assert is_server_of(running("/elsewhere/main.py"), at_root) is False
    assert is_server_of(running("main.py", "--cpu"), at_root) is None
    assert is_server_of(running(), at_root) is None
    assert is_server_of(running("main.py", "--base-directory", str(base)), apart) is True
    assert is_server_of(running("main.py", f"--base-directory={base}"), at_root) is False
    assert is_server_of(running("main.py", "--base-directory", "here"), apart) is None
    assert is_server_of(running("main.py", "--base-directory"), apart) is None
    assert is_server_of(running("main.py", "--base-directory=/a\0b"), apart) is False
