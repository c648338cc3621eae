"""What is said to be refused beside models and classes, asked of a real server."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any

import pytest

from comfywatchman.comfyui.loaders.table import load_builtin_table
from comfywatchman.comfyui.packs.definitions import read_core_definitions
from comfywatchman.comfyui.server.object_info import read_object_info
from comfywatchman.comfyui.server.validation import ValidationRules, keep_server_checked_lists
from comfywatchman.readiness.verdicts.workflow import judge_workflow
from comfywatchman.readiness.workflow_facts import read_workflow_facts
from tests.readiness.verdicts.test_workflow import NoModels

if TYPE_CHECKING:
    from scripts.real_comfyui import Installed, Server

pytestmark = [pytest.mark.real_comfyui, pytest.mark.slow]

PICTURE = {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}}
SHOW = {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}}
SCALED = {"image": ["1", 0], "upscale_method": "bilinear", "width": 8, "height": 8, "crop": "disabled"}


def scale(**changes: Any) -> dict[str, Any]:
    inputs = {name: value for name, value in (SCALED | changes).items() if value is not None}
    return {"class_type": "ImageScale", "inputs": inputs}


CASES: dict[str, dict[str, Any]] = {
    "whole": {"1": PICTURE, "2": scale(), "3": SHOW},
    "a choice that is not offered": {"1": PICTURE, "2": scale(upscale_method="no_such"), "3": SHOW},
    "a choice left out": {"1": PICTURE, "2": scale(crop=None), "3": SHOW},
    "a link left out": {"1": PICTURE, "2": scale(image=None), "3": SHOW},
    "no output": {"1": PICTURE, "2": scale()},
    "a bad node that leads nowhere": {"1": PICTURE, "2": scale(), "3": SHOW, "4": scale(crop="no_such")},
    "one of two outputs bad": {
        "1": PICTURE,
        "2": scale(crop="no_such"),
        "3": SHOW,
        "4": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    },
    "a choice of the newer notation": {
        "1": {"class_type": "StringTrim", "inputs": {"string": "x", "mode": "no_such"}},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    },
}


@pytest.fixture(scope="module")
def rules(real_comfyui: Server, real_comfyui_installed: Installed) -> ValidationRules:
    version = real_comfyui.get("/system_stats")[1]["system"]["comfyui_version"]
    nodes = read_object_info(real_comfyui.get("/object_info")[1], {}, version=version)
    specs = read_core_definitions(real_comfyui_installed.tree)
    return keep_server_checked_lists(nodes.rules, specs.classes - specs.own_checks)


def is_accepted(server: Server, prompt: dict[str, Any]) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request("POST", "/prompt", json.dumps({"prompt": prompt}), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
    finally:
        connection.close()
    assert answer.status in {200, 400}
    return answer.status == 200


@pytest.mark.parametrize("case", sorted(CASES))
def test_ready_is_what_the_server_accepts(real_comfyui: Server, rules: ValidationRules, case: str) -> None:
    facts = read_workflow_facts(json.dumps(CASES[case]).encode(), container="json", table=load_builtin_table())
    judged = judge_workflow(facts, NoModels(), lambda *_: None, rules=rules)
    assert (judged.status == "READY") == is_accepted(real_comfyui, CASES[case])
