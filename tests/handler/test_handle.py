"""Requests on a ComfyUI that computes nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.handler.handle import HandlerOptions, handle_request
from comfywatchman.handler.request import parse_request
from comfywatchman.jobs.execution.run_states import RunProgress
from tests.handler.requests import TEXT_WORKFLOW, WORKFLOW, DescribedComfyUI, build_body, build_image
from tests.servers.base import LocalServer, Reply

URL_HASH = hashlib.sha256(b"content").hexdigest()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let slow machines connect."""
    monkeypatch.setattr("comfywatchman.jobs.execution.prompt_run._CONNECT_SECONDS", 60.0)


@pytest.fixture
def server() -> Iterator[DescribedComfyUI]:
    with DescribedComfyUI() as server:
        yield server


def handle(server: DescribedComfyUI, body: bytes, **options: Any) -> dict[str, Any]:
    return handle_request(parse_request(body), HandlerOptions(server.url, **options))


def fail(server: DescribedComfyUI, body: bytes, **options: Any) -> Failure:
    with pytest.raises(Failure) as raised:
        handle(server, body, **options)
    return raised.value


def test_output_is_returned(server: DescribedComfyUI) -> None:
    result = handle(server, build_body(idempotency_key="k"))
    (output,) = result["outputs"]
    assert result["status"] == "success"
    assert result["idempotency_key"] == "k"
    assert (output["type"], base64.b64decode(output["data"])) == ("base64", server.saved)
    assert output["sha256"] == hashlib.sha256(server.saved).hexdigest()
    assert (output["mime"], output["kind"], output["node_id"]) == ("image/png", "images", "2")
    assert result["timings"]["total_seconds"] > 0


def test_text_is_a_result(server: DescribedComfyUI) -> None:
    (output,) = handle(server, build_body(TEXT_WORKFLOW))["outputs"]
    assert (output["type"], output["data"]) == ("text", "a text")


def test_outputs_of_several_nodes_are_all_returned(server: DescribedComfyUI) -> None:
    save = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "other"}}
    outputs = handle(server, build_body({**WORKFLOW, "3": save, "4": TEXT_WORKFLOW["1"]}))["outputs"]
    assert [output["node_id"] for output in outputs] == ["2", "3", "4"]


@pytest.mark.parametrize("cache", ["old", "empty"])
def test_same_request_again_has_outputs(server: DescribedComfyUI, cache: str) -> None:
    server.faults.cache = cache
    first, second = (handle(server, build_body({**WORKFLOW, **_preview()})) for _ in range(2))
    assert [output["kind"] for output in second["outputs"]] == [output["kind"] for output in first["outputs"]]


def test_preview_that_the_cache_answers_is_made_again(server: DescribedComfyUI) -> None:
    server.faults.cache = "empty"
    workflow = {"1": WORKFLOW["1"], **_preview()}
    for _ in range(2):
        (output,) = handle(server, build_body(workflow))["outputs"]
        assert output["kind"] == "images"


