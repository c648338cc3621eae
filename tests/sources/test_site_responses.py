from __future__ import annotations

import msgspec
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpResponse
from comfywatchman.sources.site_responses import (
    build_api_failure,
    convert_fields,
    read_content,
    to_one_line,
)

URL = "https://civitai.com/api"


class Entry(msgspec.Struct, frozen=True):
    id: int
    name: str = ""


class Noted(msgspec.Struct, frozen=True):
    id: int
    name: str = ""
    note: str | None = None
    unreadable: tuple[str, ...] = ()


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


def test_unknown_fields_are_ignored_and_numbers_in_text_are_read() -> None:
    assert convert_fields({"id": 1, "unknown": 2}, Entry) == Entry(1)
    assert convert_fields({"id": "1"}, Entry) == Entry(1)


def test_unreadable_field_does_not_hide_the_others() -> None:
    assert convert_fields({"id": 1, "name": ["b"], "note": "n"}, Noted) == Noted(1, note="n", unreadable=("name",))
    assert convert_fields({"id": 1, "name": None}, Entry) == Entry(1)
    assert convert_fields({"id": 1, "unreadable": ["id"]}, Noted) == Noted(1)


@pytest.mark.parametrize("payload", [None, 5, "x", [], [{"id": 1}], {}, {"id": None}, {"id": [1]}, {"name": "x"}])
def test_entry_without_a_required_field_is_not_read(payload: object) -> None:
    assert convert_fields(payload, Entry) is None


def test_deeply_nested_field_is_unreadable() -> None:
    deep: list[object] = []
    for _ in range(5_000):
        deep = [deep]
    assert convert_fields({"id": 1, "name": deep}, Noted) == Noted(1, unreadable=("name",))


def test_null_with_status_200_is_not_taken_for_absence() -> None:
    with pytest.raises(Failure) as caught:
        read_content(response(200, b"null"), "Civitai")
    assert caught.value.code == "http-body"


def test_foreign_text_becomes_one_short_line() -> None:
    assert to_one_line(" a\n\tb\x1b[31m ") == "a b [31m"
    assert to_one_line("x" * 200) == "x" * 200
    assert to_one_line("x" * 201) == "x" * 200 + "…"
