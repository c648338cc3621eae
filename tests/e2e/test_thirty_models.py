"""From thirty missing models to READY, through the program itself, with local sites that behave like the real ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.lacking import CIVITAI_KEY, HF_KEY, Lacking, content, lacking

FETCHED = {
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
    "soft_negative",
}
CLOSED = {"broken_here.safetensors", "early_style.safetensors", "members_style.safetensors"}
DOUBTFUL = {
    "changed_since.safetensors",
    "gated_model.safetensors",
    "infected_style.safetensors",
    "model.safetensors",
    "old_upscaler.pth",
    "two_of_them.safetensors",
    "wan_model_bf16.safetensors",
}
NOWHERE = {
    "lightning_4steps.safetensors",
    "nobody_knows_it.safetensors",
    "portrait_v3.safetensors",
    "wan_motion_i2v.safetensors",
}
NOT_SOUGHT = {"in_the_wrong_folder.safetensors"}


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Lacking]:
    with lacking(tmp_path) as running:
        yield running


def run(made: Lacking, *arguments: str) -> dict[str, Any]:
    """Run the program and return what it prints as JSON."""
    ended = made.host.program(*arguments, "--json")
    assert ended.stdout, ended.stderr.decode()
    printed: dict[str, Any] = json.loads(ended.stdout)
    return printed


def answers(made: Lacking) -> dict[str, str | None]:
    """Run a cycle and return what its report says of each model that is still missing."""
    assert run(made, "--run-cycle")["cycle"]["success"]
    return {
        model["name"]: model["answer"] for entry in made.host.report()["workflows"] for model in entry["missing_models"]
    }


def on_disk(made: Lacking) -> dict[str, bytes]:
    models = made.host.comfyui / "models"
    return {path.name: path.read_bytes() for path in models.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_from_thirty_missing_models_to_ready(made: Lacking) -> None:
    before = set(on_disk(made))
    said = answers(made)
    assert len(said) == len(FETCHED | CLOSED | DOUBTFUL | NOWHERE | NOT_SOUGHT) == 32
    assert {name for name, answer in said.items() if answer == "FOUND"} == FETCHED | CLOSED
    assert {name for name, answer in said.items() if answer == "UNCERTAIN"} == DOUBTFUL
    assert {name for name, answer in said.items() if answer == "NOT_FOUND"} == NOWHERE
    assert {name for name, answer in said.items() if answer is None} == NOT_SOUGHT
    assert set(on_disk(made)) == before

    plan = made.host.report()["plan"]
    assert (plan["downloads"], plan["to_choose"], plan["blocked"]) == (len(FETCHED | CLOSED), len(DOUBTFUL), [])
    made.blob_of["cut_in_transit.safetensors"].faults = ["cut"]
    outcomes = {one["filename"]: one for one in run(made, "download", "--plan", plan["file"])["outcomes"]}
    failed = {name: one["code"] for name, one in outcomes.items() if "how" not in one}
    assert failed == {
        "broken_here.safetensors": "download-target-taken",
        "early_style.safetensors": "download-early-access",
        "members_style.safetensors": "download-no-access",
    }
    assert outcomes["same_bytes.safetensors"]["how"] == "linked"
    assert outcomes["soft_negative.safetensors"]["how"] == "downloaded"

    asked = len(made.civitai.asked) + len(made.hugging_face.asked)
    said = answers(made)
    assert set(said) == CLOSED | DOUBTFUL | NOWHERE | NOT_SOUGHT
    assert len(made.civitai.asked) + len(made.hugging_face.asked) == asked
    assert made.host.report()["summary"]["ready"] == len(FETCHED)
    held = on_disk(made)
    for name in FETCHED - {"soft_negative"}:
        assert held[name.rpartition("/")[2]] == made.bytes_of[name], name
    assert held["soft_negative.safetensors"] == made.bytes_of["soft_negative"]
    assert not [name for name in held if name.endswith((".part", ".note"))]
    assert held["broken_here.safetensors"].startswith(b"<!DOCTYPE")

    _a_person_helps(made)
    said = answers(made)
    by_a_person = {"two_of_them.safetensors", "gated_model.safetensors"}
    assert set(said) == {"early_style.safetensors"} | (DOUBTFUL - by_a_person) | NOWHERE | NOT_SOUGHT
    assert on_disk(made)["two_of_them.safetensors"] == content("the other of two")
    assert run(made, "download", "early_style.safetensors")["outcomes"][0]["code"] == "download-early-access"
    _nobody_else_was_asked(made)


def _a_person_helps(made: Lacking) -> None:
    """Choose, delete what is broken, get access; then a cycle and a download by name."""
    run(made, "resolve", "--choose", "two_of_them.safetensors", "2")
    (made.host.comfyui / "models" / "loras" / "broken_here.safetensors").unlink()
    early = next(iter(made.civitai.access))
    made.civitai.access = {early: made.civitai.access[early]}
    made.hugging_face.members = {HF_KEY}
    assert run(made, "resolve", "--all", "--refresh")["results"]
    assert {name: answer for name, answer in answers(made).items() if answer == "FOUND"} == dict.fromkeys(
        CLOSED | {"two_of_them.safetensors", "gated_model.safetensors"}, "FOUND"
    )
    wanted = ("two_of_them.safetensors", "broken_here.safetensors", "members_style.safetensors")
    outcomes = run(made, "download", *wanted, "gated_model.safetensors")["outcomes"]
    assert [one["how"] for one in outcomes] == ["downloaded"] * 4


def _nobody_else_was_asked(made: Lacking) -> None:
    servers = (made.civitai, made.hugging_face, made.cdn)
    assert made.elsewhere.asked == []
    assert made.addresses() <= {f"('127.0.0.1', {server.port})" for server in servers}
    assert made.addresses()
    sent = {server: {one.headers.get("authorization") for one in server.asked} for server in servers}
    assert sent[made.cdn] == {None}
    assert sent[made.civitai] <= {None, f"Bearer {CIVITAI_KEY}"}
    assert sent[made.hugging_face] <= {None, f"Bearer {HF_KEY}"}
    for path in made.host.home.rglob("*"):
        if path.is_file():
            assert b"canary" not in path.read_bytes(), path
