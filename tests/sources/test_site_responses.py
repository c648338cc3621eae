from __future__ import annotations

import msgspec
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpResponse
from comfywatchman.sources.site_responses import (
    build_api_failure,
    convert_entries,
    convert_or_none,
    read_content,
    to_one_line,
)

URL = "https://civitai.com/api"


class Entry(msgspec.Struct, frozen=True):
    id: int
    name: str = ""


def response(status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(URL, status, headers or {}, body)


def test_content_is_the_json_of_a_success() -> None:
    assert read_content(response(200, b'{"a": [1]}'), "Civitai") == {"a": [1]}


@pytest.mark.parametrize("status", [404, 410])
def test_not_found_with_a_json_object_is_none(status: int) -> None:
    assert read_content(response(status, b'{"error": "No model"}'), "Civitai") is None


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"x"'])
def test_not_found_without_a_json_object_is_a_failure(body: bytes) -> None:
    with pytest.raises(Failure) as raised:
        read_content(response(404, body), "Civitai")
    assert raised.value.code == "http-status"


def test_success_without_json_is_a_failure() -> None:
    with pytest.raises(Failure) as raised:
        read_content(response(200, b"<html>"), "Civitai")
    assert raised.value.code == "http-body"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "http-status"),
        (401, "source-unauthorized"),
        (403, "source-forbidden"),
        (429, "source-rate-limited"),
        (500, "source-unavailable"),
        (599, "source-unavailable"),
        (600, "http-status"),
    ],
)
def test_error_status_has_its_own_code(status: int, code: str) -> None:
    assert build_api_failure(response(status), "Civitai").code == code


def test_reason_is_given_by_the_caller_or_by_the_body() -> None:
    body = b'{"message": "first", "error": "second"}'
    assert build_api_failure(response(403, body), "Civitai", reason="own").message.endswith(": own")
    assert build_api_failure(response(403, body), "Civitai").message.endswith(": first")
    assert build_api_failure(response(403, b'{"message": "", "error": "second"}'), "X").message.endswith(": second")
    assert build_api_failure(response(403, b'{"message": 5}'), "Civitai").message.endswith("(status 403).")


def test_hint_names_the_variable_of_a_known_site() -> None:
    assert "HF_TOKEN" in (build_api_failure(response(401), "Hugging Face").hint or "")
    assert build_api_failure(response(401), "SearXNG").hint == "Check the key for SearXNG."


@pytest.mark.parametrize(
    ("wait", "hint"), [("30", "Try again in 30 seconds."), ("", "Try again later."), ("soon", "Try again later.")]
)
def test_hint_of_a_rate_limit_gives_the_seconds(wait: str, hint: str) -> None:
    assert build_api_failure(response(429, headers={"retry-after": wait}), "Civitai").hint == hint


def test_entries_of_another_form_are_left_out() -> None:
    assert convert_or_none({"id": 1, "unknown": 2}, Entry) == Entry(1)
    assert convert_or_none({"id": "1"}, Entry) is None
    assert convert_entries([{"id": 1}, None, {"name": "x"}, {"id": 2, "name": "b"}], Entry) == (Entry(1), Entry(2, "b"))
    assert convert_entries({"id": 1}, Entry) == ()


def test_foreign_text_becomes_one_short_line() -> None:
    assert to_one_line(" a\n\tb\x1b[31m ") == "a b [31m"
    assert to_one_line("x" * 200) == "x" * 200
    assert to_one_line("x" * 201) == "x" * 200 + "…"
