"""`image`: from a picture's number to what this host has of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import Host, tree
from tests.model_files import safetensors
from tests.servers.base import Reply
from tests.servers.civitai import CivitaiServer, file_json, image_json, model_json, version_json

pytestmark = pytest.mark.slow

WANTED = 96712457
OTHER = 9173928
LORA = "detail_tweaker.safetensors"
GRAPH = {"nodes": [{"id": 1, "type": "LoraLoader", "widgets_values": [LORA, 1, 1]}], "links": [], "version": 0.4}
COMFY = {"prompt": {"1": {"class_type": "LoraLoader", "inputs": {"lora_name": LORA}}}, "workflow": GRAPH}


@pytest.fixture
def civitai() -> Iterator[CivitaiServer]:
    with CivitaiServer() as server:
        yield server


@pytest.fixture
def host(tmp_path: Path, civitai: CivitaiServer) -> Host:
    return Host(tmp_path, search__civitai_url=civitai.url, search__civitai_fallback_url="")


def facts(host: Host, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.invoke("image", *arguments, "--json").stdout)
    return found


def test_models_of_the_image_are_compared_with_the_host(host: Host, civitai: CivitaiServer) -> None:
    content = safetensors(3)
    host.model("loras/renamed.safetensors", content)
    assert host.invoke("inspect", "--hash", host.comfyui).exit_code == 0
    host.cycle()
    here = file_json(LORA, content=content)
    civitai.models = [model_json("Detail", [version_json([here])])]
    meta = {
        "resources": [
            {"type": "lora", "name": "detail_tweaker", "weight": 0.8, "hash": here["hashes"]["AutoV2"]},
            {"type": "model", "name": "sample_model"},
            {"type": "lora", "name": "absent", "hash": "0123456789"},
            {"type": "lora"},
        ],
        "steps": 20,
    }
    civitai.feed.append(image_json(WANTED, nsfw_level="X", meta=meta))
    ended = host.invoke("image", str(WANTED))
    assert ended.exit_code == 0, ended.output
    lines = ended.stdout.splitlines()
    path, digest = host.comfyui / "models", here["hashes"]["AutoV2"].lower()
    assert lines == [
        "Type\tName\tHash\tWeight\tState\tWhere",
        f"lora\tdetail_tweaker\tAutoV2 {digest}\t0.8\there (AutoV2)\t{path}/loras/renamed.safetensors",
        f"model\tsample_model\t\t\there by name only\t{path}/checkpoints/sample_model.safetensors",
        "lora\tabsent\tAutoV2 0123456789\t\tnot here\t",
        "lora\t\t\t\tunknown\t",
        "steps: 20",
    ]
    found = facts(host, f"https://civitai.com/images/{WANTED}")
    assert (found["status"], found["schema_version"], found["not_hashed"]) == ("FOUND", 1, 0)
    assert [one["state"] for one in found["picture"]["models"]] == [
        "here",
        "here by name only",
        "not here",
        "unknown",
    ]


def test_image_writes_no_state(host: Host, civitai: CivitaiServer) -> None:
    civitai.feed.append(image_json(WANTED, meta={"models": [LORA]}))
    before = tree(host.comfyui)
    assert host.program("image", str(WANTED)).returncode == 0
    assert tree(host.comfyui) == before
    # Its trace goes into the log.
    assert sorted(path.name for path in host.home.iterdir()) == ["log"]


def test_file_with_the_same_name_and_other_content_is_shown(host: Host, civitai: CivitaiServer) -> None:
    path = host.model(f"loras/{LORA}")
    host.cycle()
    civitai.feed.append(image_json(WANTED, meta={"hashes": {"lora:detail_tweaker": "0123456789"}}))
    assert f"\tnot here\tother content: {path}\n" in host.invoke("image", str(WANTED)).output


def test_models_without_hash_are_counted(host: Host, civitai: CivitaiServer) -> None:
    civitai.feed.append(image_json(WANTED, meta={"hashes": {"lora:detail_tweaker": "0123456789"}}))
    assert "1 model of this host has no hash yet" in host.invoke("image", str(WANTED)).output


@pytest.mark.parametrize("items", [[], [image_json(OTHER)], [image_json(OTHER), image_json(WANTED + 1)]])
def test_other_or_no_image_is_not_found(host: Host, civitai: CivitaiServer, items: list[Any]) -> None:
    civitai.pages["/api/v1/images"] = Reply(json.dumps({"items": items}).encode())
    ended = host.invoke("image", str(WANTED))
    assert ended.exit_code == 1
    assert ended.stdout.startswith("NOT_FOUND: Civitai ")
    assert str(WANTED) in ended.stdout
    found = facts(host, str(WANTED))
    assert (found["status"], found["picture"]) == ("NOT_FOUND", None)
    assert found["returned_ids"] == [str(one["id"]) for one in items]
    assert len(civitai.asked) == 2


def test_feed_instead_of_the_image_is_not_found(host: Host, civitai: CivitaiServer) -> None:
    wrong = image_json(OTHER, meta={"resources": [{"name": "wrong", "hash": "0123456789"}]})
    civitai.pages["/api/v1/images"] = Reply(json.dumps({"items": [wrong] * 100}).encode())
    ended = host.invoke("image", str(WANTED))
    assert (ended.exit_code, "wrong" in ended.output) == (1, False)
    assert len(civitai.asked) == 1


def test_requested_image_is_found_among_others(host: Host, civitai: CivitaiServer) -> None:
    right = image_json(WANTED, meta={"models": [LORA]}) | {"id": str(WANTED)}
    civitai.pages["/api/v1/images"] = Reply(json.dumps({"items": [image_json(OTHER), right]}).encode())
    assert facts(host, str(WANTED))["picture"]["models"][0]["name"] == LORA


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply(b"", 401), "source-unauthorized"),
        (Reply(b"", 403), "source-forbidden"),
        (Reply(b"", 429, {"Retry-After": "7"}), "source-rate-limited"),
        (Reply(b"", 500), "source-unavailable"),
        (Reply(b"<html>"), "http-body"),
    ],
)
def test_failed_request_is_an_error_not_not_found(host: Host, civitai: CivitaiServer, reply: Reply, code: str) -> None:
    civitai.pages["/api/v1/images"] = reply
    ended = host.program("image", str(WANTED))
    assert ended.returncode == 1
    assert f"Error ({code})".encode() in ended.stderr
    assert b"NOT_FOUND" not in ended.stdout + ended.stderr
    assert b"Traceback" not in ended.stderr


def test_unreachable_server_is_an_error(host: Host) -> None:
    with CivitaiServer() as gone:
        pass
    host.set(search__civitai_url=gone.url)
    assert b"http-unreachable" in host.program("image", str(WANTED)).stderr


def test_failed_request_for_a_model_is_a_problem(host: Host, civitai: CivitaiServer) -> None:
    image = image_json(WANTED) | {"modelVersionIds": [5]}
    civitai.pages["/api/v1/images"] = Reply(json.dumps({"items": [image]}).encode())
    civitai.pages["/api/v1/model-versions/5"] = Reply(b"", 500)
    ended = host.invoke("image", str(WANTED))
    assert ended.exit_code == 0
    assert "model\tversion 5\t\t\tunknown\t\n" in ended.stdout
    assert "Problem: Civitai has a server error" in ended.stderr


def test_missing_metadata_is_explained(host: Host, civitai: CivitaiServer) -> None:
    civitai.feed = [image_json(WANTED) | {"meta": None}, image_json(OTHER, meta={"comfy": json.dumps(COMFY)})]
    assert "Civitai has no metadata for image" in host.invoke("image", str(WANTED)).output
    ended = host.invoke("image", str(OTHER))
    assert "names no model" in ended.output
    assert "add --workflow FILE to write it" in ended.output


def test_control_characters_are_escaped(host: Host, civitai: CivitaiServer) -> None:
    evil = "a\x1b[31m\n\u202ex\ud800"
    meta = {"resources": [{"type": evil, "name": evil, "hash": evil}], "sampler": evil}
    civitai.pages["/api/v1/images"] = Reply(json.dumps({"items": [image_json(WANTED, meta=meta)]}).encode())
    ended = host.program("image", str(WANTED))
    assert ended.returncode == 0, ended.stderr
    assert b"\x1b" not in ended.stdout + ended.stderr
    assert len(ended.stdout.splitlines()) == 4
    told = host.program("image", str(WANTED), "--json")
    assert told.returncode == 0, told.stderr
    assert b"\x1b" not in told.stdout
    assert json.loads(told.stdout)["picture"]["models"]


@pytest.mark.parametrize("text", ["x", "0", "https://evilcivitai.com/images/5", "https://civitai.com/models/5"])
def test_invalid_id_is_refused_before_any_request(host: Host, civitai: CivitaiServer, text: str) -> None:
    ended = host.invoke("image", text)
    assert ended.exit_code == 2
    assert "Give the number of an image" in ended.output
    assert civitai.asked == []


def test_image_is_shown_without_a_comfyui(tmp_path: Path, civitai: CivitaiServer) -> None:
    host = Host(tmp_path, search__civitai_url=civitai.url, search__civitai_fallback_url="")
    civitai.feed.append(image_json(WANTED, meta={"models": [LORA]}))
    host.variables.pop("COMFYUI_ROOT")
    host.comfyui.rename(tmp_path / "elsewhere")
    ended = host.program("image", str(WANTED))
    assert ended.returncode == 0
    assert b"No ComfyUI was found to compare with" in ended.stderr
    assert f"model\t{LORA}\t\t\tunknown".encode() in ended.stdout
    assert b"no hash yet" not in ended.stdout


def test_key_is_sent_to_civitai_only_and_never_shown(host: Host, civitai: CivitaiServer) -> None:
    host.set(secrets__civitai_api_key="canary-key")
    with CivitaiServer() as evil:
        civitai.pages["/api/v1/images"] = Reply(b"", 302, {"Location": f"{evil.url}/api/v1/images"})
        ended = host.program("image", str(WANTED))
        assert evil.asked == []
    assert civitai.asked[0].headers["authorization"] == "Bearer canary-key"
    assert ended.returncode == 1
    assert b"canary" not in ended.stdout + ended.stderr


def test_workflow_is_written_and_can_be_scanned(host: Host, civitai: CivitaiServer) -> None:
    civitai.feed.append(image_json(WANTED, meta={"comfy": json.dumps(COMFY)}))
    target = host.folder / "of a picture.json"
    ended = host.invoke("image", str(WANTED), "--workflow", target)
    assert ended.exit_code == 0, ended.output
    assert json.loads(target.read_bytes()) == GRAPH
    command = f"comfywatchman --home {host.home} scan '{target}'"
    assert ended.stdout.splitlines()[-1] == f"To check it on this host: {command}"
    assert LORA in host.invoke("scan", target).stdout


def test_workflow_in_a_folder_is_named_after_the_image(host: Host, civitai: CivitaiServer) -> None:
    civitai.feed.append(image_json(WANTED, meta={"comfy": json.dumps(COMFY)}))
    written = str(host.folder / f"civitai_{WANTED}.json")
    assert facts(host, str(WANTED), "--workflow", str(host.folder))["workflow_file"] == written
    assert facts(host, str(WANTED))["workflow_file"] is None


def test_existing_file_is_refused_before_any_request(host: Host, civitai: CivitaiServer) -> None:
    target = host.folder / "mine.json"
    target.write_text("{}")
    ended = host.invoke("image", str(WANTED), "--workflow", target)
    assert (ended.exit_code, target.read_text(), civitai.asked) == (2, "{}", [])
    assert "already exists and is not replaced" in ended.output


def test_image_without_workflow_writes_no_file(host: Host, civitai: CivitaiServer) -> None:
    civitai.feed.append(image_json(WANTED, meta={"comfy": "{", "steps": 20}))
    target = host.folder / "none.json"
    ended = host.invoke("image", str(WANTED), "--workflow", target)
    assert (ended.exit_code, target.exists()) == (1, False)
    assert "has no ComfyUI workflow for this image" in ended.stderr
    assert facts(host, str(WANTED), "--workflow", str(target))["workflow_file"] is None


def test_guard_of_the_image_id_is_traced_in_the_log(host: Host, civitai: CivitaiServer) -> None:
    host.set(log__level="debug")
    civitai.feed.append(image_json(OTHER, nsfw_level="X", meta={}))
    host.invoke("image", str(WANTED))
    lines = [json.loads(line) for line in (host.home / "log" / "structured.log").read_text().splitlines()]
    traced = [line for line in lines if line["message"] == "civitai returned images"]
    assert traced
    assert {line["requested_id"] for line in traced} == {str(WANTED)}
    assert all(line["url"].startswith(civitai.url) for line in traced)
