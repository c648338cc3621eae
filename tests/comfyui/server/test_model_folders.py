from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.http import HttpSession
from comfywatchman.comfyui.server.model_folders import fetch_model_folders, parse_folder_paths
from tests.servers.base import LocalServer, Reply


def test_folders_are_parsed() -> None:
    answer = {"vae": ["/m/vae", 3], "custom_nodes": ["/c"], "odd": "text"}
    assert parse_folder_paths(answer) == {"vae": (Path("/m/vae"),), "custom_nodes": (Path("/c"),)}


def test_folders_of_models_are_fetched() -> None:
    answer = Reply(b'{"vae": ["/m/vae"], "custom_nodes": ["/c"]}')
    with LocalServer({"/internal/folder_paths": answer}) as server, HttpSession(timeout_seconds=60) as session:
        assert fetch_model_folders(session, server.url) == {"vae": (Path("/m/vae"),)}
        server.pages.clear()
        assert fetch_model_folders(session, server.url) == {}


@pytest.mark.parametrize("answer", [None, [], "text", 3])
def test_other_shapes_give_no_folders(answer: object) -> None:
    assert parse_folder_paths(answer) == {}
