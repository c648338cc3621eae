"""Asking the Comfy Registry, over real sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from comfywatchman.base.http import HttpSession
from comfywatchman.sources.registry import find_registry_pack, find_registry_provider
from tests.servers.base import LocalServer, Reply

NODE = {
    "id": "comfyui-impact-pack",
    "name": "ComfyUI Impact Pack",
    "repository": "https://github.com/ltdrdata/ComfyUI-Impact-Pack",
    "status": "NodeStatusActive",
}


@pytest.fixture
def session() -> Iterator[HttpSession]:
    with HttpSession(timeout_seconds=60) as opened:
        yield opened


def test_provider_of_a_class_is_found(session: HttpSession) -> None:
    with LocalServer({"/comfy-nodes/Some%20Node%20%2F%20x/node": Reply(json.dumps(NODE).encode())}) as server:
        answer = find_registry_provider(session, server.url + "/", "Some Node / x")
    assert answer.failure is None
    assert answer.package is not None
    assert (answer.package.id, answer.package.title) == ("comfyui-impact-pack", "ComfyUI Impact Pack")
    assert answer.package.evidence == "listed in the Comfy Registry"


def test_unknown_class_is_a_result_without_package(session: HttpSession) -> None:
    with LocalServer({"/comfy-nodes/X/node": Reply(b'{"message":"Node not found"}', 404)}) as server:
        answer = find_registry_provider(session, server.url, "X")
    assert (answer.package, answer.failure) == (None, None)


@pytest.mark.parametrize("status", ["NodeStatusBanned", "NodeStatusDeleted"])
def test_withdrawn_package_is_not_returned(status: str, session: HttpSession) -> None:
    with LocalServer({"/comfy-nodes/X/node": Reply(json.dumps({**NODE, "status": status}).encode())}) as server:
        answer = find_registry_provider(session, server.url, "X")
    assert (answer.package, answer.failure) == (None, None)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply(b"<html>not found</html>", 404), "http-body"),
        (Reply(b"{}", 500), "http-status"),
        (Reply(b"<html>"), "http-body"),
        (Reply(b"[]"), "http-body"),
        (Reply(b'{"id": 3}'), "http-body"),
    ],
)
def test_failed_request_is_not_an_unknown_class(reply: Reply, code: str, session: HttpSession) -> None:
    with LocalServer({"/comfy-nodes/X/node": reply}) as server:
        answer = find_registry_provider(session, server.url, "X")
    assert answer.package is None
    assert answer.failure is not None
    assert answer.failure.code == code


def test_unreachable_registry_is_a_failure(session: HttpSession) -> None:
    answer = find_registry_provider(session, "http://127.0.0.1:9", "X")
    assert answer.failure is not None
    assert answer.failure.code == "http-unreachable"


def test_pack_is_found_by_its_id(session: HttpSession) -> None:
    with LocalServer({"/nodes/comfyui-impact-pack": Reply(json.dumps(NODE).encode())}) as server:
        known = find_registry_pack(session, server.url, "comfyui-impact-pack")
    assert known.package is not None
    assert known.package.url == "https://github.com/ltdrdata/ComfyUI-Impact-Pack"


def test_unknown_pack_is_a_result_without_package(session: HttpSession) -> None:
    with LocalServer({"/nodes/absent": Reply(b'{"message":"Node not found"}', 404)}) as server:
        answer = find_registry_pack(session, server.url, "absent")
    assert (answer.package, answer.failure) == (None, None)
