"""What is said to be refused beside models and classes, asked of a real server."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from comfywatchman.comfyui.loaders.table import load_builtin_table
from comfywatchman.comfyui.packs.definitions import read_core_definitions
from comfywatchman.comfyui.server.object_info import read_object_info
from comfywatchman.comfyui.static_analysis.server_checks import read_server_checks
from comfywatchman.comfyui.validation.rules import ValidationRules
from comfywatchman.readiness.verdicts.findings import ClassFinding
from comfywatchman.readiness.verdicts.workflow import judge_workflow
from comfywatchman.readiness.workflow_facts import read_workflow_facts
from tests.readiness.verdicts.test_workflow import NoModels

if TYPE_CHECKING:
    from scripts.real_comfyui import Installed, Server

pytestmark = [pytest.mark.real_comfyui, pytest.mark.slow]

PICTURE = {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}}
SHOW = {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}}
TEXT = {"class_type": "PrimitiveString", "inputs": {"value": "disabled"}}
SCALED = {"image": ["1", 0], "upscale_method": "bilinear", "width": 8, "height": 8, "crop": "disabled"}


LOADED = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}


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
    "text for a number": {"1": PICTURE, "2": scale(width="many"), "3": SHOW},
    "a number as text": {"1": PICTURE, "2": scale(width=" 8 "), "3": SHOW},
    "null for a number": {"1": PICTURE, "2": scale() | {"inputs": SCALED | {"width": None}}, "3": SHOW},
    "a number below the minimum": {"1": PICTURE, "2": scale(width=-1), "3": SHOW},
    "a number above the maximum": {"1": PICTURE, "2": scale(width=1 << 20), "3": SHOW},
    "a number for a picture": {"1": {"class_type": "LoadImage", "inputs": {"image": 5}}, "3": LOADED},
    "a truth value for a picture": {"1": {"class_type": "LoadImage", "inputs": {"image": True}}, "3": LOADED},
    "null for a picture": {"1": {"class_type": "LoadImage", "inputs": {"image": None}}, "3": LOADED},
    "an output that does not exist": {"1": PICTURE, "2": scale(image=["1", 1]), "3": SHOW},
    "an output counted from the end": {"1": PICTURE, "2": scale(image=["1", -1]), "3": SHOW},
    "an output of another type": {"1": PICTURE, "2": scale(image=["4", 0]), "3": SHOW, "4": TEXT},
    "an output of another type for a choice": {"1": PICTURE, "2": scale(crop=["4", 0]), "3": SHOW, "4": TEXT},
    "any type": {"1": PICTURE, "4": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}},
    "a node that does not exist": {"1": PICTURE, "2": scale(image=["9", 0]), "3": SHOW},
    "a node by number": {"1": PICTURE, "2": scale(image=[1, 0]), "3": SHOW},
    "a list that is no link": {"1": PICTURE, "2": scale(image=["1", 0, 0]), "3": SHOW},
    "a circle": {"2": scale(image=["2", 0]), "3": SHOW},
    "a larger circle": {"1": scale(image=["2", 0]), "2": scale(), "3": SHOW},
    "a bad input that the class does not declare": {"1": PICTURE, "2": scale(mask=["9", 0]), "3": SHOW},
    "a choice of the newer notation": {
        "1": {"class_type": "StringTrim", "inputs": {"string": "x", "mode": "no_such"}},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    },
}


@pytest.fixture(scope="module", params=["asked", "not asked"])
def rules(request: pytest.FixtureRequest, real_comfyui: Server, real_comfyui_installed: Installed) -> ValidationRules:
    version = real_comfyui.get("/system_stats")[1]["system"]["comfyui_version"]
    nodes = read_object_info(real_comfyui.get("/object_info")[1], {}, version=version)
    sources = read_core_definitions(real_comfyui_installed.tree).signatures
    checks = read_server_checks(real_comfyui_installed.tree)
    if request.param == "not asked":
        return ValidationRules(sources, checks)
    classes = {
        name: msgspec.structs.replace(signature, own_checks=sources[name].own_checks)
        for name, signature in nodes.signatures.items()
    }
    return ValidationRules(classes, checks, is_live=True)


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
    judged = judge_workflow(facts, NoModels(), lambda *_: ClassFinding(), rules=rules)
    assert (judged.status == "READY") == is_accepted(real_comfyui, CASES[case])
