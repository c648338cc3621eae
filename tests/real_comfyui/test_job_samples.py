"""The sample workflows of jobs, asked of a real server that has none of their models."""

from __future__ import annotations

import contextlib
import http.client
import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from comfywatchman.jobs.files.templates import load_template

if TYPE_CHECKING:
    from scripts.real_comfyui import Server

pytestmark = [pytest.mark.real_comfyui, pytest.mark.slow]

TEMPLATES: Final = Path(str(resources.files("comfywatchman.jobs").joinpath("samples", "workflows")))
FILE_INPUTS: Final = {"ckpt_name", "unet_name", "clip_name", "vae_name", "image"}


def send_prompt(server: Server, graph: Any) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", "/prompt", json.dumps({"prompt": graph}), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def test_sample_without_a_model_is_accepted(real_comfyui: Server) -> None:
    status, answer = send_prompt(real_comfyui, load_template(TEMPLATES / "first-picture.json").graph)
    assert (status, answer["node_errors"]) == (200, {})


@pytest.mark.parametrize("name", sorted(path.stem for path in TEMPLATES.iterdir() if path.stem != "first-picture"))
def test_samples_lack_nothing_but_their_models(real_comfyui: Server, name: str) -> None:
    status, answer = send_prompt(real_comfyui, load_template(TEMPLATES / f"{name}.json").graph)
    assert status == 400
    errors = [error for node in answer["node_errors"].values() for error in node["errors"]]
    assert errors
    for error in errors:
        assert error["extra_info"]["input_name"] in FILE_INPUTS, error
