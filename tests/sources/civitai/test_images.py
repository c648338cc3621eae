from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import comfywatchman
from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpSession
from comfywatchman.sources.civitai.images import (
    ImageResource,
    fetch_civitai_image,
    get_image_meta,
    list_image_resources,
    parse_image_id,
    validate_civitai_image_response,
)
from tests.servers.base import Reply
from tests.servers.civitai import CivitaiServer, image_json

WANTED = 96712457
OTHER = 9173928


@pytest.fixture
def server() -> Iterator[CivitaiServer]:
    with CivitaiServer() as running:
        yield running


@pytest.mark.parametrize("image_id", [WANTED, str(WANTED), f" {WANTED} "])
@pytest.mark.parametrize("returned_id", [WANTED, str(WANTED)])
def test_number_and_digits_are_the_same_image(image_id: int | str, returned_id: int | str) -> None:
    answer = validate_civitai_image_response(image_id, {"items": [{"id": returned_id, "url": "u"}]})
    assert answer.status == "FOUND"
    assert answer.item == {"id": returned_id, "url": "u"}


def test_every_image_of_a_response_is_checked() -> None:
    payload = {"items": [{"id": OTHER}, {"id": WANTED, "right": True}, {"id": 5}]}
    answer = validate_civitai_image_response(WANTED, payload)
    assert answer.item == {"id": WANTED, "right": True}
    assert answer.returned_ids == (str(OTHER), str(WANTED), "5")


@pytest.mark.parametrize(
    "items", [[{"id": OTHER}], [{"id": OTHER}, {"id": OTHER + 1}], [{"id": f"{WANTED}0"}], [{"id": -WANTED}]]
)
def test_other_images_are_listed_and_not_used(items: list[dict[str, Any]]) -> None:
    answer = validate_civitai_image_response(WANTED, {"items": items})
    assert (answer.status, answer.item) == ("NOT_FOUND", None)
    assert str(WANTED) in answer.message
    assert str(items[0]["id"]) in answer.message


@pytest.mark.parametrize(
    "payload", [{"items": []}, {}, None, [], "x", {"items": None}, {"items": {}}, {"items": [5, None]}, {"error": "x"}]
)
def test_empty_or_unexpected_response_is_not_found(payload: object) -> None:
    answer = validate_civitai_image_response(WANTED, payload)
    assert answer.status == "NOT_FOUND"
    assert str(WANTED) in answer.message


@pytest.mark.parametrize(
    ("image_id", "returned"), [(1, True), (1, 1.0), (1, None), ("", ""), ("x", "x"), (0, False), (1, [1])]
)
def test_similar_ids_are_other_images(image_id: int | str, returned: object) -> None:
    assert validate_civitai_image_response(image_id, {"items": [{"id": returned}]}).status == "NOT_FOUND"


def test_requested_and_returned_ids_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "comfywatchman"):
        validate_civitai_image_response(WANTED, {"items": [{"id": OTHER}]}, url="https://civitai.com/x")
    facts = caplog.records[0].__dict__
    assert (facts["requested_id"], facts["returned_ids"]) == (str(WANTED), (str(OTHER),))
    assert facts["url"] == "https://civitai.com/x"
    assert caplog.records[0].levelno == logging.DEBUG


def test_request_has_the_parameters_of_the_real_server(server: CivitaiServer) -> None:
    server.feed.append(image_json(WANTED, nsfw_level="X", meta={"prompt": "a"}))
    with HttpSession(timeout_seconds=60) as session:
        answer = fetch_civitai_image(session, WANTED, base_url=server.url, token="k3y")  # noqa: S106
        assert answer.item is not None
        assert answer.item["meta"]["meta"] == {"prompt": "a"}
        assert fetch_civitai_image(session, OTHER, base_url=server.url).status == "NOT_FOUND"
    assert server.asked[0].headers["authorization"] == "Bearer k3y"


def test_public_feed_is_not_found(server: CivitaiServer) -> None:
    with HttpSession(timeout_seconds=60) as session:
        feed = session.get_json(f"{server.url}/api/v1/images?ids={WANTED}&nsfw=X&withMeta=true")
        assert validate_civitai_image_response(WANTED, feed).status == "NOT_FOUND"


def test_failed_request_is_a_failure(server: CivitaiServer) -> None:
    with HttpSession(timeout_seconds=60) as session:
        for reply, code in (
            (Reply(b"", 503), "source-unavailable"),
            (Reply(b"<html>"), "http-body"),
            (Reply(b"[]"), "http-body"),
            (Reply(b'{"items": 1}'), "http-body"),
            (Reply(b'{"items": [null]}'), "http-body"),
            (Reply(b'{"items": [{"id": 9173928}, "text"]}'), "http-body"),
            (Reply(b"null"), "http-body"),
        ):
            server.pages["/api/v1/images"] = reply
            with pytest.raises(Failure) as caught:
                fetch_civitai_image(session, WANTED, base_url=server.url)
            assert caught.value.code == code
        server.pages["/api/v1/images"] = Reply(b'{"error": "Not found"}', 404)
        assert fetch_civitai_image(session, WANTED, base_url=server.url).status == "NOT_FOUND"


