"""From thirty missing models to READY: the whole program against local sites that behave like the real ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.scenario import CIVITAI_KEY, HF_KEY, Scenario, content, start_scenario

pytestmark = pytest.mark.slow

DOWNLOADABLE = {
    "big_model.safetensors",
    "catalogue_upscaler.safetensors",
    "cut_in_transit.safetensors",
    "declared_unet.safetensors",
    "declared_vae.safetensors",
    "ink_wash_style.safetensors",
    "inks/in_a_folder.safetensors",
    "it's a style (v2).safetensors",
    "known_by_hash.safetensors",
    "line_control.safetensors",
    "linked_lora.safetensors",
    "named_clip.safetensors",
    "noted_lora.safetensors",
    "plain_style.safetensors",
    "same_bytes.safetensors",
    "second_style.safetensors",
}
BLOCKED = {"broken_here.safetensors"}
CLOSED = {"early_style.safetensors", "gated_model.safetensors", "members_style.safetensors"}
"""Files that this account may not fetch, and which therefore stand in no plan."""
UNCERTAIN = CLOSED | {
    "changed_since.safetensors",
    "infected_style.safetensors",
    "model.safetensors",
    "old_upscaler.pth",
    "two_of_them.safetensors",
    "wan_model_bf16.safetensors",
}
NOT_TO_CHOOSE = CLOSED | {"infected_style.safetensors"}
NO_MATCH = {
    "lightning_4steps.safetensors",
    "nobody_knows_it.safetensors",
    "portrait_v3.safetensors",
    "wan_motion_i2v.safetensors",
}
NOT_SEARCHED = {"in_the_wrong_folder.safetensors"}


@pytest.fixture
def scenario(tmp_path: Path) -> Iterator[Scenario]:
    with start_scenario(tmp_path) as running:
        yield running


def run(scenario: Scenario, *arguments: str) -> dict[str, Any]:
    """Run the program and return its JSON output."""
    completed = scenario.host.program(*arguments, "--json")
    assert completed.stdout, completed.stderr.decode()
    printed: dict[str, Any] = json.loads(completed.stdout)
    return printed


def answers(scenario: Scenario) -> dict[str, str | None]:
    """Run a cycle and return the search result of each model that is still missing, or that no words led to it."""
    assert run(scenario, "--run-cycle")["cycle"]["success"]
    return {
        model["name"]: model["doubt"] if model["doubt"] == "no_match_under_these_words" else model["answer"]
        for entry in scenario.host.report()["workflows"]
        for model in entry["missing_models"]
    }


def on_disk(scenario: Scenario) -> dict[str, bytes]:
    models = scenario.host.comfyui / "models"
    return {path.name: path.read_bytes() for path in models.rglob("*") if path.is_file()}


def test_from_thirty_missing_models_to_ready(scenario: Scenario) -> None:
    before = set(on_disk(scenario))
    results = answers(scenario)
    assert len(results) == len(DOWNLOADABLE | BLOCKED | UNCERTAIN | NO_MATCH | NOT_SEARCHED) == 31
    assert {name for name, answer in results.items() if answer == "FOUND"} == DOWNLOADABLE | BLOCKED
    assert {name for name, answer in results.items() if answer == "UNCERTAIN"} == UNCERTAIN
    assert {name for name, answer in results.items() if answer == "no_match_under_these_words"} == NO_MATCH
    assert {name for name, answer in results.items() if answer is None} == NOT_SEARCHED
    assert set(on_disk(scenario)) == before
    # ComfyUI runs a prompt without an embedding that is missing.
    assert scenario.host.report()["summary"]["ready"] == 1

    plan = scenario.host.report()["plan"]
    assert (plan["downloads"], plan["to_choose"], plan["blocked"]) == (
        len(DOWNLOADABLE | BLOCKED),
        len(UNCERTAIN - NOT_TO_CHOOSE),
        [],
    )
    scenario.blob_of["cut_in_transit.safetensors"].faults = ["cut"]
    outcomes = {
        outcome["filename"]: outcome for outcome in run(scenario, "download", "--plan", plan["file"])["outcomes"]
    }
    failed = {name: outcome["code"] for name, outcome in outcomes.items() if "how" not in outcome}
    assert failed == {"broken_here.safetensors": "download-target-taken"}
    assert outcomes["same_bytes.safetensors"]["how"] == "linked"

    requests = len(scenario.civitai.asked) + len(scenario.hugging_face.asked)
    results = answers(scenario)
    assert set(results) == BLOCKED | UNCERTAIN | NO_MATCH | NOT_SEARCHED
    assert len(scenario.civitai.asked) + len(scenario.hugging_face.asked) == requests
    assert scenario.host.report()["summary"]["ready"] == len(DOWNLOADABLE) + 1
    files = on_disk(scenario)
    for name in DOWNLOADABLE:
        assert files[name.rpartition("/")[2]] == scenario.bytes_of[name], name
    assert not [name for name in files if name.endswith((".part", ".note"))]
    assert files["broken_here.safetensors"].startswith(b"<!DOCTYPE")

    _resolve_by_hand(scenario)
    results = answers(scenario)
    resolved_by_hand = {"two_of_them.safetensors"} | (CLOSED - {"early_style.safetensors"})
    assert set(results) == (UNCERTAIN - resolved_by_hand) | NO_MATCH | NOT_SEARCHED
    assert on_disk(scenario)["two_of_them.safetensors"] == content("the other of two")
    assert results["early_style.safetensors"] == "UNCERTAIN"
    _check_contacted_servers(scenario)


def _resolve_by_hand(scenario: Scenario) -> None:
    """Choose a candidate, delete a broken file, get access; then run a cycle and download by name."""
    run(scenario, "resolve", "--choose", "two_of_them.safetensors", "2")
    (scenario.host.comfyui / "models" / "loras" / "broken_here.safetensors").unlink()
    early = next(iter(scenario.civitai.access))
    scenario.civitai.access = {early: scenario.civitai.access[early]}
    scenario.hugging_face.members = {HF_KEY}
    assert run(scenario, "resolve", "--all", "--refresh")["results"]
    assert {name: answer for name, answer in answers(scenario).items() if answer == "FOUND"} == dict.fromkeys(
        BLOCKED | {"two_of_them.safetensors", "gated_model.safetensors", "members_style.safetensors"}, "FOUND"
    )
    names = ("two_of_them.safetensors", "broken_here.safetensors", "members_style.safetensors")
    outcomes = run(scenario, "download", *names, "gated_model.safetensors")["outcomes"]
    assert [outcome["how"] for outcome in outcomes] == ["downloaded"] * 4


def _check_contacted_servers(scenario: Scenario) -> None:
    servers = (scenario.civitai, scenario.hugging_face, scenario.cdn)
    assert scenario.elsewhere.asked == []
    assert scenario.addresses() <= {f"('127.0.0.1', {server.port})" for server in servers}
    assert scenario.addresses()
    sent = {server: {request.headers.get("authorization") for request in server.asked} for server in servers}
    assert sent[scenario.cdn] == {None}
    assert sent[scenario.civitai] <= {None, f"Bearer {CIVITAI_KEY}"}
    assert sent[scenario.hugging_face] <= {None, f"Bearer {HF_KEY}"}
    for path in scenario.host.home.rglob("*"):
        if path.is_file():
            assert b"canary" not in path.read_bytes(), path
