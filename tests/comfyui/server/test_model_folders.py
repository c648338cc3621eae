from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.comfyui.server.model_folders import parse_model_folders


def test_folders_of_models_are_parsed() -> None:
    answer = {"vae": ["/m/vae", 3], "custom_nodes": ["/c"], "odd": "text"}
    assert parse_model_folders(answer) == {"vae": (Path("/m/vae"),)}


@pytest.mark.parametrize("answer", [None, [], "text", 3])
def test_other_shapes_give_no_folders(answer: object) -> None:
    assert parse_model_folders(answer) == {}