def test_only_this_module_requests_images() -> None:
    package = Path(comfywatchman.__file__).parent
    knowing = [path.name for path in package.rglob("*.py") if "/images" in path.read_text("utf-8")]
    assert knowing == ["images.py"]


def test_models_of_an_image_are_listed() -> None:
    meta = {
        "resources": [{"type": "lora", "name": "detail", "weight": 0.8, "hash": "AB12"}, 5, {"type": None}],
        "civitaiResources": [{"type": "checkpoint", "modelVersionId": 62833}],
        "hashes": {"model": "F253ABB016", "lora:detail": "0C1D2E3F4A5B", "vae": ""},
    }
    expected = (
        ImageResource("lora", "detail", "AB12", None, 0.8),
        ImageResource("model"),
        ImageResource("checkpoint", version_id=62833),
        ImageResource("model", None, "F253ABB016"),
        ImageResource("lora", "detail", "0C1D2E3F4A5B"),
        ImageResource("model", version_id=7),
    )
    for item in ({"meta": meta}, {"meta": {"id": 1, "meta": meta}}):
        assert list_image_resources({**item, "modelVersionIds": [62833, 7, True, "x"]}) == expected


@pytest.mark.parametrize("item", [{}, {"meta": None}, {"meta": {"resources": 5, "hashes": []}, "modelVersionIds": 5}])
def test_image_without_metadata_lists_no_model(item: dict[str, Any]) -> None:
    assert list_image_resources(item) == ()


def test_models_are_listed_from_every_notation() -> None:
    meta = {
        "Model": "dreamshaper_8",
        "Model hash": "F253ABB016",
        "VAE": "",
        "VAE hash": 5,
        "models": ["a.safetensors", 5, ""],
        "vaes": ["b.pt"],
        "upscalers": "x",
        "additionalResources": [
            {"name": "c.safetensors", "type": "lora", "strength": 0.5},
            {"name": "urn:air:sdxl:lora:civitai:12@34", "weight": 1},
            {"name": "urn:air:sdxl:lora:evil:12@34"},
            {"name": ""},
            5,
        ],
    }
    assert list_image_resources({"meta": meta}) == (
        ImageResource("model", "dreamshaper_8", "F253ABB016"),
        ImageResource("model", "a.safetensors"),
        ImageResource("vae", "b.pt"),
        ImageResource("lora", "c.safetensors", weight=0.5),
        ImageResource("lora", version_id=34, weight=1.0),
        ImageResource("model", "urn:air:sdxl:lora:evil:12@34"),
    )


@pytest.mark.parametrize("number", [0, -5, 10**15, 10**400, True, 1.0])
def test_impossible_version_id_is_none(number: object) -> None:
    item = {"meta": {"civitaiResources": [{"modelVersionId": number}]}, "modelVersionIds": [number]}
    assert list_image_resources(item) == (ImageResource("model"),)


@pytest.mark.parametrize("weight", [True, 10**400, float("nan"), float("inf"), "1", None])
def test_weight_that_is_not_a_number_is_none(weight: object) -> None:
    (found,) = list_image_resources({"meta": {"resources": [{"name": "x", "weight": weight}]}})
    assert found.weight is None


def test_metadata_is_read_at_two_depths() -> None:
    assert (
        get_image_meta({"meta": {"steps": 5}})
        == {"steps": 5}
        == get_image_meta({"meta": {"id": 1, "meta": {"steps": 5}}})
    )
    assert get_image_meta({"meta": None}) == {} == get_image_meta({"meta": "x"})


@pytest.mark.parametrize(
    "text",
    [
        f"{WANTED}",
        f"https://civitai.com/images/{WANTED}",
        f"http://www.civitai.com/images/{WANTED}/",
        f"Civitai.red/images/{WANTED}?period=AllTime#x",
        f"http://127.0.0.1:80/images/{WANTED}",
    ],
)
def test_number_or_civitai_page_gives_an_image_id(text: str) -> None:
    assert parse_image_id(text, extra_hosts=frozenset({"127.0.0.1:80"})) == WANTED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "-5",
        "5.0",
        "\N{ARABIC-INDIC DIGIT FIVE}",
        "9" * 16,
        "https://evilcivitai.com/images/5",
        "https://civitai.com.evil.net/images/5",
        "https://civitai.com@evil.net/images/5",
        "https://evil.net/https://civitai.com/images/5",
        "https://civitai.com:8080/images/5",
        "https://civitai.com/models/5",
        "https://civitai.com/images/5x",
        "https://civitai.com/images/",
        "ftp://civitai.com/images/5",
        "https://civitai.com/images/5\n",
        "5\n",
    ],
)
def test_anything_else_gives_no_image_id(text: str) -> None:
    assert parse_image_id(text) is None
