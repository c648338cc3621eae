from __future__ import annotations

import hashlib
from typing import Any

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.handler import request as request_module
from comfywatchman.handler.request import OutputMode, parse_request
from tests.handler.requests import WORKFLOW, build_body, build_image

SHA256 = hashlib.sha256(b"content").hexdigest()


def refuse(body: bytes) -> str:
    with pytest.raises(Failure) as raised:
        parse_request(body)
    return raised.value.code


def test_request_of_worker_comfyui_is_read() -> None:
    request = parse_request(build_body(images=[build_image("a.png")]))
    assert request.workflow == WORKFLOW
    assert [(item.name, item.content, item.url) for item in request.inputs] == [("a.png", b"content", None)]
    assert (request.output, request.key) == (OutputMode.AUTO, None)


def test_fields_without_the_envelope_are_read() -> None:
    body = build_body(output={"mode": "file"}, idempotency_key="order-1")
    fields = body.removeprefix(b'{"input": ').removesuffix(b"}")
    assert parse_request(fields) == parse_request(body)
    assert (parse_request(body).output, parse_request(body).key) == (OutputMode.FILE, "order-1")


def test_data_uri_and_address_are_read() -> None:
    image = build_image("a.png")
    image["image"] = f"data:image/png;base64,{image['image']}"
    linked = {"name": "b.png", "url": "https://example.org/b.png", "sha256": SHA256}
    first, second = parse_request(build_body(images=[image], inputs=[linked])).inputs
    assert first.content == b"content"
    assert (second.url, second.sha256) == ("https://example.org/b.png", SHA256)


def test_fingerprint_depends_on_the_request_only() -> None:
    first = parse_request(build_body(output="file", idempotency_key="k"))
    assert parse_request(build_body(idempotency_key="k", output="file")).fingerprint == first.fingerprint
    assert parse_request(build_body(output="base64", idempotency_key="k")).fingerprint != first.fingerprint


def test_node_without_inputs_gets_none() -> None:
    assert parse_request(build_body({"1": {"class_type": "A"}})).workflow == {"1": {"class_type": "A", "inputs": {}}}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"input": 1}',
        build_body(unknown=1),
        build_body(output="gcs-bucket"),
        build_body(output={"mode": 3}),
        build_body(images={}),
        build_body(images=[build_image(f"{number}.png") for number in range(65)]),
        build_body(idempotency_key="a b"),
        build_body(idempotency_key="a" * 129),
        build_body(comfy_org_api_key=1),
        build_body(comfy_org_api_key=""),
    ],
)
def test_wrong_fields_are_refused(body: bytes) -> None:
    assert refuse(body) == "handler-request-invalid"


@pytest.mark.parametrize(
    "workflow",
    [
        None,
        {},
        [],
        {"nodes": [], "links": []},
        {"1": {"inputs": {}}},
        {"1": {"class_type": 1, "inputs": {}}},
        {"1": {"class_type": "A", "inputs": []}},
        {str(number): {"class_type": "A"} for number in range(10_001)},
    ],
)
def test_other_formats_of_workflows_are_refused(workflow: object) -> None:
    assert refuse(build_body(workflow)) == "handler-workflow-invalid"


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../a.png",
        "/etc/passwd",
        "a/b.png",
        "a\\b.png",
        "C:a.png",
        ".hidden",
        "a\0.png",
        "a\n.png",
        "ä" * 101,
        None,
        7,
    ],
)
def test_hostile_names_are_refused(name: Any) -> None:
    assert refuse(build_body(images=[build_image(name)])) == "handler-input-invalid"


@pytest.mark.parametrize(
    "value",
    [
        "a.png",
        {"name": "a.png"},
        {"name": "a.png", "image": 1},
        {"name": "a.png", "image": "!!"},
        {"name": "a.png", "image": ""},
        {"name": "a.png", "image": "Y29udGVudA==", "sha256": "0" * 64},
        {"name": "a.png", "image": "Y29udGVudA==", "sha256": SHA256.upper()},
        {"name": "a.png", "url": "https://example.org/a.png"},
        {"name": "a.png", "url": 1, "sha256": SHA256},
        {"name": "a.png", "url": "https://example.org/" + "a" * 4096, "sha256": SHA256},
        {"name": "a.png", "url": "https://example.org/a.png", "image": "Y29udGVudA==", "sha256": SHA256},
    ],
)
def test_wrong_inputs_are_refused(value: object) -> None:
    assert refuse(build_body(inputs=[value])) == "handler-input-invalid"


def test_two_inputs_of_one_name_are_refused() -> None:
    assert refuse(build_body(images=[build_image("a")], inputs=[build_image("a")])) == "handler-input-invalid"


def test_inputs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_module, "MAX_INPUT_BYTES", 7)
    assert parse_request(build_body(images=[build_image("a", b"1234567")])).inputs[0].content == b"1234567"
    assert refuse(build_body(images=[build_image("a", b"12345678")])) == "handler-input-too-large"
    assert refuse(build_body(images=[build_image("a", b"1" * 1000)])) == "handler-input-too-large"


def test_requests_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    body = build_body()
    monkeypatch.setattr(request_module, "MAX_REQUEST_BYTES", len(body))
    parse_request(body)
    monkeypatch.setattr(request_module, "MAX_REQUEST_BYTES", len(body) - 1)
    assert refuse(body) == "handler-request-invalid"


def test_secrets_are_not_shown() -> None:
    shown = repr(parse_request(build_body(comfy_org_api_key="secret-key", images=[build_image("a", b"picture")])))
    assert "secret-key" not in shown
    assert "picture" not in shown
