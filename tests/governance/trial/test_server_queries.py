from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.governance.trial.scratch import ModelMarkers, create_base_directory
from comfywatchman.governance.trial.server_queries import ServerNodes, query_nodes
from tests.servers.base import Asked, LocalServer, Reply

CORE = {"python_module": "nodes", "input": {"required": {}}}


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as running:
        yield running


@pytest.fixture
def markers(tmp_path: Path) -> ModelMarkers:
    return create_base_directory(tmp_path / "base", {})


def serve_nodes(server: LocalServer, **classes: Any) -> None:
    server.pages["/object_info"] = Reply(json.dumps(classes).encode())


def build_loader(module: str, *choices: str) -> dict[str, Any]:
    return {"python_module": module, "input": {"required": {"count": ["INT", {}], "name": [list(choices)]}}}


def list_markers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("watchman-*"))


def test_without_markers_only_classes_are_queried(server: LocalServer) -> None:
    serve_nodes(server, KSampler=CORE, Own={**CORE, "python_module": "custom_nodes.mine"})
    assert query_nodes(server.url, None) == ServerNodes({"KSampler": "nodes", "Own": "custom_nodes.mine"})
    assert [asked.path for asked in server.asked] == ["/object_info"]


@pytest.mark.parametrize("body", [b"{}", b"[]", b"3", b"<html>"])
def test_server_without_classes_is_a_failure(server: LocalServer, body: bytes) -> None:
    server.pages["/object_info"] = Reply(body)
    with pytest.raises(Failure) as caught:
        query_nodes(server.url, None)
    assert caught.value.code == "http-body"


def test_error_of_the_server_is_a_failure(server: LocalServer) -> None:
    server.pages["/object_info"] = Reply(b"broken", 500)
    with pytest.raises(Failure) as caught:
        query_nodes(server.url, None)
    assert caught.value.code == "http-status"


def test_known_folders_stand_in_for_a_server_that_lists_none(server: LocalServer, markers: ModelMarkers) -> None:
    loras = list_markers(markers.base / "models" / "loras")
    serve_nodes(server, LoraLoader=build_loader("nodes", *loras), Own=build_loader("custom_nodes.mine", "None", *loras))
    nodes = query_nodes(server.url, markers)
    assert nodes.model_folders == {"Own": {"name": "loras"}}
    assert nodes.widget_places == {"Own": {"name": 1}}
    assert nodes.model_directories == {}


def test_folder_of_a_pack_gets_markers_before_the_classes_are_listed(
    server: LocalServer, markers: ModelMarkers
) -> None:
    odd = markers.base / "models" / "deep" / "odd"
    server.pages["/internal/folder_paths"] = Reply(json.dumps({"odd_things": [str(odd)]}).encode())

    def list_nodes(_asked: Asked, _handler: BaseHTTPRequestHandler) -> Reply:
        own = build_loader("custom_nodes.mine", *(f"sub\\{name}" for name in list_markers(odd)))
        return Reply(json.dumps({"Own": own}).encode())

    server.pages["/object_info"] = list_nodes
    nodes = query_nodes(server.url, markers)
    assert nodes.model_folders == {"Own": {"name": "odd_things"}}
    assert nodes.model_directories == {"odd_things": ("deep/odd",)}


def test_input_that_lists_no_marker_names_no_folder(server: LocalServer, markers: ModelMarkers) -> None:
    serve_nodes(server, Own=build_loader("custom_nodes.mine", "euler", "watchman"))
    assert query_nodes(server.url, markers) == ServerNodes({"Own": "custom_nodes.mine"})


@pytest.mark.parametrize("entry", [None, 3, "not found", [], {}, {"python_module": "nodes"}])
def test_entry_that_comfyui_cannot_have_sent_is_a_failure(server: LocalServer, entry: Any) -> None:
    serve_nodes(server, KSampler=CORE, Odd=entry)
    with pytest.raises(Failure) as caught:
        query_nodes(server.url, None)
    assert (caught.value.code, "the node class Odd" in caught.value.message) == ("http-body", True)
