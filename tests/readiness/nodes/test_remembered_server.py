"""The nodes of a running server are fetched again only when something has changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from comfywatchman.comfyui.server import identity
from comfywatchman.comfyui.server.identity import ServerStart
from comfywatchman.comfyui.server.object_info import LiveNodes
from comfywatchman.comfyui.validation.signature import InputSignature, NodeSignature
from comfywatchman.readiness.nodes.remembered_server import (
    MAX_AGE_SECONDS,
    build_server_key,
    read_remembered_nodes,
    remember_nodes,
)
from tests.hosts import Host
from tests.model_files import put, safetensors
from tests.readiness.nodes.test_running_server import FakeComfyUI, nodes

NODES = LiveNodes({"KSampler": "nodes"}, (), {"KSampler": {"sampler_name": ("euler",)}})


def test_nodes_are_remembered_for_their_key_and_a_day(tmp_path: Path) -> None:
    path = tmp_path / "server_nodes.msgpack"
    assert read_remembered_nodes(path, "a", now=0) is None
    remember_nodes(path, "a", NODES, now=1000)
    assert read_remembered_nodes(path, "a", now=1000) == NODES
    assert read_remembered_nodes(path, "a", now=1000 + MAX_AGE_SECONDS - 1) == NODES
    assert read_remembered_nodes(path, "a", now=1000 + MAX_AGE_SECONDS) is None
    assert read_remembered_nodes(path, "a", now=999) is None
    assert read_remembered_nodes(path, "b", now=1000) is None


@pytest.mark.parametrize("content", [b"", b"\xff", msgspec.msgpack.encode({"format": 1}), b"\x91" * 100_000])
def test_damaged_file_is_ignored(tmp_path: Path, content: bytes) -> None:
    path = put(tmp_path / "server_nodes.msgpack", content)
    assert read_remembered_nodes(path, "a", now=0) is None


def test_file_that_cannot_be_written_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    remember_nodes(tmp_path / "folder", "a", NODES, now=0)


def test_number_beyond_64_bits_is_no_trouble(tmp_path: Path) -> None:
    odd = NodeSignature((InputSignature("seed", "INT", maximum=1 << 70),))
    path = tmp_path / "server_nodes.msgpack"
    remember_nodes(path, "a", msgspec.structs.replace(NODES, signatures={"KSampler": odd}), now=0)
    assert read_remembered_nodes(path, "a", now=0) is None


def test_key_depends_on_each_part() -> None:
    assert build_server_key(["a", "b"]) != build_server_key(["a", "c"])
    assert build_server_key(["a", "b\udcff"]) == build_server_key(["a", "b\udcff"])


@pytest.fixture
def server() -> Iterator[FakeComfyUI]:
    with FakeComfyUI() as running:
        running.answer_with("/object_info", nodes())
        yield running


@pytest.mark.slow
def test_steady_cycle_does_not_fetch_the_nodes_again(
    tmp_path: Path, server: FakeComfyUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = [ServerStart(1, 1.0)]
    # The process of this server is that of the test, whose command is not that of a ComfyUI.
    monkeypatch.setattr(identity, "find_server_start", lambda _running: starts[-1])
    host = Host(tmp_path, comfyui__url=server.url)
    server.start_as("main.py")
    server.read_folders_of(host.comfyui)
    host.write("a.json")

    def count_fetches() -> int:
        before = sum(asked.path == "/object_info" for asked in server.asked)
        assert host.status().host.comfyui_running
        return sum(asked.path == "/object_info" for asked in server.asked) - before

    assert [count_fetches(), count_fetches(), count_fetches()] == [1, 0, 0]
    host.write("b.json")
    assert count_fetches() == 0
    put(host.comfyui / "models/loras/new.safetensors", safetensors())
    assert [count_fetches(), count_fetches()] == [1, 0]
    put(host.comfyui / "custom_nodes/new/__init__.py", b"NODE_CLASS_MAPPINGS = {}")
    assert [count_fetches(), count_fetches()] == [1, 0]
    starts.append(ServerStart(2, 2.0))
    assert [count_fetches(), count_fetches()] == [1, 0]