def _preview() -> dict[str, Any]:
    return {"3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}


def test_video_becomes_a_file(server: DescribedComfyUI, tmp_path: Path) -> None:
    server.suffix = ".mp4"
    (output,) = handle(server, build_body(), output_folder=tmp_path)["outputs"]
    path = Path(output["data"])
    assert (output["type"], path.read_bytes(), path.parent.parent) == ("file", server.saved, tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == [path.parent.name]


def test_small_output_stays_in_the_result(server: DescribedComfyUI, tmp_path: Path) -> None:
    (output,) = handle(server, build_body(), output_folder=tmp_path)["outputs"]
    assert output["type"] == "base64"
    assert list(tmp_path.iterdir()) == []


def test_inputs_are_uploaded_and_named(server: DescribedComfyUI) -> None:
    workflow = {**WORKFLOW, "1": {"class_type": "EmptyImage", "inputs": {"image": "a.png"}}}
    handle(server, build_body(workflow, images=[build_image("a.png")]))
    ((name, content),) = server.stored.uploads.items()
    assert content == b"content"
    assert server.submitted[0]["1"]["inputs"]["image"] == name


def test_input_is_fetched_from_its_address(server: DescribedComfyUI) -> None:
    workflow = {**WORKFLOW, "1": {"class_type": "EmptyImage", "inputs": {"image": "a.png"}}}
    with LocalServer({"/a": Reply(b"content")}) as site:
        item = {"name": "a.png", "url": f"{site.url}/a", "sha256": URL_HASH}
        body = build_body(workflow, inputs=[item])
        assert fail(server, body).code == "download-host-refused"
        assert site.asked == []
        handle(server, body, may_be_private=lambda _host: True)
        assert list(server.stored.uploads.values()) == [b"content"]
        item["sha256"] = "0" * 64
        changed = build_body(workflow, inputs=[item])
        assert fail(server, changed, may_be_private=lambda _host: True).code == "handler-input-invalid"


def test_fetched_input_is_bounded(server: DescribedComfyUI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfywatchman.handler.handle.MAX_INPUT_BYTES", 6)
    workflow = {**WORKFLOW, "1": {"class_type": "EmptyImage", "inputs": {"image": "a.png"}}}
    with LocalServer({"/a": Reply(b"content")}) as site:
        body = build_body(workflow, inputs=[{"name": "a.png", "url": f"{site.url}/a", "sha256": URL_HASH}])
        assert fail(server, body, may_be_private=lambda _host: True).code == "handler-input-too-large"
    assert server.submitted == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (build_body({"1": {"class_type": "Unknown", "inputs": {}}}), "handler-nodes-missing"),
        (build_body({"1": {"class_type": "EmptyImage", "inputs": {"model": "b.ckpt"}}}), "handler-models-missing"),
        (build_body(images=[build_image("unused.png")]), "handler-input-invalid"),
    ],
)
def test_request_that_cannot_succeed_is_not_queued(server: DescribedComfyUI, body: bytes, code: str) -> None:
    assert fail(server, body).code == code
    assert server.submitted == []


@pytest.mark.parametrize(
    ("workflow", "code"),
    [
        ({"1": {"class_type": "EmptyImage", "inputs": {}}}, "handler-prompt-refused"),
        ({"1": {"class_type": "TestFail", "inputs": {}}}, "handler-prompt-failed"),
    ],
)
def test_failed_prompt_is_a_failure_and_leaves_nothing(
    server: DescribedComfyUI, workflow: dict[str, Any], code: str, tmp_path: Path
) -> None:
    failure = fail(server, build_body(workflow), output_folder=tmp_path)
    assert failure.code == code
    assert list(tmp_path.iterdir()) == []


def test_prompt_without_output_is_a_failure(server: DescribedComfyUI) -> None:
    workflow = {"1": {"class_type": "PreviewAny", "inputs": {}}}
    server.is_silent = True
    assert fail(server, build_body(workflow)).code == "handler-outputs-missing"


def test_dead_server_is_a_failure(server: DescribedComfyUI) -> None:
    server.faults.closes_requests = {"/object_info"}
    assert fail(server, build_body()).code == "http-unreachable"


@pytest.mark.parametrize(("options", "code"), [({"limit_seconds": 0.0}, "handler-timeout"), ({}, "handler-cancelled")])
def test_prompt_is_stopped(server: DescribedComfyUI, options: dict[str, float], code: str) -> None:
    seen: list[RunProgress] = []
    workflow = {"1": {"class_type": "TestSleep", "inputs": {"seconds": 600}}}
    is_cancelled = (lambda: False) if options else (lambda: bool(seen))
    failure = fail(server, build_body(workflow), show_progress=seen.append, is_cancelled=is_cancelled, **options)
    assert failure.code == code
    assert server.queued == []


def test_api_key_goes_to_comfyui_only(server: DescribedComfyUI) -> None:
    result = handle(server, build_body(comfy_org_api_key="secret-key"))
    ((_number, _id, _prompt, extra, _targets),) = [entry["prompt"] for entry in server.history.values()]
    assert extra["api_key_comfy_org"] == "secret-key"
    assert "secret-key" not in str(result)
